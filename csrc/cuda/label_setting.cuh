// SPDX-License-Identifier: MIT
// Shortest paths from one source of a dense graph, by a block: label setting without a heap, one
// node after the other in NetworkX's order: by distance, then by when the settled node that gave
// the label was settled, then by index. A settled node keeps its distance, but an edge back to it
// that ties still adds to its path count.
//
// Shapes: lengths (n, n), symmetric, infinity for no edge -> labels (n) of the source.
// A thread owns every 256th node, so that no label needs an atomic operation; a step is one walk
// along the settled node's row between two barriers.
// Numerics: distances are float64 sums along the path, ties are exact equality.
// Twin: hubprune.reference._shortest_paths.
#pragma once

#include <climits>
#include <cmath>
#include <cstdint>

#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kSearchThreads = 256;
constexpr int kSearchWarps = kSearchThreads / kWarp;
constexpr int kNobody = -1;
constexpr int kTied = 1 << 30;  // in `before`: there may be other nodes before
constexpr int64_t kNobodyKey = INT64_MAX;
constexpr int64_t kMostSources = 1024;     // at once
constexpr int64_t kMostBytes = 256 << 20;  // of their labels

// The labels of one source at a time for every block that runs.
struct Labels {
  double* distance;    // (sources, n): infinity where no path leads
  double* paths;       // twice the number of shortest paths
  double* dependency;  // zero for the source and what cannot be reached
  int* rank;           // position in `order`, kNobody for an open node
  int* giver;          // the position of the node that gave the label
  int* before;         // the first node before, with kTied
  int* order;          // nodes as they were settled

  __device__ __forceinline__ Labels of(int64_t source, int64_t n) const {
    const int64_t at = source * n;
    return {distance + at, paths + at,  dependency + at, rank + at,
            giver + at,    before + at, order + at};
  }
};

// An open node's place in the order: distance, then giver, then index.
struct Candidate {
  double distance = INFINITY;
  int64_t key = kNobodyKey;  // giver, index

  __device__ __forceinline__ void offer(double other, int64_t other_key) {
    if (other < distance || (other == distance && other_key < key)) {
      distance = other;
      key = other_key;
    }
  }
};

struct SearchMemory {
  Candidate best[kSearchWarps];
  double paths;  // of the node that is being settled
};

// The least candidate of the block, known to all its threads. Contains a barrier.
__device__ __forceinline__ Candidate least(Candidate own, SearchMemory& shared) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const double distance = __shfl_xor_sync(kFullWarp, own.distance, step);
    own.offer(distance, __shfl_xor_sync(kFullWarp, own.key, step));
  }
  if (thread_index() % kWarp == 0) shared.best[thread_index() / kWarp] = own;
  __syncthreads();
  Candidate found;
  for (int warp = 0; warp < kSearchWarps; ++warp) {
    found.offer(shared.best[warp].distance, shared.best[warp].key);
  }
  return found;
}

// Settles what `source` can reach; returns how many nodes that are.
__device__ __forceinline__ int search(const double* __restrict__ lengths, int n, int source,
                                      const Labels& labels, SearchMemory& shared) {
  for (int w = thread_index(); w < n; w += kSearchThreads) {
    labels.distance[w] = w == source ? 0.0 : INFINITY;
    labels.paths[w] = w == source ? 1.0 : 0.0;
    labels.dependency[w] = 0.0;
    labels.rank[w] = kNobody;
    labels.giver[w] = 0;
    labels.before[w] = source;  // before itself too: it counts its own path twice
  }
  Candidate own;
  if (source % kSearchThreads == thread_index()) own.offer(0.0, source);

  int settled = 0;
  for (;; ++settled) {
    const Candidate found = least(own, shared);
    if (found.key == kNobodyKey) break;
    const int v = static_cast<int>(found.key & INT_MAX);
    if (v % kSearchThreads == thread_index()) {
      labels.paths[v] += labels.paths[labels.before[v] & ~kTied];
      labels.rank[v] = settled;
      labels.order[settled] = v;
      shared.paths = labels.paths[v];
    }
    __syncthreads();

    const double* __restrict__ row = lengths + static_cast<int64_t>(v) * n;
    const double paths = shared.paths;
    own = Candidate();
    for (int w = thread_index(); w < n; w += kSearchThreads) {
      const double through = found.distance + row[w];
      const bool open = labels.rank[w] == kNobody;
      if (w != v && row[w] < INFINITY) {
        if (open && through < labels.distance[w]) {
          labels.distance[w] = through;
          labels.giver[w] = settled;
          labels.before[w] = v;
          labels.paths[w] = 0.0;  // the path through `before` is counted when w is settled
        } else if (through == labels.distance[w]) {
          labels.paths[w] += paths;
          labels.before[w] |= kTied;
        }
      }
      if (open && labels.distance[w] < INFINITY) {
        own.offer(labels.distance[w], static_cast<int64_t>(labels.giver[w]) << 31 | w);
      }
    }
  }
  return settled;
}

// flag: 1 where a length off the diagonal is NaN or minus infinity.
static __global__ void __launch_bounds__(kSearchThreads)
    inspect_lengths_kernel(const double* __restrict__ lengths, int64_t n,
                           unsigned long long* __restrict__ flag) {
  const int64_t step = grid_blocks() * kSearchThreads;
  for (int64_t i = block_index() * kSearchThreads + thread_index(); i < n * n; i += step) {
    if (i / n != i % n && !(lengths[i] > -INFINITY)) atomicOr(flag, 1ull);
  }
}

static inline int64_t sources_at_once(int64_t n, int64_t count) {
  const int64_t bytes = n * static_cast<int64_t>(3 * sizeof(double) + 4 * sizeof(int));
  int64_t most = bytes > 0 ? kMostBytes / bytes : 1;
  if (most > kMostSources) most = kMostSources;
  if (most < 1) most = 1;
  return count < most ? count : most;
}

// What the searches need: the flag of an undefined graph, and labels of the sources at once.
struct SearchScratch {
  unsigned long long* flag;
  Labels labels;
  int64_t bytes;

  SearchScratch(void* memory, int64_t n, int64_t count) {
    const int64_t nodes = n * sources_at_once(n, count);
    Scratch pieces(memory);
    flag = pieces.take<unsigned long long>(1);
    labels.distance = pieces.take<double>(nodes);
    labels.paths = pieces.take<double>(nodes);
    labels.dependency = pieces.take<double>(nodes);
    labels.rank = pieces.take<int>(nodes);
    labels.giver = pieces.take<int>(nodes);
    labels.before = pieces.take<int>(nodes);
    labels.order = pieces.take<int>(nodes);
    bytes = pieces.bytes();
  }
};

}  // namespace hubprune::cuda
