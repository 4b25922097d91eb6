// SPDX-License-Identifier: MIT
// Eigenvector centrality: the leading eigenvector (largest algebraic eigenvalue), unit 2-norm,
// non-negative sum, of given dense graphs, or of the similarity graphs of rows,
//
//   w_ij = f(clamp(<y_i, y_j>)), w_ii = 0,   y = rows of unit length, f = the edge function
//
// by Lanczos (lanczos.cuh), without a host wait; a call enqueues a part of a search or all of it.
// The products with the graph, by what is cheapest:
//   implicit  signed, shifted: O(n d); squared, where it pays: O(n d^2); no graph
//             (implicit_products.cuh)
//   stored    the n x n matrices in T, while the batch fits kStoredBytes: reads of n^2 sizeof(T)
//             bytes a product, one warp per row; the caller computes the graph (pairwise_cosine.cu)
//   tiles     recomputed for every product: n^2 (d / 2 + 1) multiply-adds, O(n) memory
//             (tiled_products.cuh)
// Shapes: weights (batch, n, n) or x (batch, n, d), start (batch, n) or null -> vector (batch, n),
// converged (batch), residual (batch).
// Numerics: similarities in T (implicit: float64), all else in float64, in a fixed order or in
// 64-bit fixed point: the same bits on every run and for every grid. Twins:
// hubprune.reference.graph_eigenvector_centrality, eigenvector_centrality.
#include <cfloat>
#include <cmath>

#include "core/edge.h"
#include "core/scratch.h"
#include "cuda/implicit_products.cuh"
#include "cuda/lanczos.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/tiled_products.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

// The most that the stored graphs of a call may take: a tenth or less of the memory of the devices
// this is for. 32 768 rows in float32.
constexpr int64_t kStoredBytes = int64_t(4) << 30;

// What is known of given graphs, (batch) each: flags, and the bits of the largest magnitude
// (float64 only). Bits of numbers that are not negative are in the order of the numbers.
struct GraphSummary {
  unsigned long long* flags;
  unsigned long long* largest;
};

// One warp per row. The summary was zeroed before.
template <class T>
__global__ void __launch_bounds__(kLanczosThreads)
    inspect_graph_kernel(const T* __restrict__ weights, int64_t batch, int64_t n,
                         const GraphSummary summary) {
  const int lane = thread_index() % kWarp;
  for (int64_t row = block_index() * kLanczosWarps + thread_index() / kWarp; row < batch * n;
       row += grid_blocks() * kLanczosWarps) {
    unsigned long long found = 0;
    double largest = 0.0;
    for (int64_t k = lane; k < n; k += kWarp) {
      const double value = static_cast<double>(weights[row * n + k]);
      if (!(fabs(value) <= DBL_MAX)) found |= kNotFinite;
      if (value < 0.0) found |= kNegative;
      largest = fmax(largest, fabs(value));
    }
    if (found) atomicOr(summary.flags + row / n, found);
    if constexpr (kNeedsScaling<T>) {
      largest = warp_max(largest);
      if (lane == 0 && largest > 0.0) {
        atomicMax(summary.largest + row / n,
                  static_cast<unsigned long long>(__double_as_longlong(largest)));
      }
    }
  }
}

// The factor of a graph's weights, which keeps the squares of its products in range: it changes no
// eigenvector, and is 1 where the weights need none.
template <class T>
__device__ __forceinline__ double weight_scale(const GraphSummary& summary, int64_t item) {
  if constexpr (kNeedsScaling<T>) {
    const double largest = __longlong_as_double(static_cast<long long>(summary.largest[item]));
    return largest >= 1e-100 && largest <= 1e100 ? 1.0 : range_scale(largest);
  } else {
    return 1.0;
  }
}

