// SPDX-License-Identifier: MIT
// Pivoted Cholesky of a positive semi-definite matrix a (n, n): which rows represent the others.
//
// Greedy: the pivot is the largest diagonal entry of what is left (ties: lowest index), until that
// is at most `tolerance` times the first. Blocked: kBlock pivots are found on one thread, the rest
// of the matrix is updated by all. Bound by n^3 / 3 FMAs in float64.
// Rejection: one block of accelerated randomly pivoted Cholesky (Epperly, Tropp & Webber, 2024,
// arXiv 2410.03969): candidate i, drawn in proportion to the diagonal, is accepted with the
// probability that what is left of its diagonal entry bears to the whole.
// Twins: hubprune.reference.pivoted_cholesky, rejection_cholesky.
#include <algorithm>
#include <cmath>
#include <utility>

#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kBlock = 64;  // pivots between updates of the rest
constexpr int64_t kStrip = 64;  // rows of the rest that one piece of work updates

// Not a power of two: the columns of a panel would share one set of the nearest cache.
static int64_t panel_stride(int64_t n) {
  return (n + kPanel<double> - 1) / kPanel<double> * kPanel<double> + kLanes<double>;
}

int64_t pivoted_cholesky_scratch(int64_t n) {
  Scratch scratch(nullptr);
  scratch.take<double>(n);
  scratch.take<double>(kBlock * panel_stride(n));
  scratch.take<int64_t>(1);
  return scratch.bytes();
}

struct Elimination {
  double* a;         // (n, n), what is left of it from `first` on
  double* diagonal;  // (n), what is left after every pivot so far
  double* panel;     // (kBlock, stride): the block's columns of the factor
  int64_t* order;    // (n): the row that stands at each position
  int64_t n;
  int64_t stride;

  int64_t largest(int64_t t) const {
    int64_t best = t;
    for (int64_t i = t + 1; i < n; ++i) {
      if (diagonal[i] != diagonal[i]) return i;  // ends the walk: not passed over in silence
      const bool larger = diagonal[i] > diagonal[best];
      if (larger || (diagonal[i] == diagonal[best] && order[i] < order[best])) best = i;
    }
    return best;
  }

  void swap(int64_t t, int64_t q, int64_t first) const {
    if (t == q) return;
    for (int64_t j = first; j < n; ++j) std::swap(a[t * n + j], a[q * n + j]);
    for (int64_t i = first; i < n; ++i) std::swap(a[i * n + t], a[i * n + q]);
    for (int64_t s = 0; s < t - first; ++s) std::swap(panel[s * stride + t], panel[s * stride + q]);
    std::swap(diagonal[t], diagonal[q]);
    std::swap(order[t], order[q]);
  }

  // Column t of the factor, into the panel; the diagonal of the rest.
  void eliminate(int64_t t, int64_t first) const {
    double* column = panel + (t - first) * stride;
    const double root = std::sqrt(diagonal[t]);
    for (int64_t i = t + 1; i < n; ++i) column[i] = a[t * n + i];
    for (int64_t s = 0; s < t - first; ++s) {
      const double* earlier = panel + s * stride;
      const double factor = earlier[t];
      for (int64_t i = t + 1; i < n; ++i) column[i] -= factor * earlier[i];
    }
    for (int64_t i = t + 1; i < n; ++i) {
      column[i] /= root;
      diagonal[i] -= column[i] * column[i];
    }
  }

