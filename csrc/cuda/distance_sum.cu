// SPDX-License-Identifier: MIT
// Sum of Euclidean distances of every row to all rows: what the geometric-median rule ranks by.
//
//   sum_i = sum_j |x_i - x_j|,   |x_i - x_j|^2 = (a_i - a_j)^2 + 2 a_i a_j (1 - s_ij),  a = norms
//
// Shapes: x (n, d) -> sums (n), float64; no n x n matrix exists.
// Bound: n^2 d / 2 multiply-adds in T (upper tiles only) and n^2 / 2 square roots.
// Numerics: norms relative to the largest one (rounded to T), cosines and distances in T
// (tile_product.cuh), sums as tile_sums.cuh: the same bits on every run and for every grid.
// A distance of two equal rows is off by up to 1e-3 (float32), 1e-7 (float64) of their norm, of
// rows that are not close by 1e-7, 1e-15; sums then by 1e-6, 1e-12 of the largest. A NaN or an
// infinity anywhere makes every sum NaN. Twin: hubprune.reference.geometric_median.
#include <cfloat>
#include <cmath>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/layer_table.cuh"
#include "cuda/normalized_rows.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/tile_sums.cuh"
#include "cuda/triangular_index.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 2;  // per multiprocessor: 128 registers a thread, no spills

// Non-negative doubles order as their bits do, infinity above all.
__device__ __forceinline__ double largest_norm(const unsigned long long* largest) {
  return __longlong_as_double(static_cast<long long>(*largest));
}

// largest (1), zeroed before: the bits of the largest norm; a NaN is left to the `nonfinite` flag.
__global__ void __launch_bounds__(kThreads)
    largest_norm_kernel(const double* __restrict__ norms, const int* __restrict__ exponents,
                        int64_t n, unsigned long long* __restrict__ largest) {
  const int64_t pieces = ceil_divide(n, kThreads);
  for (int64_t piece = block_index(); piece < pieces; piece += grid_blocks()) {
    const int64_t i = piece * kThreads + thread_index();
    const double norm = warp_max(i < n ? fmax(ldexp(norms[i], exponents[i]), 0.0) : 0.0);
    if (thread_index() % kWarp == 0) {
      atomicMax(largest, static_cast<unsigned long long>(__double_as_longlong(norm)));
    }
  }
}

// relative (n): norms over the largest, 0 where that is 0.
template <class T>
__global__ void __launch_bounds__(kThreads)
    relative_norms_kernel(const double* __restrict__ norms, const int* __restrict__ exponents,
                          int64_t n, const unsigned long long* __restrict__ largest,
                          T* __restrict__ relative) {
  const double unit = largest_norm(largest);
  const int64_t step = grid_blocks() * kThreads;
  for (int64_t i = block_index() * kThreads + thread_index(); i < n; i += step) {
    relative[i] = unit > 0.0 ? static_cast<T>(ldexp(norms[i], exponents[i]) / unit) : T(0);
  }
}

// Adds to the table's sums (n): fixed-point sums of relative distances, zeroed before. One block
// per upper tile.
template <class T>
__global__ void __launch_bounds__(kTileThreads, kBlocks)
    distance_sum_kernel(const __grid_constant__ GraphTable<T> table,
                        const T* __restrict__ relative) {
  TileSumMemory<T>& shared = block_memory<TileSumMemory<T>>();
  const GraphRows<T>& layer = table.layers[0];
  if (*layer.nonfinite) return;  // every sum is NaN whatever these hold
  const int64_t n = layer.n;
  const int64_t panel_size = panel_depth<T>(layer.d) * kPanel;

  for (int64_t work = block_index(); work < table.total(); work += grid_blocks()) {
    const TileIndex tile = triangular_index(work);
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;

    // Compute: the cosines, then the distances in place
    T distance[kMicro][kMicro];
    tile_product(layer.panels + tile.row * panel_size, layer.panels + tile.column * panel_size,
                 layer.d, shared.stages, distance);
    T column_norms[kMicro];
#pragma unroll
    for (int c = 0; c < kMicro; ++c) {
      const int64_t j = first_column + micro_column() + c;
      column_norms[c] = j < n ? relative[j] : T(0);
    }
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      const int64_t i = first_row + micro_row() + r;
      const T a = i < n ? relative[i] : T(0);
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const int64_t j = first_column + micro_column() + c;
        const T b = column_norms[c];
        const T square = (a - b) * (a - b) + T(2) * a * b * (T(1) - clamp_cosine(distance[r][c]));
        // Beyond n is no row, and a row's distance to itself is 0, which its product only nears.
        distance[r][c] = i == j || i >= n || j >= n ? T(0) : sqrt(square);
      }
    }

    // Store
    add_tile_sums(distance, tile.row == tile.column, first_row, first_column, n, layer.scale,
                  shared, layer.sums);
  }
}