// One warp per row: basis[j + 1] = A basis[j].
template <class T>
__global__ void __launch_bounds__(kLanczosThreads)
    lanczos_multiply_kernel(const T* __restrict__ weights, int64_t batch, int64_t n,
                            const GraphSummary summary, int j,
                            const Progress* __restrict__ progress, double* __restrict__ basis) {
  const int lane = thread_index() % kWarp;
  for (int64_t row = block_index() * kLanczosWarps + thread_index() / kWarp; row < batch * n;
       row += grid_blocks() * kLanczosWarps) {
    const int64_t item = row / n;
    if (progress[item].done) continue;  // the same for every lane of the warp
    const double* v = basis_vector(basis, item, j, n);
    const double scale = weight_scale<T>(summary, item);
    double sum = 0.0;
#pragma unroll 4
    for (int64_t k = lane; k < n; k += kWarp) {
      sum += static_cast<double>(weights[row * n + k]) * scale * v[k];
    }
    sum = warp_sum(sum);
    if (lane == 0) basis_vector(basis, item, j + 1, n)[row % n] = sum;
  }
}

struct GraphScratch {
  LanczosScratch lanczos;
  GraphSummary summary;
  int64_t bytes;

  GraphScratch(void* memory, int64_t batch, int64_t n) : GraphScratch(Scratch(memory), batch, n) {}

 private:
  GraphScratch(Scratch pieces, int64_t batch, int64_t n)
      : lanczos(pieces, batch, n),
        summary{lanczos.flags, pieces.take<unsigned long long>(batch)},
        bytes(pieces.bytes()) {}
};

enum class Route { kImplicit, kStored, kTiles };

Route route_of(int64_t batch, int64_t n, int64_t d, Edge edge, int64_t size) {
  if (edge == Edge::kSigned || edge == Edge::kShifted) return Route::kImplicit;
  const bool fits = batch == 0 || n == 0 || n * size <= kStoredBytes / batch / n;
  if (edge == Edge::kSquared && squared_product_pays(n, d, fits)) return Route::kImplicit;
  return fits ? Route::kStored : Route::kTiles;
}

template <class T>
struct CentralityScratch {
  LanczosScratch lanczos;
  GraphRows<T> rows = {};
  int64_t sums_bytes;
  int64_t bytes;

  CentralityScratch(void* memory, int64_t batch, int64_t n, int64_t d, Edge edge, bool tiles)
      : CentralityScratch(Scratch(memory), batch, n, d, edge, tiles) {}

 private:
  CentralityScratch(Scratch pieces, int64_t batch, int64_t n, int64_t d, Edge edge, bool tiles)
      : lanczos(pieces, batch, n) {
    const int64_t sums = batch * (tiles ? n : implicit_sums(d, edge));
    sums_bytes = sums * static_cast<int64_t>(sizeof(unsigned long long));
    rows.batch = batch;
    rows.n = n;
    rows.d = d;
    rows.scale = product_scale(n);
    rows.norms = pieces.take<double>(batch * n);
    rows.exponents = pieces.take<int>(batch * n);
    rows.nonfinite = lanczos.flags;
    rows.sums = pieces.take<unsigned long long>(sums);
    rows.panels = pieces.take<T>(tiles ? panels_count<T>(batch, n, d) : 0);
    bytes = pieces.bytes();
  }
};
static_assert(kNotFinite == 1, "the flag that row_norms_kernel sets");

// What every product of rows needs, kept in the scratch.
template <class T>
void enqueue_unit_rows(Launches& launches, const CentralityScratch<T>& scratch, bool tiles) {
  launches.zero(scratch.lanczos.flags,
                scratch.rows.batch * static_cast<int64_t>(sizeof(*scratch.lanczos.flags)));
  GraphTable<T> table = table_of(scratch.rows);
  if (tiles) {
    enqueue_normalized_panels(launches, table);
  } else {
    enqueue_row_norms(launches, table, Norm::kReciprocal);
  }
}

template <class T>
void enqueue_product(Launches& launches, const GraphRows<T>& rows, Edge edge, bool tiles, int j,
                     const LanczosScratch& lanczos) {
  if (!tiles) {
    enqueue_implicit_product(launches, rows, edge, j, lanczos);
  } else {
    with_tiled_edge(edge, [&](auto tag) {
      enqueue_tiled_product<decltype(tag)::value>(launches, rows, j, lanczos);
    });
  }
}

bool is_range(const ProductRange& products, int64_t max_iter) {
  return products.first >= 0 && products.first <= products.end && products.end <= max_iter;
}

}  // namespace

int64_t graph_eigenvector_centrality_scratch_bytes(int64_t batch, int64_t n) {
  return GraphScratch(nullptr, batch, n).bytes;
}

