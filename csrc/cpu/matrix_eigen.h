// SPDX-License-Identifier: MIT
// Leading eigenpair of one symmetric matrix whose rows fill vectors: Householder
// tridiagonalisation, multisection for the largest eigenvalue, one twisted factorisation,
// reflectors applied back.
//
// core/symmetric_eigen.h explains the method and its error bound. What differs: matrix, reflectors
// and products are padded with zeros to whole vectors and groups of kGroupRows rows, so that no
// loop has an end of its own; a product with the matrix adds up its rows, which needs no sums over
// lanes; and a round of multisection tests a point in every lane, where bisection tests one. Bound
// by q^3 multiply-adds in the nearest caches. cpu/lane_eigen.h is for smaller matrices, one in each
// lane. Twin: numpy.linalg.eigh in hubprune.reference.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/simd.h"
#include "cpu/tridiagonal_eigen.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGroupRows = 4;

// A symmetric matrix of order q, both triangles; zero from column q to `stride`, a multiple of the
// lanes; finite from row q on to whole groups of rows, which are multiplied by zeros.
struct PaddedMatrix {
  double* entries;
  int64_t q;
  int64_t stride;

  double* row(int64_t i) const { return entries + i * stride; }
};

// Doubles of work for a matrix with this stride.
static inline int64_t matrix_eigen_work(int64_t stride) { return 5 * (stride + kGroupRows); }

// sum += x y from column `first` on, a multiple of the lanes.
static inline double padded_dot(const double* x, const double* y, int64_t first, int64_t stride) {
  Vector<double> sum = {};
  for (int64_t j = first; j < stride; j += kLanes<double>) sum += load(x + j) * load(y + j);
  return horizontal_sum<double>(sum);
}

// product = a v, for v that is zero before entry k + 1.
static inline void multiply_trailing(const PaddedMatrix& a, int64_t k, const double* v,
                                     double* product) {
  constexpr int64_t kStep = kLanes<double>;
  const int64_t first = (k + 1) / kStep * kStep;
  for (int64_t j = first; j < a.stride; j += kStep) store(product + j, Vector<double>{});
  for (int64_t i = (k + 1) / kGroupRows * kGroupRows; i < a.q; i += kGroupRows) {
    const double* rows = a.row(i);
    for (int64_t j = first; j < a.stride; j += kStep) {
      Vector<double> sum = load(product + j);
#pragma GCC unroll 4
      for (int64_t r = 0; r < kGroupRows; ++r) sum += v[i + r] * load(rows + r * a.stride + j);
      store(product + j, sum);
    }
  }
}

// a -= v w' + w v', for vectors that are zero before entry k + 1.
static inline void subtract_trailing(const PaddedMatrix& a, int64_t k, const double* v,
                                     const double* w) {
  constexpr int64_t kStep = kLanes<double>;
  const int64_t first = (k + 1) / kStep * kStep;
  for (int64_t i = (k + 1) / kGroupRows * kGroupRows; i < a.q; i += kGroupRows) {
    double* rows = a.row(i);
    for (int64_t j = first; j < a.stride; j += kStep) {
      const Vector<double> right = load(v + j);
      const Vector<double> left = load(w + j);
#pragma GCC unroll 4
      for (int64_t r = 0; r < kGroupRows; ++r) {
        double* entry = rows + r * a.stride + j;
        store(entry, load(entry) - (v[i + r] * left + w[i + r] * right));
      }
    }
  }
}

// Reduces `a` (destroyed) to the tridiagonal (diagonal, off). Row k of `a` keeps the vector of
// reflector k, zero before entry k + 1 from that entry's vector on; tau[k] is its 2 / |v|^2, 0
// where none is needed. v, w: stride + kGroupRows doubles each.
static inline void tridiagonalise(const PaddedMatrix& a, double* diagonal, double* off, double* tau,
                                  double* v, double* w) {
  const int64_t q = a.q;
  for (int64_t i = 0; i < a.stride + kGroupRows; ++i) v[i] = w[i] = 0.0;
  for (int64_t k = 0; k + 2 < q; ++k) {
    const int64_t first = (k + 1) / kLanes<double> * kLanes<double>;
    double* row = a.row(k);
    const double head = row[k + 1];
    diagonal[k] = row[k];
    v[k] = w[k] = 0.0;  // of the reflector before
    for (int64_t j = first; j < k + 2; ++j) row[j] = 0.0;
    const double square = padded_dot(row, row, first, a.stride);
    // Squares below the range are nothing beside the trace, and 2 / |v|^2 would overflow.
    if (square < DBL_MIN) {
      tau[k] = 0.0;
      off[k] = head;
      continue;
    }
    const double norm = std::sqrt(head * head + square);
    off[k] = head > 0.0 ? -norm : norm;
    row[k + 1] = head - off[k];  // the two have opposite signs: no cancellation
    tau[k] = 2.0 / (square + row[k + 1] * row[k + 1]);

    // a <- H a H = a - v w' - w v', with u = tau a v and w = u - (tau / 2) (u'v) v.
    for (int64_t j = k + 1; j < q; ++j) v[j] = row[j];
    multiply_trailing(a, k, v, w);
    for (int64_t j = first; j < q; ++j) w[j] = j > k ? tau[k] * w[j] : 0.0;
    const double half = 0.5 * tau[k] * padded_dot(w, v, first, a.stride);
    for (int64_t j = first; j < q; ++j) w[j] -= half * v[j];
    subtract_trailing(a, k, v, w);
  }
  for (int64_t k = q > 2 ? q - 2 : 0; k < q; ++k) {
    diagonal[k] = a.row(k)[k];
    if (k + 1 < q) off[k] = a.row(k)[k + 1];
  }
}

// Writes the unit vector to `vector` (stride), zero from entry q on; returns the eigenvalue. `a` is
// destroyed; `work` holds matrix_eigen_work doubles.
static inline double leading_eigenpair(const PaddedMatrix& a, double* vector, double* work) {
  const int64_t size = a.stride + kGroupRows;
  double* diagonal = work;
  double* off = work + size;
  double* tau = work + 2 * size;
  double* scratch = work + 3 * size;  // two of the products, or of the factorisations
  tridiagonalise(a, diagonal, off, tau, scratch, scratch + size);
  const double lambda = tridiagonal_eigenpair(diagonal, off, a.q, vector, scratch);
  for (int64_t i = a.q; i < a.stride; ++i) vector[i] = 0.0;
  for (int64_t k = a.q - 3; k >= 0; --k) {
    const double* v = a.row(k);
    const int64_t first = (k + 1) / kLanes<double> * kLanes<double>;
    const double inner = tau[k] * padded_dot(v, vector, first, a.stride);
    for (int64_t j = first; j < a.stride; j += kLanes<double>) {
      store(vector + j, load(vector + j) - inner * load(v + j));
    }
  }
  return lambda;
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
