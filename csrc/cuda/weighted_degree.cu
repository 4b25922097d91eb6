// SPDX-License-Identifier: MIT
// Weighted degree of every row, fused: no n x n matrix exists.
//
//   degree_i = sum_{j != i} f(clamp(<y_i, y_j>)),   y = rows of unit length, f = the edge function
//
// Shapes: x (batch, n, d) -> degree (batch, n). signed and shifted never form a pair: see
// closed_forms.cuh. What follows is the route of the other edges.
// Bound: n^2 d / 2 float multiply-adds (upper tiles only; every tile serves its rows and its
// columns). Below d ~ 64 the sums over the tile weigh as much as the products.
// Numerics: T -> T products (tile_product.cuh) -> the four weights a thread holds of one row are
// added in T, the 16 such sums of a tile in float64, tiles in 64-bit fixed point. Integer addition
// has no order, so the result has the same bits on every run and for every grid.
// |error| <= (e + 3 u) n for an error e of a cosine, typically 1e-8 n in float32.
// A batch item with a NaN or an infinity has NaN degrees; n = 1 has degree 0.
// Twin: hubprune.reference.weighted_degree.
#include <cmath>

#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/closed_forms.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {
namespace {

// Per multiprocessor: 80 registers a thread in float32, 128 in float64, no spills.
template <class T>
constexpr int kBlocks = sizeof(T) == sizeof(float) ? 3 : 2;
constexpr int kFinishThreads = 256;
constexpr int kPadding = 4;  // moves the lanes' stores to different banks, keeps 16-byte alignment

template <class T>
struct DegreeMemory {
  Stages<T> stages;
  T row_sums[kTileLanes][kPanel + kPadding];     // [thread along the columns][row of the tile]
  T column_sums[kTileLanes][kPanel + kPadding];  // [thread along the rows][column of the tile]
};

// sums (batch, n): fixed-point degrees, zeroed before. One block per upper tile.
template <Edge kEdge, class T>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    weighted_degree_kernel(const T* __restrict__ panels,
                           const unsigned long long* __restrict__ nonfinite, int64_t batch,
                           int64_t n, int64_t d, double scale,
                           unsigned long long* __restrict__ sums) {
  DegreeMemory<T>& shared = block_memory<DegreeMemory<T>>();
  const int64_t side = ceil_divide(n, kPanel);
  const int64_t tiles = triangular_count(side);
  const int64_t panel_size = panel_depth<T>(d) * kPanel;
  const int row = micro_row();
  const int column = micro_column();

  for (int64_t work = block_index(); work < batch * tiles; work += grid_blocks()) {
    const int64_t item = work / tiles;
    if (nonfinite[item]) continue;  // its degrees are NaN whatever the sums hold
    const TileIndex tile = triangular_index(work % tiles);
    const bool diagonal = tile.row == tile.column;
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;

    // Compute: the products, then their weights in place
    T weight[kMicro][kMicro];
    tile_product(panels + (item * side + tile.row) * panel_size,
                 panels + (item * side + tile.column) * panel_size, d, shared.stages, weight);
    const bool whole = !diagonal && first_column + kPanel <= n;
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        weight[r][c] = edge_weight<kEdge>(clamp_cosine(weight[r][c]));
        if (!whole) {  // no self loops, and f(0) may not be 0 in the padding
          const int64_t i = first_row + row + r;
          const int64_t j = first_column + column + c;
          if (i == j || i >= n || j >= n) weight[r][c] = T(0);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kMicro; ++i) {
      shared.row_sums[column / kMicro][row + i] =
          (weight[i][0] + weight[i][1]) + (weight[i][2] + weight[i][3]);
      shared.column_sums[row / kMicro][column + i] =
          (weight[0][i] + weight[1][i]) + (weight[2][i] + weight[3][i]);
    }
    __syncthreads();

    // Store: threads 0 to 63 own the rows of the tile, 64 to 127 its columns. A diagonal tile
    // holds every pair twice, so its rows are complete without the columns.
    const int lane = thread_index() % kPanel;
    const int part = thread_index() / kPanel;
    const int64_t index = (part == 0 ? first_row : first_column) + lane;
    if (part < (diagonal ? 1 : 2) && index < n) {
      const auto& partial = part == 0 ? shared.row_sums : shared.column_sums;
      double sum = 0.0;
#pragma unroll
      for (int i = 0; i < kTileLanes; ++i) sum += static_cast<double>(partial[i][lane]);
      atomicAdd(sums + item * n + index,
                static_cast<unsigned long long>(to_fixed_point(sum, scale)));
    }
    // No barrier: the next tile_product has one before anything writes these sums again.
  }
}

template <class T>
__global__ void __launch_bounds__(kFinishThreads)
    weighted_degree_finish_kernel(const unsigned long long* __restrict__ sums,
                                  const unsigned long long* __restrict__ nonfinite, int64_t batch,
                                  int64_t n, double scale, T* __restrict__ out) {
  const int64_t step = grid_blocks() * kFinishThreads;
  for (int64_t i = block_index() * kFinishThreads + thread_index(); i < batch * n; i += step) {
    const double degree = from_fixed_point(static_cast<int64_t>(sums[i]), scale);
    out[i] = static_cast<T>(nonfinite[i / n] && n > 1 ? NAN : degree);
  }
}

template <class T>
struct DegreeScratch {
  // One piece, so that one memset clears all: fixed-point degrees (batch, n) or, for the closed
  // forms, sums of unit rows (batch, d); then a flag per item.
  unsigned long long* sums;
  unsigned long long* nonfinite;  // (batch)
  int64_t cleared;                // bytes
  double* norms;
  int* exponents;
  T* panels;
  int64_t bytes;

