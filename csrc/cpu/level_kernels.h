// SPDX-License-Identifier: MIT
// Declarations of one level's kernels: what csrc/cpu/*.cpp define and level_table.cpp collects.
// Arguments as in cpu/kernels.h.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/layers.h"
#include "core/status.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

void read_memory(const float* data, int64_t count, double* sum, int threads);
int64_t multiply_add(int64_t rounds, double* sum, int threads);

int64_t pivoted_cholesky_scratch(int64_t n);
int64_t pivoted_cholesky(double* a, int64_t n, double tolerance, int64_t* order, double* residual,
                         void* scratch, int threads);
int64_t rejection_cholesky(double* h, const double* draws, int64_t count, double tolerance,
                           int64_t* accepted);

template <class T>
void row_norms(const T* x, int64_t rows, int64_t d, T* norms, int threads);

int64_t filter_vectors_scratch(const WeightLayer* layers, int64_t count, int threads);
template <class T, class Out>
void filter_vectors(const WeightLayer* layers, int64_t count, void* scratch, int threads);

template <class T>
int64_t pairwise_cosine_scratch(int64_t n, int64_t m, int64_t d, bool symmetric, int threads);
template <class T>
void pairwise_cosine(const T* x, const T* y, int64_t batch, int64_t n, int64_t m, int64_t d,
                     Edge edge, bool zero_diagonal, bool nan_zero_rows, T* out, void* scratch,
                     int threads);

template <class T>
int64_t weighted_degree_scratch(const GraphLayer* layers, int64_t count, Edge edge,
                                Precision precision, int threads);
template <class T>
void weighted_degree(const GraphLayer* layers, int64_t count, Edge edge, Precision precision,
                     void* scratch, int threads);
const char* weighted_degree_route(int64_t n, int64_t d, Edge edge, Precision precision,
                                  bool is_double);

template <class T>
int64_t distance_sum_scratch(int64_t n, int64_t d, int threads);
template <class T>
void distance_sum(const T* x, int64_t n, int64_t d, double* sums, void* scratch, int threads);

template <class T>
int64_t nystrom_columns_scratch(int64_t m, int64_t d, int threads);
template <class T>
void nystrom_columns(const T* x, const int64_t* landmarks, int64_t batch, int64_t n, int64_t m,
                     int64_t d, Edge edge, T* out, void* scratch, int threads);

template <class T>
int64_t greedy_degree_scratch(int64_t n, int64_t d, int threads);
template <class T>
void greedy_degree(const T* x, int64_t n, int64_t d, Edge edge, int64_t count, int64_t* order,
                   double* degree, void* scratch, int threads);

template <class T>
int64_t nearest_scratch(int64_t n, int64_t d, int threads);
template <class T>
void nearest(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity, int64_t* index,
             void* scratch, int threads);

template <class T>
const char* eigenvector_centrality_route(int64_t n, int64_t d, Edge edge);
template <class T>
int64_t eigenvector_centrality_scratch(int64_t n, int64_t d, Edge edge, int64_t max_iter,
                                       int threads);
template <class T>
Status eigenvector_centrality(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge,
                              const double* start, double tol, int64_t max_iter, T* vector,
                              double* residual, void* scratch, int threads);

template <class T>
int64_t graph_eigenvector_centrality_scratch(int64_t n, int64_t max_iter, int threads);
template <class T>
Status graph_eigenvector_centrality(const T* weights, int64_t batch, int64_t n, const double* start,
                                    double tol, int64_t max_iter, T* vector, double* residual,
                                    void* scratch, int threads);

int64_t path_graph_scratch(int64_t n);
void path_graph(const double* lengths, int64_t n, void* graph, int threads);
int64_t betweenness_centrality_scratch(int64_t n, int64_t sources, int threads);
void betweenness_centrality(void* graph, int64_t n, const int64_t* sources, int64_t first,
                            int64_t last, double* sum, void* scratch, int threads);
int64_t closeness_centrality_scratch(int64_t n, int threads);
void closeness_centrality(void* graph, int64_t n, int64_t first, int64_t last, double* closeness,
                          void* scratch, int threads);

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
