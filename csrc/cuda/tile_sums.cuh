// SPDX-License-Identifier: MIT
// Adds one tile of edge weights (or of distances) to the sums of its rows and of its columns.
//
//   sums_i += sum_j weight_ij for its rows;  sums_j += sum_i weight_ij for its columns
//
// Shapes: a 64 x 64 tile of the upper triangle, 4 x 4 weights a thread (tile_product.cuh).
// Bound: 32 additions a thread and two 64-bit atomic additions per row and column of the tile.
// Numerics: the four weights a thread holds of one row are added in T, the 16 such sums of a tile
// in float64, tiles in 64-bit fixed point, whose order changes no bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/tile_product.cuh"

namespace hubprune::cuda {

constexpr int kFinishThreads = 256;
constexpr int kPadding = 4;  // moves the lanes' stores to different banks, keeps 16-byte alignment

template <class T, class Sum = T>
struct TileSumMemory {
  Stages<T> stages;
  Sum row_sums[kTileLanes][kPanel + kPadding];     // [thread along the columns][row of the tile]
  Sum column_sums[kTileLanes][kPanel + kPadding];  // [thread along the rows][column of the tile]
};

// Adds the threads' sums, which lie in shared memory, to the rows and columns below n. Called by
// all 256 threads, after a barrier; ends without one: the next tile_product has one before anything
// writes these sums again.
template <class T, class Sum>
__device__ __forceinline__ void add_thread_sums(const TileSumMemory<T, Sum>& shared, bool diagonal,
                                                int64_t first_row, int64_t first_column, int64_t n,
                                                double scale,
                                                unsigned long long* __restrict__ sums) {
  // Threads 0 to 63 own the rows of the tile, 64 to 127 its columns. A diagonal tile holds every
  // pair twice, so its rows are complete without the columns.
  const int lane = thread_index() % kPanel;
  const int part = thread_index() / kPanel;
  const int64_t index = (part == 0 ? first_row : first_column) + lane;
  if (part < (diagonal ? 1 : 2) && index < n) {
    const auto& partial = part == 0 ? shared.row_sums : shared.column_sums;
    double sum = 0.0;
#pragma unroll
    for (int i = 0; i < kTileLanes; ++i) sum += static_cast<double>(partial[i][lane]);
    atomicAdd(sums + index, static_cast<unsigned long long>(to_fixed_point(sum, scale)));
  }
}

// Called by all 256 threads; rows and columns at or beyond n are left out, their weights must be 0.
// Ends without a barrier, as add_thread_sums does.
template <class T>
__device__ __forceinline__ void add_tile_sums(const T (&weight)[kMicro][kMicro], bool diagonal,
                                              int64_t first_row, int64_t first_column, int64_t n,
                                              double scale, TileSumMemory<T>& shared,
                                              unsigned long long* __restrict__ sums) {
  const int row = micro_row();
  const int column = micro_column();
#pragma unroll
  for (int i = 0; i < kMicro; ++i) {
    shared.row_sums[column / kMicro][row + i] =
        (weight[i][0] + weight[i][1]) + (weight[i][2] + weight[i][3]);
    shared.column_sums[row / kMicro][column + i] =
        (weight[0][i] + weight[1][i]) + (weight[2][i] + weight[3][i]);
  }
  __syncthreads();
  add_thread_sums(shared, diagonal, first_row, first_column, n, scale, sums);
}

// sums (batch, n) -> out (batch, n), NaN for a flagged item. Work: ceil(batch n / kFinishThreads)
// pieces of rows.
template <class T>
__global__ void __launch_bounds__(kFinishThreads)
    weighted_degree_finish_kernel(const __grid_constant__ GraphTable<T> table) {
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    const int64_t i = (next - table.first[at]) * kFinishThreads + thread_index();
    if (i >= layer.batch * layer.n) continue;
    const double degree = from_fixed_point(static_cast<int64_t>(layer.sums[i]), layer.scale);
    layer.out[i] = static_cast<T>(layer.nonfinite[i / layer.n] && layer.n > 1 ? NAN : degree);
  }
}

template <class T>
void enqueue_degree_finish(Launches& launches, GraphTable<T>& table) {
  const int64_t pieces = table.number(
      [](const auto& layer) { return ceil_divide(layer.batch * layer.n, kFinishThreads); });
  launches.kernel(weighted_degree_finish_kernel<T>, pieces, kFinishThreads, 0, table);
}

}  // namespace hubprune::cuda
