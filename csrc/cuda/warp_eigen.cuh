// SPDX-License-Identifier: MIT
// Leading eigenpair of a small symmetric matrix by a team of lanes: Householder tridiagonalisation,
// warp_tridiagonal.cuh, reflectors applied back. Lanes own columns (the matrix is symmetric, so a
// column is a row): neighbouring lanes touch neighbouring words, products and updates of the matrix
// need no shuffles. Sums over the team are butterflies in a fixed order.
// Numerics: float64, backward stable; error of the vector about eps lambda / gap.
// Twin: leading_eigenpair in cpu/matrix_eigen.h, numpy.linalg.eigh in hubprune.reference.
#pragma once

#include <cfloat>
#include <cmath>

#include "cuda/warp_reduce.cuh"
#include "cuda/warp_tridiagonal.cuh"

namespace hubprune::cuda {

// column[i q] -= v[i] wj + w[i] vj for 0 <= i < rows. kRows entries are read before one is written:
// the compiler cannot know that a store leaves the next entries alone.
template <int kRows, class Index>
__device__ __forceinline__ void update_column(double* column, Index q, Index rows, const double* v,
                                              const double* w, double vj, double wj) {
  Index i = 0;
#pragma unroll 1
  for (; i + kRows <= rows; i += kRows) {
    double entries[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      entries[r] = column[r * q] - (v[i + r] * wj + w[i + r] * vj);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) column[r * q] = entries[r];
    column += kRows * q;
  }
#pragma unroll 1
  for (; i < rows; ++i) {
    column[0] -= v[i] * wj + w[i] * vj;
    column += q;
  }
}

// Row k of `a` becomes the vector of reflector k, which maps a[k, k+1:] to a multiple of e_1.
template <int kLanes, class Index>
__device__ __forceinline__ void team_tridiagonalise(double* a, Index q,
                                                    const TeamWork<Index>& work) {
  const Index lane = team_lane<kLanes>();
  constexpr int kRows = sizeof(Index) == sizeof(int) ? 4 : 8;  // global memory is farther
  double* w = work.forward;                                    // free until the factorisations
#pragma unroll 1
  for (Index k = 0; k + 2 < q; ++k) {
    double* v = a + k * q;
    double square = 0.0;
#pragma unroll 1
    for (Index j = k + 2 + lane; j < q; j += kLanes) square += v[j] * v[j];
    square = warp_sum<kLanes>(square);
    const double head = v[k + 1];
    // Squares below the range are nothing beside the trace, and 2 / |v|^2 would overflow. Without a
    // reflector its scale is 0, and the steps below change nothing.
    const bool needed = square >= DBL_MIN;
    const double norm = sqrt(head * head + square);
    const double end = needed ? (head > 0.0 ? -norm : norm) : head;
    const double first = head - end;  // the two have opposite signs: no cancellation
    const double tau = needed ? 2.0 / (square + first * first) : 0.0;

    // A <- H A H = A - v w' - w v', with u = tau A v and w = u - (tau / 2) (u'v) v.
    double inner = 0.0;
#pragma unroll 1
    for (Index j = k + 1 + lane; j < q; j += kLanes) {
      const double* column = a + (k + 1) * q + j;
      double sum = column[0] * first;
#pragma unroll kRows
      for (Index i = k + 2; i < q; ++i) {
        column += q;
        sum += column[0] * v[i];
      }
      w[j] = tau * sum;
      inner += w[j] * (j == k + 1 ? first : v[j]);
    }
    const double half = 0.5 * tau * warp_sum<kLanes>(inner);
    __syncwarp();  // all have read `head`
#pragma unroll 1
    for (Index j = k + 1 + lane; j < q; j += kLanes) {
      if (j == k + 1) {
        v[j] = first;
        work.off[k] = end;
        work.scale[k] = tau;
      }
      w[j] -= half * v[j];
    }
    __syncwarp();
#pragma unroll 1
    for (Index j = k + 1 + lane; j < q; j += kLanes) {
      update_column<kRows>(a + (k + 1) * q + j, q, q - k - 1, v + k + 1, w + k + 1, v[j], w[j]);
    }
    __syncwarp();
  }
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) work.diagonal[i] = a[i * q + i];
  if (lane == 0 && q > 1) work.off[q - 2] = a[(q - 2) * q + q - 1];
  __syncwarp();
}

// Leading eigenpair of the symmetric matrix `a` (q x q, both triangles filled; destroyed), visible
// to the team. Writes the unit vector to work.vector, visible to all; returns the eigenvalue.
template <int kLanes, class Index>
__device__ __forceinline__ double team_leading_eigenpair(double* a, Index q,
                                                         const TeamWork<Index>& work) {
  const Index lane = team_lane<kLanes>();
  team_tridiagonalise<kLanes>(a, q, work);
  const double lambda = team_tridiagonal_eigenpair<kLanes>(work, q);
  double* vector = work.vector;
#pragma unroll 1
  for (Index k = q - 3; k >= 0; --k) {  // each lane keeps to its own entries: no barrier
    const double* v = a + k * q;
    double inner = 0.0;
#pragma unroll 1
    for (Index i = lane; i < q; i += kLanes) {
      if (i > k) inner += v[i] * vector[i];
    }
    inner = warp_sum<kLanes>(inner) * work.scale[k];
#pragma unroll 1
    for (Index i = lane; i < q; i += kLanes) {
      if (i > k) vector[i] -= inner * v[i];
    }
  }
  __syncwarp();
  return lambda;
}

}  // namespace hubprune::cuda
