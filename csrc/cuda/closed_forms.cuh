// SPDX-License-Identifier: MIT
// Degrees that never form a pair, for the edges that are linear in the cosine.
//
//   signed_i = y_i . (sum_j y_j) - y_i . y_i,   shifted_i = (n - 1 + signed_i) / 2
//
// Shapes: x (batch, n, d) -> degree (batch, n); y = rows of unit length; y_i . y_i is 1, or 0 for a
// zero row.
// Bound: two reads of x and one for the norms (row_norms_kernel), with kLoadsAhead loads of a
// thread under way and no division in a loop. Estimate for (2048, 18432) in float32 on an H200, not
// a measurement: 3 x 35 us at 4.3 TB/s.
// Numerics: everything in float64. A block sums kSumRows rows in a fixed order, blocks meet in
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
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kClosedThreads = 256;
// Per multiprocessor: told so, the compiler takes the registers to issue all kLoadsAhead loads
// first.
template <class T>
constexpr int kClosedBlocks = sizeof(T) == sizeof(float) ? 4 : 3;
constexpr int64_t kSumRows = 512;
// Loads a thread has under way: 2048 rows of 18432 then keep 2.4 MB in flight, what an H200 reads
// in 0.55 us (4.3 TB/s), about its latency.
constexpr int kLoadsAhead = 8;

struct SumMemory {
  double partial[kClosedThreads];
};

// Pieces of work of add_column_sums over `count` columns: of an item, and of all.
__host__ __device__ inline int64_t column_sum_pieces(int64_t n, int64_t count) {
  const int64_t width = count < kClosedThreads ? count : kClosedThreads;
  return width == 0 ? 0 : ceil_divide(n, kSumRows) * ceil_divide(count, width);
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
  const int64_t n = layer.n;
  const int width = count < kClosedThreads ? static_cast<int>(count) : kClosedThreads;
  const int lines = kClosedThreads / width;  // rows side by side; the last threads may idle
  const int line = thread_index() / width;
  const int64_t row_pieces = ceil_divide(n, kSumRows);
  const int64_t column_pieces = ceil_divide(count, width);
  const int64_t item = work / (row_pieces * column_pieces);
  const int64_t first = work / column_pieces % row_pieces * kSumRows;
  const int64_t column = work % column_pieces * width + thread_index() % width;
  const int64_t end = first + kSumRows < n ? first + kSumRows : n;

  // Compute
  double sum = 0.0;
  if (line < lines && column < count) {
    int64_t i = item * n + first + line;
    const int64_t last = item * n + end;
    for (; i + (kLoadsAhead - 1) * lines < last; i += kLoadsAhead * lines) {
      double entries[kLoadsAhead];
#pragma unroll
      for (int l = 0; l < kLoadsAhead; ++l) entries[l] = entry(i + l * lines, column);
#pragma unroll
      for (int l = 0; l < kLoadsAhead; ++l) sum += entries[l];
    }
    for (; i < last; i += lines) sum += entry(i, column);
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
                    [&](int64_t row, int64_t k) { return unit_entry(layer, row, true, k); });
  }
}

// Lanes that share a row: as many as the row is long, at most a warp.
__host__ __device__ inline int closed_lanes(int64_t d) {
  int lanes = 1;
  while (lanes < d && lanes < kWarp) lanes *= 2;
  return lanes;
}

template <class T>
__host__ __device__ int64_t closed_blocks(const GraphRows<T>& layer) {
  return ceil_divide(layer.batch * layer.n, kClosedThreads / closed_lanes(layer.d));
}

// Calls store(row, y_row . sums) for the rows of one piece of closed_blocks; the sums of an item
// are the first d of `stride`. Every lane of a warp walks equally often: the shuffles need them
// all.
template <class T, class Store>
__device__ __forceinline__ void dot_rows_with_sums(const GraphRows<T>& layer, int64_t work,
                                                   int64_t stride, const Store& store) {
  const int64_t n = layer.n;
  const int64_t d = layer.d;
  const int group = closed_lanes(d);
  const int lane = thread_index() % group;
  const int64_t row = work * (kClosedThreads / group) + thread_index() / group;
  const bool inside = row < layer.batch * n;
  const int64_t item = inside ? row / n : 0;
  double product = 0.0;
  if (inside) {
    // The scale is a power of two: dividing by it once, below, changes no bit.
#pragma unroll kLoadsAhead
    for (int64_t k = lane; k < d; k += group) {
      product += scaled(layer.x[row * d + k], layer.exponents[row]) *
                 static_cast<double>(static_cast<int64_t>(layer.sums[item * stride + k]));
    }
  }
  for (int step = group / 2; step > 0; step /= 2) {
    product += __shfl_xor_sync(kFullWarp, product, step);
  }
  if (inside && lane == 0) {
    const double reciprocal = layer.norms[row];
    store(row, reciprocal > 0.0 ? product / layer.scale * reciprocal : 0.0);
  }
}

// Work: closed_blocks.
template <class T>
__global__ void __launch_bounds__(kClosedThreads, kClosedBlocks<T>)
    closed_degree_kernel(const __grid_constant__ GraphTable<T> table, bool shifted) {
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    dot_rows_with_sums(layer, next - table.first[at], layer.d, [&](int64_t row, double product) {
      const int64_t n = layer.n;
      double degree = layer.norms[row] > 0.0 ? product - 1.0 : 0.0;
      if (shifted) degree = 0.5 * (static_cast<double>(n - 1) + degree);
      const bool nan = layer.nonfinite[row / n] != 0;
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
  const int64_t blocks = table.number([](const auto& layer) { return closed_blocks(layer); });
  launches.kernel(closed_degree_kernel<T>, blocks, kClosedThreads, 0, table, shifted);
}

}  // namespace hubprune::cuda
