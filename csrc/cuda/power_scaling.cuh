// SPDX-License-Identifier: MIT
// Squares that stay in range: float64 values are first multiplied by a power of two (exact but for
// what underflows beside the largest), float32 values need none, for float64 holds their squares.
#pragma once

#include <cuda_runtime.h>

#include <cfloat>
#include <cmath>

namespace hubprune::cuda {

template <class T>
constexpr bool kNeedsScaling = sizeof(T) == sizeof(double);

// e with largest 2^-e in [1, 2); 0 where there is nothing to scale or nothing to save.
__device__ __forceinline__ int range_exponent(double largest) {
  return largest > 0.0 && largest <= DBL_MAX ? ilogb(largest) : 0;
}

template <class T>
__device__ __forceinline__ double scaled(T value, int exponent) {
  if constexpr (kNeedsScaling<T>) {
    return ldexp(value, -exponent);
  } else {
    return static_cast<double>(value);
  }
}

// The power of two that brings `largest` to [1, 2), or near it where that one is not representable.
__device__ __forceinline__ double range_scale(double largest) {
  const int exponent = range_exponent(largest);
  return ldexp(1.0, exponent < -1000 ? 1000 : -exponent);
}

// 1 / power for a power of two whose reciprocal is a normal number: its exponent, negated.
__device__ __forceinline__ double power_reciprocal(double power) {
  constexpr long long kTwiceBias = 2046ll << 52;
  return __longlong_as_double(kTwiceBias - __double_as_longlong(power));
}

}  // namespace hubprune::cuda
