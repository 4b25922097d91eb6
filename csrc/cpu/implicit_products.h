// SPDX-License-Identifier: MIT
// Products with a similarity graph that is never formed. With x^ the unit rows, as packed panels:
//   signed_i  = x^_i . (X^'v) - v_i          shifted_i = (sum v - v_i + signed_i) / 2
//   squared_i = x^_i' (X^' diag(v) X^) x^_i - v_i
// (a zero row has no self-similarity to subtract). signed, shifted: 2 n d multiply-adds, bound by
// two reads of the panels. squared: n d^2 multiply-adds, 3 x 3 sums of the upper triangle in
// registers, then 4 of its rows at a time.
// Numerics: float64; sums over chunks of rows that depend on n alone, added in order, so that the
// bits do not depend on the threads. Twin: products with hubprune.reference.adjacency.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/parallel.h"
#include "cpu/lanczos.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kMostGramChunks = 64;
constexpr int64_t kLeastGramRows = 256;
constexpr int64_t kGramPassRows = 1024;  // six of their features stay in the nearest cache

static inline int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

template <class T>
static int64_t gram_chunk(int64_t n) {
  const int64_t even = (n + kMostGramChunks - 1) / kMostGramChunks;
  const int64_t rows = even > kLeastGramRows ? even : kLeastGramRows;
  return (rows + kPanel<T> - 1) / kPanel<T> * kPanel<T>;
}

// Doubles that a product needs beside its vectors.
template <class T>
static int64_t implicit_work(int64_t n, int64_t d, Edge edge) {
  if (edge != Edge::kSquared) return (chunks_of(n) + 1) * d;
  const int64_t chunk = gram_chunk<T>(n);
  return (n + chunk - 1) / chunk * d * d + (d + 3) / 4 * 4 * d;
}

// signed or shifted; `partials` holds (chunks + 1) x d doubles.
template <class T>
static void linear_product(const Panels<T>& x, bool shifted, const double* v, double* partials,
                           double* out, int threads) {
  const int64_t n = x.n;
  const int64_t d = x.d;
  const int64_t width = kPanel<T>;
  const int64_t chunks = chunks_of(n);
  double* total = partials + chunks * d;
  threads = threads_for(4.0 * static_cast<double>(n) * static_cast<double>(d), threads);
  parallel_for(chunks, threads, [&](int64_t q, int) {
    double* partial = partials + q * d;
    for (int64_t k = 0; k < d; ++k) partial[k] = 0.0;
    const int64_t end = (q + 1) * kChunk < n ? (q + 1) * kChunk : n;
    for (int64_t i = q * kChunk; i < end; i += width) {
      const int64_t rows = end - i < width ? end - i : width;
      for (int64_t k = 0; k < d; ++k) {
        partial[k] += dot_as_double(x.panel(i) + k * width, v + i, rows);
      }
    }
  });
  for (int64_t k = 0; k < d; ++k) {
    total[k] = 0.0;
    for (int64_t q = 0; q < chunks; ++q) total[k] += partials[q * d + k];
  }
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += v[i];
  parallel_for(chunks, threads, [&](int64_t q, int) {
    const int64_t end = (q + 1) * kChunk < n ? (q + 1) * kChunk : n;
    for (int64_t i = q * kChunk; i < end; i += width) {
      const int64_t rows = end - i < width ? end - i : width;
      double cosines[kPanel<T>] = {};
      for (int64_t k = 0; k < d; ++k) {
        const T* feature = x.panel(i) + k * width;
        for (int64_t r = 0; r < width; ++r) {
          cosines[r] += static_cast<double>(feature[r]) * total[k];
        }
      }
      for (int64_t r = 0; r < rows; ++r) {
        const double self = x.kinds[i + r] == RowKind::kUnit ? v[i + r] : 0.0;
        const double signed_product = cosines[r] - self;
        out[i + r] = shifted ? 0.5 * (sum - v[i + r] + signed_product) : signed_product;
      }
    }
  });
}

// gram (d, d), its upper triangle += X^' diag(v) X^ of rows [first, end), `first` a panel's.
template <class T>
static void add_weighted_gram(const Panels<T>& x, const double* v, int64_t first, int64_t end,
                              double* gram) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t d = x.d;
  alignas(64) double last[kWidth] = {};  // of v, where a panel is not full
  const int64_t full = end / kWidth * kWidth;
  for (int64_t i = full; i < end; ++i) last[i - full] = v[i];
  for (int64_t a = 0; a < d; a += 3) {
    for (int64_t b = a; b < d; b += 3) {
      int64_t rows[3];
      int64_t columns[3];
      for (int e = 0; e < 3; ++e) {  // what lies beyond d is multiplied, but not stored
        rows[e] = (a + e < d ? a + e : d - 1) * kWidth;
        columns[e] = (b + e < d ? b + e : d - 1) * kWidth;
      }
      Vector<double> sums[9] = {};
      for (int64_t i = first; i < end; i += kWidth) {
        const T* panel = x.panel(i);
        const double* weights = i < full ? v + i : last;
        for (int64_t r = 0; r < kWidth; r += kLanes<double>) {
          const Vector<double> weight = load(weights + r);
          Vector<double> right[3];
          for (int e = 0; e < 3; ++e) right[e] = load_as_double(panel + columns[e] + r);
#pragma GCC unroll 3
          for (int e = 0; e < 3; ++e) {
            const Vector<double> left = load_as_double(panel + rows[e] + r) * weight;
            for (int f = 0; f < 3; ++f) sums[3 * e + f] += left * right[f];
          }
        }
      }
      for (int64_t e = 0; e < 3 && a + e < d; ++e) {
        for (int64_t f = 0; f < 3 && b + f < d; ++f) {
          gram[(a + e) * d + b + f] += horizontal_sum<double>(sums[3 * e + f]);
        }
      }
    }
  }
}

