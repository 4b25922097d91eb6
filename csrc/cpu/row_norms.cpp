// SPDX-License-Identifier: MIT
// Row norms: |x_i| for x (rows, d), accumulated in float64. Bound by one read of x.
// Twin: hubprune.reference.row_norms.
#include "core/parallel.h"
#include "cpu/level_kernels.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kRowsPerTask = 64;

template <class T>
void row_norms(const T* x, int64_t rows, int64_t d, T* norms, int threads) {
  const int64_t tasks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  threads = threads_for(static_cast<double>(rows) * static_cast<double>(d), threads);
  parallel_for(tasks, threads, [&](int64_t task, int) {
    const int64_t end = task * kRowsPerTask + kRowsPerTask;
    for (int64_t i = task * kRowsPerTask; i < rows && i < end; ++i) {
      const UnitScale unit = unit_scale(x + i * d, d);
      norms[i] = static_cast<T>(unit.scaled_norm / unit.scale);
    }
  });
}

template void row_norms<float>(const float*, int64_t, int64_t, float*, int);
template void row_norms<double>(const double*, int64_t, int64_t, double*, int);

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
