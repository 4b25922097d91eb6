// SPDX-License-Identifier: MIT
// The kernels of a Lanczos search (lanczos.cuh) with a block per item, for vectors of a few
// thousand entries: where it starts, one step, and its answer.
//
// Shapes: basis (batch, kBasisMax + 1, n), progress (batch) -> vector (batch, n), converged
// (batch), residual (batch). Bound: reads of the basis by one multiprocessor, 4 (j + 1) vectors in
// step j. Numerics: all in float64, in a fixed order: the same bits on every run. The
// orthogonalisation is the modified Gram-Schmidt process, twice. Twin:
// hubprune.reference.graph_eigenvector_centrality.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/start_vector.h"
#include "cuda/lanczos_pieces.cuh"
#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"
#include "cuda/warp_tridiagonal.cuh"

namespace hubprune::cuda {

constexpr int kLanczosWarps = kLanczosThreads / kWarp;
constexpr int kStepBlocks = 2;  // per multiprocessor: leaves 128 registers a thread, no spills
constexpr int kBasisMax = 24;
static_assert(kBasisMax <= kWarp, "an entry of the tridiagonal matrix for each lane");
constexpr unsigned long long kNotFinite = 1;
constexpr unsigned long long kNegative = 2;

// What is known of one item between launches.
struct Progress {
  double diagonal[kBasisMax];
  double off[kBasisMax];
  double ritz[kBasisMax];  // of a wide step (lanczos_wide_step.cuh), as `move`
  double residual;
  int done;       // nothing is left to do
  int converged;  // and the vector is right
  int move;
};

// Vector j of an item's basis; the product of vector j becomes vector j + 1.
__device__ __forceinline__ double* basis_vector(double* basis, int64_t item, int64_t j, int64_t n) {
  return basis + (item * (kBasisMax + 1) + j) * n;
}
__device__ __forceinline__ const double* basis_vector(const double* basis, int64_t item, int64_t j,
                                                      int64_t n) {
  return basis + (item * (kBasisMax + 1) + j) * n;
}

struct StepMemory {
  double partial[kLanczosWarps];
  double team[kTeamWork * kBasisMax];  // first the leading eigenvector of the tridiagonal matrix
  int collapse;                        // the basis is replaced by its best vector
};

__device__ __forceinline__ double block_dot(const double* x, const double* y, int64_t n,
                                            StepMemory& shared) {
  double sum = 0.0;
  for (int64_t k = thread_index(); k < n; k += kLanczosThreads) sum += x[k] * y[k];
  return block_sum(sum, shared.partial);
}

// v_0 <- the combination of v_0 .. v_j, of length 1.
__device__ __forceinline__ void collapse(double* basis, int64_t n, int j, StepMemory& shared) {
  double square = 0.0;
#pragma unroll 1
  for (int64_t first = thread_index(); first < n; first += kPieceRows) {
    const int left = piece_left(first, n);
    double values[kPieceValues];
    combine_piece(basis + first, left, n, j, shared.team, values);
    store_piece(basis + first, left, values);
#pragma unroll
    for (int e = 0; e < kPieceValues; ++e) square += values[e] * values[e];
  }
  scale(basis, 1.0 / sqrt(block_sum(square, shared.partial)), n);
}

// next -= component v; returns the product of what is left with `other`, which may be `next`.
__device__ __forceinline__ double subtract(double* next, const double* v, double component,
                                           const double* other, int64_t n, StepMemory& shared) {
  double sum = 0.0;
#pragma unroll 1
  for (int64_t first = thread_index(); first < n; first += kPieceRows) {
    double rest[kPieceValues];
    double along[kPieceValues];
    double others[kPieceValues];
    const int left = piece_left(first, n);
    load_piece(next + first, left, rest);
    load_piece(v + first, left, along);
    load_piece(other + first, left, others);
#pragma unroll
    for (int e = 0; e < kPieceValues; ++e) {
      rest[e] -= component * along[e];
      sum += rest[e] * (other == next ? rest[e] : others[e]);
    }
    store_piece(next + first, left, rest);
  }
  return block_sum(sum, shared.partial);
}

// What the tridiagonal matrix of the first j + 1 vectors says, by the block's first warp: whether
// its leading eigenvector, team (j + 1), is the answer.
__device__ __forceinline__ bool examine(Progress& own, int j, double alpha, double beta, double tol,
                                        double noise, double (&team)[kTeamWork * kBasisMax]) {
  const int lane = thread_index();
  const TeamWork<int> work(team, j + 1);
  if (lane <= j) {  // a copy, which is scaled
    work.diagonal[lane] = lane < j ? own.diagonal[lane] : alpha;
    work.off[lane] = lane < j ? own.off[lane] : beta;
  }
  __syncwarp();
  const double lambda = fabs(team_tridiagonal_eigenpair<kWarp>(work, j + 1));
  __syncwarp();
  const double error = beta * fabs(work.vector[j]);
  const bool converged =
      error <= tol * lambda || error <= noise || beta <= 1e-14 * lambda;  // an invariant subspace
  if (lane == 0) {
    own.diagonal[j] = alpha;
    own.off[j] = beta;
    own.residual = error > 0.0 ? error / lambda : 0.0;
    own.converged = converged;
  }
  return converged;
}

// One block per item: the start vector and a clean slate. start (batch, n), or null; `negative`:
// the graph may have negative weights, whatever its flag says.
static __global__ void __launch_bounds__(kLanczosThreads)
    lanczos_start_kernel(const unsigned long long* __restrict__ flags, int64_t batch, int64_t n,
                         const double* __restrict__ start, bool negative_weights, double tol,
                         double* __restrict__ basis, Progress* __restrict__ progress) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    double* v = basis_vector(basis, item, 0, n);
    const bool negative = negative_weights || (flags[item] & kNegative) != 0;
    for (int64_t i = thread_index(); i < n; i += kLanczosThreads) v[i] = plain_start(i, negative);
    if (start != nullptr) {
      const double* given = start + item * n;
      const double plain_norm = sqrt(block_dot(v, v, n, shared));
      const double given_norm = sqrt(block_dot(given, given, n, shared));
      for (int64_t i = thread_index(); i < n; i += kLanczosThreads) {
        v[i] = warm_start(given[i] / given_norm, v[i] / plain_norm, plain_share(tol), negative);
      }
    }
    const double norm = sqrt(block_dot(v, v, n, shared));
    for (int64_t i = thread_index(); i < n; i += kLanczosThreads) v[i] /= norm;
    if (thread_index() == 0) {
      progress[item].residual = 0.0;
      progress[item].done = (flags[item] & kNotFinite) != 0;
      progress[item].converged = 0;
    }
  }
}