  DegreeScratch(void* memory, int64_t batch, int64_t n, int64_t d, bool closed) {
    Scratch pieces(memory);
    const int64_t count = batch * (closed ? d : n);
    cleared = (count + batch) * static_cast<int64_t>(sizeof(unsigned long long));
    sums = pieces.take<unsigned long long>(count + batch);
    nonfinite = sums ? sums + count : nullptr;
    norms = pieces.take<double>(batch * n);
    exponents = pieces.take<int>(batch * n);
    panels = pieces.take<T>(closed ? 0 : panels_count<T>(batch, n, d));
    bytes = pieces.bytes();
  }
};

bool has_closed_form(Edge edge) { return edge == Edge::kSigned || edge == Edge::kShifted; }

template <Edge kEdge, class T>
void enqueue_tiles(Launches& launches, const DegreeScratch<T>& scratch, int64_t batch, int64_t n,
                   int64_t d, double scale) {
  launches.kernel(weighted_degree_kernel<kEdge, T>,
                  batch * triangular_count(ceil_divide(n, kPanel)), kTileThreads,
                  sizeof(DegreeMemory<T>), scratch.panels, scratch.nonfinite, batch, n, d, scale,
                  scratch.sums);
}

}  // namespace

int64_t weighted_degree_scratch_bytes(int64_t batch, int64_t n, int64_t d, Edge edge,
                                      bool is_double) {
  const bool closed = has_closed_form(edge);
  return is_double ? DegreeScratch<double>(nullptr, batch, n, d, closed).bytes
                   : DegreeScratch<float>(nullptr, batch, n, d, closed).bytes;
}

template <class T>
Status launch_weighted_degree(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge, T* out,
                              void* scratch_memory, int device, void* stream) {
  const int code = static_cast<int>(edge);
  if (code < 0 || code >= kEdgeCount) return Status::kInvalidValue;
  if (batch == 0 || n == 0) return Status::kOk;
  const DegreeScratch<T> scratch(scratch_memory, batch, n, d, has_closed_form(edge));
  const double scale = fixed_point_scale(n);
  Launches launches("weighted_degree", device, stream);
  launches.zero(scratch.sums, scratch.cleared);
  if (has_closed_form(edge)) {
    enqueue_closed_degree(launches, x, batch, n, d, edge == Edge::kShifted, scratch.norms,
                          scratch.exponents, scratch.nonfinite, scratch.sums, out);
    return launches.status();
  }
  enqueue_normalized_panels(launches, x, batch, n, d, scratch.norms, scratch.exponents,
                            scratch.nonfinite, scratch.panels);
  if (edge == Edge::kSquared) {
    enqueue_tiles<Edge::kSquared>(launches, scratch, batch, n, d, scale);
  } else if (edge == Edge::kAbs) {
    enqueue_tiles<Edge::kAbs>(launches, scratch, batch, n, d, scale);
  } else {
    enqueue_tiles<Edge::kPositive>(launches, scratch, batch, n, d, scale);
  }
  launches.kernel(weighted_degree_finish_kernel<T>, ceil_divide(batch * n, kFinishThreads),
                  kFinishThreads, 0, scratch.sums, scratch.nonfinite, batch, n, scale, out);
  return launches.status();
}

template Status launch_weighted_degree<float>(const float*, int64_t, int64_t, int64_t, Edge, float*,
                                              void*, int, void*);
template Status launch_weighted_degree<double>(const double*, int64_t, int64_t, int64_t, Edge,
                                               double*, void*, int, void*);

}  // namespace hubprune::cuda
