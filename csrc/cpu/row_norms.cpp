// SPDX-License-Identifier: MIT
// Row norms: |x_i| for x (rows, d), accumulated in float64. Bound by one read of x.
// Twin: hubprune.reference.row_norms.
#include "core/parallel.h"
#include "cpu/feature_lanes.h"
#include "cpu/level_kernels.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Rows in one task: about 128 KiB of float32, whole lane groups.
static int64_t rows_per_task(int64_t d) {
  const int64_t rows = 32768 / (d > 0 ? d : 1) / 8 * 8;
  return rows < 8 ? 8 : rows;
}

template <class T>
static T norm_of(const T* row, int64_t d) {
  const UnitScale unit = unit_scale(row, d);
  return static_cast<T>(unit.scaled_norm / unit.scale);
}

// Rows of nine features, a lane group at a time.
template <class T>
static void norms_of_nine(const T* x, int64_t first, int64_t end, T* norms) {
  for (int64_t i = first; i < end; i += kLanes<double>) {
    const int64_t count = end - i < kLanes<double> ? end - i : kLanes<double>;
    Vector<double> features[kNine];
    if (count < kLanes<double>) {
      split_last_nine(x + i * kNine, count, features);
    } else {
      split_nine(x + i * kNine, features);
    }
    Vector<double> square = {};
    for (int f = 0; f < kNine; ++f) square += features[f] * features[f];
    const Vector<double> norm = square_root(square);
    for (int64_t r = 0; r < count; ++r) {
      const bool safe = sizeof(T) < sizeof(double) || (square[r] > 1e-280 && square[r] < 1e280);
      norms[i + r] = safe ? static_cast<T>(norm[r]) : norm_of(x + (i + r) * kNine, kNine);
    }
  }
}

template <class T>
void row_norms(const T* x, int64_t rows, int64_t d, T* norms, int threads) {
  const int64_t piece = rows_per_task(d);
  const int64_t tasks = (rows + piece - 1) / piece;
  threads = threads_for(static_cast<double>(rows) * static_cast<double>(d), threads);
  parallel_for(tasks, threads, [&](int64_t task, int) {
    const int64_t first = task * piece;
    const int64_t end = first + piece < rows ? first + piece : rows;
    if (d == kNine) {
      norms_of_nine(x, first, end, norms);
    } else {
      for (int64_t i = first; i < end; ++i) norms[i] = norm_of(x + i * d, d);
    }
  });
}

template void row_norms<float>(const float*, int64_t, int64_t, float*, int);
template void row_norms<double>(const double*, int64_t, int64_t, double*, int);

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
