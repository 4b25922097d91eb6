// SPDX-License-Identifier: MIT
// Degrees that never form a pair, for the edges that are linear in the cosine.
//
//   signed_i = y_i . (sum_j y_j) - y_i . y_i,   shifted_i = (n - 1 + signed_i) / 2
//
// Shapes: x (batch, n, d) -> degree (batch, n); y = rows of unit length; y_i . y_i is 1, or 0 for a
// zero row.
// Bound: two reads of x and one for the norms (row_norms_kernel).
// Numerics: everything in float64. A block sums kSumRows rows in a fixed order, blocks meet in
// 64-bit fixed point (|y_ik| <= 1), so the result has the same bits on every run and for every
// grid. Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/fixed_point.h"
#include "cuda/launch.cuh"
#include "cuda/normalized_rows.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kClosedThreads = 256;
constexpr int64_t kSumRows = 512;

struct SumMemory {
  double partial[kClosedThreads];
};

// sums (batch, d): fixed-point sums of the unit rows, zeroed before. One block per piece of rows
// and piece of features; neighbouring threads read neighbouring values.
template <class T>
__global__ void __launch_bounds__(kClosedThreads)
    unit_sum_kernel(const T* __restrict__ x, const double* __restrict__ norms,
                    const int* __restrict__ exponents, int64_t batch, int64_t n, int64_t d,
                    double scale, unsigned long long* __restrict__ sums) {
  SumMemory& shared = block_memory<SumMemory>();
  const int width = d < kClosedThreads ? static_cast<int>(d) : kClosedThreads;
  const int lines = kClosedThreads / width;  // rows side by side; the last threads may idle
  const int line = thread_index() / width;
  const int64_t row_pieces = ceil_divide(n, kSumRows);
  const int64_t feature_pieces = ceil_divide(d, width);

  for (int64_t work = block_index(); work < batch * row_pieces * feature_pieces;
       work += grid_blocks()) {
    const int64_t item = work / (row_pieces * feature_pieces);
    const int64_t first = work / feature_pieces % row_pieces * kSumRows;
    const int64_t feature = work % feature_pieces * width + thread_index() % width;
    const int64_t end = first + kSumRows < n ? first + kSumRows : n;

    // Compute
    double sum = 0.0;
    if (line < lines && feature < d) {
      for (int64_t i = first + line; i < end; i += lines) {
        const int64_t row = item * n + i;
        if (norms[row] != 0.0) sum += scaled(x[row * d + feature], exponents[row]) / norms[row];
      }
    }
    shared.partial[thread_index()] = sum;
    __syncthreads();

    // Store
    if (line == 0 && feature < d) {
      for (int l = 1; l < lines; ++l) sum += shared.partial[l * width + thread_index()];
      // A NaN row makes the whole item NaN, which its flag says; the sum must only stay defined.
      if (sum != sum) sum = 0.0;
      atomicAdd(sums + item * d + feature,
                static_cast<unsigned long long>(to_fixed_point(sum, scale)));
    }
    __syncthreads();
  }
}

// One group of lanes per row, as wide as the row is long (at most a warp).
template <class T>
__global__ void __launch_bounds__(kClosedThreads)
    closed_degree_kernel(const T* __restrict__ x, const double* __restrict__ norms,
                         const int* __restrict__ exponents,
                         const unsigned long long* __restrict__ sums,
                         const unsigned long long* __restrict__ nonfinite, int64_t batch, int64_t n,
                         int64_t d, double scale, bool shifted, T* __restrict__ out) {
  int group = 1;
  while (group < d && group < kWarp) group *= 2;
  const int lane = thread_index() % group;
  const int64_t per_block = kClosedThreads / group;
  const int64_t rows = batch * n;

  // Every lane of a warp walks equally often: the shuffles need them all.
  for (int64_t first = block_index() * per_block; first < rows;
       first += grid_blocks() * per_block) {
    const int64_t row = first + thread_index() / group;
    const bool inside = row < rows;
    const int64_t item = inside ? row / n : 0;
    double product = 0.0;
    if (inside) {
      for (int64_t k = lane; k < d; k += group) {
        product += scaled(x[row * d + k], exponents[row]) *
                   from_fixed_point(static_cast<int64_t>(sums[item * d + k]), scale);
      }
    }
    for (int step = group / 2; step > 0; step /= 2) {
      product += __shfl_xor_sync(kFullWarp, product, step);
    }
    if (inside && lane == 0) {
      const double norm = norms[row];
      double degree = norm > 0.0 ? product / norm - 1.0 : 0.0;
      if (shifted) degree = 0.5 * (static_cast<double>(n - 1) + degree);
      out[row] = static_cast<T>(n == 1 ? 0.0 : (nonfinite[item] ? NAN : degree));
    }
  }
}

// sums (batch, d) and nonfinite (batch) are zero.
template <class T>
void enqueue_closed_degree(Launches& launches, const T* x, int64_t batch, int64_t n, int64_t d,
                           bool shifted, double* norms, int* exponents,
                           unsigned long long* nonfinite, unsigned long long* sums, T* out) {
  const double scale = fixed_point_scale(n);
  const int64_t rows = batch * n;
  launches.kernel(row_norms_kernel<T>, ceil_divide(rows, kRowWarps), kRowThreads, 0, x, rows, n, d,
                  false, norms, exponents, nonfinite);
  if (d > 0) {
    const int64_t width = d < kClosedThreads ? d : kClosedThreads;
    launches.kernel(unit_sum_kernel<T>, batch * ceil_divide(n, kSumRows) * ceil_divide(d, width),
                    kClosedThreads, sizeof(SumMemory), x, norms, exponents, batch, n, d, scale,
                    sums);
  }
  int64_t group = 1;
  while (group < d && group < kWarp) group *= 2;
  launches.kernel(closed_degree_kernel<T>, ceil_divide(rows, kClosedThreads / group),
                  kClosedThreads, 0, x, norms, exponents, sums, nonfinite, batch, n, d, scale,
                  shifted, out);
}

}  // namespace hubprune::cuda
