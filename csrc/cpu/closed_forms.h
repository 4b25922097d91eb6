// SPDX-License-Identifier: MIT
// Degrees that never form a pair. With x^ the unit rows:
//   signed_i  = x^_i . (sum_j x^_j) - 1        shifted_i = (n - 1 + signed_i) / 2
//   squared_i = x^_i' (sum_j x^_j x^_j') x^_i - 1
// (a zero row has no self-similarity to subtract). All sums in float64 over chunks of rows whose
// boundaries depend on n alone. Bound by two reads of x: every row is needed once for its length
// and the sum, and once against the sum; squared adds n d (d + 1) FMAs. Rows of nine features go
// lane by lane, and their lengths are found twice: writing and reading them costs more where x does
// not fit a cache. Others go kTogether at a time, so that the sum, as long as they are, is read as
// much less. Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/edge.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/feature_lanes.h"
#include "cpu/filter_gram.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGramFeatures = kMostGramFeatures;  // a thread's unit row fits its stack
constexpr int64_t kClosedChunks = 64;                 // partial sums of a wide graph
constexpr int kTogether = 4;                          // rows

template <class T>
struct ClosedForm {
  static constexpr bool kScaled = sizeof(T) == sizeof(double);

  int64_t n;
  int64_t d;
  int64_t chunk;     // rows in a chunk
  int64_t size;      // doubles in one partial sum
  double* total;     // size
  double* partials;  // chunks x size
  double* inverse;   // n, UnitScale's; not of rows of nine features
  double* scale;     // n, the same; of float64 rows only

  static ClosedForm take(Scratch& scratch, int64_t n, int64_t d, bool squared) {
    const int64_t step = kLanes<double>;
    const int64_t stride = (d + step - 1) / step * step;
    const int64_t even = (n + kClosedChunks - 1) / kClosedChunks;
    const int64_t chunk = even > 256 ? (even + step - 1) / step * step : 256;
    const int64_t size = squared ? (d == kNine ? kNinePairs * step : (stride + kGramRows) * stride)
                                 : (d == kNine ? kNine * step : stride);
    double* total = scratch.take<double>(size);
    double* partials = scratch.take<double>((n + chunk - 1) / chunk * size);
    const int64_t kept = d == kNine ? 0 : n;
    double* inverse = scratch.take<double>(kept);
    double* scale = scratch.take<double>(kScaled ? kept : 0);
    return {n, d, chunk, size, total, partials, inverse, scale};
  }

  int64_t chunks() const { return (n + chunk - 1) / chunk; }

  int64_t chunk_end(int64_t q) const { return (q + 1) * chunk < n ? (q + 1) * chunk : n; }

  // Calls body(first row, end, chunk's zeroed partial sum) for every chunk, then adds the partial
  // sums in order.
  template <class Body>
  void sum_chunks(const Team& team, const Body& body) const {
    team.share(chunks(), [&](int64_t q) {
      double* partial = partials + q * size;
      for (int64_t k = 0; k < size; ++k) partial[k] = 0.0;
      body(q * chunk, chunk_end(q), partial);
    });
    team.once([&] {
      for (int64_t k = 0; k < size; ++k) total[k] = 0.0;
      for (int64_t q = 0; q < chunks(); ++q) {
        for (int64_t k = 0; k < size; ++k) total[k] += partials[q * size + k];
      }
    });
  }

  // Calls body(row, rows, unit features, 1 where a row has a direction and else 0) per lane group.
  template <class Body>
  void each_nine(const T* x, int64_t first, int64_t end, const Body& body) const {
    for (int64_t i = first; i < end; i += kLanes<double>) {
      const int64_t count = end - i < kLanes<double> ? end - i : kLanes<double>;
      Vector<double> features[kNine];
      const Vector<double> inverse = unit_nine(x + i * kNine, count, features);
      body(i, count, features, inverse > 0.0 ? Vector<double>{} + 1.0 : Vector<double>{});
    }
  }

