// SPDX-License-Identifier: MIT
// Greedy selection in steps that need each other, one launch a step and no barrier over the grid.
//
// The rows are cut into at most kMostPieces pieces, which depend on n alone. A launch compares the
// candidates that the launch before left, one of each piece: every block does, so that all of them
// know the winner. It then updates its pieces and leaves their next candidates in the other half
// of a double buffer: nothing that a launch reads is written by it, no atomics, and the same bits
// for every grid. Ties: the lowest row.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kPieceThreads = 256;
constexpr int kPieceWarps = kPieceThreads / kWarp;
constexpr int64_t kMostPieces = kPieceThreads;  // a thread for each when they are compared

// How many rows a piece has: a multiple of `chunk`, the rows that a block takes at a time.
HUBPRUNE_SHARED int64_t piece_rows(int64_t n, int64_t chunk) {
  return ceil_divide(ceil_divide(n, kMostPieces), chunk) * chunk;
}

template <class Value>
struct alignas(16) RankedRow {
  Value value;
  int64_t row;

  // A NaN wins against everything: it must not be passed over in silence.
  __device__ __forceinline__ void offer(Value other, int64_t other_row) {
    if (value != value) return;
    if (!(other <= value) || (other == value && other_row < row)) {
      value = other;
      row = other_row;
    }
  }
};

template <class Value>
struct PieceMemory {
  RankedRow<Value> best[kPieceWarps];
};

template <class Value>
__device__ __forceinline__ RankedRow<Value> warp_best(RankedRow<Value> own) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const Value value = __shfl_xor_sync(kFullWarp, own.value, step);
    own.offer(value, __shfl_xor_sync(kFullWarp, own.row, step));
  }
  return own;
}

// The best candidate of the block, known to all its threads. Two barriers.
template <class Value>
__device__ __forceinline__ RankedRow<Value> block_best(RankedRow<Value> own,
                                                       PieceMemory<Value>& shared) {
  own = warp_best(own);
  __syncthreads();  // the last best has been read by all
  if (thread_index() % kWarp == 0) shared.best[thread_index() / kWarp] = own;
  __syncthreads();
  own = shared.best[0];
#pragma unroll
  for (int warp = 1; warp < kPieceWarps; ++warp) {
    own.offer(shared.best[warp].value, shared.best[warp].row);
  }
  return own;
}

}  // namespace hubprune::cuda
