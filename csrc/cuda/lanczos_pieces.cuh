// SPDX-License-Identifier: MIT
// Vectors of a Lanczos search (lanczos.cuh) by pieces, which a block holds in registers: a thread
// reads kPieceValues entries, kLanczosThreads apart, before it writes one. Entry by entry each read
// would wait for the write before it, for the compiler cannot know that the two are of different
// vectors.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"

namespace hubprune::cuda {

constexpr int kLanczosThreads = 256;
constexpr int kPieceValues = 8;
constexpr int64_t kPieceRows = kLanczosThreads * kPieceValues;

// How far a piece whose first entry is this one reaches in a vector of n.
__device__ __forceinline__ int piece_left(int64_t first, int64_t n) {
  return static_cast<int>(n - first < kPieceRows ? n - first : kPieceRows);
}

__device__ __forceinline__ void load_piece(const double* v, int left,
                                           double (&values)[kPieceValues]) {
#pragma unroll
  for (int e = 0; e < kPieceValues; ++e) {
    values[e] = e * kLanczosThreads < left ? v[e * kLanczosThreads] : 0.0;
  }
}

__device__ __forceinline__ void store_piece(double* v, int left,
                                            const double (&values)[kPieceValues]) {
#pragma unroll
  for (int e = 0; e < kPieceValues; ++e) {
    if (e * kLanczosThreads < left) v[e * kLanczosThreads] = values[e];
  }
}

__device__ __forceinline__ void scale_piece(double* v, int left, double factor) {
  double values[kPieceValues];
  load_piece(v, left, values);
#pragma unroll
  for (int e = 0; e < kPieceValues; ++e) values[e] *= factor;
  store_piece(v, left, values);
}

// v *= factor
__device__ __forceinline__ void scale(double* v, double factor, int64_t n) {
#pragma unroll 1
  for (int64_t first = thread_index(); first < n; first += kPieceRows) {
    scale_piece(v + first, piece_left(first, n), factor);
  }
}

// values <- a piece of ritz_0 basis_0 + ... + ritz_j basis_j; basis is the first vector's piece.
__device__ __forceinline__ void combine_piece(const double* basis, int left, int64_t n, int j,
                                              const double* ritz, double (&values)[kPieceValues]) {
#pragma unroll
  for (int e = 0; e < kPieceValues; ++e) values[e] = 0.0;
  for (int i = 0; i <= j; ++i) {
    double v[kPieceValues];
    load_piece(basis + i * n, left, v);
#pragma unroll
    for (int e = 0; e < kPieceValues; ++e) values[e] += ritz[i] * v[e];
  }
}

}  // namespace hubprune::cuda
