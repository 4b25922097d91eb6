// SPDX-License-Identifier: MIT
// Leading eigenpair of a tridiagonal matrix by the method of core/symmetric_eigen.h, where it and
// its error bound are explained. The eigenvalue by multisection: a round tests a point of the
// interval in every lane. Bound by the divisions, which wait for each other. Twin:
// team_tridiagonal_eigenpair in cuda/warp_tridiagonal.cuh.
#pragma once

#include <cfloat>
#include <cstdint>

#include "core/simd.h"
#include "core/symmetric_eigen.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// The largest eigenvalue of a tridiagonal matrix to one ulp of `bounds`, from above.
static inline double largest_eigenvalue(const double* diagonal, const double* off, int64_t q,
                                        const SpectrumBounds& bounds) {
  Vector<double> part;
  for (int l = 0; l < kLanes<double>; ++l) part[l] = (l + 1.0) / (kLanes<double> + 1);
  double low = bounds.low;
  double high = bounds.high;
  for (int round = 0; round < 80 && high - low > DBL_EPSILON * bounds.magnitude; ++round) {
    const Vector<double> x = low + (high - low) * part;
    // All pivots of T - x I are negative above the spectrum (Sylvester's law of inertia).
    Vector<double> pivot = diagonal[0] - x;
    auto above = pivot < 0.0;
    for (int64_t i = 1; i < q; ++i) {
      pivot = diagonal[i] - x - off[i - 1] * off[i - 1] / pivot;
      above &= pivot < 0.0;
    }
    for (int l = 0; l < kLanes<double>; ++l) {
      if (above[l]) {
        high = x[l];
        break;
      }
      low = x[l];
    }
  }
  return high;
}

// Writes the unit vector to `vector` (q), returns the eigenvalue; `work` holds 2 q doubles.
static inline double tridiagonal_eigenpair(const double* diagonal, const double* off, int64_t q,
                                           double* vector, double* work) {
  const SpectrumBounds bounds = spectrum_bounds(diagonal, off, q);
  const double lambda = largest_eigenvalue(diagonal, off, q, bounds);
  leading_tridiagonal_vector(diagonal, off, q, lambda, bounds.magnitude, vector, work);
  return lambda;
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
