// SPDX-License-Identifier: MIT
// Betweenness centrality of dense graphs: the sum over sources s of the dependency
//   delta_s(v) = sum over w that v is before: paths(v) / paths(w) * (1 + delta_s(w))
// (Brandes, 2001), not normalised; lengths (n, n), sources (count) -> sums (n).
//
// One block per source: the search of label_setting.cuh, then back along the order, node by node.
// Bound: 2 n^2 latencies of a step (three barriers and a row from L2) over the blocks that run at
// once. Memory: 40 n bytes for each of at most 1024 sources at once.
// Numerics: float64; ties are exact equality; path counts doubled, as NetworkX's. The rows of the
// sources are added in the sources' order: the same bits for every grid and batch of sources.
// A NaN or minus infinity off the diagonal makes every sum NaN.
// Twin: hubprune.reference.graph_betweenness_centrality.
#include <cmath>

#include "cuda/label_setting.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = kSearchThreads;

// labels.dependency of every node on `source`.
__device__ __forceinline__ void depend(const double* __restrict__ lengths, int n, int settled,
                                       const Labels& labels) {
  for (int k = settled - 1; k > 0; --k) {
    __syncthreads();  // the dependencies that the step before added
    const int w = labels.order[k];
    const double share = (1.0 + labels.dependency[w]) / labels.paths[w];
    const int before = labels.before[w];
    if (!(before & kTied)) {
      if (before % kThreads == thread_index()) {
        labels.dependency[before] += labels.paths[before] * share;
      }
      continue;
    }
    const double* __restrict__ row = lengths + static_cast<int64_t>(w) * n;
    for (int v = thread_index(); v < n; v += kThreads) {
      // Over a zero length both ends tie: the one settled first is before the other.
      const bool earlier = labels.rank[v] != kNobody && labels.rank[v] < k;
      if (earlier && labels.distance[v] + row[v] == labels.distance[w]) {
        labels.dependency[v] += labels.paths[v] * share;
      }
    }
  }
  __syncthreads();
}

// labels (count sources): one block per source.
__global__ void __launch_bounds__(kThreads)
    dependency_kernel(const double* __restrict__ lengths, int64_t n,
                      const int64_t* __restrict__ sources, int64_t count,
                      const unsigned long long* __restrict__ flag, const Labels labels) {
  SearchMemory& shared = block_memory<SearchMemory>();
  if (*flag) return;  // every sum is NaN whatever these hold
  for (int64_t s = block_index(); s < count; s += grid_blocks()) {
    const Labels own = labels.of(s, n);
    const int source = static_cast<int>(sources[s]);
    const int settled = search(lengths, static_cast<int>(n), source, own, shared);
    depend(lengths, static_cast<int>(n), settled, own);
    if (source % kThreads == thread_index()) own.dependency[source] = 0.0;
    __syncthreads();
  }
}

// sums (n) += the dependencies (count, n), in order; one thread per node.
__global__ void __launch_bounds__(kThreads)
    add_dependencies_kernel(const double* __restrict__ dependency, int64_t n, int64_t count,
                            const unsigned long long* __restrict__ flag,
                            double* __restrict__ sums) {
  const int64_t step = grid_blocks() * kThreads;
  for (int64_t v = block_index() * kThreads + thread_index(); v < n; v += step) {
    double sum = sums[v];
    if (*flag) {
      sum = NAN;
    } else {
      for (int64_t s = 0; s < count; ++s) sum += dependency[s * n + v];
    }
    sums[v] = sum;
  }
}

}  // namespace

int64_t betweenness_centrality_scratch_bytes(int64_t n, int64_t count) {
  return SearchScratch(nullptr, n, count).bytes;
}

Status launch_betweenness_centrality(const double* lengths, int64_t n, const int64_t* sources,
                                     int64_t count, double* sums, void* scratch_memory, int device,
                                     void* stream) {
  if (n >= kTied) return Status::kInvalidValue;
  if (n == 0) return Status::kOk;
  const SearchScratch scratch(scratch_memory, n, count);
  Launches launches("betweenness_centrality", device, stream);
  launches.zero(scratch.flag, sizeof(unsigned long long));
  launches.zero(sums, n * static_cast<int64_t>(sizeof(double)));
  launches.kernel(inspect_lengths_kernel, ceil_divide(n * n, kThreads), kThreads, 0, lengths, n,
                  scratch.flag);
  const int64_t most = sources_at_once(n, count);
  for (int64_t first = 0; first < count; first += most) {
    const int64_t now = count - first < most ? count - first : most;
    launches.kernel(dependency_kernel, now, kThreads, sizeof(SearchMemory), lengths, n,
                    sources + first, now, scratch.flag, scratch.labels);
    launches.kernel(add_dependencies_kernel, ceil_divide(n, kThreads), kThreads, 0,
                    scratch.labels.dependency, n, now, scratch.flag, sums);
  }
  return launches.status();
}

}  // namespace hubprune::cuda
