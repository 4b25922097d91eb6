// SPDX-License-Identifier: MIT
// Unit rows, packed for the tile kernels.
//
//   y_i = x_i / |x_i|;  a zero row stays zero, a row with a NaN or an infinity becomes all NaN
//
// Shapes: x (batch, n, d) -> panels (batch, ceil(n / 64), depth, 64), depth = d rounded up to the
// stage of tile_product.cuh: panel I holds rows 64 I .. 64 I + 63, feature-major, zero-padded. A
// tile kernel then reads 16 contiguous bytes per thread and needs no bounds checks.
// Bound: bytes. x is read twice (three times in float64), the panels are written once.
// Numerics: the norm is accumulated in float64, the quotient rounded once to T. float32 squares
// cannot leave float64's range; float64 rows are first scaled by a power of two, so every finite
// scale is safe. Relative error of an entry <= 2^-24 (float32), (d + 4) 2^-53 (float64).
// Twin: hubprune.reference.normalized_rows.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/row_groups.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kRowThreads = 256;

// What row_norms_kernel stores of a row: |x_i| 2^-exponent, which is NaN, or infinite where the row
// holds no NaN, if it is not finite; NaN for a zero row too; or its reciprocal, 0 for a zero row.
enum class Norm : int { kFinite, kInfinite, kNonzero, kReciprocal };

// |x_i|^2 2^-(2 exponent) of a row that kLanes share; all lanes of a warp come here.
template <int kLanes, class T>
__device__ __forceinline__ double row_square(const T* __restrict__ row, int64_t d, int lane,
                                             int& exponent) {
  T values[kGroupLoads<kLanes>];
  if constexpr (kNeedsScaling<T>) {
    double largest = 0.0;
    each_load<kLanes>(lane, d, [&](int64_t k) {
      load_apart<kLanes>(row, k, d, values);
#pragma unroll
      for (const T value : values) largest = fmax(largest, fabs(value));
    });
    exponent = range_exponent(warp_max<kLanes>(largest));
  }
  double square = 0.0;
  each_load<kLanes>(lane, d, [&](int64_t k) {
    load_apart<kLanes>(row, k, d, values);
#pragma unroll
    for (const T value : values) {
      const double entry = scaled(value, exponent);
      square += entry * entry;
    }
  });
  return warp_sum<kLanes>(square);
}

template <class T>
__device__ __forceinline__ void store_norm(const GraphRows<T>& layer, int64_t row, double square,
                                           int exponent, Norm kind) {
  const bool finite = square <= DBL_MAX;
  double norm = finite || kind == Norm::kInfinite ? sqrt(square) : NAN;
  if (kind == Norm::kReciprocal && norm != 0.0) norm = 1.0 / norm;
  if (kind == Norm::kNonzero && norm == 0.0) norm = NAN;
  layer.norms[row] = norm;
  layer.exponents[row] = exponent;
  if (!finite && layer.nonfinite) atomicOr(layer.nonfinite + row / layer.n, 1ull);
}

// x (batch, n, d) -> norms (batch, n); exponents (batch, n): 0 in float32; nonfinite (batch) or
// null: 1 where an item has such a row. Work: group_blocks.
template <class T>
__global__ void __launch_bounds__(kGroupThreads)
    row_norms_kernel(const __grid_constant__ GraphTable<T> table, Norm kind) {
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    const GroupRow own = group_row(layer.d, next - table.first[at]);
    const bool inside = own.row < layer.batch * layer.n;
    const int64_t d = inside ? layer.d : 0;
    int exponent = 0;
    const double square = with_row_lanes(layer.d, [&](auto lanes) {
      return row_square<decltype(lanes)::value>(layer.x + own.row * d, d, own.lane, exponent);
    });
    if (inside && own.lane == 0) store_norm(layer, own.row, square, exponent, kind);
  }
}

// One entry of a unit row; norms are reciprocals.
template <class T>
__device__ __forceinline__ double unit_entry(const GraphRows<T>& layer, int64_t row,
                                             int64_t feature) {
  return scaled(layer.x[row * layer.d + feature], layer.exponents[row]) * layer.norms[row];
}
// The same, 0 outside.
template <class T>
__device__ __forceinline__ double unit_entry(const GraphRows<T>& layer, int64_t row, bool inside,
                                             int64_t feature) {
  if (!inside || feature >= layer.d) return 0.0;
  return unit_entry(layer, row, feature);
}

constexpr int kChunk = 32;  // features a block transposes at once
constexpr int kChunkLines = kRowThreads / kChunk;
constexpr int kChunkRows = kPanel / kChunkLines;  // of a thread
// Per multiprocessor: leaves the registers for all of a thread's loads, no spills.
template <class T>
constexpr int kPanelBlocks = sizeof(T) == sizeof(float) ? 4 : 3;

