// SPDX-License-Identifier: MIT
// The weighted degree of short rows (float32, d <= 32): what weighted_degree.cu computes by tiles,
// for rows whose sums weigh more than their products.
//
//   sums_i += sum_j f(clamp(<y_i, y_j>)) over the pairs of a strip, for its rows and its columns
//
// Shapes: packed rows (normalized_rows.cuh); 128 x 128 tiles of the upper triangle, two packed
// panels a side, 8 x 8 entries a thread. A block has a strip (short_strips.h): it keeps the columns
// in shared memory and their sums in registers, and walks down the rows, copied a tile ahead.
// Bound: instructions. A pair takes d multiply-adds, one for the weight and two additions: 12 for
// d = 9. nvcc 13.0 makes 14.1 for sm_90a (positive: 13.2), and 441 a warp and strip. Estimate for
// 10^6 rows on an H200, no measurement: 2.2e11 of a warp, 212 ms at 1.98 GHz if none waits.
// Numerics: one chain of d multiply-adds per product, |error| <= d u; 64 weights of a row are added
// as a tree in float32, 8 of a column, then rows in fixed point, columns in float64 to the end of
// the strip: |error of a degree| <= (e + 6 u) n. The order depends on n and d alone.
// Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/async_copy.cuh"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/short_strips.h"
#include "cuda/short_weight.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kShortFeatures = 32;  // three stages of a tile's side fill 48 KB
constexpr int kShortTile = 2 * kPanel;
constexpr int kShortMicro = kShortTile / 16;
constexpr int kShortBlocks = 2;  // per multiprocessor: 128 registers a thread

template <class T>
__host__ __device__ bool has_short_rows(const GraphRows<T>& layer) {
  return sizeof(T) == sizeof(float) && layer.d <= kShortFeatures;
}

// Kernels for a number of features that is known to the compiler, or for any (kFeatures = 0).
constexpr int kNineFeatures = 9;  // 3 x 3 kernels
template <int kFeatures>
constexpr int kSideFeatures = kFeatures > 0 ? kFeatures : kShortFeatures;

template <int kFeatures>
using ShortSide = float[2][kSideFeatures<kFeatures>][kPanel];

template <int kFeatures>
struct ShortMemory {
  alignas(16) ShortSide<kFeatures> rows[2];  // double-buffered
  alignas(16) ShortSide<kFeatures> columns;
};

// Starts copying the side of a tile, half a block a panel: two packed panels, or one, beside which
// the side is zero. Panels have rows of features beyond d, which are left out.
template <int kFeatures>
__device__ __forceinline__ void copy_side(ShortSide<kFeatures>& side,
                                          const float* __restrict__ panels, bool both, int d) {
  constexpr int kThreads = kTileThreads / 2;
  const int panel = thread_index() / kThreads;
  const int at = 4 * (thread_index() % kThreads);
  const float* values = panels + panel * static_cast<int>(panel_depth<float>(d)) * kPanel + at;
  float* target = &side[panel][0][0] + at;
#pragma unroll
  for (int i = 0; i < kPanel * kSideFeatures<kFeatures>; i += 4 * kThreads) {
    if (at + i < kPanel * d) copy_async<16>(target + i, values + i, panel == 0 || both);
  }
}

