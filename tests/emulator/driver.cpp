// SPDX-License-Identifier: MIT
// The launchers of csrc/cuda under C names, for ctypes. dtype codes: 0 = float32, 1 = float64.
#include "cuda/launchers.h"
#include "cuda/triangular_index.h"

using namespace hubprune;

extern "C" {

int emulated_built() { return cuda::built() ? 1 : 0; }
int emulated_device_count() { return cuda::device_count(); }
int emulated_runtime_version() { return cuda::runtime_version(); }
const char* emulated_last_error() { return cuda::last_error(); }

void emulated_triangular_index(int64_t index, int64_t* row, int64_t* column) {
  const cuda::TileIndex tile = cuda::triangular_index(index);
  *row = tile.row;
  *column = tile.column;
}

int64_t emulated_filter_vectors_scratch(int64_t n, int64_t c, int64_t p) {
  return cuda::filter_vectors_scratch_bytes(n, c, p);
}

int emulated_filter_vectors(int in_double, int out_double, const void* weight, int64_t n, int64_t c,
                            int64_t p, void* out, double* norms, void* scratch, int device) {
  Status status;
  if (in_double) {
    status =
        cuda::launch_filter_vectors(static_cast<const double*>(weight), n, c, p,
                                    static_cast<double*>(out), norms, scratch, device, nullptr);
  } else if (out_double) {
    status =
        cuda::launch_filter_vectors(static_cast<const float*>(weight), n, c, p,
                                    static_cast<double*>(out), norms, scratch, device, nullptr);
  } else {
    status = cuda::launch_filter_vectors(static_cast<const float*>(weight), n, c, p,
                                         static_cast<float*>(out), norms, scratch, device, nullptr);
  }
  return static_cast<int>(status);
}

int64_t emulated_row_norms_scratch(int64_t rows) { return cuda::row_norms_scratch_bytes(rows); }

int emulated_row_norms(int is_double, const void* x, int64_t rows, int64_t d, void* out,
                       void* scratch, int device) {
  const Status status =
      is_double ? cuda::launch_row_norms(static_cast<const double*>(x), rows, d,
                                         static_cast<double*>(out), scratch, device, nullptr)
                : cuda::launch_row_norms(static_cast<const float*>(x), rows, d,
                                         static_cast<float*>(out), scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_pairwise_cosine_scratch(int64_t batch, int64_t n, int64_t m, int64_t d,
                                         int symmetric, int is_double) {
  return cuda::pairwise_cosine_scratch_bytes(batch, n, m, d, symmetric != 0, is_double != 0);
}

int emulated_pairwise_cosine(int is_double, const void* x, const void* y, int64_t batch, int64_t n,
                             int64_t m, int64_t d, int edge, int zero_diagonal, void* out,
                             void* scratch, int device) {
  const Edge kind = static_cast<Edge>(edge);
  const Status status =
      is_double ? cuda::launch_pairwise_cosine(
                      static_cast<const double*>(x), static_cast<const double*>(y), batch, n, m, d,
                      kind, zero_diagonal != 0, static_cast<double*>(out), scratch, device, nullptr)
                : cuda::launch_pairwise_cosine(
                      static_cast<const float*>(x), static_cast<const float*>(y), batch, n, m, d,
                      kind, zero_diagonal != 0, static_cast<float*>(out), scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_weighted_degree_scratch(int64_t batch, int64_t n, int64_t d, int edge,
                                         int is_double) {
  return cuda::weighted_degree_scratch_bytes(batch, n, d, static_cast<Edge>(edge), is_double != 0);
}

int emulated_weighted_degree(int is_double, const void* x, int64_t batch, int64_t n, int64_t d,
                             int edge, void* out, void* scratch, int device) {
  const Edge kind = static_cast<Edge>(edge);
  const Status status =
      is_double ? cuda::launch_weighted_degree(static_cast<const double*>(x), batch, n, d, kind,
                                               static_cast<double*>(out), scratch, device, nullptr)
                : cuda::launch_weighted_degree(static_cast<const float*>(x), batch, n, d, kind,
                                               static_cast<float*>(out), scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_nearest_scratch(int64_t batch, int64_t n, int64_t d, int is_double) {
  return cuda::nearest_scratch_bytes(batch, n, d, is_double != 0);
}

int emulated_nearest(int is_double, const void* x, int64_t batch, int64_t n, int64_t d,
                     void* similarity, int64_t* index, void* scratch, int device) {
  const Status status =
      is_double
          ? cuda::launch_nearest(static_cast<const double*>(x), batch, n, d,
                                 static_cast<double*>(similarity), index, scratch, device, nullptr)
          : cuda::launch_nearest(static_cast<const float*>(x), batch, n, d,
                                 static_cast<float*>(similarity), index, scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_graph_eigenvector_centrality_scratch(int64_t batch, int64_t n) {
  return cuda::graph_eigenvector_centrality_scratch_bytes(batch, n);
}

int emulated_graph_eigenvector_centrality(int is_double, const void* weights, int64_t batch,
                                          int64_t n, double tol, double noise, int64_t max_iter,
                                          void* vector, int64_t* converged, double* residual,
                                          void* scratch, int device) {
  const Status status =
      is_double ? cuda::launch_graph_eigenvector_centrality(
                      static_cast<const double*>(weights), batch, n, tol, noise, max_iter,
                      static_cast<double*>(vector), converged, residual, scratch, device, nullptr)
                : cuda::launch_graph_eigenvector_centrality(
                      static_cast<const float*>(weights), batch, n, tol, noise, max_iter,
                      static_cast<float*>(vector), converged, residual, scratch, device, nullptr);
  return static_cast<int>(status);
}

}  // extern "C"
