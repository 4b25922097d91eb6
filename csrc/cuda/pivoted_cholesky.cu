// SPDX-License-Identifier: MIT
// Pivoted Cholesky of a positive semi-definite matrix: which rows represent the others.
//
//   p = argmax_i left_i (ties: the lowest index);  left_i -= l_i^2 for the rows i not yet chosen,
//   l_i = (a_pi - sum_{s < k} l_si l_sp) / sqrt(left_p),   until left_p <= tolerance * the first
//
// Shapes: a (n, n) -> order (n): the pivots, then the other rows by index; residual (n): left_p of
// every pivot, then 0; rank (): how many pivots there are.
// Left-looking, one launch a step (row_pieces.cuh), n of them: nothing waits on the host, and once
// the tolerance is reached a launch returns at once. The factor is stored by columns, n each.
// Bound: reads of the factor, the rows not yet chosen of all columns so far: 8 n^3 / 6 bytes where
// the chosen rows lie together, 8 n^3 / 2 where they lie apart, for a sector holds four rows. For
// small n the latency of a launch a step.
// Numerics: float64; a sum over s is added up in kPieceWarps shares, each in order, and these in
// order: the same bits for every grid, and equal rows keep equal bits. |error| of left_i <= about
// (k / kPieceWarps + kPieceWarps + 4) 2^-53 a_ii. What rounding leaves of an explained row may be
// negative: it is no pivot while tolerance >= 0. A NaN on the diagonal of what is left ends the
// walk. Twin: hubprune.reference.pivoted_cholesky.
#include <cmath>

#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/row_pieces.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = kPieceThreads;
constexpr int kStepBlocks = 3;  // per multiprocessor: leaves 80 registers a thread, no spills
using Pivot = RankedRow<double>;

// One warp's rows at a time: its warps share the columns, 64 blocks serve 2048 rows.
constexpr int kChunk = kWarp;

__device__ __forceinline__ Pivot no_pivot() { return {-INFINITY, -1}; }

struct CholeskyMemory {
  PieceMemory<double> pieces;
  double shares[kPieceWarps][kWarp];
};

// What a launch reads of the launch before, and leaves for the next.
struct StepState {
  Pivot* pivots;  // (kMostPieces)
  int64_t* done;  // nothing is left to do
};

// One block per piece: the diagonal, and the candidates of the first step.
__global__ void __launch_bounds__(kThreads)
    cholesky_start_kernel(const double* __restrict__ a, int64_t n, double* __restrict__ left,
                          const StepState after, int64_t* __restrict__ rank) {
  PieceMemory<double>& shared = block_memory<PieceMemory<double>>();
  const int64_t rows = piece_rows(n, kChunk);
  for (int64_t piece = block_index(); piece < ceil_divide(n, rows); piece += grid_blocks()) {
    const int64_t end = (piece + 1) * rows < n ? (piece + 1) * rows : n;
    Pivot best = no_pivot();
    for (int64_t i = piece * rows + thread_index(); i < end; i += kThreads) {
      const double value = a[i * n + i];
      left[i] = value;
      best.offer(value, i);
    }
    best = block_best(best, shared);
    if (thread_index() == 0) after.pivots[piece] = best;
  }
  if (block_index() == 0 && thread_index() == 0) {
    *after.done = 0;
    *rank = n;
  }
}

