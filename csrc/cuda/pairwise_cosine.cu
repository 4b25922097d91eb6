// SPDX-License-Identifier: MIT
// Pairwise cosine similarity, or the edge weights made of it, as a dense matrix.
//
//   out_ij = f(clamp(<y_i, z_j>)),   y, z = the rows of x and y at unit length, f = the edge
//   function
//
// Shapes: x (batch, n, d), y (batch, m, d) or null -> out (batch, n, m). Without y only the upper
// tiles are computed and mirrored; the diagonal is f(1) for a row of any length, f(0) for a zero
// row, NaN for one that is not finite, or 0 on request. A zero row is 0 to the others, or NaN on
// request.
// Bound: the n m writes for short rows, n m d float multiply-adds (half without y) for long ones.
// Numerics: T -> T products (tile_product.cuh) -> T; s_ij and s_ji are the same bits.
// Twin: hubprune.reference.pairwise_cosine.
#include <cmath>

#include "core/edge.h"
#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {
namespace {

constexpr int kBlocks = 2;  // per multiprocessor: 128 registers a thread, no spills (80 do spill)

// The tile lies over the stages: they are done with when it is written. Of a float64 tile half the
// rows at a time are kept, so that the block stays within the memory every architecture gives.
template <class T>
constexpr int kMirrorRows = sizeof(T) == sizeof(float) ? kPanel : kPanel / 2;

template <class T>
union alignas(16) CosineMemory {
  Stages<T> stages;
  T mirror[kMirrorRows<T>][kPanel + 1];  // the odd stride keeps the transposed reads apart
};

// The diagonal of a symmetric matrix: rounding must not decide it.
template <Edge kEdge, class T>
__device__ __forceinline__ T diagonal_weight(double norm, bool zero_diagonal) {
  if (zero_diagonal) return T(0);
  if (norm != norm) return static_cast<T>(NAN);
  return edge_weight<kEdge>(norm > 0.0 ? T(1) : T(0));
}

// Writes the transpose of one tile of weights: rows first_column.. of `out`, columns first_row...
template <class T>
__device__ __forceinline__ void store_mirror(const T (&weight)[kMicro][kMicro],
                                             CosineMemory<T>& shared, int64_t first_row,
                                             int64_t first_column, int64_t n, T* out) {
  for (int part = 0; part < kPanel; part += kMirrorRows<T>) {
    __syncthreads();
    const int row = micro_row() - part;
    if (row >= 0 && row < kMirrorRows<T>) {
#pragma unroll
      for (int r = 0; r < kMicro; ++r) {
#pragma unroll
        for (int c = 0; c < kMicro; ++c) shared.mirror[row + r][micro_column() + c] = weight[r][c];
      }
    }
    __syncthreads();
    for (int e = thread_index(); e < kMirrorRows<T> * kPanel; e += kTileThreads) {
      const int r = e % kMirrorRows<T>;
      const int64_t i = first_row + part + r;
      const int64_t j = first_column + e / kMirrorRows<T>;
      if (i < n && j < n) out[j * n + i] = shared.mirror[r][e / kMirrorRows<T>];
    }
  }
  __syncthreads();
}

// One block per tile: upper tiles where `others` are the panels of x itself.
template <Edge kEdge, class T>
__global__ void __launch_bounds__(kTileThreads, kBlocks)
    pairwise_cosine_kernel(const T* __restrict__ panels, const T* __restrict__ others,
                           const double* __restrict__ norms, int64_t batch, int64_t n, int64_t m,
                           int64_t d, bool symmetric, bool zero_diagonal, T* __restrict__ out) {
  CosineMemory<T>& shared = block_memory<CosineMemory<T>>();
  const int64_t side = ceil_divide(n, kPanel);
  const int64_t columns = ceil_divide(m, kPanel);
  const int64_t tiles = symmetric ? triangular_count(side) : side * columns;
  const int64_t panel_size = panel_depth<T>(d) * kPanel;

  for (int64_t work = block_index(); work < batch * tiles; work += grid_blocks()) {
    const int64_t item = work / tiles;
    const int64_t at = work % tiles;
    const TileIndex tile = symmetric ? triangular_index(at) : TileIndex{at / columns, at % columns};
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;

    // Compute
    T weight[kMicro][kMicro];
    tile_product(panels + (item * side + tile.row) * panel_size,
                 others + (item * columns + tile.column) * panel_size, d, shared.stages, weight);

    // Store
    T* matrix = out + item * n * m;
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      const int64_t i = first_row + micro_row() + r;
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const int64_t j = first_column + micro_column() + c;
        weight[r][c] = edge_weight<kEdge>(clamp_cosine(weight[r][c]));
        if (i >= n || j >= m) continue;
        if (symmetric && i == j) {
          weight[r][c] = diagonal_weight<kEdge, T>(norms[item * n + i], zero_diagonal);
        }
        matrix[i * m + j] = weight[r][c];
      }
    }
    if (symmetric && tile.row != tile.column) {
      store_mirror(weight, shared, first_row, first_column, n, matrix);
    }
  }
}