template <class T>
Status launch_graph_eigenvector_centrality(const T* weights, int64_t batch, int64_t n,
                                           const double* start, double tol, double noise,
                                           int64_t max_iter, const ProductRange& products,
                                           T* vector, int64_t* converged, double* residual,
                                           void* scratch_memory, int device, void* stream) {
  if (!is_range(products, max_iter)) return Status::kInvalidValue;
  if (batch == 0 || n == 0) return Status::kOk;
  const GraphScratch scratch(scratch_memory, batch, n);
  const GraphSummary& summary = scratch.summary;
  const int64_t row_blocks = ceil_divide(batch * n, kLanczosWarps);
  Launches launches("graph_eigenvector_centrality", device, stream);
  if (products.first == 0) {
    const int64_t bytes = batch * static_cast<int64_t>(sizeof(*summary.flags));
    launches.zero(summary.flags, bytes);
    launches.zero(summary.largest, bytes);
    launches.kernel(inspect_graph_kernel<T>, row_blocks, kLanczosThreads, 0, weights, batch, n,
                    summary);
  }
  const LanczosSearch<T> search = {batch,    n,        start,  false,     tol,     noise,
                                   max_iter, products, vector, converged, residual};
  enqueue_lanczos(launches, scratch.lanczos, search, [&](int j) {
    launches.kernel(lanczos_multiply_kernel<T>, row_blocks, kLanczosThreads, 0, weights, batch, n,
                    summary, j, scratch.lanczos.progress, scratch.lanczos.basis);
  });
  return launches.status();
}

const char* eigenvector_centrality_route(int64_t batch, int64_t n, int64_t d, Edge edge,
                                         bool is_double) {
  const int64_t size = static_cast<int64_t>(is_double ? sizeof(double) : sizeof(float));
  const Route route = route_of(batch, n, d, edge, size);
  return route == Route::kImplicit ? "implicit" : (route == Route::kStored ? "stored" : "tiles");
}

int64_t eigenvector_centrality_scratch_bytes(int64_t batch, int64_t n, int64_t d, Edge edge,
                                             bool tiles, bool is_double) {
  return is_double ? CentralityScratch<double>(nullptr, batch, n, d, edge, tiles).bytes
                   : CentralityScratch<float>(nullptr, batch, n, d, edge, tiles).bytes;
}

template <class T>
Status launch_eigenvector_centrality(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge,
                                     bool tiles, const double* start, double tol, double noise,
                                     int64_t max_iter, const ProductRange& products, T* vector,
                                     int64_t* converged, double* residual, void* scratch_memory,
                                     int device, void* stream) {
  const bool linear = edge == Edge::kSigned || edge == Edge::kShifted;
  const int code = static_cast<int>(edge);
  if (code < 0 || code >= kEdgeCount) return Status::kInvalidValue;
  if (tiles ? linear : !has_implicit_product(d, edge)) return Status::kInvalidValue;
  if (!is_range(products, max_iter)) return Status::kInvalidValue;
  if (batch == 0 || n == 0) return Status::kOk;
  CentralityScratch<T> scratch(scratch_memory, batch, n, d, edge, tiles);
  scratch.rows.x = x;
  Launches launches("eigenvector_centrality", device, stream);
  if (products.first == 0) enqueue_unit_rows(launches, scratch, tiles);
  const bool negative = edge == Edge::kSigned;
  const LanczosSearch<T> search = {batch,    n,        start,  negative,  tol,     noise,
                                   max_iter, products, vector, converged, residual};
  enqueue_lanczos(launches, scratch.lanczos, search, [&](int j) {
    launches.zero(scratch.rows.sums, scratch.sums_bytes);
    enqueue_product(launches, scratch.rows, edge, tiles, j, scratch.lanczos);
  });
  return launches.status();
}

#define HUBPRUNE_INSTANTIATE(T)                                                                    \
  template Status launch_graph_eigenvector_centrality<T>(                                          \
      const T*, int64_t, int64_t, const double*, double, double, int64_t, const ProductRange&, T*, \
      int64_t*, double*, void*, int, void*);                                                       \
  template Status launch_eigenvector_centrality<T>(                                                \
      const T*, int64_t, int64_t, int64_t, Edge, bool, const double*, double, double, int64_t,     \
      const ProductRange&, T*, int64_t*, double*, void*, int, void*);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cuda
