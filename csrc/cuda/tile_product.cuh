// SPDX-License-Identifier: MIT
// One 64 x 64 tile of Y Y' for a block of 256 threads, 4 x 4 entries a thread, SIMT.
//
//   product[r][c] = sum_k y_{row + r, k} y_{column + c, k}
//
// Shapes: `rows`, `columns`: one panel each, (depth, 64), see normalized_rows.cuh.
// Bound: float multiply-adds; per feature a warp reads 2 x 128 bytes of shared memory for 16 fused
// multiply-adds. Stages are double-buffered: one barrier per stage, loads under the arithmetic.
// Numerics: T in, T out. Every kPartial products are added up on their own; in float32 the partial
// sums then go into a compensated sum, so that for unit rows, whatever d,
//   |error| <= (kPartial + 4) u, u = 2^-24;  float64: (kPartial + d / kPartial) u, u = 2^-53.
// The worst rows known (all entries equal, d up to 20000) reach 9.7e-7, random ones 1e-7; plain
// sums reach 2e-4 and miss the 1e-6 that a cosine may be off. The order depends on k alone: equal
// rows give equal bits wherever they stand, and product(i, j) == product(j, i).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kPanel = 64;
constexpr int kTileThreads = 256;
constexpr int kMicro = 4;
constexpr int kTileLanes = kPanel / kMicro;  // threads along one side of the tile
constexpr int kPartial = 64;
template <class T>
constexpr bool kCompensated = sizeof(T) == sizeof(float);

// A stage is 16 bytes a thread: 16 features in float32, 8 in float64.
template <class T>
constexpr int kStageDepth = 64 / static_cast<int>(sizeof(T));

template <class T>
__host__ __device__ constexpr int64_t panel_depth(int64_t d) {
  return (d + kStageDepth<T> - 1) / kStageDepth<T> * kStageDepth<T>;
}

template <class T>
struct alignas(16) Packet {
  T values[16 / sizeof(T)];
};

template <class T>
struct alignas(16) Micro {
  T values[kMicro];
};

template <class T>
struct Stages {
  alignas(16) T rows[2][kStageDepth<T>][kPanel];
  alignas(16) T columns[2][kStageDepth<T>][kPanel];
};

// A warp covers 16 rows x 32 columns: both of its shared reads are then one wavefront.
__device__ __forceinline__ int micro_row() {
  const int warp = thread_index() / kWarp;
  return (warp / 2 * 4 + thread_index() % kWarp / 8) * kMicro;
}
__device__ __forceinline__ int micro_column() {
  const int warp = thread_index() / kWarp;
  return (warp % 2 * 8 + thread_index() % 8) * kMicro;
}

template <class T>
__device__ __forceinline__ void multiply_feature(const T* row_values, const T* column_values,
                                                 T (&part)[kMicro][kMicro]) {
  const Micro<T> a = *reinterpret_cast<const Micro<T>*>(row_values);
  const Micro<T> b = *reinterpret_cast<const Micro<T>*>(column_values);
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
#pragma unroll
    for (int c = 0; c < kMicro; ++c) part[r][c] += a.values[r] * b.values[c];
  }
}

// Moves a partial sum into the product. `lost` gathers what rounding drops: exactly where the
// product is the larger of the two, else up to one rounding of the partial sum.
template <class T>
__device__ __forceinline__ void promote_sum(T& part, T& product, T& lost) {
  const T sum = product + part;
  if constexpr (kCompensated<T>) lost += part - (sum - product);
  product = sum;
  part = T(0);
}

template <class T>
__device__ __forceinline__ void promote(T (&part)[kMicro][kMicro], T (&product)[kMicro][kMicro],
                                        T (&lost)[kMicro][kMicro]) {
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
#pragma unroll
    for (int c = 0; c < kMicro; ++c) promote_sum(part[r][c], product[r][c], lost[r][c]);
  }
}

// Called by all 256 threads. Ends with a barrier (also for d = 0): `stages` may be reused at once.
template <class T>
__device__ __forceinline__ void tile_product(const T* __restrict__ rows,
                                             const T* __restrict__ columns, int64_t d,
                                             Stages<T>& stages, T (&product)[kMicro][kMicro]) {
  constexpr int kDepth = kStageDepth<T>;
  constexpr int kLength = 16 / static_cast<int>(sizeof(T));
  const int64_t count = (d + kDepth - 1) / kDepth;
  const int offset = thread_index() * kLength;  // this thread's 16 bytes of a stage
  const int row = micro_row();
  const int column = micro_column();
  using Bytes16 = Packet<T>;

  T part[kMicro][kMicro];
  T lost[kMicro][kMicro];
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
#pragma unroll
    for (int c = 0; c < kMicro; ++c) part[r][c] = product[r][c] = lost[r][c] = T(0);
  }

  if (count > 0) {
    T* staged_rows = &stages.rows[0][0][0];
    T* staged_columns = &stages.columns[0][0][0];
    *reinterpret_cast<Bytes16*>(staged_rows + offset) =
        *reinterpret_cast<const Bytes16*>(rows + offset);
    *reinterpret_cast<Bytes16*>(staged_columns + offset) =
        *reinterpret_cast<const Bytes16*>(columns + offset);
  }
  __syncthreads();

  for (int64_t stage = 0; stage < count; ++stage) {
    const int buffer = static_cast<int>(stage % 2);
    const bool more = stage + 1 < count;
    Bytes16 next_rows = {};
    Bytes16 next_columns = {};

    // Load
    if (more) {
      const int64_t next = (stage + 1) * kDepth * kPanel + offset;
      next_rows = *reinterpret_cast<const Bytes16*>(rows + next);
      next_columns = *reinterpret_cast<const Bytes16*>(columns + next);
    }

    // Compute
    const int depth = more ? kDepth : static_cast<int>(d - stage * kDepth);
    if (depth == kDepth) {
#pragma unroll
      for (int k = 0; k < kDepth; ++k) {
        multiply_feature(&stages.rows[buffer][k][row], &stages.columns[buffer][k][column], part);
      }
    } else {
      for (int k = 0; k < depth; ++k) {
        multiply_feature(&stages.rows[buffer][k][row], &stages.columns[buffer][k][column], part);
      }
    }
    if ((stage + 1) % (kPartial / kDepth) == 0) promote(part, product, lost);

    // Store
    if (more) {
      *reinterpret_cast<Bytes16*>(&stages.rows[1 - buffer][0][0] + offset) = next_rows;
      *reinterpret_cast<Bytes16*>(&stages.columns[1 - buffer][0][0] + offset) = next_columns;
    }
    __syncthreads();
  }
  promote(part, product, lost);
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
#pragma unroll
    for (int c = 0; c < kMicro; ++c) product[r][c] += lost[r][c];
  }
}

}  // namespace hubprune::cuda
