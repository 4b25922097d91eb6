// SPDX-License-Identifier: MIT
// Parallel loops over pieces of work whose boundaries never depend on the number of threads: that,
// and order-free sums, is what makes every result bitwise the same on 1 and on 64 threads.
#pragma once

#include <omp.h>

#include <cstdint>

namespace hubprune {

// Handing work to a warm pool costs about 2 us: below this many operations it does not pay.
constexpr double kSerialOperations = 100e3;

static inline int threads_for(double operations, int requested) {
  return operations < kSerialOperations || requested < 1 ? 1 : requested;
}

// Calls body(index, thread) for every index in [0, count); thread < threads.
template <class Body>
static inline void parallel_for(int64_t count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) body(i, omp_get_thread_num());
}

}  // namespace hubprune
