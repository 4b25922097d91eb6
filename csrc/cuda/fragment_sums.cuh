// SPDX-License-Identifier: MIT
// Adds the edge weights of 64 x 128 products, held in registers by a warpgroup, to the sums of
// their rows and columns.
//
//   sums_i += sum_j f(clamp(s_ij)),   sums_j += sum_i f(clamp(s_ij))
//
// Bound: issue slots: 64 weights, 28 shuffles of columns and 6 sums in fixed point a thread; 16 +
// 128 atomic additions a warp.
// Numerics: rows in float64 from four weights each in float32, the 16 weights of a column in
// float32, in a fixed order; then 64-bit fixed point, whose order changes no bit.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/short_weight.cuh"
#include "cuda/sm90_layout.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kFragmentValues = tensor_values(kNarrow);

// Called by whole warps; `thread` counts within the warpgroup. The kFragmentValues products from
// kFirst on are of rows first_row .. and columns first_column .., none a NaN, those beyond n zeros,
// which weigh nothing; a diagonal tile (128 rows, of which these are 64) holds every pair twice,
// and only its rows are summed.
template <Edge kEdge, int kFirst, int kValues>
__device__ __forceinline__ void add_fragment_sums(const float (&products)[kValues], int thread,
                                                  bool diagonal, int first_row, int first_column,
                                                  int n, double scale,
                                                  unsigned long long* __restrict__ sums) {
  const int lane = thread % kWarp;
  const int row = first_row + fragment_row(thread, 0);  // its values 2 and 3: eight rows below
  float weights[kFragmentValues];
#pragma unroll
  for (int v = 0; v < kFragmentValues; ++v) weights[v] = short_weight<kEdge>(products[kFirst + v]);
  if (diagonal) {  // here, not above: ptxas makes a branch of every turn there
    const int shift = first_row - first_column;
#pragma unroll
    for (int v = 0; v < kFragmentValues; ++v) {
      if (shift + fragment_row(thread, v) == fragment_column(thread, v)) weights[v] = 0.0f;
    }
  }

  double upper = 0.0;
  double lower = 0.0;
#pragma unroll
  for (int v = 0; v < kFragmentValues; v += 8) {
    upper += static_cast<double>((weights[v] + weights[v + 1]) + (weights[v + 4] + weights[v + 5]));
    lower +=
        static_cast<double>((weights[v + 2] + weights[v + 3]) + (weights[v + 6] + weights[v + 7]));
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

  // A quad's lane and its seven fellows hold the same 32 columns: each ends up with 4 of them.
  constexpr int kColumns = kFragmentValues / 2;
  float column_sums[kColumns];
#pragma unroll
  for (int q = 0; q < kColumns; ++q) {
    const int v = q / 2 * 4 + q % 2;
    column_sums[q] = weights[v] + weights[v + 2];
  }
  exchange_half<16>(column_sums, (lane & 16) != 0, 16);
  exchange_half<8>(column_sums, (lane & 8) != 0, 8);
  exchange_half<4>(column_sums, (lane & 4) != 0, 4);
  const int first = lane & (16 + 8 + 4);
#pragma unroll
  for (int q = 0; q < kColumns / 8; ++q) {
    const int column = first_column + fragment_column(thread, first * 2 + q / 2 * 4 + q % 2);
    if (column < n) {
      const double sum = static_cast<double>(column_sums[q]);
      atomicAdd(sums + column, static_cast<unsigned long long>(to_fixed_point(sum, scale)));
    }
  }
}

}  // namespace hubprune::cuda
