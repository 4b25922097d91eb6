// SPDX-License-Identifier: MIT
// Degrees that never form a pair, for the edges that are linear in the cosine.
//
//   signed_i = y_i . (sum_j y_j) - y_i . y_i,   shifted_i = (n - 1 + signed_i) / 2
//
// Shapes: x (batch, n, d) -> degree (batch, n); y = rows of unit length; y_i . y_i is 1, or 0 for a
// zero row.
// Bound: two reads of x and one for the norms (row_norms_kernel), no float64 division in a loop.
// Estimates for float32 on an H200 at 4.3 TB/s, not measurements: 3 x 35 us for (2048, 18432), 3 x
// 11 us for (10^6, 9), where about 230 instructions of a warp make 32 norms, 230 make 32 degrees,
// and 9 add 32 terms to the sums (sm_90a): 22 us if every one is issued at once.
// Numerics: everything in float64. A block sums its rows in a fixed order, blocks meet in
// 64-bit fixed point (|y_ik| <= 1), so the result has the same bits on every run and for every
// grid. Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/normalized_rows.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/row_groups.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kClosedThreads = 256;
// Per multiprocessor: told so, the compiler takes the registers to issue all kLoadsAhead loads
// first.
template <class T>
constexpr int kClosedBlocks = sizeof(T) == sizeof(float) ? 4 : 3;
constexpr int kSumRows = 512;  // that a block sums, at least

struct SumMemory {
  double partial[kClosedThreads];
};

// How a block sums columns: its threads lie across them, and across several rows where they are
// few; every load of a thread counts, but for those behind the last row.
struct ColumnSums {
  int width;      // threads along the columns
  int lines;      // rows side by side; the last threads may idle
  int round;      // rows that all threads request at once
  int rows;       // of a piece: kSumRows, or the next number of whole rounds
  int64_t parts;  // of the columns
};
HUBPRUNE_SHARED ColumnSums column_sums(int64_t count) {
  const int width = count < kClosedThreads ? static_cast<int>(count) : kClosedThreads;
  const int lines = width == 0 ? 1 : kClosedThreads / width;
  const int round = kLoadsAhead * lines;
  const int rows = (kSumRows + round - 1) / round * round;
  return {width, lines, round, rows, ceil_divide(count, kClosedThreads)};
}

// Pieces of work of add_column_sums over `count` columns: of an item, and of all.
HUBPRUNE_SHARED int64_t column_sum_pieces(int64_t n, int64_t count) {
  const ColumnSums sums = column_sums(count);
  return ceil_divide(n, sums.rows) * sums.parts;
}
template <class T>
__host__ __device__ int64_t column_sum_blocks(const GraphRows<T>& layer, int64_t count) {
  return layer.batch * column_sum_pieces(layer.n, count);
}

// Adds entry(row, column) of one piece of rows and of columns to sums (batch, count), zeroed
// before; neighbouring threads read neighbouring values.
template <class T, class Entry>
__device__ __forceinline__ void add_column_sums(const GraphRows<T>& layer, int64_t work,
                                                int64_t count, SumMemory& shared,
                                                const Entry& entry) {
  const ColumnSums pieces = column_sums(count);
  const int width = pieces.width;
  const int lines = pieces.lines;
  const int line = thread_index() / width;
  const int64_t n = layer.n;
  const int64_t row_pieces = ceil_divide(n, pieces.rows);
  const int64_t row_piece = work / pieces.parts;
  const int64_t item = row_piece / row_pieces;
  const int64_t first = (row_piece - item * row_pieces) * pieces.rows;
  const int64_t column =
      (work - row_piece * pieces.parts) * kClosedThreads + thread_index() - line * width;
  const int64_t end = first + pieces.rows < n ? first + pieces.rows : n;

  // Compute
  double sum = 0.0;
  if (line < lines && column < count) {
    const int64_t last = item * n + end;
    int64_t i = item * n + first + line;
    for (; i + (kLoadsAhead - 1) * lines < last; i += pieces.round) {
      double entries[kLoadsAhead];
#pragma unroll
      for (int l = 0; l < kLoadsAhead; ++l) entries[l] = entry(i + l * lines, column);
#pragma unroll
      for (int l = 0; l < kLoadsAhead; ++l) sum += entries[l];
    }
    for (; i < last; i += lines) sum += entry(i, column);  // of an item's last piece
  }
  shared.partial[thread_index()] = sum;
  __syncthreads();

  // Store
  if (line == 0 && column < count) {
    for (int l = 1; l < lines; ++l) sum += shared.partial[l * width + thread_index()];
    // A NaN makes the whole item NaN, which its flag says; the sum must only stay defined.
    if (sum != sum) sum = 0.0;
    atomicAdd(layer.sums + item * count + column,
              static_cast<unsigned long long>(to_fixed_point(sum, layer.scale)));
  }
  __syncthreads();
}

