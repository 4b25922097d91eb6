// SPDX-License-Identifier: MIT
// Closeness centrality: c_i = r / (sum of the distances to the r nodes that can be reached), times
// r / (n - 1); 0 where that sum is 0. Lengths (n, n), packed as a path graph -> c (n).
// One search per node; cost, memory and distances as in betweenness_centrality.cpp.
// Numerics: float64; a node's sum is taken by one thread in the order of its search.
// Twin: hubprune.reference.graph_closeness_centrality.
#include "cpu/label_setting.h"
#include "cpu/level_kernels.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

int64_t closeness_centrality_scratch(int64_t n, int threads) {
  Scratch scratch(nullptr);
  PathGraph graph{};
  graph.n = n;
  graph.stride = padded_nodes(n);
  for (int thread = 0; thread < threads; ++thread) LabelSetting::take(scratch, graph);
  return scratch.bytes();
}

// Writes the closeness of nodes [first, last).
void closeness_centrality(void* graph_memory, int64_t n, int64_t first, int64_t last,
                          double* closeness, void* scratch, int threads) {
  Scratch graph_block(graph_memory);
  const auto graph = PathGraph::take(graph_block, n);
  const double operations = 40.0 * static_cast<double>(last - first) * static_cast<double>(n);
  parallel_region(threads_for(operations, threads), [&](const Team& team) {
    Scratch own(scratch);
    auto search = LabelSetting::take(own, graph);
    for (int thread = 0; thread < team.thread; ++thread) search = LabelSetting::take(own, graph);
    team.share(last - first, [&](int64_t k) {
      const int64_t i = first + k;
      if (!*graph.defined) {
        closeness[i] = kNaN;
        return;
      }
      search.search(i);
      double total = 0.0;
      for (int64_t at = 1; at < search.reached; ++at) total += search.distance[search.order[at]];
      const auto others = static_cast<double>(search.reached - 1);
      closeness[i] = total > 0.0 ? others / total * (others / static_cast<double>(n - 1)) : 0.0;
    });
  });
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
