// SPDX-License-Identifier: MIT
// The leading eigenvector (largest algebraic eigenvalue) of symmetric matrices known by their
// products: unit 2-norm, non-negative sum, by Lanczos with full reorthogonalisation.
//
//   basis[j + 1] = A basis[j], made orthogonal to basis[0 .. j];  T = basis' A basis, tridiagonal
//
// Shapes: basis (batch, kBasisMax + 1, n) -> vector (batch, n), converged (batch), residual
// (batch). No host synchronisation: the products of a call are enqueued whatever happens, and each
// kernel leaves at once where an item's `done` says that nothing is left to do; a later call may go
// on. Beside the product's own, a step takes one launch (lanczos_steps.cuh), beyond kShortRows five
// (lanczos_wide_step.cuh); at most kBasisMax vectors of n are read. Numerics: all in float64, in a
// fixed order: the same bits on every run, if the products have them. Stops at residual <= tol
// |lambda|, or below `noise`. An item that did not converge, or holds a NaN or an infinity, gets
// NaN. The method and its sources: cpu/lanczos.h. Twin:
// hubprune.reference.graph_eigenvector_centrality.
#pragma once

#include <cstdint>

#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/lanczos_steps.cuh"
#include "cuda/lanczos_wide_step.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace hubprune::cuda {

// The scale of fixed-point sums of w_ij v_j, |w_ij| <= 1: |v|_1 <= sqrt(n) for a unit vector.
inline double product_scale(int64_t n) {
  int64_t root = 1;
  while (root * root < n) root *= 2;  // the scale is a power of two: no need of the root itself
  return fixed_point_scale(root);
}

struct LanczosScratch {
  unsigned long long* flags;  // (batch), zeroed by the caller
  Progress* progress;
  double* basis;
  double* partials;  // of the wide step

  LanczosScratch(Scratch& pieces, int64_t batch, int64_t n) {
    flags = pieces.take<unsigned long long>(batch);
    progress = pieces.take<Progress>(batch);
    basis = pieces.take<double>(batch * (kBasisMax + 1) * n);
    partials = pieces.take<double>(2 * wide_partials(batch, n));
  }
};

// What is asked, and where the answer goes.
template <class T>
struct LanczosSearch {
  int64_t batch;
  int64_t n;
  const double* start;    // (batch, n), or null
  bool negative_weights;  // known without looking at the flags
  double tol;
  double noise;
  int64_t max_iter;
  ProductRange products;
  T* vector;
  int64_t* converged;
  double* residual;
};

// multiply(j) enqueues basis[j + 1] = A basis[j] of every item that is not done.
template <class T, class Multiply>
void enqueue_lanczos(Launches& launches, const LanczosScratch& scratch,
                     const LanczosSearch<T>& search, const Multiply& multiply) {
  const auto [batch, n, start, negative, tol, noise, max_iter, products, vector, converged,
              residual] = search;
  if (products.first == 0) {
    launches.kernel(lanczos_start_kernel, batch, kLanczosThreads, sizeof(StepMemory), scratch.flags,
                    batch, n, start, negative, tol, scratch.basis, scratch.progress);
  }
  for (int64_t product = products.first; product < products.end; ++product) {
    const int j = static_cast<int>(product % kBasisMax);
    multiply(j);
    const bool last = product + 1 == max_iter;
    if (is_wide(n)) {
      enqueue_wide_step(launches, batch, n, j, tol, noise, last, scratch.progress, scratch.basis,
                        scratch.partials);
    } else {
      launches.kernel(lanczos_step_kernel, batch, kLanczosThreads, sizeof(StepMemory), batch, n, j,
                      tol, noise, last, scratch.progress, scratch.basis);
    }
  }
  launches.kernel(lanczos_finish_kernel<T>, batch, kLanczosThreads, sizeof(StepMemory),
                  scratch.basis, scratch.progress, scratch.flags, batch, n, vector, converged,
                  residual);
}

}  // namespace hubprune::cuda