// Adds the unit rows to sums (batch, d). Work: column_sum_blocks of d columns.
template <class T>
__global__ void __launch_bounds__(kClosedThreads, kClosedBlocks<T>)
    unit_sum_kernel(const __grid_constant__ GraphTable<T> table) {
  SumMemory& shared = block_memory<SumMemory>();
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    add_column_sums(layer, next - table.first[at], layer.d, shared,
                    [&](int64_t row, int64_t k) { return unit_entry(layer, row, k); });
  }
}

// y . sums 2^e for a row that kLanes share, y 2^e = row; all lanes of a warp come here.
template <int kLanes, class T>
__device__ __forceinline__ double row_with_sums(const T* __restrict__ row,
                                                const unsigned long long* __restrict__ sums,
                                                int64_t d, int lane, int exponent) {
  T values[kGroupLoads<kLanes>];
  unsigned long long fixed[kGroupLoads<kLanes>];
  double product = 0.0;
  each_load<kLanes>(lane, d, [&](int64_t k) {
    load_apart<kLanes>(row, k, d, values);
    load_apart<kLanes>(sums, k, d, fixed);
#pragma unroll
    for (int l = 0; l < kGroupLoads<kLanes>; ++l) {
      product += scaled(values[l], exponent) * static_cast<double>(static_cast<int64_t>(fixed[l]));
    }
  });
  return warp_sum<kLanes>(product);
}

// Calls store(row, item, y_row . sums) for the rows of one piece of group_blocks; the sums of an
// item are the first d of `stride`.
template <class T, class Store>
__device__ __forceinline__ void dot_rows_with_sums(const GraphRows<T>& layer, int64_t work,
                                                   int64_t stride, const Store& store) {
  const GroupRow own = group_row(layer.d, work);
  const bool inside = own.row < layer.batch * layer.n;
  const int64_t item = inside && layer.batch > 1 ? own.row / layer.n : 0;
  const int64_t d = inside ? layer.d : 0;
  const int exponent = inside ? layer.exponents[own.row] : 0;
  double product = with_row_lanes(layer.d, [&](auto lanes) {
    return row_with_sums<decltype(lanes)::value>(layer.x + own.row * d, layer.sums + item * stride,
                                                 d, own.lane, exponent);
  });
  if (inside && own.lane == 0) {
    const double reciprocal = layer.norms[own.row];
    product *= power_reciprocal(layer.scale) * reciprocal;
    store(own.row, item, reciprocal > 0.0 ? product : 0.0);
  }
}

// Work: group_blocks.
template <class T>
__global__ void __launch_bounds__(kGroupThreads, kClosedBlocks<T>)
    closed_degree_kernel(const __grid_constant__ GraphTable<T> table, bool shifted) {
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    dot_rows_with_sums(layer, next - table.first[at], layer.d,
                       [&](int64_t row, int64_t item, double product) {
                         const int64_t n = layer.n;
                         double degree = layer.norms[row] > 0.0 ? product - 1.0 : 0.0;
                         if (shifted) degree = 0.5 * (static_cast<double>(n - 1) + degree);
                         const bool nan = layer.nonfinite[item] != 0;
                         layer.out[row] = static_cast<T>(n == 1 ? 0.0 : (nan ? NAN : degree));
                       });
  }
}

// sums (batch, d) and nonfinite (batch) are zero.
template <class T>
void enqueue_closed_degree(Launches& launches, GraphTable<T>& table, bool shifted) {
  enqueue_row_norms(launches, table, Norm::kReciprocal);
  const int64_t sum_blocks =
      table.number([](const auto& layer) { return column_sum_blocks(layer, layer.d); });
  launches.kernel(unit_sum_kernel<T>, sum_blocks, kClosedThreads, sizeof(SumMemory), table);
  const int64_t blocks =
      table.number([](const auto& layer) { return group_blocks(layer.batch * layer.n, layer.d); });
  launches.kernel(closed_degree_kernel<T>, blocks, kGroupThreads, 0, table, shifted);
}

}  // namespace hubprune::cuda