  void signed_degree(const Team& team, const T* x, bool shifted, T* degree) const {
    const double others = static_cast<double>(n - 1);
    if (d == kNine) {
      sum_chunks(team, [&](int64_t first, int64_t end, double* partial) {
        Vector<double> sums[kNine] = {};
        each_nine(x, first, end, [&](int64_t, int64_t, const Vector<double>* unit, auto) {
          for (int f = 0; f < kNine; ++f) sums[f] += unit[f];
        });
        for (int f = 0; f < kNine; ++f) partial[f] = horizontal_sum<double>(sums[f]);
      });
      team.share(chunks(), [&](int64_t q) {
        each_nine(x, q * chunk, chunk_end(q),
                  [&](int64_t i, int64_t count, const Vector<double>* unit, Vector<double> self) {
                    Vector<double> sum = -self;
                    for (int f = 0; f < kNine; ++f) sum += unit[f] * total[f];
                    if (shifted) sum = 0.5 * (sum + others);
                    for (int64_t r = 0; r < count; ++r) degree[i + r] = static_cast<T>(sum[r]);
                  });
      });
      return;
    }
    sum_chunks(team, [&](int64_t first, int64_t end, double* partial) {
      each_group(first, end, [&](int64_t i, auto rows) { add_rows(x, i, rows, partial); });
    });
    team.share(chunks(), [&](int64_t q) {
      each_group(q * chunk, chunk_end(q), [&](int64_t i, auto rows) {
        double sums[rows.value];
        multiply_rows_with_total(x, i, rows, sums);
        for (int r = 0; r < rows.value; ++r) {
          const double sum = sums[r] * inverse[i + r] - self_of(i + r);
          degree[i + r] = static_cast<T>(shifted ? 0.5 * (others + sum) : sum);
        }
      });
    });
  }

  void squared_degree(const Team& team, const T* x, T* degree) const {
    if (d == kNine) {
      squared_nine(team, x, degree);
      return;
    }
    const int64_t step = kLanes<double>;
    const int64_t stride = (d + step - 1) / step * step;
    constexpr int64_t kDepthRows = 16;
    sum_chunks(team, [&](int64_t first, int64_t end, double* gram) {
      alignas(64) double terms[kDepthRows * kGramFeatures];
      for (int64_t i = first; i < end; i += kDepthRows) {
        const int64_t depth = end - i < kDepthRows ? end - i : kDepthRows;
        for (int64_t r = 0; r < depth; ++r) {
          find_unit(x, i + r);
          load_unit_row(x, i + r, stride, terms + r * stride);
        }
        add_gram(terms, depth, d, stride, gram);
      }
    });
    team.share(chunks(), [&](int64_t q) {
      alignas(64) double unit_row[kGramFeatures];
      for (int64_t i = q * chunk; i < chunk_end(q); ++i) {
        load_unit_row(x, i, stride, unit_row);
        double form = 0.0;
        for (int64_t a = 0; a < d; ++a) {
          // The upper triangle: each entry right of the diagonal counts twice.
          const double* row = total + a * stride;
          const double right = dot_as_double(row + a + 1, unit_row + a + 1, d - a - 1);
          form += unit_row[a] * (row[a] * unit_row[a] + 2.0 * right);
        }
        degree[i] = static_cast<T>(form - self_of(i));
      }
    });
  }

 private:
  void squared_nine(const Team& team, const T* x, T* degree) const {
    constexpr int kVectors = 16;
    sum_chunks(team, [&](int64_t first, int64_t end, double* partial) {
      alignas(64) Vector<double> terms[kNine * kVectors];
      auto* sums = reinterpret_cast<Vector<double>*>(partial);
      int64_t filled = 0;
      const auto flush = [&] {
        add_all_pairs<kVectors>(terms, filled, sums);
        filled = 0;
      };
      each_nine(x, first, end, [&](int64_t, int64_t, const Vector<double>* unit, auto) {
        for (int f = 0; f < kNine; ++f) terms[f * kVectors + filled] = unit[f];
        if (++filled == kVectors) flush();
      });
      flush();
      for (int e = 0; e < kNinePairs; ++e) partial[e] = horizontal_sum<double>(sums[e]);
    });
    team.share(chunks(), [&](int64_t q) {
      each_nine(x, q * chunk, chunk_end(q),
                [&](int64_t i, int64_t count, const Vector<double>* unit, Vector<double> self) {
                  Vector<double> form = -self;
                  for (int a = 0; a < kNine; ++a) {
                    Vector<double> row = unit[a] * (0.5 * total[a * kNine + a]);
                    for (int b = a + 1; b < kNine; ++b) row += unit[b] * total[a * kNine + b];
                    form += 2.0 * unit[a] * row;
                  }
                  for (int64_t r = 0; r < count; ++r) degree[i + r] = static_cast<T>(form[r]);
                });
    });
  }

