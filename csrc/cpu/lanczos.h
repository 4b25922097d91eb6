// SPDX-License-Identifier: MIT
// Leading eigenpair of a large symmetric matrix known by its products: Lanczos with full
// reorthogonalisation, restarted from the Ritz vector when the basis is full.
// Stops when the residual |A v - lambda v| <= tol |lambda|, or is below `noise`, what rounding
// leaves of A itself; the bound beta_j |z_j| used for it is exact in exact arithmetic. All in
// float64; sums over chunks fixed by n, so that the bits do not depend on the threads. Source:
// Golub & Van Loan, Matrix Computations, 4th ed., 10.3.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/status.h"
#include "cpu/tridiagonal_eigen.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kBasisMax = 24;
constexpr int64_t kChunk = 4096;

static inline double chunked_dot(const double* x, const double* y, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; i += kChunk) {
    sum += dot_as_double(x + i, y + i, n - i < kChunk ? n - i : kChunk);
  }
  return sum;
}

struct LanczosWork {
  double* basis;  // (kBasisMax + 1, n)
  double* diagonal;
  double* off;
  double* ritz;
  double* eigen_work;
  int64_t n;

  static LanczosWork take(Scratch& scratch, int64_t n) {
    LanczosWork work;
    work.n = n;
    work.basis = scratch.take<double>((kBasisMax + 1) * n);
    work.diagonal = scratch.take<double>(kBasisMax);
    work.off = scratch.take<double>(kBasisMax);
    work.ritz = scratch.take<double>(kBasisMax);
    work.eigen_work = scratch.take<double>(2 * kBasisMax);
    return work;
  }

  double* vector(int64_t j) const { return basis + j * n; }

  // basis[0] <- sum_j ritz_j basis_j, normalised.
  void collapse(int64_t size) const {
    double* first = vector(0);
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0.0;
      for (int64_t j = 0; j < size; ++j) sum += ritz[j] * basis[j * n + i];
      first[i] = sum;
    }
    normalise(first);
  }

  void normalise(double* v) const {
    const double norm = std::sqrt(chunked_dot(v, v, n));
    for (int64_t i = 0; i < n; ++i) v[i] /= norm;
  }
};

// `multiply(v, out)` computes out = A v. The start vector lies in work.vector(0) and is replaced by
// the eigenvector. `residual` receives |A v - lambda v| / |lambda| (0 for the zero matrix).
template <class Multiply>
static Status leading_eigenvector(const LanczosWork& work, double tol, double noise,
                                  int64_t max_iter, const Multiply& multiply, double* residual) {
  const int64_t n = work.n;
  work.normalise(work.vector(0));
  int64_t products = 0;
  while (true) {
    for (int64_t j = 0; j < kBasisMax; ++j) {
      double* next = work.vector(j + 1);
      multiply(work.vector(j), next);
      ++products;
      work.diagonal[j] = chunked_dot(work.vector(j), next, n);
      // Twice is enough: the second pass removes what rounding left of the first.
      for (int pass = 0; pass < 2; ++pass) {
        for (int64_t i = 0; i <= j; ++i) {
          const double* v = work.vector(i);
          const double component = chunked_dot(v, next, n);
          for (int64_t k = 0; k < n; ++k) next[k] -= component * v[k];
        }
      }
      const double beta = std::sqrt(chunked_dot(next, next, n));
      work.off[j] = beta;
      const double lambda =
          tridiagonal_eigenpair(work.diagonal, work.off, j + 1, work.ritz, work.eigen_work);
      const double error = beta * std::fabs(work.ritz[j]);
      *residual = error > 0.0 ? error / std::fabs(lambda) : 0.0;
      const bool converged = error <= tol * std::fabs(lambda) || error <= noise ||
                             beta <= 1e-14 * std::fabs(lambda);  // an invariant subspace
      if (converged || products >= max_iter || j + 1 == kBasisMax) {
        work.collapse(j + 1);
        if (converged) return Status::kOk;
        if (products >= max_iter) return Status::kNotConverged;
        break;
      }
      for (int64_t k = 0; k < n; ++k) next[k] /= beta;
    }
  }
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
