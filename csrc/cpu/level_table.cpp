// SPDX-License-Identifier: MIT
// One level's kernels as a table. Compiled once per level, like the kernels themselves.
#include "cpu/kernels.h"
#include "cpu/level_kernels.h"

#define HUBPRUNE_STRING_(name) #name
#define HUBPRUNE_STRING(name) HUBPRUNE_STRING_(name)

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
static constexpr Kernels<T> kernels() {
  Kernels<T> k{};
  k.row_norms = row_norms<T>;
  k.filter_vectors_scratch = filter_vectors_scratch;
  if constexpr (sizeof(T) == sizeof(float)) k.filter_vectors_f32 = filter_vectors<T, float>;
  k.filter_vectors_f64 = filter_vectors<T, double>;
  k.pairwise_cosine_scratch = pairwise_cosine_scratch<T>;
  k.pairwise_cosine = pairwise_cosine<T>;
  k.weighted_degree_scratch = weighted_degree_scratch<T>;
  k.weighted_degree = weighted_degree<T>;
  k.distance_sum_scratch = distance_sum_scratch<T>;
  k.distance_sum = distance_sum<T>;
  k.nystrom_columns_scratch = nystrom_columns_scratch<T>;
  k.nystrom_columns = nystrom_columns<T>;
  k.greedy_degree_scratch = greedy_degree_scratch<T>;
  k.greedy_degree = greedy_degree<T>;
  k.nearest_scratch = nearest_scratch<T>;
  k.nearest = nearest<T>;
  k.eigenvector_centrality_route = eigenvector_centrality_route<T>;
  k.eigenvector_centrality_scratch = eigenvector_centrality_scratch<T>;
  k.eigenvector_centrality = eigenvector_centrality<T>;
  k.graph_eigenvector_centrality_scratch = graph_eigenvector_centrality_scratch<T>;
  k.graph_eigenvector_centrality = graph_eigenvector_centrality<T>;
  return k;
}

// Constant-initialised: code of this level must not run while the library is being loaded.
extern const KernelTable table;
constexpr KernelTable table = {HUBPRUNE_STRING(HUBPRUNE_LEVEL),
                               weighted_degree_route,
                               read_memory,
                               multiply_add,
                               pivoted_cholesky_scratch,
                               pivoted_cholesky,
                               rejection_cholesky,
                               path_graph_scratch,
                               path_graph,
                               betweenness_centrality_scratch,
                               betweenness_centrality,
                               closeness_centrality_scratch,
                               closeness_centrality,
                               kernels<float>(),
                               kernels<double>()};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