template <class T>
struct PanelChunk {
  T values[kChunk][kPanel + 1];  // the odd stride keeps the transposed stores apart
};

// Blocks of normalized_panels_kernel: one per panel and chunk of features.
template <class T>
__host__ __device__ int64_t panel_chunks(const GraphRows<T>& layer) {
  return layer.batch * ceil_divide(layer.n, kPanel) * ceil_divide(panel_depth<T>(layer.d), kChunk);
}

// Rows come in, features go out. Work: panel_chunks.
template <class T>
__global__ void __launch_bounds__(kRowThreads, kPanelBlocks<T>)
    normalized_panels_kernel(const __grid_constant__ GraphTable<T> table) {
  PanelChunk<T>& shared = block_memory<PanelChunk<T>>();

  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at_layer = table.find(next);
    const GraphRows<T>& layer = table.layers[at_layer];
    const int64_t work = next - table.first[at_layer];
    const int64_t n = layer.n;
    const int64_t d = layer.d;
    const int64_t side = ceil_divide(n, kPanel);
    const int64_t depth = panel_depth<T>(d);
    const int64_t chunks = ceil_divide(depth, kChunk);
    const T* __restrict__ x = layer.x;
    const double* __restrict__ norms = layer.norms;
    T* __restrict__ panels = layer.panels;
    const int64_t panel = work / chunks;  // counted over the whole batch
    const int64_t first_feature = work % chunks * kChunk;
    const int64_t item = panel / side;
    const int64_t first_row = panel % side * kPanel;

    // Load: a warp reads along a row; everything is requested before anything is used
    const int lane = thread_index() % kChunk;
    const int line = thread_index() / kChunk;
    const bool has_feature = first_feature + lane < d;
    T entries[kChunkRows];
    double lengths[kChunkRows];  // 0 outside
    int exponents[kChunkRows];
#pragma unroll
    for (int r = 0; r < kChunkRows; ++r) {
      const int64_t row = first_row + line + r * kChunkLines;
      const bool inside = has_feature && row < n;
      const int64_t at = item * n + (inside ? row : 0);
      entries[r] = inside ? x[at * d + first_feature + lane] : T(0);
      lengths[r] = inside ? norms[at] : 0.0;
      exponents[r] = kNeedsScaling<T> && inside ? layer.exponents[at] : 0;
    }

    // Compute: 0 / 0 would be NaN; a NaN norm makes the row NaN
#pragma unroll
    for (int r = 0; r < kChunkRows; ++r) {
      const bool zero = lengths[r] == 0.0;
      const double quotient =
          (zero ? 1.0 : scaled(entries[r], exponents[r])) / (zero ? 1.0 : lengths[r]);
      shared.values[lane][line + r * kChunkLines] = zero ? T(0) : static_cast<T>(quotient);
    }
    __syncthreads();

    // Store
    for (int i = thread_index(); i < kChunk * kPanel; i += kRowThreads) {
      const int64_t feature = first_feature + i / kPanel;
      if (feature < depth) {
        panels[(panel * depth + feature) * kPanel + i % kPanel] =
            shared.values[i / kPanel][i % kPanel];
      }
    }
    __syncthreads();
  }
}

template <class T>
int64_t panels_count(int64_t batch, int64_t n, int64_t d) {
  return batch * ceil_divide(n, kPanel) * kPanel * panel_depth<T>(d);
}

template <class T>
void enqueue_row_norms(Launches& launches, GraphTable<T>& table, Norm kind) {
  const int64_t blocks =
      table.number([](const auto& layer) { return group_blocks(layer.batch * layer.n, layer.d); });
  launches.kernel(row_norms_kernel<T>, blocks, kGroupThreads, 0, table, kind);
}

template <class T>
void enqueue_normalized_panels(Launches& launches, GraphTable<T>& table,
                               Norm kind = Norm::kFinite) {
  enqueue_row_norms(launches, table, kind);
  const int64_t blocks = table.number([](const auto& layer) { return panel_chunks(layer); });
  launches.kernel(normalized_panels_kernel<T>, blocks, kRowThreads, sizeof(PanelChunk<T>), table);
}

// The same for one layer, whose fields are given.
template <class T>
void enqueue_normalized_panels(Launches& launches, const T* x, int64_t batch, int64_t n, int64_t d,
                               double* norms, int* exponents, unsigned long long* nonfinite,
                               T* panels, Norm kind = Norm::kFinite) {
  GraphTable<T> table = table_of(
      GraphRows<T>{x, batch, n, d, 0.0, nullptr, norms, exponents, nonfinite, nullptr, panels});
  enqueue_normalized_panels(launches, table, kind);
}

}  // namespace hubprune::cuda
