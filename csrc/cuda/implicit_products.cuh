// SPDX-License-Identifier: MIT
// Products with a similarity graph that is never formed. With y the unit rows:
//
//   signed_i  = y_i . (Y'v) - v_i          shifted_i = (sum v - v_i + signed_i) / 2
//   squared_i = y_i' (Y' diag(v) Y) y_i - v_i
//
// (a zero row has no self-similarity to subtract).
// Shapes: x (batch, n, d), basis[j] (batch, n) of unit length -> basis[j + 1]; sums in fixed point,
// zeroed before: (batch, d + 1), Y'v and the sum of v, or (batch, d, d), d <= 256.
// Bound: signed, shifted: 2 n d multiply-adds in two reads of x. squared: 3/2 n d^2 in float64.
// Numerics: float64. A block sums 512 rows or more in a fixed order, blocks meet in 64-bit fixed
// point (|sum of y v| <= |v|_1 <= sqrt(n): product_scale), so that the bits are the same for every
// grid: an error of at most (n / 512) 2^-(62 - log2(n) / 2) a sum, 2^-56 at n = 1024 and 2^-41 at
// 10^6; a form of squared adds up d^2 of them.
// Twin: products with hubprune.reference.adjacency.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "cuda/closed_forms.cuh"
#include "cuda/gram_degree.cuh"
#include "cuda/lanczos.cuh"
#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"

namespace hubprune::cuda {

// Whether no item of rows first .. first + count - 1 needs its product: then the block has no work.
template <class T>
__device__ __forceinline__ bool all_done(const GraphRows<T>& rows, const Progress* progress,
                                         int64_t first, int64_t count) {
  const int64_t total = rows.batch * rows.n;
  const int64_t last = (first + count < total ? first + count : total) - 1;
  for (int64_t item = first / rows.n; item <= last / rows.n; ++item) {
    if (!progress[item].done) return false;
  }
  return true;
}

// Adds Y'v and, as column d, the sum of v to rows.sums.
template <class T>
__global__ void __launch_bounds__(kClosedThreads, kClosedBlocks<T>)
    weighted_sum_kernel(const __grid_constant__ GraphRows<T> rows, int j,
                        const Progress* __restrict__ progress, const double* __restrict__ basis) {
  SumMemory& shared = block_memory<SumMemory>();
  const int64_t columns = rows.d + 1;
  for (int64_t work = block_index(); work < column_sum_blocks(rows, columns);
       work += grid_blocks()) {
    const int64_t item = work / column_sum_pieces(rows.n, columns);
    if (progress[item].done) continue;
    const double* v = basis_vector(basis, item, j, rows.n);
    add_column_sums(rows, work, columns, shared, [&](int64_t row, int64_t column) {
      const double value = v[row - item * rows.n];
      return column < rows.d ? unit_entry(rows, row, column) * value : value;
    });
  }
}

// basis[j + 1] of signed or shifted from rows.sums.
template <class T>
__global__ void __launch_bounds__(kGroupThreads, kClosedBlocks<T>)
    linear_product_kernel(const __grid_constant__ GraphRows<T> rows, bool shifted, int j,
                          const Progress* __restrict__ progress, double* __restrict__ basis) {
  const int64_t block_rows = group_rows(rows.d);
  const int64_t blocks = group_blocks(rows.batch * rows.n, rows.d);
  for (int64_t work = block_index(); work < blocks; work += grid_blocks()) {
    if (all_done(rows, progress, work * block_rows, block_rows)) continue;
    dot_rows_with_sums(rows, work, rows.d + 1, [&](int64_t row, int64_t item, double product) {
      if (progress[item].done) return;
      const int64_t i = row - item * rows.n;
      const double own = basis_vector(basis, item, j, rows.n)[i];
      double next = product - (rows.norms[row] > 0.0 ? own : 0.0);
      if (shifted) {
        const auto fixed = rows.sums[item * (rows.d + 1) + rows.d];
        next = 0.5 * (from_fixed_point(static_cast<int64_t>(fixed), rows.scale) - own + next);
      }
      basis_vector(basis, item, j + 1, rows.n)[i] = next;
    });
  }
}

// Adds Y' diag(v) Y to rows.sums.
template <class T>
__global__ void __launch_bounds__(kUnitThreads, 3)
    weighted_gram_kernel(const __grid_constant__ GraphRows<T> rows, int j,
                         const Progress* __restrict__ progress, const double* __restrict__ basis) {
  UnitGramMemory& shared = block_memory<UnitGramMemory>();
  for (int64_t work = block_index(); work < unit_gram_blocks(rows); work += grid_blocks()) {
    const int64_t item = unit_gram_item(rows, work);
    if (progress[item].done) continue;
    add_unit_gram<true>(rows, work, basis_vector(basis, item, j, rows.n), shared);
  }
}

// basis[j + 1] of squared from rows.sums.
template <class T>
__global__ void __launch_bounds__(kUnitThreads, 3)
    squared_product_kernel(const __grid_constant__ GraphRows<T> rows, int j,
                           const Progress* __restrict__ progress, double* __restrict__ basis) {
  FormMemory& shared = block_memory<FormMemory>();
  const int64_t block_rows = form_rows(rows.d);
  for (int64_t work = block_index(); work < form_blocks(rows); work += grid_blocks()) {
    if (all_done(rows, progress, work * block_rows, block_rows)) continue;
    unit_forms(rows, work, shared, [&](int64_t row, double form) {
      const int64_t item = row / rows.n;
      if (progress[item].done) return;
      const double own = basis_vector(basis, item, j, rows.n)[row % rows.n];
      basis_vector(basis, item, j + 1, rows.n)[row % rows.n] =
          form - (rows.norms[row] > 0.0 ? own : 0.0);
    });
  }
}

inline bool has_implicit_product(int64_t d, Edge edge) {
  return edge == Edge::kSigned || edge == Edge::kShifted ||
         (edge == Edge::kSquared && d <= kMostGramFeatures);
}

// The 64-bit sums of an item.
inline int64_t implicit_sums(int64_t d, Edge edge) {
  return edge == Edge::kSquared ? d * d : d + 1;
}

// rows.sums are zero, rows.norms are known.
template <class T>
void enqueue_implicit_product(Launches& launches, const GraphRows<T>& rows, Edge edge, int j,
                              const LanczosScratch& lanczos) {
  if (edge == Edge::kSquared) {
    launches.kernel(weighted_gram_kernel<T>, unit_gram_blocks(rows), kUnitThreads,
                    sizeof(UnitGramMemory), rows, j, lanczos.progress, lanczos.basis);
    launches.kernel(squared_product_kernel<T>, form_blocks(rows), kUnitThreads, sizeof(FormMemory),
                    rows, j, lanczos.progress, lanczos.basis);
    return;
  }
  launches.kernel(weighted_sum_kernel<T>, column_sum_blocks(rows, rows.d + 1), kClosedThreads,
                  sizeof(SumMemory), rows, j, lanczos.progress, lanczos.basis);
  launches.kernel(linear_product_kernel<T>, group_blocks(rows.batch * rows.n, rows.d),
                  kGroupThreads, 0, rows, edge == Edge::kShifted, j, lanczos.progress,
                  lanczos.basis);
}

}  // namespace hubprune::cuda