__global__ void __launch_bounds__(kThreads)
    distance_sum_finish_kernel(const unsigned long long* __restrict__ fixed,
                               const unsigned long long* __restrict__ nonfinite,
                               const unsigned long long* __restrict__ largest, int64_t n,
                               double scale, double* __restrict__ sums) {
  const double unit = largest_norm(largest);
  const bool finite = !*nonfinite && unit <= DBL_MAX;
  const int64_t step = grid_blocks() * kThreads;
  for (int64_t i = block_index() * kThreads + thread_index(); i < n; i += step) {
    const double sum = from_fixed_point(static_cast<int64_t>(fixed[i]), scale);
    sums[i] = finite ? sum * unit : NAN;
  }
}

template <class T>
struct DistanceScratch {
  unsigned long long* sums;  // (n), then the flag and the largest norm: one memset clears all
  int64_t cleared;           // bytes
  double* norms;
  int* exponents;
  T* relative;
  T* panels;
  int64_t bytes;

  DistanceScratch(void* memory, int64_t n, int64_t d) {
    Scratch pieces(memory);
    cleared = (n + 2) * static_cast<int64_t>(sizeof(unsigned long long));
    sums = pieces.take<unsigned long long>(n + 2);
    norms = pieces.take<double>(n);
    exponents = pieces.take<int>(n);
    relative = pieces.take<T>(n);
    panels = pieces.take<T>(panels_count<T>(1, n, d));
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t distance_sum_scratch_bytes(int64_t n, int64_t d, bool is_double) {
  return is_double ? DistanceScratch<double>(nullptr, n, d).bytes
                   : DistanceScratch<float>(nullptr, n, d).bytes;
}

template <class T>
Status launch_distance_sum(const T* x, int64_t n, int64_t d, double* sums, void* scratch_memory,
                           int device, void* stream) {
  if (n == 0) return Status::kOk;
  const DistanceScratch<T> scratch(scratch_memory, n, d);
  unsigned long long* nonfinite = scratch.sums + n;
  unsigned long long* largest = scratch.sums + n + 1;
  // A relative distance is at most 2.
  const double scale = fixed_point_scale(2 * n);
  GraphTable<T> table =
      table_of(GraphRows<T>{x, 1, n, d, scale, nullptr, scratch.norms, scratch.exponents, nonfinite,
                            scratch.sums, scratch.panels});
  Launches launches("distance_sum", device, stream);
  launches.zero(scratch.sums, scratch.cleared);
  enqueue_normalized_panels(launches, table);
  const int64_t pieces = ceil_divide(n, kThreads);
  launches.kernel(largest_norm_kernel, pieces, kThreads, 0, scratch.norms, scratch.exponents, n,
                  largest);
  launches.kernel(relative_norms_kernel<T>, pieces, kThreads, 0, scratch.norms, scratch.exponents,
                  n, largest, scratch.relative);
  const int64_t tiles = table.number(
      [](const auto& layer) { return triangular_count(ceil_divide(layer.n, kPanel)); });
  launches.kernel(distance_sum_kernel<T>, tiles, kTileThreads, sizeof(TileSumMemory<T>), table,
                  scratch.relative);
  launches.kernel(distance_sum_finish_kernel, pieces, kThreads, 0, scratch.sums, nonfinite, largest,
                  n, scale, sums);
  return launches.status();
}

template Status launch_distance_sum<float>(const float*, int64_t, int64_t, double*, void*, int,
                                           void*);
template Status launch_distance_sum<double>(const double*, int64_t, int64_t, double*, void*, int,
                                            void*);

}  // namespace hubprune::cuda
