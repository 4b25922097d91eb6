// SPDX-License-Identifier: MIT
// Reductions over a warp, or over each group of kLanes lanes of it (a power of two), in a fixed
// order (butterflies): every lane ends with the same bits.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

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

}  // namespace hubprune::cuda
