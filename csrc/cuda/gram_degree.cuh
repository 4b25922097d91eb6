// SPDX-License-Identifier: MIT
// The degree of the squared cosine without a pair, through the d x d Gram matrix of the unit rows.
//
//   squared_i = y_i' G y_i - y_i . y_i,   G = sum_j y_j y_j'
//
// Shapes: x (batch, n, d), d <= 256 -> sums (batch, d, d): G in fixed point -> degree (batch, n).
// Bound: 3/2 n d^2 float64 multiply-adds; while 8 d <= n that is less than the n^2 d / 2 of the
// pairs (core/edge.h holds the rule, the same on the CPU). Small d: the three reads of x.
// Numerics: everything in float64; a block sums its rows in a fixed order, blocks meet in 64-bit
// fixed point (|y_ia y_ib| <= 1), so the result has the same bits on every run and for every grid.
// Error of a degree about 1e-15 + d 2^-(61 - log2 n). Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/normalized_rows.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/triangular_index.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kUnitThreads = 256;
constexpr int kUnitTile = 16;       // features along a side of a tile of G
constexpr int kUnitGroups = 4;      // of 64 threads, which share the rows; 2 x 2 entries a thread
constexpr int kUnitStage = 32;      // rows staged at once
constexpr int64_t kUnitRows = 512;  // rows a block sums
constexpr int kFormRows = 8;        // rows whose forms a thread computes together
static_assert(kMostGramFeatures <= kUnitThreads, "a thread per feature");

struct UnitStage {
  double rows[kUnitStage][kUnitTile + 2];  // an even stride keeps pairs 16-byte aligned
  double columns[kUnitStage][kUnitTile + 2];
};

union alignas(16) UnitGramMemory {
  UnitStage stage;
  double partial[kUnitGroups][kUnitTile][kUnitTile];
};

// Blocks of unit_gram_kernel: one per item, piece of rows and upper tile of G.
template <class T>
__host__ __device__ int64_t unit_gram_blocks(const GraphRows<T>& layer) {
  return layer.batch * ceil_divide(layer.n, kUnitRows) *
         triangular_count(ceil_divide(layer.d, kUnitTile));
}

template <class T>
__device__ __forceinline__ int64_t unit_gram_item(const GraphRows<T>& layer, int64_t work) {
  return work / triangular_count(ceil_divide(layer.d, kUnitTile)) / ceil_divide(layer.n, kUnitRows);
}

// Adds one piece of unit_gram_blocks to both triangles of sums (batch, d, d). With weights (n), of
// the item's rows, their outer products count so much; |weight| <= 1.
template <bool kWeighted, class T>
__device__ __forceinline__ void add_unit_gram(const GraphRows<T>& layer, int64_t work,
                                              const double* __restrict__ weights,
                                              UnitGramMemory& shared) {
  const int group = thread_index() / 64;
  const int row = thread_index() % 64 / 8 * 2;
  const int column = thread_index() % 8 * 2;
  const int own_row = thread_index() / kUnitTile;
  const int own_column = thread_index() % kUnitTile;

  const int64_t pieces = ceil_divide(layer.n, kUnitRows);
  const int64_t tiles = triangular_count(ceil_divide(layer.d, kUnitTile));
  const TileIndex tile = triangular_index(work % tiles);
  const int64_t item = work / tiles / pieces;
  const int64_t first = work / tiles % pieces * kUnitRows;
  const int64_t end = first + kUnitRows < layer.n ? first + kUnitRows : layer.n;
  const bool diagonal = tile.row == tile.column;

  double sum[2][2] = {};
  for (int64_t i = first; i < end; i += kUnitStage) {
    // Load: neighbouring threads read neighbouring features
    for (int r = own_row; r < kUnitStage; r += kUnitThreads / kUnitTile) {
      const int64_t at_row = item * layer.n + i + r;
      const bool inside = i + r < end;
      const double entry = unit_entry(layer, at_row, inside, tile.row * kUnitTile + own_column);
      shared.stage.rows[r][own_column] = kWeighted && inside ? entry * weights[i + r] : entry;
      if (kWeighted && diagonal) {
        shared.stage.columns[r][own_column] = entry;
      } else if (!diagonal) {
        shared.stage.columns[r][own_column] =
            unit_entry(layer, at_row, inside, tile.column * kUnitTile + own_column);
      }
    }
    __syncthreads();

    // Compute
    const auto& columns = !kWeighted && diagonal ? shared.stage.rows : shared.stage.columns;
#pragma unroll
    for (int k = group; k < kUnitStage; k += kUnitGroups) {
      const double a[2] = {shared.stage.rows[k][row], shared.stage.rows[k][row + 1]};
      const double b[2] = {columns[k][column], columns[k][column + 1]};
      sum[0][0] += a[0] * b[0];
      sum[0][1] += a[0] * b[1];
      sum[1][0] += a[1] * b[0];
      sum[1][1] += a[1] * b[1];
    }
    __syncthreads();
  }

  // Store
  for (int r = 0; r < 2; ++r) {
    for (int s = 0; s < 2; ++s) shared.partial[group][row + r][column + s] = sum[r][s];
  }
  __syncthreads();
  const int64_t a = tile.row * kUnitTile + own_row;
  const int64_t b = tile.column * kUnitTile + own_column;
  if (a < layer.d && b < layer.d) {
    double total = 0.0;
    for (int g = 0; g < kUnitGroups; ++g) total += shared.partial[g][own_row][own_column];
    // A NaN row makes the whole item NaN, which its flag says; the sum must only stay defined.
    const auto fixed =
        static_cast<unsigned long long>(to_fixed_point(total != total ? 0.0 : total, layer.scale));
    unsigned long long* gram = layer.sums + item * layer.d * layer.d;
    atomicAdd(gram + a * layer.d + b, fixed);
    if (!diagonal) atomicAdd(gram + b * layer.d + a, fixed);
  }
  __syncthreads();
}