// folded <- the sum of the `chunks` partials, so that x'Mx = sum over a <= b of folded_ab x_a x_b:
// groups of four rows, column by column; zero below the diagonal and beyond d.
static inline void fold_row(const double* partials, int64_t chunks, int64_t d, int64_t a,
                            double* folded) {
  for (int64_t b = 0; b < d; ++b) {
    double sum = 0.0;
    if (a < d && b >= a) {
      for (int64_t q = 0; q < chunks; ++q) sum += partials[(q * d + a) * d + b];
    }
    folded[a / 4 * 4 * d + b * 4 + a % 4] = b > a ? 2.0 * sum : sum;
  }
}

// forms (kPanel) <- x^_i' M x^_i of the rows of a panel.
template <class T>
static void quadratic_forms(const T* panel, const double* folded, int64_t d, double* forms) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kStep = kLanes<double>;
  for (int64_t r = 0; r < kWidth; r += 2 * kStep) {
    const T* x = panel + r;
    Vector<double> form[2] = {};
    for (int64_t a = 0; a < d; a += 4) {
      const double* entries = folded + a * d;
      Vector<double> rows[4][2] = {};
      for (int64_t b = a; b < d; ++b) {
        const Vector<double> x0 = load_as_double(x + b * kWidth);
        const Vector<double> x1 = load_as_double(x + b * kWidth + kStep);
#pragma GCC unroll 4
        for (int e = 0; e < 4; ++e) {
          rows[e][0] += entries[4 * b + e] * x0;
          rows[e][1] += entries[4 * b + e] * x1;
        }
      }
      for (int64_t e = 0; e < 4 && a + e < d; ++e) {
        const T* feature = x + (a + e) * kWidth;
        form[0] += load_as_double(feature) * rows[e][0];
        form[1] += load_as_double(feature + kStep) * rows[e][1];
      }
    }
    store(forms + r, form[0]);
    store(forms + r + kStep, form[1]);
  }
}

// `work` holds implicit_work doubles.
template <class T>
static void squared_product(const Panels<T>& x, const double* v, double* work, double* out,
                            int threads) {
  const int64_t n = x.n;
  const int64_t d = x.d;
  const int64_t chunk = gram_chunk<T>(n);
  const int64_t chunks = (n + chunk - 1) / chunk;
  double* folded = work + chunks * d * d;
  const auto size = static_cast<double>(d);
  const auto end_of = [&](int64_t q) { return (q + 1) * chunk < n ? (q + 1) * chunk : n; };
  parallel_region(threads_for(static_cast<double>(n) * size * size, threads), [&](const Team& t) {
    t.share(chunks, [&](int64_t q) {
      double* gram = work + q * d * d;
      for (int64_t k = 0; k < d * d; ++k) gram[k] = 0.0;
      for (int64_t i = q * chunk; i < end_of(q); i += kGramPassRows) {
        const int64_t end = i + kGramPassRows < end_of(q) ? i + kGramPassRows : end_of(q);
        add_weighted_gram(x, v, i, end, gram);
      }
    });
    t.share((d + 3) / 4, [&](int64_t g) {
      for (int64_t a = 4 * g; a < 4 * g + 4; ++a) fold_row(work, chunks, d, a, folded);
    });
    t.share(chunks, [&](int64_t q) {
      for (int64_t i = q * chunk; i < end_of(q); i += kPanel<T>) {
        alignas(64) double forms[kPanel<T>];
        quadratic_forms(x.panel(i), folded, d, forms);
        const int64_t rows = end_of(q) - i < kPanel<T> ? end_of(q) - i : kPanel<T>;
        for (int64_t r = 0; r < rows; ++r) {
          out[i + r] = forms[r] - (x.kinds[i + r] == RowKind::kUnit ? v[i + r] : 0.0);
        }
      }
    });
  });
}

// out = W v of an edge that has such a product.
template <class T>
static void implicit_product(const Panels<T>& x, Edge edge, const double* v, double* work,
                             double* out, int threads) {
  if (edge == Edge::kSquared) {
    squared_product(x, v, work, out, threads);
  } else {
    linear_product(x, edge == Edge::kShifted, v, work, out, threads);
  }
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
