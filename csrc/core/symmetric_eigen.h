// SPDX-License-Identifier: MIT
// Leading eigenpair of a small symmetric matrix: Householder tridiagonalisation, bisection for the
// largest eigenvalue, one twisted factorisation for its vector, reflectors applied back.
// Cost 4/3 q^3 + O(q^2) flops, no allocation. The tridiagonal part serves the CPU and the GPU,
// where the rest is done by a warp (cuda/warp_eigen.cuh).
//
// For the *largest* eigenvalue lambda, T - lambda I is negative semidefinite, so its factorisations
// need no pivoting, and the vector's error is eps * lambda / gap: as good as the matrix allows.
// Source: Golub & Van Loan, Matrix Computations, 4th ed., 8.3 to 8.4; Parlett & Dhillon, 1997
// (twisted factorisation). Twin: numpy.linalg.eigh in hubprune.reference.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace hubprune {

// True if `x` is above every eigenvalue of the tridiagonal matrix (diagonal, off): all the pivots
// of T - x I are negative (Sylvester's law of inertia).
HUBPRUNE_SHARED bool above_spectrum(const double* diagonal, const double* off, int64_t q,
                                    double x) {
  double pivot = diagonal[0] - x;
  for (int64_t i = 1; i < q; ++i) {
    if (!(pivot < 0.0)) return false;
    pivot = diagonal[i] - x - off[i - 1] * off[i - 1] / pivot;
  }
  return pivot < 0.0;
}

// Leading eigenpair of the tridiagonal matrix with `diagonal` (q) and `off` (q - 1). Writes the
// unit vector to `vector` (q); `work` holds 2 q doubles. Returns the eigenvalue.
HUBPRUNE_SHARED double leading_tridiagonal_eigenpair(const double* diagonal, const double* off,
                                                     int64_t q, double* vector, double* work) {
  // The largest diagonal entry is a Rayleigh quotient (a lower bound); Gershgorin is an upper one.
  double low = diagonal[0];
  double high = diagonal[0];
  double magnitude = 0.0;
  for (int64_t i = 0; i < q; ++i) {
    const double left = i > 0 ? fabs(off[i - 1]) : 0.0;
    const double right = i + 1 < q ? fabs(off[i]) : 0.0;
    if (diagonal[i] > low) low = diagonal[i];
    if (diagonal[i] + left + right > high) high = diagonal[i] + left + right;
    if (fabs(diagonal[i]) + left + right > magnitude) magnitude = fabs(diagonal[i]) + left + right;
  }
  const double tiny = magnitude * DBL_EPSILON * DBL_EPSILON + DBL_MIN;
  // 80 halvings end below one ulp from any starting interval that Gershgorin gives.
  for (int step = 0; step < 80 && high - low > DBL_EPSILON * magnitude; ++step) {
    const double middle = low + 0.5 * (high - low);
    if (above_spectrum(diagonal, off, q, middle)) {
      high = middle;
    } else {
      low = middle;
    }
  }
  const double lambda = high;  // the side on which every pivot is negative

  double* forward = work;
  double* backward = work + q;
  forward[0] = diagonal[0] - lambda;
  for (int64_t i = 1; i < q; ++i) {
    if (fabs(forward[i - 1]) < tiny) forward[i - 1] = -tiny;
    forward[i] = diagonal[i] - lambda - off[i - 1] * off[i - 1] / forward[i - 1];
  }
  backward[q - 1] = diagonal[q - 1] - lambda;
  for (int64_t i = q - 2; i >= 0; --i) {
    if (fabs(backward[i + 1]) < tiny) backward[i + 1] = -tiny;
    backward[i] = diagonal[i] - lambda - off[i] * off[i] / backward[i + 1];
  }
  // Where the two factorisations meet with the smallest residual, the vector is largest.
  int64_t twist = 0;
  double smallest = HUGE_VAL;
  for (int64_t i = 0; i < q; ++i) {
    const double residual = fabs(forward[i] + backward[i] - (diagonal[i] - lambda));
    if (residual < smallest) {
      smallest = residual;
      twist = i;
    }
  }
  vector[twist] = 1.0;
  for (int64_t i = twist - 1; i >= 0; --i) {
    if (fabs(forward[i]) < tiny) forward[i] = -tiny;
    vector[i] = -off[i] * vector[i + 1] / forward[i];
  }
  for (int64_t i = twist + 1; i < q; ++i) {
    if (fabs(backward[i]) < tiny) backward[i] = -tiny;
    vector[i] = -off[i - 1] * vector[i - 1] / backward[i];
  }
  double square = 0.0;
  for (int64_t i = 0; i < q; ++i) square += vector[i] * vector[i];
  const double inverse = 1.0 / sqrt(square);
  for (int64_t i = 0; i < q; ++i) vector[i] *= inverse;
  return lambda;
}

