// SPDX-License-Identifier: MIT
// The loops of csrc/core/parallel.h for ThreadSanitizer, which does not see how OpenMP's threads
// wait for each other: POSIX threads and barriers in place of OpenMP's, nothing else that orders
// them. Index i always goes to thread i mod threads, so that neighbours are on different threads
// however small the loop and however late a thread starts, and no work is too small to share.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace hubprune {

constexpr double kSerialOperations = 0;

static inline int threads_for(double /*operations*/, int requested) {
  return requested < 1 ? 1 : requested;
}

struct Team {
  int thread;
  int threads;
  pthread_barrier_t* barrier = nullptr;

  template <class Body>
  void share(int64_t count, const Body& body) const {
    for (int64_t i = thread; i < count; i += threads) body(i);
    wait();
  }

  template <class Body>
  void once(const Body& body) const {
    if (thread == threads - 1) body();
    wait();
  }

  void wait() const {
    if (threads > 1) pthread_barrier_wait(barrier);
  }
};

template <class Body>
static inline void parallel_region(int threads, const Body& body) {
  if (threads <= 1) {
    body(Team{0, 1});
    return;
  }
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, static_cast<unsigned>(threads));
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) {
    others.emplace_back([&, thread] { body(Team{thread, threads, &barrier}); });
  }
  body(Team{0, threads, &barrier});
  for (std::thread& other : others) other.join();
  pthread_barrier_destroy(&barrier);
}

template <class Body>
static inline void parallel_for(int64_t count, int threads, const Body& body) {
  parallel_region(count <= 1 ? 1 : threads, [&](const Team& team) {
    team.share(count, [&](int64_t i) { body(i, team.thread); });
  });
}

}  // namespace hubprune
