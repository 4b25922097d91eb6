// SPDX-License-Identifier: MIT
// The CUDA operations as plain C++: no CUDA header is needed to call them, and a build without nvcc
// links without_cuda.cpp, which answers Status::kNoCuda to every launch.
//
// Every pointer is device memory of `device`; `stream` is a cudaStream_t. A launcher enqueues on
// that stream and returns: it never allocates, synchronises or changes the caller's device, so it
// may run inside a graph capture. `scratch` holds at least the bytes its `_scratch_bytes` names,
// with any content, and belongs to the call until the stream has passed it.
// Sizes are not validated here: the binding re-checks what would crash.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/layers.h"
#include "core/status.h"

namespace hubprune::cuda {

bool built();              // were CUDA kernels compiled into this library?
int device_count();        // 0 without a driver or a device; never an error
int runtime_version();     // CUDART_VERSION of the build, e.g. 13000; 0 without CUDA
const char* last_error();  // text of this thread's last Status::kCudaError, "" if there was none

// x (rows, d) -> out (rows): the l2 norm of every row. T = float, double.
int64_t row_norms_scratch_bytes(int64_t rows);
template <class T>
Status launch_row_norms(const T* x, int64_t rows, int64_t d, T* out, void* scratch, int device,
                        void* stream);

// All layers at once: weight (n, c, p) -> vectors (n, p): the leading left singular vector of every
// filter's p x c matrix; norms (n): the filters' l2 norms.
// Instantiated for <float, float>, <float, double> and <double, double>.
int64_t filter_vectors_scratch_bytes(const WeightLayer* layers, int64_t count);
template <class T, class Out>
Status launch_filter_vectors(const WeightLayer* layers, int64_t count, void* scratch, int device,
                             void* stream);

// x (batch, n, d), y (batch, m, d) or null -> out (batch, n, m), m = n without y: edge weights of
// every pair. T = float, double.
int64_t pairwise_cosine_scratch_bytes(int64_t batch, int64_t n, int64_t m, int64_t d,
                                      bool symmetric, bool is_double);
template <class T>
Status launch_pairwise_cosine(const T* x, const T* y, int64_t batch, int64_t n, int64_t m,
                              int64_t d, Edge edge, bool zero_diagonal, bool nan_zero_rows, T* out,
                              void* scratch, int device, void* stream);

// All layers at once: rows (batch, n, d) -> degree (batch, n). T = float, double.
template <class T>
int64_t weighted_degree_scratch_bytes(const GraphLayer* layers, int64_t count, Edge edge);
template <class T>
Status launch_weighted_degree(const GraphLayer* layers, int64_t count, Edge edge, void* scratch,
                              int device, void* stream);
// How a graph's degree is computed: "closed", "gram" or "tiles"
const char* weighted_degree_route(int64_t n, int64_t d, Edge edge);

// The same for rows so long that a matrix product pays, in steps: x (n, d) float32 -> planes
// (n, count, pitch) bfloat16 that add up to the unit rows, and nonfinite (1), zeroed before ->
// products of rows first .. first + rows - 1 with rows first .. n - 1, made elsewhere, 16-byte
// aligned -> sums (n), zeroed before: fixed point -> degree (n). A panel has a multiple of 64 rows,
// but for the last; edges squared, abs, positive.
int64_t split_rows_pitch(int64_t d);
Status launch_split_rows(const float* x, int64_t n, int64_t d, int planes, uint16_t* out,
                         unsigned long long* nonfinite, int device, void* stream);
Status launch_add_panel(const float* products, int64_t rows, int64_t stride, int64_t first,
                        int64_t n, Edge edge, const unsigned long long* nonfinite,
                        unsigned long long* sums, int device, void* stream);
// In place of the products and panels, on compute capability 9.0: planes -> sums, in one launch.
bool sm90_available(int device);
int64_t sm90_degree_scratch_bytes(int count, int64_t n, int64_t pitch, int device);
Status launch_sm90_degree(const uint16_t* planes, int count, int64_t n, int64_t pitch, Edge edge,
                          const unsigned long long* nonfinite, unsigned long long* sums,
                          void* scratch, int device, void* stream);
// All of it for rows of few features (row_steps in short_planes.h) on a warp's matrix units: x (n,
// d) float32 -> nonfinite (1) and sums (n), zeroed before.
int64_t mma_degree_scratch_bytes(int planes, int64_t n, int64_t d);
Status launch_mma_degree(const float* x, int planes, int64_t n, int64_t d, Edge edge,
                         unsigned long long* nonfinite, unsigned long long* sums, void* scratch,
                         int device, void* stream);
Status launch_degree_finish(unsigned long long* sums, unsigned long long* nonfinite, int64_t n,
                            float* degree, int device, void* stream);

// x (n, d) -> sums (n), in float64: the Euclidean distances of every row to all rows, added up.
int64_t distance_sum_scratch_bytes(int64_t n, int64_t d, bool is_double);
template <class T>
Status launch_distance_sum(const T* x, int64_t n, int64_t d, double* sums, void* scratch,
                           int device, void* stream);

// x (batch, n, d) -> similarity (batch, n), index (batch, n): every row's most similar other row.
int64_t nearest_scratch_bytes(int64_t batch, int64_t n, int64_t d, bool is_double);
template <class T>
Status launch_nearest(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity,
                      int64_t* index, void* scratch, int device, void* stream);

// The products first .. end - 1 of a search for eigenvectors. From 0 on it begins; from any other
// on it goes on where the call before it ended, with all that this call was given and its scratch.
struct ProductRange {
  int64_t first;
  int64_t end;
};

// weights (batch, n, n), symmetric -> vector (batch, n); converged (batch): 0 or 1; residual
// (batch): the relative residual. At most max_iter products with the graph, of which a call
// enqueues `products`; a residual <= noise / |lambda| is convergence too. T = float, double.
int64_t graph_eigenvector_centrality_scratch_bytes(int64_t batch, int64_t n);
template <class T>
Status launch_graph_eigenvector_centrality(const T* weights, int64_t batch, int64_t n,
                                           const double* start, double tol, double noise,
                                           int64_t max_iter, const ProductRange& products,
                                           T* vector, int64_t* converged, double* residual,
                                           void* scratch, int device, void* stream);

// x (batch, n, d) -> the same of its similarity graphs, which are never stored: by tiles (squared,
// abs, positive), or implicit (signed, shifted; squared up to 256 features). T = float, double.
int64_t eigenvector_centrality_scratch_bytes(int64_t batch, int64_t n, int64_t d, Edge edge,
                                             bool tiles, bool is_double);
template <class T>
Status launch_eigenvector_centrality(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge,
                                     bool tiles, const double* start, double tol, double noise,
                                     int64_t max_iter, const ProductRange& products, T* vector,
                                     int64_t* converged, double* residual, void* scratch,
                                     int device, void* stream);
// Which products pay: "implicit", "tiles", or "stored": pairwise_cosine and the launcher above
const char* eigenvector_centrality_route(int64_t batch, int64_t n, int64_t d, Edge edge,
                                         bool is_double);

// x (n, d) -> order (n), degree (n): the row of the largest degree is removed `count` times, the
// rest ranked by its last degree. `stored` keeps the n x n graph in the scratch; else a removed
// row's weights are computed again. T = float, double.
int64_t greedy_degree_scratch_bytes(int64_t n, int64_t d, bool stored, bool is_double);
template <class T>
Status launch_greedy_degree(const T* x, int64_t n, int64_t d, Edge edge, int64_t count, bool stored,
                            int64_t* order, double* degree, void* scratch, int device,
                            void* stream);

// a (n, n), positive semi-definite -> order (n), residual (n), rank (1): the greedy pivots and what
// was left of their diagonal entries, down to `tolerance` times the first; then the other rows.
int64_t pivoted_cholesky_scratch_bytes(int64_t n);
Status launch_pivoted_cholesky(const double* a, int64_t n, double tolerance, int64_t* order,
                               double* residual, int64_t* rank, void* scratch, int device,
                               void* stream);

// lengths (n, n), sources (count) -> sums (n): every node's dependencies on the sources, added up.
int64_t betweenness_centrality_scratch_bytes(int64_t n, int64_t count);
Status launch_betweenness_centrality(const double* lengths, int64_t n, const int64_t* sources,
                                     int64_t count, double* sums, void* scratch, int device,
                                     void* stream);

// lengths (n, n) -> closeness (n)
int64_t closeness_centrality_scratch_bytes(int64_t n);
Status launch_closeness_centrality(const double* lengths, int64_t n, double* closeness,
                                   void* scratch, int device, void* stream);

}  // namespace hubprune::cuda
