// SPDX-License-Identifier: MIT
// Degrees that never form a pair. With x^ the unit rows:
//   signed_i  = x^_i . (sum_j x^_j) - 1        shifted_i = (n - 1 + signed_i) / 2
//   squared_i = x^_i' (sum_j x^_j x^_j') x^_i - 1
// (a zero row has no self-similarity to subtract). All sums in float64 over chunks of rows whose
// boundaries depend on n alone. Cost: two reads of x; squared adds 2 n d^2 FMAs.
// Twin: hubprune.reference.weighted_degree.
#pragma once

#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGramFeatures = 256;  // a thread's unit row fits its stack
constexpr int64_t kGramChunks = 16;

// 2 n d^2 FMAs in float64 against n^2 d / 2 in float32, at half the lanes.
static inline bool squared_closed_form_pays(int64_t n, int64_t d) {
  return d <= kGramFeatures && 8 * d <= n;
}

template <class T>
struct ClosedForm {
  int64_t n;
  int64_t d;
  int64_t chunk;     // rows in a chunk
  int64_t size;      // doubles in one partial sum
  double* total;     // size
  double* partials;  // chunks x size

  static ClosedForm take(Scratch& scratch, int64_t n, int64_t d, bool squared) {
    const int64_t step = kLanes<double>;
    const int64_t stride = (d + step - 1) / step * step;
    const int64_t chunk =
        squared && n > 256 * kGramChunks ? (n + kGramChunks - 1) / kGramChunks : 256;
    const int64_t size = squared ? d * stride : stride;
    double* total = scratch.take<double>(size);
    double* partials = scratch.take<double>((n + chunk - 1) / chunk * size);
    return {n, d, chunk, size, total, partials};
  }

  int64_t chunks() const { return (n + chunk - 1) / chunk; }

  // Calls body(row, chunk's partial sum) for every row, then adds the partial sums in order.
  template <class Body>
  void sum_chunks(int threads, const Body& body) const {
    parallel_for(chunks(), threads, [&](int64_t q, int) {
      double* partial = partials + q * size;
      for (int64_t k = 0; k < size; ++k) partial[k] = 0.0;
      for (int64_t i = q * chunk; i < n && i < (q + 1) * chunk; ++i) body(i, partial);
    });
    for (int64_t k = 0; k < size; ++k) total[k] = 0.0;
    for (int64_t q = 0; q < chunks(); ++q) {
      for (int64_t k = 0; k < size; ++k) total[k] += partials[q * size + k];
    }
  }

  void signed_degree(const T* x, bool shifted, T* degree, int threads) const {
    threads = threads_for(6.0 * static_cast<double>(n) * static_cast<double>(d), threads);
    sum_chunks(threads, [&](int64_t i, double* partial) {
      const T* row = x + i * d;
      const UnitScale unit = unit_scale(row, d);
      for (int64_t k = 0; k < d; ++k) {
        partial[k] += static_cast<double>(row[k]) * unit.scale * unit.inverse;
      }
    });
    parallel_for(chunks(), threads, [&](int64_t q, int) {
      for (int64_t i = q * chunk; i < n && i < (q + 1) * chunk; ++i) {
        const T* row = x + i * d;
        const UnitScale unit = unit_scale(row, d);
        const double self = unit.inverse > 0.0 ? 1.0 : 0.0;
        const double sum = dot_as_double(row, total, d, unit.scale) * unit.inverse - self;
        degree[i] = static_cast<T>(shifted ? 0.5 * (static_cast<double>(n - 1) + sum) : sum);
      }
    });
  }

  void squared_degree(const T* x, T* degree, int threads) const {
    const int64_t stride = d > 0 ? size / d : 0;
    const double operations = 2.0 * static_cast<double>(n) * static_cast<double>(d * d);
    threads = threads_for(operations, threads);
    sum_chunks(threads, [&](int64_t i, double* gram) {
      alignas(64) double unit_row[kGramFeatures];
      load_unit_row(x + i * d, stride, unit_row);
      for (int64_t a = 0; a < d; ++a) {
        for (int64_t b = a / kLanes<double> * kLanes<double>; b < stride; b += kLanes<double>) {
          double* p = gram + a * stride + b;
          store(p, load(p) + unit_row[a] * load(unit_row + b));
        }
      }
    });
    for (int64_t a = 0; a < d; ++a) {
      for (int64_t b = 0; b < a; ++b) total[a * stride + b] = total[b * stride + a];
    }
    parallel_for(chunks(), threads, [&](int64_t q, int) {
      alignas(64) double unit_row[kGramFeatures];
      for (int64_t i = q * chunk; i < n && i < (q + 1) * chunk; ++i) {
        const double self = load_unit_row(x + i * d, stride, unit_row) > 0.0 ? 1.0 : 0.0;
        double form = 0.0;
        for (int64_t a = 0; a < d; ++a) {
          form += unit_row[a] * dot_as_double(total + a * stride, unit_row, d);
        }
        degree[i] = static_cast<T>(form - self);
      }
    });
  }

 private:
  // The unit row in float64, padded with zeros to `stride`; returns its UnitScale::inverse.
  double load_unit_row(const T* row, int64_t stride, double* unit_row) const {
    const UnitScale unit = unit_scale(row, d);
    for (int64_t k = 0; k < d; ++k) {
      unit_row[k] = static_cast<double>(row[k]) * unit.scale * unit.inverse;
    }
    for (int64_t k = d; k < stride; ++k) unit_row[k] = 0.0;
    return unit.inverse;
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
