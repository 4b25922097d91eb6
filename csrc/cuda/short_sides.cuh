// SPDX-License-Identifier: MIT
// Short unit rows, split into bfloat16 planes, as both sides of weighted_degree_mma.cu ask for
// them.
//
//   y_i = x_i / |x_i|;  a zero row stays zero
//
// Shapes: x (n, d) float32 -> two sides of `rows` rows, n rounded up (short_planes.h).
// Bound: bytes, 32 a step and row on either side.
// Numerics: lengths and planes in float64; three planes hold y to 2^-24.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "cuda/bfloat16_split.h"
#include "cuda/launch.cuh"
#include "cuda/short_planes.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kSideRows = 64;  // of a block

// Both sides, in words of two entries; the padding is zero.
struct Sides {
  uint32_t* kept;     // the strips' columns
  uint32_t* passing;  // their rows
};

// The plane of a number that is in the planes before it no longer.
__device__ __forceinline__ uint32_t plane_of(double value, int plane) {
  uint16_t part = to_bfloat16(static_cast<float>(value));
  for (int before = 0; before < plane; ++before) {
    value -= static_cast<double>(from_bfloat16(part));
    part = to_bfloat16(static_cast<float>(value));
  }
  return part;
}

// Four lanes a row: each writes its words of both sides. Blocks: rows / kSideRows.
static __global__ void __launch_bounds__(4 * kSideRows)
    short_sides_kernel(const float* __restrict__ x, int64_t n, int d, int planes, int steps,
                       int64_t rows, const Sides sides,
                       unsigned long long* __restrict__ nonfinite) {
  const int lane = thread_index() % 4;
  for (int64_t row = block_index() * kSideRows + thread_index() / 4; row < rows;
       row += grid_blocks() * kSideRows) {
    // Load: the row's length
    const float* __restrict__ values = x + row * d;
    double square = 0.0;
    for (int k = lane; row < n && k < d; k += 4) {
      const double value = static_cast<double>(values[k]);
      square += value * value;
    }
    square = warp_sum<4>(square);
    const bool finite = square <= DBL_MAX;
    if (!finite && lane == 0) atomicOr(nonfinite, 1ull);
    const double norm = finite ? sqrt(square) : 0.0;

    // Compute and store
    for (int word = 0; word < steps * kStepWords; ++word) {
      uint32_t parts[2] = {};
      for (int i = 0; i < 2; ++i) {
        const int entry = word_entry(lane, word) + i;
        // Padding and a zero row are zero; so is a non-finite one, whose flag says more.
        if (entry >= plane_pair_count(planes) * d || norm == 0.0) continue;
        const PlanePair pair = plane_pair(planes, entry / d);
        const double value = static_cast<double>(values[entry % d]) / norm;
        parts[0] |= plane_of(value, pair.left) << 16 * i;
        parts[1] |= plane_of(value, pair.right) << 16 * i;
      }
      sides.kept[kept_place(steps, row, lane, word)] = parts[0];
      sides.passing[passing_place(steps, row, lane, word)] = parts[1];
    }
  }
}

}  // namespace hubprune::cuda
