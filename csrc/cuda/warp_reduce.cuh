// SPDX-License-Identifier: MIT
// Reductions over a warp, or over each group of kLanes lanes of it (a power of two), in a fixed
// order (butterflies), and over a block of them: every lane ends with the same bits.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "cuda/launch.cuh"

namespace hubprune::cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

template <int kLanes = kWarp>
__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, step);
  }
  return value;
}

// NaN never wins: fmax drops it.
template <int kLanes = kWarp>
__device__ __forceinline__ double warp_max(double value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    value = fmax(value, __shfl_xor_sync(kFullWarp, value, step));
  }
  return value;
}

// One step of a sum over the lanes that are `step` apart: of 2 kHalf values each lane of a pair
// keeps half, the upper one where it says so, and adds the other lane's share of it, in the first
// kHalf places.
template <int kHalf, class Value, int kValues>
__device__ __forceinline__ void exchange_half(Value (&values)[kValues], bool upper, int step) {
  static_assert(2 * kHalf <= kValues, "");
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const Value given = upper ? values[i] : values[i + kHalf];
    const Value kept = upper ? values[i + kHalf] : values[i];
    values[i] = kept + __shfl_xor_sync(kFullWarp, given, step);
  }
}

// The sum of `value` over a block of kWarps warps, on every thread; `partial` is shared memory, and
// may be used again at once. Two barriers, and a fixed order.
template <int kWarps>
__device__ __forceinline__ double block_sum(double value, double (&partial)[kWarps]) {
  value = warp_sum(value);
  __syncthreads();  // the last sum has been read by all
  if (thread_index() % kWarp == 0) partial[thread_index() / kWarp] = value;
  __syncthreads();
  double total = 0.0;
  for (int warp = 0; warp < kWarps; ++warp) total += partial[warp];
  return total;
}

}  // namespace hubprune::cuda
