// SPDX-License-Identifier: MIT
// The CPU operations, one table of entry points per instruction-set level. Every matrix is dense
// and row-major; (batch, n, d) arrays are contiguous. `threads` is an upper bound.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/layers.h"
#include "core/status.h"

namespace hubprune::cpu {

template <class T>
struct Kernels {
  // x (rows, d) -> norms (rows)
  void (*row_norms)(const T* x, int64_t rows, int64_t d, T* norms, int threads);

  // All layers at once: vectors in float32 (float weights only) or float64, and norms
  int64_t (*filter_vectors_scratch)(const WeightLayer* layers, int64_t count, int threads);
  void (*filter_vectors_f32)(const WeightLayer* layers, int64_t count, void* scratch, int threads);
  void (*filter_vectors_f64)(const WeightLayer* layers, int64_t count, void* scratch, int threads);

  // x (batch, n, d), y (batch, m, d) or null -> out (batch, n, m), m = n without y
  int64_t (*pairwise_cosine_scratch)(int64_t n, int64_t m, int64_t d, bool symmetric, int threads);
  void (*pairwise_cosine)(const T* x, const T* y, int64_t batch, int64_t n, int64_t m, int64_t d,
                          Edge edge, bool zero_diagonal, bool nan_zero_rows, T* out, void* scratch,
                          int threads);

  // All graphs of all layers at once
  int64_t (*weighted_degree_scratch)(const GraphLayer* layers, int64_t count, Edge edge,
                                     Precision precision, int threads);
  void (*weighted_degree)(const GraphLayer* layers, int64_t count, Edge edge, Precision precision,
                          void* scratch, int threads);

  // x (n, d) -> sums (n) of Euclidean distances to all rows
  int64_t (*distance_sum_scratch)(int64_t n, int64_t d, int threads);
  void (*distance_sum)(const T* x, int64_t n, int64_t d, double* sums, void* scratch, int threads);

  // x (batch, n, d), landmarks (batch, m) row numbers below n -> out (batch, n, m)
  int64_t (*nystrom_columns_scratch)(int64_t m, int64_t d, int threads);
  void (*nystrom_columns)(const T* x, const int64_t* landmarks, int64_t batch, int64_t n, int64_t m,
                          int64_t d, Edge edge, T* out, void* scratch, int threads);

  // x (n, d) -> order (n) of removal, degree (n) when removed; ranked after `count` removals
  int64_t (*greedy_degree_scratch)(int64_t n, int64_t d, int threads);
  void (*greedy_degree)(const T* x, int64_t n, int64_t d, Edge edge, int64_t count, int64_t* order,
                        double* degree, void* scratch, int threads);

  // x (batch, n, d) -> similarity (batch, n), index (batch, n)
  int64_t (*nearest_scratch)(int64_t n, int64_t d, int threads);
  void (*nearest)(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity, int64_t* index,
                  void* scratch, int threads);

  const char* (*eigenvector_centrality_route)(int64_t n, int64_t d, Edge edge);
  // x (batch, n, d), start (batch, n) or null -> vector (batch, n); residual: the largest |A v -
  // lambda v| / |lambda|
  int64_t (*eigenvector_centrality_scratch)(int64_t n, int64_t d, Edge edge, int64_t max_iter,
                                            int threads);
  Status (*eigenvector_centrality)(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge,
                                   const double* start, double tol, int64_t max_iter, T* vector,
                                   double* residual, void* scratch, int threads);

  // weights (batch, n, n), symmetric, start (batch, n) or null -> vector (batch, n)
  int64_t (*graph_eigenvector_centrality_scratch)(int64_t n, int64_t max_iter, int threads);
  Status (*graph_eigenvector_centrality)(const T* weights, int64_t batch, int64_t n,
                                         const double* start, double tol, int64_t max_iter,
                                         T* vector, double* residual, void* scratch, int threads);
};

struct KernelTable {
  const char* level;
  // How weighted_degree would compute a graph: "closed", "gram", "short", "long" or "medium"
  const char* (*weighted_degree_route)(int64_t n, int64_t d, Edge edge, Precision precision,
                                       bool is_double);
  // The machine's ceilings: one read of `data`; scalar multiply-adds of one thread
  void (*read_memory)(const float* data, int64_t count, double* sum, int threads);
  int64_t (*multiply_add)(int64_t rounds, double* sum, int threads);
  // Which rows of a (n, n) represent the others; a is destroyed. Returns the number of pivots.
  int64_t (*pivoted_cholesky_scratch)(int64_t n);
  int64_t (*pivoted_cholesky)(double* a, int64_t n, double tolerance, int64_t* order,
                              double* residual, void* scratch, int threads);
  int64_t (*rejection_cholesky)(double* h, const double* draws, int64_t count, double tolerance,
                                int64_t* accepted);

  // lengths (n, n), symmetric -> graph, the packed form that the searches below read
  int64_t (*path_graph_scratch)(int64_t n);
  void (*path_graph)(const double* lengths, int64_t n, void* graph, int threads);
  // Adds the dependencies on sources [first, last) to sum (n); first is a multiple of 4
  int64_t (*betweenness_centrality_scratch)(int64_t n, int64_t sources, int threads);
  void (*betweenness_centrality)(void* graph, int64_t n, const int64_t* sources, int64_t first,
                                 int64_t last, double* sum, void* scratch, int threads);
  // Writes the closeness of nodes [first, last)
  int64_t (*closeness_centrality_scratch)(int64_t n, int threads);
  void (*closeness_centrality)(void* graph, int64_t n, int64_t first, int64_t last,
                               double* closeness, void* scratch, int threads);
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// The levels this build holds, from the oldest to the newest.
int level_count();
const KernelTable& level_table(int level);
bool level_supported(int level);

// The table in use: the newest that the processor supports, until select_level changes it.
const KernelTable& kernel_table();
bool select_level(const char* level);  // false: not in this build, or not supported here

}  // namespace hubprune::cpu
