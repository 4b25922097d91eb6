// SPDX-License-Identifier: MIT
// Adds the edge weights of 64 x 128 products, held in registers by a warpgroup, to the sums of
// their rows and columns.
//
//   sums_i += sum_j f(clamp(s_ij)),   sums_j += sum_i f(clamp(s_ij))
//
// Bound: shuffles: 3 for each of a thread's 32 columns; 16 + 256 atomic additions a warp.
// Numerics: pairs of weights in float32, then float64 in a fixed order, then 64-bit fixed point,
// whose order changes no bit.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/sm90_layout.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

// Called by whole warps; `thread` counts within the warpgroup. The products are of rows first_row
// .. and columns first_column ..; a diagonal tile (128 rows, of which these are 64) holds every
// pair twice, and only its rows are summed.
template <Edge kEdge>
__device__ __forceinline__ void add_fragment_sums(float (&products)[kTensorValues], int thread,
                                                  bool diagonal, int64_t first_row,
                                                  int64_t first_column, int64_t n, double scale,
                                                  unsigned long long* __restrict__ sums) {
  const int lane = thread % kWarp;
  const int64_t row = first_row + fragment_row(thread, 0);  // its values 2 and 3: eight rows below
  const bool whole =
      !diagonal && first_row + kTensorTile / 2 <= n && first_column + kTensorTile <= n;
#pragma unroll
  for (int v = 0; v < kTensorValues; ++v) {
    products[v] = edge_weight<kEdge>(clamp_cosine(products[v]));
    if (!whole) {
      const int64_t i = first_row + fragment_row(thread, v);
      const int64_t j = first_column + fragment_column(thread, v);
      if (i == j || i >= n || j >= n) products[v] = 0.0f;
    }
  }

  double upper = 0.0;
  double lower = 0.0;
#pragma unroll
  for (int v = 0; v < kTensorValues; v += 4) {
    upper += static_cast<double>(products[v] + products[v + 1]);
    lower += static_cast<double>(products[v + 2] + products[v + 3]);
  }
  for (int step = 1; step < 4; step *= 2) {
    upper += __shfl_xor_sync(kFullWarp, upper, step);
    lower += __shfl_xor_sync(kFullWarp, lower, step);
  }
  if (lane % 4 == 0 && row < n) {
    atomicAdd(sums + row, static_cast<unsigned long long>(to_fixed_point(upper, scale)));
  }
  if (lane % 4 == 0 && row + 8 < n) {
    atomicAdd(sums + row + 8, static_cast<unsigned long long>(to_fixed_point(lower, scale)));
  }
  if (diagonal) return;

#pragma unroll
  for (int v = 0; v < kTensorValues; v += 4) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float sum = products[v + c] + products[v + c + 2];
      for (int step = 4; step < kWarp; step *= 2) sum += __shfl_xor_sync(kFullWarp, sum, step);
      const int64_t column = first_column + fragment_column(thread, v + c);
      if (lane < 4 && column < n) {
        atomicAdd(sums + column,
                  static_cast<unsigned long long>(to_fixed_point(static_cast<double>(sum), scale)));
      }
    }
  }
}

}  // namespace hubprune::cuda