// Leading eigenpair of the symmetric matrix `a` (q x q, row stride `stride`, both triangles filled;
// destroyed). Writes the unit vector to `vector` (q); `work` holds kEigenWork * q doubles.
constexpr int64_t kEigenWork = 5;

static inline double leading_eigenpair(double* a, int64_t q, int64_t stride, double* vector,
                                       double* work) {
  double* diagonal = work;
  double* off = work + q;
  double* scale = work + 2 * q;  // 2 / |v|^2 of each reflector; 0 where none is needed
  double* scratch = work + 3 * q;

  // Reflector k maps a[k, k+1:] to a multiple of e_1; its vector overwrites that row (contiguous).
  for (int64_t k = 0; k + 2 < q; ++k) {
    double* v = a + k * stride;
    double square = 0.0;
    for (int64_t i = k + 2; i < q; ++i) square += v[i] * v[i];
    const double head = v[k + 1];
    // Squares below the range are nothing beside the trace, and 2 / |v|^2 would overflow.
    if (square < DBL_MIN) {
      scale[k] = 0.0;
      off[k] = head;
      continue;
    }
    const double norm = sqrt(head * head + square);
    off[k] = head > 0.0 ? -norm : norm;
    v[k + 1] = head - off[k];  // the two have opposite signs: no cancellation
    const double tau = 2.0 / (square + v[k + 1] * v[k + 1]);
    scale[k] = tau;

    // A <- H A H = A - v w' - w v', with u = tau A v and w = u - (tau / 2) (u'v) v.
    double inner = 0.0;
    for (int64_t i = k + 1; i < q; ++i) {
      const double* row = a + i * stride;
      double sum = 0.0;
      for (int64_t j = k + 1; j < q; ++j) sum += row[j] * v[j];
      scratch[i] = tau * sum;
      inner += scratch[i] * v[i];
    }
    for (int64_t i = k + 1; i < q; ++i) scratch[i] -= 0.5 * tau * inner * v[i];
    for (int64_t i = k + 1; i < q; ++i) {
      double* row = a + i * stride;
      const double vi = v[i];
      const double wi = scratch[i];
      for (int64_t j = k + 1; j < q; ++j) row[j] -= vi * scratch[j] + wi * v[j];
    }
  }
  for (int64_t i = 0; i < q; ++i) diagonal[i] = a[i * stride + i];
  if (q > 1) off[q - 2] = a[(q - 2) * stride + (q - 1)];

  const double lambda = leading_tridiagonal_eigenpair(diagonal, off, q, vector, scratch);

  for (int64_t k = q - 3; k >= 0; --k) {
    const double* v = a + k * stride;
    double inner = 0.0;
    for (int64_t i = k + 1; i < q; ++i) inner += v[i] * vector[i];
    inner *= scale[k];
    for (int64_t i = k + 1; i < q; ++i) vector[i] -= inner * v[i];
  }
  return lambda;
}

// The sign rule of hubprune.reference.filter_vectors: `product` is <u1, first column of A>, which
// is sigma_1 v1[0]. Where it is zero to rounding, u1's largest entry decides (ties: lowest index).
constexpr double kSignTolerance = 1e-10;

HUBPRUNE_SHARED double rank1_sign(const double* vector, int64_t p, double product, double sigma) {
  if (fabs(product) > kSignTolerance * sigma) return product < 0.0 ? -1.0 : 1.0;
  double largest = 0.0;
  for (int64_t i = 0; i < p; ++i) {
    if (fabs(vector[i]) > largest) largest = fabs(vector[i]);
  }
  // Entries within the tolerance of the largest are ties: rounding must not choose between them.
  for (int64_t i = 0; i < p; ++i) {
    if (fabs(vector[i]) >= largest * (1.0 - kSignTolerance)) return vector[i] < 0.0 ? -1.0 : 1.0;
  }
  return 1.0;
}

}  // namespace hubprune
