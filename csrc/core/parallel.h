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

// The threads of one parallel region, seen from one of them. A region is opened once for a whole
// operation, or a whole model: the loops inside it cost a barrier each, not a hand-off.
struct Team {
  int thread;
  int threads;

  // Calls body(index) for every index in [0, count), shared among the team; returns when all are
  // done. Every thread of the team must come here.
  template <class Body>
  void share(int64_t count, const Body& body) const {
    if (threads == 1) {
      for (int64_t i = 0; i < count; ++i) body(i);
      return;
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t i = 0; i < count; ++i) body(i);
  }

  // Calls body() on one thread; the others wait for it.
  template <class Body>
  void once(const Body& body) const {
    if (threads == 1) {
      body();
      return;
    }
#pragma omp single
    body();
  }
};

// Calls body(team) on every thread of a region of at most `threads`.
template <class Body>
static inline void parallel_region(int threads, const Body& body) {
  if (threads <= 1) {
    body(Team{0, 1});
    return;
  }
#pragma omp parallel num_threads(threads)
  body(Team{omp_get_thread_num(), omp_get_num_threads()});
}

// Calls body(index, thread) for every index in [0, count); thread < threads.
template <class Body>
static inline void parallel_for(int64_t count, int threads, const Body& body) {
  parallel_region(count <= 1 ? 1 : threads, [&](const Team& team) {
    team.share(count, [&](int64_t i) { body(i, team.thread); });
  });
}

}  // namespace hubprune
