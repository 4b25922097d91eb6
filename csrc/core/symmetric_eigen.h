// SPDX-License-Identifier: MIT
// Leading eigenpair of a small symmetric matrix: Householder tridiagonalisation
// (cpu/matrix_eigen.h, cpu/lane_eigen.h, cuda/warp_eigen.cuh), then the eigenpair of the
// tridiagonal matrix: its largest eigenvalue (multisection in cpu/tridiagonal_eigen.h and
// cuda/warp_tridiagonal.cuh), and one twisted factorisation for its vector (here; by a team of
// lanes in cuda/warp_tridiagonal.cuh).
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

// Where the largest eigenvalue of a tridiagonal matrix lies, and how large its entries are.
struct SpectrumBounds {
  double low;
  double high;
  double magnitude;
};

HUBPRUNE_SHARED SpectrumBounds spectrum_bounds(const double* diagonal, const double* off,
                                               int64_t q) {
  // The largest diagonal entry is a Rayleigh quotient (a lower bound); Gershgorin is an upper one.
  SpectrumBounds bounds{diagonal[0], diagonal[0], 0.0};
  for (int64_t i = 0; i < q; ++i) {
    const double left = i > 0 ? fabs(off[i - 1]) : 0.0;
    const double right = i + 1 < q ? fabs(off[i]) : 0.0;
    const double size = fabs(diagonal[i]) + left + right;
    if (diagonal[i] > bounds.low) bounds.low = diagonal[i];
    if (diagonal[i] + left + right > bounds.high) bounds.high = diagonal[i] + left + right;
    if (size > bounds.magnitude) bounds.magnitude = size;
  }
  return bounds;
}

// The unit vector (q) of the tridiagonal matrix with `diagonal` (q) and `off` (q - 1) to its
// largest eigenvalue `lambda`, from above; `work` holds 2 q doubles.
HUBPRUNE_SHARED void leading_tridiagonal_vector(const double* diagonal, const double* off,
                                                int64_t q, double lambda, double magnitude,
                                                double* vector, double* work) {
  const double tiny = magnitude * DBL_EPSILON * DBL_EPSILON + DBL_MIN;
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
