// SPDX-License-Identifier: MIT
// Leading eigenpairs of several small symmetric positive semidefinite matrices at once, one matrix
// per vector lane: Householder tridiagonalisation, Newton's iteration for the largest eigenvalue,
// one twisted factorisation for its vector, reflectors applied back.
//
// core/symmetric_eigen.h explains the method and its error bound. With a matrix in every lane the
// search of an interval would be a bisection, 50 halvings long: from above the spectrum Newton's
// iteration on the characteristic polynomial falls monotonically onto the largest root (all roots
// are real).
// Bound by q^3 vector operations in the first-level cache.
#pragma once

#include <cfloat>
#include <cstdint>

#include "core/simd.h"
#include "cpu/feature_lanes.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

using Doubles = Vector<double>;
constexpr int64_t kLaneOrder = 16;  // the largest order; above it one matrix fills the vectors
typedef int64_t LaneMask __attribute__((vector_size(kVectorBytes)));

static inline bool any(LaneMask mask) {
  int64_t bits = 0;
  for (int i = 0; i < kLanes<double>; ++i) bits |= mask[i];
  return bits != 0;
}

static inline Doubles magnitude(Doubles v) { return v < 0.0 ? -v : v; }

// Reduces `a` (q x q, both triangles; destroyed) to the tridiagonal (diagonal, off). Row k of `a`
// keeps the vector of reflector k, tau[k] its 2 / |v|^2 (0: no reflection).
static inline void tridiagonalise(Doubles* a, int64_t q, Doubles* diagonal, Doubles* off,
                                  Doubles* tau, Doubles* scratch) {
  const Doubles zero = {};
  for (int64_t k = 0; k + 2 < q; ++k) {
    Doubles* v = a + k * q;
    Doubles square = zero;
    for (int64_t i = k + 2; i < q; ++i) square += v[i] * v[i];
    const LaneMask none = square < DBL_MIN;  // 2 / |v|^2 would overflow
    const Doubles head = v[k + 1];
    const Doubles norm = square_root(head * head + square);
    off[k] = none ? head : (head > zero ? -norm : norm);
    v[k + 1] = head - off[k];  // the two have opposite signs: no cancellation
    const Doubles length = square + v[k + 1] * v[k + 1];
    tau[k] = none ? zero : 2.0 / (none ? zero + 1.0 : length);

    // A <- H A H = A - v w' - w v', with u = tau A v and w = u - (tau / 2) (u'v) v.
    Doubles inner = zero;
    for (int64_t i = k + 1; i < q; ++i) {
      const Doubles* row = a + i * q;
      Doubles sum = zero;
      for (int64_t j = k + 1; j < q; ++j) sum += row[j] * v[j];
      scratch[i] = tau[k] * sum;
      inner += scratch[i] * v[i];
    }
    const Doubles half = 0.5 * tau[k] * inner;
    for (int64_t i = k + 1; i < q; ++i) scratch[i] -= half * v[i];
    for (int64_t i = k + 1; i < q; ++i) {
      Doubles* row = a + i * q;
      for (int64_t j = k + 1; j < q; ++j) row[j] -= v[i] * scratch[j] + scratch[i] * v[j];
    }
  }
  for (int64_t i = 0; i < q; ++i) diagonal[i] = a[i * q + i];
  if (q > 1) off[q - 2] = a[(q - 2) * q + (q - 1)];
}

