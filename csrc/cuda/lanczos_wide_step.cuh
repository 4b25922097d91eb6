// SPDX-License-Identifier: MIT
// One step of a Lanczos search (lanczos.cuh) by the whole device, for vectors so long that a block
// would read them longer than five launches take.
//
//   c = basis[0 .. j] . next,  next -= c basis,  twice;  then the same decision as the short step
//
// Shapes: basis (batch, kBasisMax + 1, n), next = basis[j + 1]; partials 2 x (batch, pieces,
// kBasisMax). A block holds one piece of kPieceRows entries of `next` in registers.
// Bound: reads of the basis, 5 (j + 1) vectors in step j, two fifths of them out of the L2 cache.
// Numerics: float64; pieces depend on n alone and are added in order: the same bits for every grid.
// The classical Gram-Schmidt process, whose components do not wait for one another; twice is enough
// for it too (Giraud, Langou & Rozloznik, 2005). A collapsed vector is not scaled again: its length
// is 1 to a few ulp. Twin: hubprune.reference.graph_eigenvector_centrality.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/lanczos_pieces.cuh"
#include "cuda/lanczos_steps.cuh"
#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

// Vectors beyond take the wide step. Not measured: by instructions, with 300 cycles for a read of
// the second-level cache, 64 bytes a cycle and 1.2 us for a launch, it is cheaper from 4000 rows on
// for a search of 24 steps, and from 16 000 for one of six, whose other steps are empty launches.
constexpr int64_t kShortRows = 8192;

// What the last kernel of a step does with the basis.
enum Move { kNothing, kScale, kCollapse };

HUBPRUNE_SHARED bool is_wide(int64_t n) { return n > kShortRows; }

// Doubles of each of the two arrays of partial sums.
HUBPRUNE_SHARED int64_t wide_partials(int64_t batch, int64_t n) {
  return is_wide(n) ? batch * ceil_divide(n, kPieceRows) * kBasisMax : 0;
}

struct WideMemory {
  StepMemory step;
  double components[kBasisMax];
};

// The place of one block's work. Threads hold every kLanczosThreads-th entry from `first` on.
struct Piece {
  int64_t item;
  int64_t index;  // within the item
  int64_t first;  // entry of this thread
  int left;       // entries from there to the end of the piece

  __device__ __forceinline__ Piece(int64_t work, int64_t n)
      : item(work / ceil_divide(n, kPieceRows)),
        index(work % ceil_divide(n, kPieceRows)),
        first(index * kPieceRows + thread_index()),
        left(piece_left(first, n)) {}

  // The sums that the block writes, and those of all pieces of the item.
  template <class Value>
  __device__ __forceinline__ Value* sums(Value* partials, int64_t n, int64_t at) const {
    return partials + (item * ceil_divide(n, kPieceRows) + at) * kBasisMax;
  }
};

// sums (j + 1) <- basis[0 .. j] . values, of this piece.
__device__ __forceinline__ void piece_dots(const double* basis, const Piece& piece, int64_t n,
                                           int j, const double (&values)[kPieceValues],
                                           StepMemory& shared, double* sums) {
  for (int i = 0; i <= j; ++i) {
    double v[kPieceValues];
    load_piece(basis_vector(basis, piece.item, i, n) + piece.first, piece.left, v);
    double sum = 0.0;
#pragma unroll
    for (int e = 0; e < kPieceValues; ++e) sum += v[e] * values[e];
    sum = block_sum(sum, shared.partial);
    if (thread_index() == 0) sums[i] = sum;
  }
}

// One block per item and piece.
static __global__ void __launch_bounds__(kLanczosThreads)
    wide_dots_kernel(int64_t batch, int64_t n, int j, const Progress* __restrict__ progress,
                     const double* __restrict__ basis, double* __restrict__ partials) {
  WideMemory& shared = block_memory<WideMemory>();
  const int64_t pieces = ceil_divide(n, kPieceRows);
  for (int64_t work = block_index(); work < batch * pieces; work += grid_blocks()) {
    const Piece piece(work, n);
    if (progress[piece.item].done) continue;
    double next[kPieceValues];
    load_piece(basis_vector(basis, piece.item, j + 1, n) + piece.first, piece.left, next);
    piece_dots(basis, piece, n, j, next, shared.step, piece.sums(partials, n, piece.index));
  }
}

