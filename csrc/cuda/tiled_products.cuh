// SPDX-License-Identifier: MIT
// Products with a similarity graph whose tiles are computed again for every product.
//
//   next_i = sum_{j != i} f(clamp(<y_i, y_j>)) v_j,   y = rows of unit length, f = the edge
//   function
//
// Shapes: panels of unit rows (normalized_rows.cuh), basis[j] (batch, n) of unit length ->
// sums (batch, n) in fixed point, zeroed before -> basis[j + 1].
// Bound: n^2 d / 2 multiply-adds in T and n^2 in float64; only upper tiles are computed, each
// serves its rows (W v) and its columns (W'v). O(n) memory beside the panels. Numerics: weights in
// T (tile_product.cuh), their products and the sums over a tile in float64, tiles in 64-bit fixed
// point, whose order changes no bit. |sum of w v| <= |v|_1 <= sqrt(n) bounds them: product_scale
// gives steps of 2^-(61 - log2(n) / 2), each of n / 64 tiles is off by half of one, together
// |error| <= n^1.5 2^-68 an entry: 3e-13 at n = 10^5, 8e-12 at 10^6 (log2 rounded up). Twin:
// products with hubprune.reference.adjacency.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/lanczos.cuh"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/tile_sums.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {

constexpr int kProductThreads = 256;
// More blocks than any device runs at once, few enough to launch in no time where all is done.
constexpr int64_t kMostTileBlocks = 16384;

constexpr int kTiledBlocks = 2;  // per multiprocessor: leaves 128 registers a thread, no spills

template <class T>
struct TiledProductMemory {
  TileSumMemory<T, double> sums;
  double row_values[kPanel];  // of v, 0 at and beyond n
  double column_values[kPanel];
};

template <class T>
__host__ __device__ int64_t tiled_products(const GraphRows<T>& rows) {
  return rows.batch * triangular_count(ceil_divide(rows.n, kPanel));
}

// Adds to rows.sums. Work: tiled_products.
template <Edge kEdge, class T>
__global__ void __launch_bounds__(kTileThreads, kTiledBlocks)
    tiled_product_kernel(const __grid_constant__ GraphRows<T> rows, int j,
                         const Progress* __restrict__ progress, const double* __restrict__ basis) {
  TiledProductMemory<T>& shared = block_memory<TiledProductMemory<T>>();
  const int row = micro_row();
  const int column = micro_column();

  for (int64_t work = block_index(); work < tiled_products(rows); work += grid_blocks()) {
    const int64_t side = ceil_divide(rows.n, kPanel);
    const int64_t tiles = triangular_count(side);
    const int64_t panel_size = panel_depth<T>(rows.d) * kPanel;
    const int64_t item = work / tiles;
    if (progress[item].done) {  // over all of its tiles at once
      work += ((item + 1) * tiles - work - 1) / grid_blocks() * grid_blocks();
      continue;
    }
    const TileIndex tile = triangular_index(work % tiles);
    const bool diagonal = tile.row == tile.column;
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;

    // Load: tile_product has a barrier before anything reads these. A NaN (of a bad start vector)
    // ends the search in the step, whatever the product; the sums must only stay defined.
    if (thread_index() < 2 * kPanel) {
      const int at = thread_index() % kPanel;
      const int64_t i = (thread_index() < kPanel ? first_row : first_column) + at;
      const double value = i < rows.n ? basis_vector(basis, item, j, rows.n)[i] : 0.0;
      (thread_index() < kPanel ? shared.row_values : shared.column_values)[at] =
          value == value ? value : 0.0;
    }

    // Compute: the weights, in place; the padding's v is 0, but f(0) may not be
    T weight[kMicro][kMicro];
    tile_product(rows.panels + (item * side + tile.row) * panel_size,
                 rows.panels + (item * side + tile.column) * panel_size, rows.d, shared.sums.stages,
                 weight);
    double row_sums[kMicro] = {};
    double column_sums[kMicro] = {};
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const bool self = diagonal && row + r == column + c;
        const double w =
            self ? 0.0 : static_cast<double>(edge_weight<kEdge>(clamp_cosine(weight[r][c])));
        row_sums[r] += w * shared.column_values[column + c];
        column_sums[c] += w * shared.row_values[row + r];
      }
    }
#pragma unroll
    for (int i = 0; i < kMicro; ++i) {
      shared.sums.row_sums[column / kMicro][row + i] = row_sums[i];
      shared.sums.column_sums[row / kMicro][column + i] = column_sums[i];
    }
    __syncthreads();

    // Store
    add_thread_sums(shared.sums, diagonal, first_row, first_column, rows.n, rows.scale,
                    rows.sums + item * rows.n);
  }
}

// rows.sums -> basis[j + 1]
static __global__ void __launch_bounds__(kProductThreads)
    tiled_product_finish_kernel(const unsigned long long* __restrict__ sums, int64_t batch,
                                int64_t n, double scale, int j,
                                const Progress* __restrict__ progress, double* __restrict__ basis) {
  const int64_t step = grid_blocks() * kProductThreads;
  for (int64_t i = block_index() * kProductThreads + thread_index(); i < batch * n; i += step) {
    const int64_t item = i / n;
    if (progress[item].done) continue;
    basis_vector(basis, item, j + 1, n)[i % n] =
        from_fixed_point(static_cast<int64_t>(sums[i]), scale);
  }
}

// rows.sums are zero, rows.panels are packed.
template <Edge kEdge, class T>
void enqueue_tiled_product(Launches& launches, const GraphRows<T>& rows, int j,
                           const LanczosScratch& lanczos) {
  const int64_t tiles = tiled_products(rows);
  launches.kernel(tiled_product_kernel<kEdge, T>, tiles < kMostTileBlocks ? tiles : kMostTileBlocks,
                  kTileThreads, sizeof(TiledProductMemory<T>), rows, j, lanczos.progress,
                  lanczos.basis);
  launches.kernel(tiled_product_finish_kernel, ceil_divide(rows.batch * rows.n, kProductThreads),
                  kProductThreads, 0, rows.sums, rows.batch, rows.n, rows.scale, j,
                  lanczos.progress, lanczos.basis);
}

}  // namespace hubprune::cuda
