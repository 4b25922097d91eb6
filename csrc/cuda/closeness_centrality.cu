// SPDX-License-Identifier: MIT
// Closeness centrality of dense graphs: c_i = r / (sum of the distances to the r nodes that can be
// reached), times r / (n - 1); 0 where that sum is 0. Lengths (n, n) -> c (n).
//
// One block per node: the search of label_setting.cuh, then one sum over the block.
// Bound: n^2 latencies of a step (two barriers and a row from L2) over the blocks that run at once.
// Memory: 40 n bytes for each of at most 1024 nodes at once, as betweenness.
// Numerics: float64; a node's sum in an order fixed by n: the same bits for every grid.
// A NaN or minus infinity off the diagonal makes every entry NaN.
// Twin: hubprune.reference.graph_closeness_centrality.
#include <cmath>

#include "cuda/label_setting.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

struct ClosenessMemory {
  SearchMemory search;
  double partial[kSearchWarps];
};

// labels (count sources): one block per source, from node `first` on.
__global__ void __launch_bounds__(kSearchThreads)
    closeness_kernel(const double* __restrict__ lengths, int64_t n, int64_t first, int64_t count,
                     const unsigned long long* __restrict__ flag, const Labels labels,
                     double* __restrict__ closeness) {
  ClosenessMemory& shared = block_memory<ClosenessMemory>();
  for (int64_t s = block_index(); s < count; s += grid_blocks()) {
    if (*flag) {  // the same for every thread
      if (thread_index() == 0) closeness[first + s] = NAN;
      continue;
    }
    // Compute. A thread reads the labels that it wrote itself.
    const Labels own = labels.of(s, n);
    const int nodes = static_cast<int>(n);
    const int settled = search(lengths, nodes, static_cast<int>(first + s), own, shared.search);
    double sum = 0.0;
    for (int w = thread_index(); w < nodes; w += kSearchThreads) {
      if (own.rank[w] != kNobody) sum += own.distance[w];
    }
    sum = warp_sum(sum);
    if (thread_index() % kWarp == 0) shared.partial[thread_index() / kWarp] = sum;
    __syncthreads();

    // Store. The search after this one writes `partial` behind a barrier of its own.
    if (thread_index() == 0) {
      double total = 0.0;
      for (int warp = 0; warp < kSearchWarps; ++warp) total += shared.partial[warp];
      const auto others = static_cast<double>(settled - 1);
      closeness[first + s] =
          total > 0.0 ? others / total * (others / static_cast<double>(n - 1)) : 0.0;
    }
  }
}

}  // namespace

int64_t closeness_centrality_scratch_bytes(int64_t n) { return SearchScratch(nullptr, n, n).bytes; }

Status launch_closeness_centrality(const double* lengths, int64_t n, double* closeness,
                                   void* scratch_memory, int device, void* stream) {
  if (n >= kTied) return Status::kInvalidValue;
  if (n == 0) return Status::kOk;
  const SearchScratch scratch(scratch_memory, n, n);
  Launches launches("closeness_centrality", device, stream);
  launches.zero(scratch.flag, sizeof(unsigned long long));
  launches.kernel(inspect_lengths_kernel, ceil_divide(n * n, kSearchThreads), kSearchThreads, 0,
                  lengths, n, scratch.flag);
  const int64_t most = sources_at_once(n, n);
  for (int64_t first = 0; first < n; first += most) {
    const int64_t now = n - first < most ? n - first : most;
    launches.kernel(closeness_kernel, now, kSearchThreads, sizeof(ClosenessMemory), lengths, n,
                    first, now, scratch.flag, scratch.labels, closeness);
  }
  return launches.status();
}

}  // namespace hubprune::cuda
