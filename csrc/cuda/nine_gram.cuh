// SPDX-License-Identifier: MIT
// The Gram matrix of 3 x 3 kernels with nine channels or more, in float64: what filter_gram.cuh
// computes, without its idle tile columns.
//
//   G_ij = sum_channel w_{channel, i} w_{channel, j},   0 <= i, j < 9
//
// Shapes: weight (n, c, 9) -> gram (n, 9, 9), both triangles; exponents as in filter_gram.cuh.
// Bound: bytes, each weight is read once. One warp per filter, one channel per lane and step: the
// 45 different entries stay in registers, so a weight costs five multiply-adds (28 in a tile).
// Estimate for an H200, not a measurement: the 320 MB of CNN14 in float32 are 67 us of memory,
// 27 us of multiply-adds and 31 us of conversions, which overlap; 16 warps on a multiprocessor,
// each of which has the next 1152 bytes under way while it multiplies, and as many again while it
// waits, hide the latency (18 to 36 KB, where it takes 25): 75 to 100 us.
// Numerics: products of float32 are exact in float64; sums in a fixed order, relative to the trace
// |error| <= (c / 32 + 6) 2^-53.
// Twin: `A @ A.T` in float64.
#pragma once

#include <cstdint>

#include "cuda/async_copy.cuh"
#include "cuda/filter_gram.cuh"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kNineThreads = 128;
constexpr int kNineWarps = kNineThreads / kWarp;
constexpr int kNineBlocks = 4;    // per multiprocessor: 128 registers a thread
constexpr int kNineEntries = 48;  // 45 and three zeros: 16 lanes end with three each

template <class T>
struct NineMemory {
  T steps[kNineWarps][2][kWarp * kNineTaps];  // double-buffered
};

// Starts copying a warp's next step of weights, `left` of the layer's from the lane's first one on,
// then zeros; neighbouring lanes copy neighbouring weights. The copies are one group, an empty one
// where no weights are left.
template <class T>
__device__ __forceinline__ void copy_step(T* step, const T* __restrict__ values, int left) {
  if (left > -(thread_index() % kWarp)) {
#pragma unroll
    for (int i = 0; i < kNineTaps; ++i) {
      copy_async<sizeof(T)>(step + i * kWarp, values + i * kWarp, i * kWarp < left);
    }
  }
  commit_copies();
}

// Adds up over the warp. Each step exchanges halves of what a lane still has, so that a lane ends
// with three sums, sums[0 .. 2], of the entries from the returned one on.
template <int kCount = kNineEntries>
__device__ __forceinline__ int scatter_sums(double (&sums)[kNineEntries]) {
  const int lane = thread_index() % kWarp;
  if constexpr (kCount == 3) {
#pragma unroll
    for (int i = 0; i < 3; ++i) sums[i] += __shfl_xor_sync(kFullWarp, sums[i], kWarp / 2);
    return 0;
  } else {
    constexpr int kHalf = kCount / 2;
    constexpr int kStep = kNineEntries / kCount;
    const bool upper = (lane & kStep) != 0;
    exchange_half<kHalf>(sums, upper, kStep);
    return scatter_sums<kHalf>(sums) + (upper ? kHalf : 0);
  }
}

// Work: filters of the layers with has_nine_taps.
template <class T>
__global__ void __launch_bounds__(kNineThreads, kNineBlocks)
    filter_gram_nine_kernel(const __grid_constant__ FilterTable<T> table) {
  const int lane = thread_index() % kWarp;
  auto& steps = block_memory<NineMemory<T>>().steps[thread_index() / kWarp];

  for (int64_t next = block_index() * kNineWarps + thread_index() / kWarp; next < table.total();
       next += grid_blocks() * kNineWarps) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int64_t filter = next - table.first[at];
    const int exponent = scale_exponent<T>(layer.exponents, filter);
    double sums[kNineEntries] = {};
    int left = static_cast<int>(layer.c) * kNineTaps - lane;  // weights from the lane's next one on
    const T* __restrict__ values = layer.weight + filter * layer.c * kNineTaps + lane;
    copy_step(&steps[0][lane], values, left);
#pragma unroll 1
    for (int current = 0; left > -lane; current = 1 - current) {
      // Load: the next step's weights while this one's arrive and are multiplied; each lane takes
      // its channel.
      left -= kWarp * kNineTaps;
      values += kWarp * kNineTaps;
      copy_step(&steps[1 - current][lane], values, left);
      wait_for_groups<1>();
      __syncwarp();
      const T* staged = steps[current];

      // Compute: entry (i, j), j <= i, is number i (i + 1) / 2 + j. The last four taps are read
      // twice, so that never all nine take registers.
      const auto tap = [&](int i) { return scaled(staged[lane * kNineTaps + i], exponent); };
      const double low[5] = {tap(0), tap(1), tap(2), tap(3), tap(4)};
#pragma unroll
      for (int i = 0; i < kNineTaps; ++i) {
        const double own = i < 5 ? low[i < 5 ? i : 0] : tap(i);
#pragma unroll
        for (int j = 0; j < 5; ++j) {
          if (j <= i) sums[i * (i + 1) / 2 + j] += own * low[j];
        }
      }
      __syncwarp();  // or the compiler reads them once
      const double high[4] = {tap(5), tap(6), tap(7), tap(8)};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j <= i; ++j) sums[(i + 5) * (i + 6) / 2 + 5 + j] += high[i] * high[j];
      }
      __syncwarp();  // before copies overwrite these weights, of this filter or of the next
    }

    // Store
    const int entry = scatter_sums(sums);
    // Found again: kept over the loop, the layer and the filter would take registers too many.
    const int own = table.find(next);
    double* gram = table.layers[own].gram + (next - table.first[own]) * kNineTaps * kNineTaps;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      int i = 0;
      while ((i + 1) * (i + 2) / 2 <= entry + k) ++i;
      const int j = entry + k - i * (i + 1) / 2;
      if (lane < kWarp / 2 && i < kNineTaps) {
        gram[i * kNineTaps + j] = sums[k];
        gram[j * kNineTaps + i] = sums[k];
      }
    }
  }
}

template <class T>
void enqueue_nine_gram(Launches& launches, FilterTable<T>& table) {
  const int64_t filters =
      table.number([](const auto& layer) { return has_nine_taps(layer) ? layer.n : 0; });
  launches.kernel(filter_gram_nine_kernel<T>, ceil_divide(filters, kNineWarps), kNineThreads,
                  sizeof(NineMemory<T>), table);
}

}  // namespace hubprune::cuda