// One block per item and piece: next -= c basis, c from `before`; after <- the components of what
// is left, or, `again`, its square.
static __global__ void __launch_bounds__(kLanczosThreads)
    wide_subtract_kernel(int64_t batch, int64_t n, int j, bool again,
                         Progress* __restrict__ progress, const double* __restrict__ before,
                         double* __restrict__ after, double* __restrict__ basis) {
  WideMemory& shared = block_memory<WideMemory>();
  const int lane = thread_index() % kWarp;
  const int64_t pieces = ceil_divide(n, kPieceRows);
  for (int64_t work = block_index(); work < batch * pieces; work += grid_blocks()) {
    const Piece piece(work, n);
    if (progress[piece.item].done) continue;

    // Load: a warp per component
    for (int i = thread_index() / kWarp; i <= j; i += kLanczosWarps) {
      double sum = 0.0;
      for (int64_t q = lane; q < pieces; q += kWarp) sum += piece.sums(before, n, q)[i];
      sum = warp_sum(sum);
      if (lane == 0) shared.components[i] = sum;
    }
    __syncthreads();
    double* target = basis_vector(basis, piece.item, j + 1, n) + piece.first;
    double next[kPieceValues];
    load_piece(target, piece.left, next);

    // Compute
    for (int i = 0; i <= j; ++i) {
      double v[kPieceValues];
      load_piece(basis_vector(basis, piece.item, i, n) + piece.first, piece.left, v);
#pragma unroll
      for (int e = 0; e < kPieceValues; ++e) next[e] -= shared.components[i] * v[e];
    }

    // Store
    store_piece(target, piece.left, next);
    double* sums = piece.sums(after, n, piece.index);
    if (again) {
      double square = 0.0;
#pragma unroll
      for (int e = 0; e < kPieceValues; ++e) square += next[e] * next[e];
      square = block_sum(square, shared.step.partial);
      if (thread_index() == 0) sums[0] = square;
    } else {
      // The first component along v_j is v_j' A v_j.
      if (piece.index == 0 && thread_index() == 0) {
        progress[piece.item].diagonal[j] = shared.components[j];
      }
      piece_dots(basis, piece, n, j, next, shared.step, sums);
    }
    __syncthreads();
  }
}

// One block per item.
static __global__ void __launch_bounds__(kLanczosThreads, kStepBlocks)
    wide_decide_kernel(int64_t batch, int64_t n, int j, double tol, double noise, bool last,
                       const double* __restrict__ partials, Progress* __restrict__ progress) {
  StepMemory& shared = block_memory<StepMemory>();
  const int64_t pieces = ceil_divide(n, kPieceRows);
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    Progress& own = progress[item];
    const bool done = own.done != 0;
    double square = 0.0;
    for (int64_t q = thread_index(); q < pieces && !done; q += kLanczosThreads) {
      square += partials[(item * pieces + q) * kBasisMax];
    }
    square = block_sum(square, shared.partial);
    if (done) {
      if (thread_index() == 0) own.move = kNothing;
    } else if (thread_index() < kWarp) {
      const bool converged =
          examine(own, j, own.diagonal[j], sqrt(square), tol, noise, shared.team);
      if (thread_index() <= j) own.ritz[thread_index()] = shared.team[thread_index()];
      if (thread_index() == 0) {
        own.move = converged || last || j + 1 == kBasisMax ? kCollapse : kScale;
        own.done = converged || last;
      }
    }
    __syncthreads();
  }
}

// One block per item and piece. An item that is done by now still makes its last move.
static __global__ void __launch_bounds__(kLanczosThreads)
    wide_move_kernel(int64_t batch, int64_t n, int j, const Progress* __restrict__ progress,
                     double* __restrict__ basis) {
  const int64_t pieces = ceil_divide(n, kPieceRows);
  for (int64_t work = block_index(); work < batch * pieces; work += grid_blocks()) {
    const Piece piece(work, n);
    const Progress& own = progress[piece.item];
    double* first = basis_vector(basis, piece.item, 0, n) + piece.first;
    if (own.move == kScale) scale_piece(first + (j + 1) * n, piece.left, 1.0 / own.off[j]);
    if (own.move == kCollapse) {
      double values[kPieceValues];
      combine_piece(first, piece.left, n, j, own.ritz, values);
      store_piece(first, piece.left, values);
    }
  }
}

// partials: 2 x wide_partials.
static inline void enqueue_wide_step(Launches& launches, int64_t batch, int64_t n, int j,
                                     double tol, double noise, bool last, Progress* progress,
                                     double* basis, double* partials) {
  const int64_t blocks = batch * ceil_divide(n, kPieceRows);
  double* second = partials + wide_partials(batch, n);
  launches.kernel(wide_dots_kernel, blocks, kLanczosThreads, sizeof(WideMemory), batch, n, j,
                  progress, basis, partials);
  launches.kernel(wide_subtract_kernel, blocks, kLanczosThreads, sizeof(WideMemory), batch, n, j,
                  false, progress, partials, second, basis);
  launches.kernel(wide_subtract_kernel, blocks, kLanczosThreads, sizeof(WideMemory), batch, n, j,
                  true, progress, second, partials, basis);
  launches.kernel(wide_decide_kernel, batch, kLanczosThreads, sizeof(StepMemory), batch, n, j, tol,
                  noise, last, partials, progress);
  launches.kernel(wide_move_kernel, blocks, kLanczosThreads, 0, batch, n, j, progress, basis);
}

}  // namespace hubprune::cuda