// The largest eigenvalue of each tridiagonal matrix, to a few ulp, by the characteristic
// polynomials of its leading blocks: P_i(x) = (x - d_i) P_{i-1} - e_i^2 P_{i-2}, all positive above
// the spectrum. With the spectrum scaled into [0, 1] they stay above 1e-16^q: no underflow for q
// <= 16.
static inline Doubles largest_eigenvalue(const Doubles* diagonal, const Doubles* off, int64_t q) {
  constexpr int kMostSteps = 1000;  // a q-fold root is approached by a factor of 1 - 1/q a step
  const Doubles zero = {};
  Doubles bound = zero;
  for (int64_t i = 0; i < q; ++i) {
    const Doubles left = i > 0 ? magnitude(off[i - 1]) : zero;
    const Doubles right = i + 1 < q ? magnitude(off[i]) : zero;
    const Doubles row = diagonal[i] + left + right;  // Gershgorin
    bound = row > bound ? row : bound;
  }
  const Doubles unit = 1.0 / bound;
  Doubles squares[kLaneOrder];
  for (int64_t i = 0; i + 1 < q; ++i) squares[i] = off[i] * off[i] * (unit * unit);
  Doubles x = zero + (1.0 + 4.0 * DBL_EPSILON);
  Doubles rise = zero + 2.0 * DBL_EPSILON;  // how far to go back up after a step that ended below
  LaneMask done = zero != zero;
  LaneMask fell = done;
  for (int step = 0; step < kMostSteps; ++step) {
    Doubles before = zero + 1.0;
    Doubles slope_before = zero;
    Doubles value = x - diagonal[0] * unit;
    Doubles slope = zero + 1.0;
    LaneMask above = value > zero;
    for (int64_t i = 1; i < q; ++i) {
      const Doubles distance = x - diagonal[i] * unit;
      const Doubles next = distance * value - squares[i - 1] * before;
      const Doubles next_slope = distance * slope + (value - squares[i - 1] * slope_before);
      before = value;
      value = next;
      slope_before = slope;
      slope = next_slope;
      above &= value > zero;
    }
    const Doubles newton = value / slope;
    done |= above & (fell | (newton <= 2.0 * DBL_EPSILON));
    if (!any(~done)) break;
    const Doubles next = above ? x - newton : x + rise;
    x = done ? x : next;
    fell |= ~above;
    rise = above ? rise : 4.0 * rise;
  }
  return x * bound;
}

// The unit eigenvectors at `lambda`; `work` holds 2 q vectors.
static inline void tridiagonal_eigenvector(const Doubles* diagonal, const Doubles* off, int64_t q,
                                           Doubles lambda, Doubles* vector, Doubles* work) {
  const Doubles zero = {};
  Doubles* forward = work;
  Doubles* backward = work + q;
  const Doubles tiny = magnitude(lambda) * (DBL_EPSILON * DBL_EPSILON) + DBL_MIN;
  const auto guarded = [&](Doubles pivot) { return magnitude(pivot) < tiny ? -tiny : pivot; };
  forward[0] = guarded(diagonal[0] - lambda);
  for (int64_t i = 1; i < q; ++i) {
    forward[i] = guarded(diagonal[i] - lambda - off[i - 1] * off[i - 1] / forward[i - 1]);
  }
  backward[q - 1] = guarded(diagonal[q - 1] - lambda);
  for (int64_t i = q - 2; i >= 0; --i) {
    backward[i] = guarded(diagonal[i] - lambda - off[i] * off[i] / backward[i + 1]);
  }
  // Where the two factorisations meet with the smallest residual, the vector is largest.
  Doubles smallest = zero + DBL_MAX;
  Doubles twist = zero;
  for (int64_t i = 0; i < q; ++i) {
    const Doubles residual = magnitude(forward[i] + backward[i] - (diagonal[i] - lambda));
    const LaneMask better = residual < smallest;
    smallest = better ? residual : smallest;
    twist = better ? zero + static_cast<double>(i) : twist;
  }
  for (int64_t i = q - 1; i >= 0; --i) {
    const Doubles below = i + 1 < q ? -off[i] * vector[i + 1] / forward[i] : zero;
    vector[i] = twist > static_cast<double>(i) ? below : zero + 1.0;
  }
  for (int64_t i = 1; i < q; ++i) {
    const Doubles above = -off[i - 1] * vector[i - 1] / backward[i];
    vector[i] = twist < static_cast<double>(i) ? above : vector[i];
  }
  Doubles square = zero;
  for (int64_t i = 0; i < q; ++i) square += vector[i] * vector[i];
  const Doubles inverse = 1.0 / square_root(square);
  for (int64_t i = 0; i < q; ++i) vector[i] *= inverse;
}

// Vectors of work for matrices of order q.
constexpr int64_t kLaneEigenWork = 6;

// a (q, q) -> the eigenvalues; the unit vectors go to `vector` (q).
static inline Doubles leading_eigenpairs(Doubles* a, int64_t q, Doubles* vector, Doubles* work) {
  Doubles* diagonal = work;
  Doubles* off = work + q;
  Doubles* tau = work + 2 * q;
  Doubles* scratch = work + 3 * q;
  tridiagonalise(a, q, diagonal, off, tau, scratch);
  const Doubles lambda = largest_eigenvalue(diagonal, off, q);
  tridiagonal_eigenvector(diagonal, off, q, lambda, vector, scratch);
  for (int64_t k = q - 3; k >= 0; --k) {
    const Doubles* v = a + k * q;
    Doubles inner = {};
    for (int64_t i = k + 1; i < q; ++i) inner += v[i] * vector[i];
    inner *= tau[k];
    for (int64_t i = k + 1; i < q; ++i) vector[i] -= inner * v[i];
  }
  return lambda;
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