  // Rows [i0, i1) of the rest, less what the block's columns explain.
  void update(int64_t i0, int64_t i1, int64_t rest, int64_t columns) const {
    constexpr int64_t kWidth = kPanel<double>;
    for (int64_t j = rest; j < n; j += kWidth) {
      for (int64_t i = i0; i < i1; i += kTileRows) {
        Vector<double> left[kTileRows] = {};
        Vector<double> right[kTileRows] = {};
        for (int64_t s = 0; s < columns; ++s) {
          const double* column = panel + s * stride;
          const Vector<double> b0 = load(column + j);
          const Vector<double> b1 = load(column + j + kLanes<double>);
#pragma GCC unroll 8
          for (int r = 0; r < kTileRows; ++r) {
            left[r] += column[i + r] * b0;
            right[r] += column[i + r] * b1;
          }
        }
        const int64_t rows = i1 - i < kTileRows ? i1 - i : kTileRows;
        if (n - j >= kWidth && rows == kTileRows) {
#pragma GCC unroll 8
          for (int r = 0; r < kTileRows; ++r) {
            double* target = a + (i + r) * n + j;
            store(target, load(target) - left[r]);
            store(target + kLanes<double>, load(target + kLanes<double>) - right[r]);
          }
          continue;
        }
        double block[kTileRows][kWidth];
#pragma GCC unroll 8
        for (int r = 0; r < kTileRows; ++r) {
          store(block[r], left[r]);
          store(block[r] + kLanes<double>, right[r]);
        }
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t at = 0; at < kWidth && j + at < n; ++at) {
            a[(i + r) * n + j + at] -= block[r][at];
          }
        }
      }
    }
  }
};

// a is destroyed. order: the pivots, then the other rows by index; residual[t]: the diagonal entry
// of pivot t when it was chosen, then 0. Returns how many pivots there are: the numerical rank.
int64_t pivoted_cholesky(double* a, int64_t n, double tolerance, int64_t* order, double* residual,
                         void* scratch, int threads) {
  Scratch block(scratch);
  auto* diagonal = block.take<double>(n);
  const int64_t stride = panel_stride(n);
  auto* panel = block.take<double>(kBlock * stride);
  auto* rank = block.take<int64_t>(1);
  const Elimination work{a, diagonal, panel, order, n, stride};
  for (int64_t i = 0; i < n; ++i) {
    order[i] = i;
    diagonal[i] = a[i * n + i];
    residual[i] = 0.0;
  }
  for (int64_t i = 0; i < kBlock * stride; ++i) panel[i] = 0.0;  // its padding is read
  *rank = n;
  double largest = 0.0;
  for (int64_t i = 0; i < n; ++i) largest = diagonal[i] > largest ? diagonal[i] : largest;
  const double floor = tolerance * largest;
  const double operations =
      static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / 3.0;
  parallel_region(threads_for(operations, threads), [&](const Team& team) {
    for (int64_t first = 0; first < n; first += kBlock) {
      const int64_t rest = first + kBlock < n ? first + kBlock : n;
      team.once([&] {
        for (int64_t t = first; t < rest; ++t) {
          const int64_t q = work.largest(t);
          if (!(diagonal[q] > floor)) {
            *rank = t;
            break;
          }
          work.swap(t, q, first);
          residual[t] = diagonal[t];
          work.eliminate(t, first);
        }
      });
      if (*rank < n) break;
      team.share((n - rest + kStrip - 1) / kStrip, [&](int64_t strip) {
        const int64_t i0 = rest + strip * kStrip;
        work.update(i0, i0 + kStrip < n ? i0 + kStrip : n, rest, rest - first);
      });
    }
  });
  // What was not chosen is ranked by the caller: give it back in the order of its indices.
  // A comparison of its own, so that this level's code is not merged with another's by the linker.
  std::sort(order + *rank, order + n, [](int64_t i, int64_t j) { return i < j; });
  return *rank;
}

// h (count, count): what is left of the candidates' rows and columns, destroyed; draws: uniform in
// [0, 1). A candidate of which at most `tolerance` is left (it was drawn twice, or is explained) is
// rejected. Writes the accepted positions, ascending, and returns how many they are.
int64_t rejection_cholesky(double* h, const double* draws, int64_t count, double tolerance,
                           int64_t* accepted) {
  int64_t taken = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double* row = h + i * count;  // row[j], j < i: its entries in the accepted columns
    double left = row[i];
    for (int64_t t = 0; t < taken; ++t) left -= row[accepted[t]] * row[accepted[t]];
    if (!(left > tolerance * row[i]) || !(draws[i] * row[i] < left)) continue;
    const double root = std::sqrt(left);
    for (int64_t below = i + 1; below < count; ++below) {
      double* other = h + below * count;
      double entry = other[i];
      for (int64_t t = 0; t < taken; ++t) entry -= other[accepted[t]] * row[accepted[t]];
      other[i] = entry / root;
    }
    accepted[taken++] = i;
  }
  return taken;
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
