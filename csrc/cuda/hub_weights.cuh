// SPDX-License-Identifier: MIT
// The weights of one row of a similarity graph with the others, stored or computed when asked for,
// and the degrees that they add up to.
//
//   weight(h, i) = f(clamp(<y_h, y_i>)),   degree_i = sum_{j != i} weight(j, i)
//
// Shapes: graph (n, n), or the packed unit rows of x (n, d) (normalized_rows.cuh) -> degrees (n) in
// fixed point.
// Bound: degrees read n^2 sizeof(T) bytes, or take n^2 d / 2 multiply-adds; a computed row reads
// n d sizeof(T) bytes.
// Numerics: every weight is rounded to fixed point by itself (tile_sums.cuh adds some in T first),
// and a computed one adds its products in the order of tile_product.cuh: a weight has the same bits
// whenever and wherever it is asked for, so that it can be subtracted from a degree exactly.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/triangular_index.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kSumWarps = kTileThreads / kWarp;
constexpr int kSumBlocks = 2;   // per multiprocessor: leaves 128 registers a thread, no spills
constexpr int kSumPadding = 2;  // moves the rows to different banks

// The edge is no template parameter here: one choice for every weight is little beside d products.
template <class T>
__device__ __forceinline__ T weight_of(Edge edge, T product) {
  const T s = clamp_cosine(product);
  if (edge == Edge::kSquared) return edge_weight<Edge::kSquared>(s);
  if (edge == Edge::kAbs) return edge_weight<Edge::kAbs>(s);
  if (edge == Edge::kPositive) return edge_weight<Edge::kPositive>(s);
  if (edge == Edge::kShifted) return edge_weight<Edge::kShifted>(s);
  return s;
}

// Where the weights of a hub with the other rows come from.
template <class T>
struct StoredWeights {
  const T* graph;  // (n, n)
  int64_t n;

  __device__ __forceinline__ T of(int64_t hub, int64_t i) const { return graph[hub * n + i]; }
};

template <class T>
struct ComputedWeights {
  const T* panels;
  int64_t d;
  Edge edge;

  __device__ __forceinline__ const T* row(int64_t i) const {
    return panels + i / kPanel * (panel_depth<T>(d) * kPanel) + i % kPanel;
  }

  // In the order of tile_product.
  __device__ __forceinline__ T of(int64_t hub, int64_t i) const {
    const T* __restrict__ a = row(hub);
    const T* __restrict__ b = row(i);
    T product = T(0);
    T lost = T(0);
    for (int64_t first = 0; first < d; first += kPartial) {
      const int count = static_cast<int>(d - first < kPartial ? d - first : kPartial);
      T part = T(0);
#pragma unroll 16
      for (int k = 0; k < count; ++k) part += a[(first + k) * kPanel] * b[(first + k) * kPanel];
      promote_sum(part, product, lost);
    }
    return weight_of(edge, product + lost);
  }
};

// One warp per row: degrees (n), the sums of a stored graph; flag: 1 where it is not finite.
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    stored_degree_kernel(const T* __restrict__ graph, int64_t n, double scale,
                         int64_t* __restrict__ degrees, unsigned long long* __restrict__ flag) {
  const int lane = thread_index() % kWarp;
  for (int64_t i = block_index() * kSumWarps + thread_index() / kWarp; i < n;
       i += grid_blocks() * kSumWarps) {
    int64_t sum = 0;
    bool finite = true;
#pragma unroll 4
    for (int64_t j = lane; j < n; j += kWarp) {
      const double weight = static_cast<double>(graph[i * n + j]);
      finite = finite && weight == weight;
      sum += weight == weight ? to_fixed_point(weight, scale) : 0;
    }
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(kFullWarp, sum, step);
    if (!finite) atomicOr(flag, 1ull);
    if (lane == 0) degrees[i] = sum;
  }
}

template <class T>
struct FixedSumMemory {
  Stages<T> stages;
  int64_t row_sums[kTileLanes][kPanel + kSumPadding];
  int64_t column_sums[kTileLanes][kPanel + kSumPadding];
};

// The same without the graph: one block per upper tile. sums (n), zeroed before; flag: 1 where a
// row is not finite, and the sums mean nothing.
template <class T>
__global__ void __launch_bounds__(kTileThreads, kSumBlocks)
    computed_degree_kernel(const ComputedWeights<T> weights, int64_t n, double scale,
                           const unsigned long long* __restrict__ flag,
                           unsigned long long* __restrict__ sums) {
  FixedSumMemory<T>& shared = block_memory<FixedSumMemory<T>>();
  if (*flag) return;
  const int64_t side = ceil_divide(n, kPanel);
  const int64_t panel_size = panel_depth<T>(weights.d) * kPanel;
  const int row = micro_row();
  const int column = micro_column();
  for (int64_t work = block_index(); work < triangular_count(side); work += grid_blocks()) {
    const TileIndex tile = triangular_index(work);
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;

    // Compute
    T product[kMicro][kMicro];
    tile_product(weights.panels + tile.row * panel_size, weights.panels + tile.column * panel_size,
                 weights.d, shared.stages, product);
    int64_t column_sum[kMicro] = {};
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      int64_t row_sum = 0;
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const int64_t i = first_row + row + r;
        const int64_t j = first_column + column + c;
        if (i == j || i >= n || j >= n) continue;
        const T weight = weight_of(weights.edge, product[r][c]);
        const int64_t fixed = to_fixed_point(static_cast<double>(weight), scale);
        row_sum += fixed;
        column_sum[c] += fixed;
      }
      shared.row_sums[column / kMicro][row + r] = row_sum;
    }
#pragma unroll
    for (int c = 0; c < kMicro; ++c) shared.column_sums[row / kMicro][column + c] = column_sum[c];
    __syncthreads();

    // Store: threads 0 to 63 own the rows, 64 to 127 the columns; a diagonal tile has every pair
    // twice. No barrier at the end: the next tile_product has one.
    const int lane = thread_index() % kPanel;
    const int part = thread_index() / kPanel;
    const int64_t index = (part == 0 ? first_row : first_column) + lane;
    if (part < (tile.row == tile.column ? 1 : 2) && index < n) {
      const auto& partial = part == 0 ? shared.row_sums : shared.column_sums;
      int64_t sum = 0;
#pragma unroll
      for (int lanes = 0; lanes < kTileLanes; ++lanes) sum += partial[lanes][lane];
      atomicAdd(sums + index, static_cast<unsigned long long>(sum));
    }
  }
}

template <class T>
void enqueue_degrees(Launches& launches, const StoredWeights<T>& weights, int64_t n, double scale,
                     int64_t* degrees, unsigned long long* flag) {
  launches.kernel(stored_degree_kernel<T>, ceil_divide(n, kSumWarps), kTileThreads, 0,
                  weights.graph, n, scale, degrees, flag);
}

template <class T>
void enqueue_degrees(Launches& launches, const ComputedWeights<T>& weights, int64_t n, double scale,
                     int64_t* degrees, unsigned long long* flag) {
  launches.kernel(computed_degree_kernel<T>, triangular_count(ceil_divide(n, kPanel)), kTileThreads,
                  sizeof(FixedSumMemory<T>), weights, n, scale, flag,
                  reinterpret_cast<unsigned long long*>(degrees));
}

}  // namespace hubprune::cuda