__device__ __forceinline__ float sum_of_eight(const float (&v)[kShortMicro]) {
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// Adds one strip to sums (n), of an item whose panels are given. kFeatures = d, or 0: any.
template <Edge kEdge, int kFeatures>
__device__ __forceinline__ void add_strip(const GraphRows<float>& layer, const Strip& strip,
                                          const float* __restrict__ panels,
                                          ShortMemory<kFeatures>& shared,
                                          unsigned long long* __restrict__ sums) {
  // Two features at a time where the number is not known: panels are padded with zeros.
  constexpr int kStep = kFeatures > 0 ? kFeatures : 2;
  const int d = kFeatures > 0 ? kFeatures : (static_cast<int>(layer.d) + 1) / 2 * 2;
  // A warp covers 32 rows x 64 columns, lanes 8 apart the rows, neighbours the columns. Every other
  // four lanes swap the halves of their eight rows and columns: the reads then have no bank in
  // common, and the first exchange of row sums needs no selection.
  const int lane = thread_index() % kWarp;
  const int warp = thread_index() / kWarp;
  const int swap = lane & 4;
  const int row = warp / 2 % 2 * kWarp + lane / 8 * kShortMicro;  // in the panel warp / 4
  const int column = lane % 8 * kShortMicro;                      // in the panel warp % 2
  const float* columns = &shared.columns[warp % 2][0][column];
  const int64_t step = 2 * kPanel * panel_depth<float>(layer.d);  // from tile to tile
  const auto scale = static_cast<float>(layer.scale);             // a power of two
  // The tile whose rows are one panel, if there is one: only the last of all columns can be.
  const bool both = (2 * int64_t{strip.column} + 1) * kPanel < layer.n;
  const int half = both ? -1 : strip.column;

  // Load
  copy_side<kFeatures>(shared.columns, panels + strip.column * step, both, d);
  copy_side<kFeatures>(shared.rows[strip.first % 2], panels + strip.first * step,
                       strip.first != half, d);

  double total[kShortMicro] = {};
#pragma unroll 1
  for (int tile = strip.first; tile < strip.end; ++tile) {
    // Load
    wait_for_copies();
    __syncthreads();
    const int next = tile + 1;
    if (next < strip.end) {
      copy_side<kFeatures>(shared.rows[next % 2], panels + next * step, next != half, d);
    }

    // Compute
    const float* rows = &shared.rows[tile % 2][warp / 4][0][row];
    float weight[kShortMicro][kShortMicro] = {};
#pragma unroll 1
    for (int first = 0; first < d; first += kStep) {
#pragma unroll
      for (int k = 0; k < kStep; ++k) {
        const auto four = [&](const float* values, int half) {
          return *reinterpret_cast<const Packet<float>*>(values + (first + k) * kPanel + half);
        };
        const Packet<float> a[2] = {four(rows, swap), four(rows, 4 - swap)};
        const Packet<float> b[2] = {four(columns, swap), four(columns, 4 - swap)};
#pragma unroll
        for (int r = 0; r < kShortMicro; ++r) {
#pragma unroll
          for (int c = 0; c < kShortMicro; ++c) {
            weight[r][c] += a[r / 4].values[r % 4] * b[c / 4].values[c % 4];
          }
        }
      }
    }

    const bool diagonal = tile == strip.column;
    if (diagonal && row + warp / 4 * kPanel == column + warp % 2 * kPanel) {
#pragma unroll
      for (int r = 0; r < kShortMicro; ++r) weight[r][r] = 0.0f;  // no self loops
    }
#pragma unroll
    for (int r = 0; r < kShortMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kShortMicro; ++c) weight[r][c] = short_weight<kEdge>(weight[r][c]);
    }
    float row_sums[kShortMicro];
#pragma unroll
    for (int r = 0; r < kShortMicro; ++r) row_sums[r] = sum_of_eight(weight[r]);
#pragma unroll
    for (int c = 0; c < kShortMicro; ++c) {
      const float sum[kShortMicro] = {weight[0][c], weight[1][c], weight[2][c], weight[3][c],
                                      weight[4][c], weight[5][c], weight[6][c], weight[7][c]};
      total[c] += static_cast<double>(sum_of_eight(sum));
    }

    // Store. A diagonal tile holds every pair twice: its columns are enough.
    exchange_half<4>(row_sums, false, 4);
    exchange_half<2>(row_sums, (lane & 2) != 0, 2);
    exchange_half<1>(row_sums, (lane & 1) != 0, 1);
    if (!diagonal) {
      const int64_t own = int64_t{tile} * kShortTile + (warp / 2 * kWarp + lane);
      atomicAdd(sums + own, static_cast<unsigned long long>(llrintf(row_sums[0] * scale)));
    }
  }
  __syncthreads();  // the block's next strip starts with copies

  // Store: lanes 8 and 16 apart hold the same columns, and end with two of them.
  exchange_half<4>(total, (lane & 16) != 0, 16);
  exchange_half<2>(total, (lane & 8) != 0, 8);
  const int64_t first = int64_t{strip.column} * kShortTile + warp % 2 * kPanel + column;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t own = first + ((lane / 16 * 4 + lane / 8 % 2 * 2 + i) ^ swap);
    if (own < layer.n) {
      atomicAdd(sums + own, static_cast<unsigned long long>(to_fixed_point(total[i], layer.scale)));
    }
  }
}

template <int kFeatures>
__host__ __device__ int64_t short_strips(const GraphRows<float>& layer) {
  const bool nine = layer.d == kNineFeatures;
  if (!has_short_rows(layer) || nine != (kFeatures == kNineFeatures)) return 0;
  return layer.batch * strip_count(ceil_divide(layer.n, kShortTile));
}

// Adds to sums (batch, n): fixed-point degrees, zeroed before. Work: short_strips.
template <Edge kEdge, int kFeatures>
__global__ void __launch_bounds__(kTileThreads, kShortBlocks)
    short_degree_kernel(const __grid_constant__ GraphTable<float> table) {
  auto& shared = block_memory<ShortMemory<kFeatures>>();
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<float>& layer = table.layers[at];
    int64_t work = next - table.first[at];
    const int64_t side = ceil_divide(layer.n, kShortTile);
    int64_t item = 0;
    if (layer.batch > 1) {  // a division that most layers do without
      const int64_t strips = strip_count(side);
      item = work / strips;
      work -= item * strips;
    }
    if (layer.nonfinite[item]) continue;  // its degrees are NaN whatever the sums hold
    const int64_t item_panels = item * ceil_divide(layer.n, kPanel);
    add_strip<kEdge, kFeatures>(layer, strip_at(work, side),
                                layer.panels + item_panels * panel_depth<float>(layer.d) * kPanel,
                                shared, layer.sums + item * layer.n);
  }
}

// Enqueues what has_short_rows of a table whose panels are packed.
template <Edge kEdge, int kFeatures>
void enqueue_short_strips(Launches& launches, GraphTable<float>& table) {
  const int64_t strips =
      table.number([](const auto& layer) { return short_strips<kFeatures>(layer); });
  launches.kernel(short_degree_kernel<kEdge, kFeatures>, strips, kTileThreads,
                  sizeof(ShortMemory<kFeatures>), table);
}

template <Edge kEdge>
void enqueue_short_degree(Launches& launches, GraphTable<float>& table) {
  enqueue_short_strips<kEdge, kNineFeatures>(launches, table);
  enqueue_short_strips<kEdge, 0>(launches, table);
}

}  // namespace hubprune::cuda
