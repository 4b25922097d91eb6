// SPDX-License-Identifier: MIT
// Betweenness centrality: the sum over sources s of the dependency
//   delta_s(v) = sum over w that v is before: paths(v) / paths(w) * (1 + delta_s(w))
// (Brandes, 2001), not normalised; lengths (n, n), sources (count) -> sum (n).
// A node with one node before it costs one addition; a row is searched where paths tie.
// Bound by the walk along the useful edges (path_graph.h), random access to the labels in L1/L2.
// Memory: 20 n^2 bytes of packed graph, 50 n bytes a thread.
// Numerics: float64; sums over sources in blocks of kSourceBlock, blocks in order: bitwise the same
// for any number of threads, and however the blocks are divided among calls.
// Twin: hubprune.reference.graph_betweenness_centrality.
#include "cpu/label_setting.h"
#include "cpu/level_kernels.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

struct BetweennessWork {
  LabelSetting search;
  double* dependency;  // (n)

  static BetweennessWork take(Scratch& scratch, const PathGraph& graph) {
    return {LabelSetting::take(scratch, graph), scratch.take<double>(graph.n)};
  }

  // Adds the dependencies on one source.
  void add_source(const PathGraph& graph, int64_t source, double* sum) {
    search.search(source);
    for (int64_t v = 0; v < graph.n; ++v) dependency[v] = 0.0;
    for (int64_t k = search.reached - 1; k > 0; --k) {
      const int64_t w = search.order[k];
      const double share = (1.0 + dependency[w]) / search.paths[w];
      if (search.tied(w)) {
        share_among_ties(graph, w, share);
      } else {
        const int64_t v = search.first_before(w);
        dependency[v] += search.paths[v] * share;
      }
      sum[w] += dependency[w];
    }
  }

  // Over a zero length both ends tie: what goes to the one settled later comes too late to count.
  void share_among_ties(const PathGraph& graph, int64_t w, double share) {
    const double* length = graph.row(w);
    for (int64_t v = 0; v < graph.n; ++v) {
      if (search.distance[v] + length[v] == search.distance[w]) {
        dependency[v] += search.paths[v] * share;
      }
    }
  }
};

constexpr int64_t kSourceBlock = 4;
constexpr int64_t kSumBlock = 256;

static int64_t blocks_of(int64_t sources) { return (sources + kSourceBlock - 1) / kSourceBlock; }

int64_t path_graph_scratch(int64_t n) {
  Scratch scratch(nullptr);
  PathGraph::take(scratch, n);
  return scratch.bytes();
}

void path_graph(const double* lengths, int64_t n, void* graph, int threads) {
  Scratch block(graph);
  PathGraph::take(block, n).pack(lengths, threads);
}

int64_t betweenness_centrality_scratch(int64_t n, int64_t sources, int threads) {
  Scratch scratch(nullptr);
  PathGraph graph{};
  graph.n = n;
  graph.stride = padded_nodes(n);
  scratch.take<double>(blocks_of(sources) * n);
  for (int thread = 0; thread < threads; ++thread) BetweennessWork::take(scratch, graph);
  return scratch.bytes();
}

// Adds the dependencies on sources [first, last) to `sum`; `first` is a multiple of kSourceBlock.
void betweenness_centrality(void* graph_memory, int64_t n, const int64_t* sources, int64_t first,
                            int64_t last, double* sum, void* scratch, int threads) {
  Scratch graph_block(graph_memory);
  const auto graph = PathGraph::take(graph_block, n);
  if (n == 0 || !*graph.defined) {
    for (int64_t v = 0; v < n; ++v) sum[v] = kNaN;
    return;
  }
  const int64_t blocks = blocks_of(last - first);
  Scratch block(scratch);
  double* partial = block.take<double>(blocks * n);
  const double operations = 40.0 * static_cast<double>(last - first) * static_cast<double>(n);
  parallel_region(threads_for(operations, threads), [&](const Team& team) {
    Scratch own = block;
    auto work = BetweennessWork::take(own, graph);
    for (int thread = 0; thread < team.thread; ++thread) work = BetweennessWork::take(own, graph);
    team.share(blocks, [&](int64_t b) {
      double* part = partial + b * n;
      for (int64_t v = 0; v < n; ++v) part[v] = 0.0;
      const int64_t end = std::min(last, first + (b + 1) * kSourceBlock);
      for (int64_t k = first + b * kSourceBlock; k < end; ++k) {
        work.add_source(graph, sources[k], part);
      }
    });
    team.share((n + kSumBlock - 1) / kSumBlock, [&](int64_t q) {
      const int64_t end = std::min(n, (q + 1) * kSumBlock);
      for (int64_t b = 0; b < blocks; ++b) {
        for (int64_t v = q * kSumBlock; v < end; ++v) {
          sum[v] += partial[b * n + v];
        }
      }
    });
  });
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