template <class T>
struct CosineScratch {
  double* norms;
  int* exponents;
  T* panels;
  double* other_norms;
  int* other_exponents;
  T* others;
  int64_t bytes;

  CosineScratch(void* memory, int64_t batch, int64_t n, int64_t m, int64_t d, bool symmetric) {
    Scratch pieces(memory);
    norms = pieces.take<double>(batch * n);
    exponents = pieces.take<int>(batch * n);
    panels = pieces.take<T>(panels_count<T>(batch, n, d));
    other_norms = norms;
    other_exponents = exponents;
    others = panels;
    if (!symmetric) {
      other_norms = pieces.take<double>(batch * m);
      other_exponents = pieces.take<int>(batch * m);
      others = pieces.take<T>(panels_count<T>(batch, m, d));
    }
    bytes = pieces.bytes();
  }
};

template <Edge kEdge, class T>
void enqueue_cosines(Launches& launches, const CosineScratch<T>& scratch, int64_t batch, int64_t n,
                     int64_t m, int64_t d, bool symmetric, bool zero_diagonal, T* out) {
  const int64_t side = ceil_divide(n, kPanel);
  const int64_t tiles = symmetric ? triangular_count(side) : side * ceil_divide(m, kPanel);
  launches.kernel(pairwise_cosine_kernel<kEdge, T>, batch * tiles, kTileThreads,
                  sizeof(CosineMemory<T>), scratch.panels, scratch.others, scratch.norms, batch, n,
                  m, d, symmetric, zero_diagonal, out);
}

}  // namespace

int64_t pairwise_cosine_scratch_bytes(int64_t batch, int64_t n, int64_t m, int64_t d,
                                      bool symmetric, bool is_double) {
  return is_double ? CosineScratch<double>(nullptr, batch, n, m, d, symmetric).bytes
                   : CosineScratch<float>(nullptr, batch, n, m, d, symmetric).bytes;
}

template <class T>
Status launch_pairwise_cosine(const T* x, const T* y, int64_t batch, int64_t n, int64_t m,
                              int64_t d, Edge edge, bool zero_diagonal, bool nan_zero_rows, T* out,
                              void* scratch_memory, int device, void* stream) {
  const int code = static_cast<int>(edge);
  if (code < 0 || code >= kEdgeCount) return Status::kInvalidValue;
  if (batch == 0 || n == 0 || m == 0) return Status::kOk;
  const bool symmetric = y == nullptr;
  const CosineScratch<T> scratch(scratch_memory, batch, n, m, d, symmetric);
  Launches launches("pairwise_cosine", device, stream);
  const Norm kind = nan_zero_rows ? Norm::kNonzero : Norm::kFinite;
  enqueue_normalized_panels(launches, x, batch, n, d, scratch.norms, scratch.exponents, nullptr,
                            scratch.panels, kind);
  if (!symmetric) {
    enqueue_normalized_panels(launches, y, batch, m, d, scratch.other_norms,
                              scratch.other_exponents, nullptr, scratch.others, kind);
  }
  with_edge(edge, [&](auto tag) {
    enqueue_cosines<decltype(tag)::value>(launches, scratch, batch, n, m, d, symmetric,
                                          zero_diagonal, out);
  });
  return launches.status();
}

template Status launch_pairwise_cosine<float>(const float*, const float*, int64_t, int64_t, int64_t,
                                              int64_t, Edge, bool, bool, float*, void*, int, void*);
template Status launch_pairwise_cosine<double>(const double*, const double*, int64_t, int64_t,
                                               int64_t, int64_t, Edge, bool, bool, double*, void*,
                                               int, void*);

}  // namespace hubprune::cuda