// sums (batch, d, d) are zero before. Work: unit_gram_blocks.
template <class T>
__global__ void __launch_bounds__(kUnitThreads, 3)
    unit_gram_kernel(const __grid_constant__ GraphTable<T> table) {
  UnitGramMemory& shared = block_memory<UnitGramMemory>();
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    add_unit_gram<false>(table.layers[at], next - table.first[at], nullptr, shared);
  }
}

struct FormMemory {
  double entries[kUnitThreads * kFormRows];  // (rows, d): unit rows, then the terms of their forms
};

// Rows of one block of gram_degree_kernel: threads / width lines of kFormRows each.
__host__ __device__ inline int form_width(int64_t d) {
  int width = 1;
  while (width < d) width *= 2;
  return width;
}
__host__ __device__ inline int64_t form_rows(int64_t d) {
  return kUnitThreads / form_width(d) * kFormRows;
}

template <class T>
__host__ __device__ int64_t form_blocks(const GraphRows<T>& layer) {
  return ceil_divide(layer.batch * layer.n, form_rows(layer.d));
}

// Calls store(row, y_row' G y_row) for the rows of one piece of form_blocks. One thread per feature
// b and line of rows: y_b (sum_a y_a G_ab), then the sum over b.
template <class T, class Store>
__device__ __forceinline__ void unit_forms(const GraphRows<T>& layer, int64_t work,
                                           FormMemory& shared, const Store& store) {
  const int d = static_cast<int>(layer.d);
  const int width = form_width(d);
  const int block_rows = kUnitThreads / width * kFormRows;
  const int64_t first = work * block_rows;
  const int64_t rows = layer.batch * layer.n;

  // Load
  for (int i = thread_index(); i < block_rows * d; i += kUnitThreads) {
    const int64_t row = first + i / d;
    shared.entries[i] = unit_entry(layer, row, row < rows, i % d);
  }
  __syncthreads();

  // Compute: rows of one line may belong to different items, whose matrices differ. The scale is a
  // power of two: sums divided by it, below, have the bits that divided terms would add up to.
  const int feature = thread_index() % width;
  const int line = thread_index() / width * kFormRows;
  double term[kFormRows] = {};
  if (feature < d && first + line < rows) {
    const double* own = shared.entries + line * d;
    const int64_t last = first + line + kFormRows < rows ? first + line + kFormRows : rows;
    const int64_t item = (first + line) / layer.n;
    const unsigned long long* gram = layer.sums + item * d * d + feature;
    if ((last - 1) / layer.n == item) {
#pragma unroll 4
      for (int a = 0; a < d; ++a) {
        const auto entry = static_cast<double>(static_cast<int64_t>(gram[a * d]));
#pragma unroll
        for (int r = 0; r < kFormRows; ++r) term[r] += own[r * d + a] * entry;
      }
    } else {
#pragma unroll
      for (int r = 0; r < kFormRows; ++r) {
        if (first + line + r >= rows) continue;
        const unsigned long long* its = gram + ((first + line + r) / layer.n - item) * d * d;
#pragma unroll 1
        for (int a = 0; a < d; ++a) {
          term[r] += own[r * d + a] * static_cast<double>(static_cast<int64_t>(its[a * d]));
        }
      }
    }
    const double unit = power_reciprocal(layer.scale);
#pragma unroll
    for (int r = 0; r < kFormRows; ++r) term[r] *= unit * own[r * d + feature];
  }
  __syncthreads();
  if (feature < d) {
#pragma unroll
    for (int r = 0; r < kFormRows; ++r) shared.entries[(line + r) * d + feature] = term[r];
  }
  __syncthreads();

  // Store: one warp per row
  for (int r = thread_index() / kWarp; r < block_rows; r += kUnitThreads / kWarp) {
    double form = 0.0;
    for (int b = thread_index() % kWarp; b < d; b += kWarp) form += shared.entries[r * d + b];
    form = warp_sum(form);
    const int64_t row = first + r;
    if (thread_index() % kWarp == 0 && row < rows) store(row, form);
  }
  __syncthreads();
}

// Work: form_blocks.
template <class T>
__global__ void __launch_bounds__(kUnitThreads, 3)
    gram_degree_kernel(const __grid_constant__ GraphTable<T> table) {
  FormMemory& shared = block_memory<FormMemory>();
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    unit_forms(layer, next - table.first[at], shared, [&](int64_t row, double form) {
      const double degree = layer.norms[row] > 0.0 ? form - 1.0 : 0.0;
      const bool nan = layer.nonfinite[row / layer.n] != 0;
      layer.out[row] = static_cast<T>(layer.n == 1 ? 0.0 : (nan ? NAN : degree));
    });
  }
}

// sums (batch, d, d) and nonfinite (batch) are zero.
template <class T>
void enqueue_gram_degree(Launches& launches, GraphTable<T>& table) {
  enqueue_row_norms(launches, table, Norm::kReciprocal);
  const int64_t gram_blocks =
      table.number([](const auto& layer) { return unit_gram_blocks(layer); });
  launches.kernel(unit_gram_kernel<T>, gram_blocks, kUnitThreads, sizeof(UnitGramMemory), table);
  const int64_t blocks = table.number([](const auto& layer) { return form_blocks(layer); });
  launches.kernel(gram_degree_kernel<T>, blocks, kUnitThreads, sizeof(FormMemory), table);
}

}  // namespace hubprune::cuda