// One block per item: orthogonalise the product, look at the tridiagonal matrix, go on or stop.
static __global__ void __launch_bounds__(kLanczosThreads, kStepBlocks)
    lanczos_step_kernel(int64_t batch, int64_t n, int j, double tol, double noise, bool last,
                        Progress* __restrict__ progress, double* __restrict__ basis) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    Progress& own = progress[item];
    if (own.done) continue;
    double* vectors = basis_vector(basis, item, 0, n);
    double* next = vectors + (j + 1) * n;

    // Compute. Twice is enough: the second pass removes what rounding left of the first.
    const double alpha = block_dot(vectors + j * n, next, n, shared);
    double component = block_dot(vectors, next, n, shared);
    for (int pass = 0; pass < 2; ++pass) {
      for (int i = 0; i <= j; ++i) {
        const double* v = vectors + i * n;
        const double* other = i < j ? v + n : (pass == 0 ? vectors : next);
        component = subtract(next, v, component, other, n, shared);
      }
    }
    const double beta = sqrt(component);
    if (thread_index() < kWarp) {
      const bool converged = examine(own, j, alpha, beta, tol, noise, shared.team);
      if (thread_index() == 0) shared.collapse = converged || last || j + 1 == kBasisMax;
    }
    __syncthreads();

    // Store
    if (shared.collapse) {
      collapse(vectors, n, j, shared);
      if (thread_index() == 0) own.done = own.converged || last;
    } else {
      scale(next, 1.0 / beta, n);
    }
    __syncthreads();
  }
}

// One block per item: the sign of the sum, the dtype of the graph.
template <class T>
__global__ void __launch_bounds__(kLanczosThreads)
    lanczos_finish_kernel(const double* __restrict__ basis, const Progress* __restrict__ progress,
                          const unsigned long long* __restrict__ flags, int64_t batch, int64_t n,
                          T* __restrict__ out, int64_t* __restrict__ converged,
                          double* __restrict__ residual) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    const double* v = basis_vector(basis, item, 0, n);
    const bool right = progress[item].converged != 0;
    double sum = 0.0;
    for (int64_t k = thread_index(); k < n; k += kLanczosThreads) sum += v[k];
    const double sign = block_sum(sum, shared.partial) < 0.0 ? -1.0 : 1.0;
    for (int64_t k = thread_index(); k < n; k += kLanczosThreads) {
      out[item * n + k] = static_cast<T>(right ? sign * v[k] : NAN);
    }
    if (thread_index() == 0) {
      // NaN in, NaN out is an answer, not a failure.
      converged[item] = right || (flags[item] & kNotFinite) != 0;
      residual[item] = progress[item].residual;
    }
  }
}

}  // namespace hubprune::cuda