  // What makes row i a unit row, kept for the second reading.
  UnitScale find_unit(const T* x, int64_t i) const {
    const UnitScale unit = unit_scale(x + i * d, d);
    inverse[i] = unit.inverse;
    if constexpr (kScaled) scale[i] = unit.scale;
    return unit;
  }

  double scale_of(int64_t i) const { return kScaled ? scale[i] : 1.0; }
  double self_of(int64_t i) const { return inverse[i] > 0.0 ? 1.0 : 0.0; }

  // Calls body(row, how many) for groups of kTogether rows, and for each of the last ones.
  template <class Body>
  static void each_group(int64_t first, int64_t end, const Body& body) {
    int64_t i = first;
    for (; i + kTogether <= end; i += kTogether) {
      body(i, std::integral_constant<int, kTogether>{});
    }
    for (; i < end; ++i) body(i, std::integral_constant<int, 1>{});
  }

  // partial += kRows unit rows from row i on.
  template <int kRows>
  void add_rows(const T* x, int64_t i, std::integral_constant<int, kRows>, double* partial) const {
    const T* rows = x + i * d;
    UnitScale units[kRows];
    for (int r = 0; r < kRows; ++r) units[r] = find_unit(x, i + r);
    int64_t k = 0;
    for (; k + kLanes<double> <= d; k += kLanes<double>) {
      Vector<double> sum = load(partial + k);
      for (int r = 0; r < kRows; ++r) {
        sum += load_as_double(rows + r * d + k) * units[r].scale * units[r].inverse;
      }
      store(partial + k, sum);
    }
    for (; k < d; ++k) {
      for (int r = 0; r < kRows; ++r) {
        partial[k] += static_cast<double>(rows[r * d + k]) * units[r].scale * units[r].inverse;
      }
    }
  }

  // sums_r = (scaled row i + r) . total, in an order that does not depend on kRows: equal rows have
  // equal degrees.
  template <int kRows>
  void multiply_rows_with_total(const T* x, int64_t i, std::integral_constant<int, kRows>,
                                double* sums) const {
    constexpr int64_t kStep = kLanes<double>;
    const T* rows = x + i * d;
    Vector<double> even[kRows] = {};
    Vector<double> odd[kRows] = {};
    int64_t k = 0;
    for (; k + 2 * kStep <= d; k += 2 * kStep) {
      const Vector<double> first = load(total + k);
      const Vector<double> second = load(total + k + kStep);
      for (int r = 0; r < kRows; ++r) {
        const T* row = rows + r * d + k;
        even[r] += load_as_double(row) * scale_of(i + r) * first;
        odd[r] += load_as_double(row + kStep) * scale_of(i + r) * second;
      }
    }
    for (int r = 0; r < kRows; ++r) {
      sums[r] = horizontal_sum<double>(even[r] + odd[r]) +
                dot_as_double(rows + r * d + k, total + k, d - k, scale_of(i + r));
    }
  }

  // Unit row i in float64, padded with zeros to `stride`.
  void load_unit_row(const T* x, int64_t i, int64_t stride, double* unit_row) const {
    for (int64_t k = 0; k < d; ++k) {
      unit_row[k] = static_cast<double>(x[i * d + k]) * scale_of(i) * inverse[i];
    }
    for (int64_t k = d; k < stride; ++k) unit_row[k] = 0.0;
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