// left (n): the diagonal of what is left, minus infinity for a chosen row.
__global__ void __launch_bounds__(kThreads, kStepBlocks)
    cholesky_step_kernel(const double* __restrict__ a, int64_t n, double tolerance, int64_t step,
                         const StepState before, const StepState after, double* left,
                         double* factor, int64_t* __restrict__ order, double* __restrict__ residual,
                         int64_t* __restrict__ rank) {
  CholeskyMemory& shared = block_memory<CholeskyMemory>();
  const int lane = thread_index() % kWarp;
  const int warp = thread_index() / kWarp;
  const bool writes = block_index() == 0 && thread_index() == 0;
  if (*before.done) {
    if (writes) *after.done = 1;
    return;
  }
  const int64_t rows = piece_rows(n, kChunk);
  const int64_t pieces = ceil_divide(n, rows);

  // Load
  Pivot pivot = thread_index() < pieces ? before.pivots[thread_index()] : no_pivot();
  pivot = block_best(pivot, shared.pieces);
  const double first = step == 0 ? pivot.value : residual[0];
  const bool done = !(pivot.value > tolerance * fmax(first, 0.0));
  if (writes) {
    *after.done = done;
    if (done) {
      *rank = step;
    } else {
      order[step] = pivot.row;
      residual[step] = pivot.value;
    }
  }
  if (done) return;
  const double root = sqrt(pivot.value);

  for (int64_t piece = block_index(); piece < pieces; piece += grid_blocks()) {
    const int64_t end = (piece + 1) * rows < n ? (piece + 1) * rows : n;
    Pivot best = no_pivot();
    for (int64_t chunk = piece * rows; chunk < end; chunk += kChunk) {
      // Compute
      const int64_t i = chunk + lane;
      const double own = i < end ? left[i] : -INFINITY;
      const bool open = own != -INFINITY && i != pivot.row;
      double share = 0.0;
      if (open) {
#pragma unroll 8
        for (int64_t s = warp; s < step; s += kPieceWarps) {
          share += factor[s * n + i] * factor[s * n + pivot.row];
        }
      }
      shared.shares[warp][lane] = share;
      __syncthreads();

      // Store
      if (warp == 0 && open) {
        double sum = 0.0;
#pragma unroll
        for (int w = 0; w < kPieceWarps; ++w) sum += shared.shares[w][lane];
        const double entry = (a[pivot.row * n + i] - sum) / root;
        const double next = own - entry * entry;
        factor[step * n + i] = entry;
        left[i] = next;
        best.offer(next, i);
      }
      if (warp == 0 && i == pivot.row) left[i] = -INFINITY;
      __syncthreads();  // the shares have been read
    }
    if (warp == 0) {
      best = warp_best(best);
      if (lane == 0) after.pivots[piece] = best;
    }
  }
}

// One thread per row: what was not chosen, by index, behind the pivots; and zeros.
__global__ void __launch_bounds__(kThreads)
    cholesky_finish_kernel(int64_t n, const int64_t* __restrict__ rank, int64_t* order,
                           double* __restrict__ residual) {
  const int64_t pivots = *rank;
  const int64_t step = grid_blocks() * kThreads;
  for (int64_t i = block_index() * kThreads + thread_index(); i < n; i += step) {
    int64_t below = 0;
    bool chosen = false;
#pragma unroll 8
    for (int64_t s = 0; s < pivots; ++s) {
      const int64_t pivot = order[s];
      below += pivot < i;
      chosen = chosen || pivot == i;
    }
    if (!chosen) order[pivots + i - below] = i;
    if (i >= pivots) residual[i] = 0.0;
  }
}

struct CholeskyScratch {
  StepState states[2];
  double* left;    // (n)
  double* factor;  // (n, n): column s at s n, the rows that were open then
  int64_t bytes;

  CholeskyScratch(void* memory, int64_t n) {
    Scratch pieces(memory);
    for (StepState& state : states) {
      state.pivots = pieces.take<Pivot>(kMostPieces);
      state.done = pieces.take<int64_t>(1);
    }
    left = pieces.take<double>(n);
    factor = pieces.take<double>(n * n);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t pivoted_cholesky_scratch_bytes(int64_t n) { return CholeskyScratch(nullptr, n).bytes; }

Status launch_pivoted_cholesky(const double* a, int64_t n, double tolerance, int64_t* order,
                               double* residual, int64_t* rank, void* scratch_memory, int device,
                               void* stream) {
  Launches launches("pivoted_cholesky", device, stream);
  if (n == 0) {
    launches.zero(rank, sizeof(int64_t));
    return launches.status();
  }
  const CholeskyScratch scratch(scratch_memory, n);
  const int64_t pieces = ceil_divide(n, piece_rows(n, kChunk));
  launches.kernel(cholesky_start_kernel, pieces, kThreads, sizeof(PieceMemory<double>), a, n,
                  scratch.left, scratch.states[0], rank);
  for (int64_t step = 0; step < n; ++step) {
    launches.kernel(cholesky_step_kernel, pieces, kThreads, sizeof(CholeskyMemory), a, n, tolerance,
                    step, scratch.states[step % 2], scratch.states[(step + 1) % 2], scratch.left,
                    scratch.factor, order, residual, rank);
  }
  launches.kernel(cholesky_finish_kernel, ceil_divide(n, kThreads), kThreads, 0, n, rank, order,
                  residual);
  return launches.status();
}

}  // namespace hubprune::cuda
