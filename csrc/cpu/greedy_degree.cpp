// SPDX-License-Identifier: MIT
// Greedy degree: remove the row of the largest weighted degree (ties: the lowest index), subtract
// its weights from the degrees of the others, and repeat `count` times; what is left is ranked by
// its last degree. x (n, d) -> order (n), degree (n): a row's degree when it was removed, or last.
// The weights, by what is cheapest:
//   stored  the n x n matrix in T, while it fits kStoredGraphBytes: n^2 d / 2 FMAs, then n a step
//   rows    every hub's row from the packed unit rows: n^2 d FMAs at first, then n d a step
// Numerics: weights in T, degrees in 64-bit fixed point. Subtracting a weight undoes exactly what
// adding it did: nothing drifts over n steps, equal rows keep equal degrees, and no schedule can
// change a bit. Twin: hubprune.reference.greedy_degree.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/fixed_point.h"
#include "core/stored_graph.h"
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
struct GreedyWork {
  int64_t* degrees;  // (n), fixed point
  T* graph;          // (n, n), stored route
  void* cosine_scratch;
  Panels<T> panels;  // rows route

  static GreedyWork take(Scratch& scratch, int64_t n, int64_t d, int threads) {
    const bool stored = graph_is_stored<T>(n);
    GreedyWork work{};
    work.degrees = scratch.take<int64_t>(n);
    if (stored) {
      work.graph = scratch.take<T>(n * n);
      work.cosine_scratch = scratch.take<char>(pairwise_cosine_scratch<T>(n, n, d, true, threads));
    } else {
      work.panels = Panels<T>::take(scratch, n, d);
    }
    return work;
  }
};

template <class T>
int64_t greedy_degree_scratch(int64_t n, int64_t d, int threads) {
  Scratch scratch(nullptr);
  GreedyWork<T>::take(scratch, n, d, threads);
  return scratch.bytes();
}

// What stands for the degree of a removed row: below all others, and it stays there while weights
// are subtracted from it, for their sum is at most 2^61.
constexpr int64_t kRemoved = -(int64_t(1) << 62);

// Removes the row of the largest degree (the first of several) and returns it; one is left at
// least. Two passes without branches: the compiler makes vectors of the first.
static inline int64_t take_hub(int64_t* degrees, int64_t n, double scale, double* degree) {
  int64_t largest = degrees[0];
  for (int64_t i = 1; i < n; ++i) largest = degrees[i] > largest ? degrees[i] : largest;
  int64_t hub = 0;
  while (degrees[hub] != largest) ++hub;
  degree[hub] = from_fixed_point(largest, scale);
  degrees[hub] = kRemoved;
  return hub;
}

// The graph (n, n) -> its fixed-point row sums; false if it is not finite.
template <class T>
static bool sum_rows(const T* graph, int64_t n, double scale, int64_t* degrees, int threads) {
  // A filter that is not finite has NaN in its whole row and column: the first row shows it.
  for (int64_t j = 1; j < n; ++j) {
    if (std::isnan(graph[j])) return false;
  }
  threads = threads_for(2.0 * static_cast<double>(n) * static_cast<double>(n), threads);
  parallel_for(n, threads, [&](int64_t i, int) {
    int64_t sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      sum += to_fixed_point(static_cast<double>(graph[i * n + j]), scale);
    }
    degrees[i] = sum;
  });
  return true;
}

// The weights of row h with the rows of the panel at j, itself included.
template <Edge kEdge, class T>
static inline void panel_weights(const Panels<T>& x, int64_t h, int64_t j, T* weights) {
  const int64_t inside = h % kPanel<T>;
  Vector<T> left[1];
  Vector<T> right[1];
  multiply_rows<1, 0>(x.panel(h - inside) + inside, x.panel(j), x.d, left, right);
  store(weights, edge_weights<kEdge, T>(clamp_cosines<T>(left[0])));
  store(weights + kLanes<T>, edge_weights<kEdge, T>(clamp_cosines<T>(right[0])));
}

template <class T>
static void walk_stored(const GreedyWork<T>& work, int64_t n, double scale, int64_t count,
                        int64_t* order, double* degree) {
  int64_t* degrees = work.degrees;
  for (int64_t step = 0; step < count; ++step) {
    order[step] = take_hub(degrees, n, scale, degree);
    const T* row = work.graph + order[step] * n;
    for (int64_t i = 0; i < n; ++i) {
      degrees[i] -= to_fixed_point(static_cast<double>(row[i]), scale);
    }
  }
}

template <Edge kEdge, class T>
static void walk_rows(const Team& team, const GreedyWork<T>& work, int64_t n, double scale,
                      int64_t count, int64_t* order, double* degree) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kChunk = 32 * kWidth;
  team.share(n, [&](int64_t i) {
    int64_t sum = 0;
    for (int64_t j = 0; j < n; j += kWidth) {
      alignas(64) T weights[kWidth];
      panel_weights<kEdge>(work.panels, i, j, weights);
      for (int64_t r = 0; r < kWidth && j + r < n; ++r) {
        if (j + r != i) sum += to_fixed_point(static_cast<double>(weights[r]), scale);
      }
    }
    work.degrees[i] = sum;
  });
  for (int64_t step = 0; step < count; ++step) {
    team.once([&] { order[step] = take_hub(work.degrees, n, scale, degree); });
    const int64_t hub = order[step];
    team.share((n + kChunk - 1) / kChunk, [&](int64_t chunk) {
      for (int64_t j = chunk * kChunk; j < n && j < (chunk + 1) * kChunk; j += kWidth) {
        alignas(64) T weights[kWidth];
        panel_weights<kEdge>(work.panels, hub, j, weights);
        for (int64_t r = 0; r < kWidth && j + r < n; ++r) {
          work.degrees[j + r] -= to_fixed_point(static_cast<double>(weights[r]), scale);
        }
      }
    });
  }
}

// What is left, by its last degree.
static void rank_rest(const int64_t* degrees, int64_t n, double scale, int64_t count,
                      int64_t* order, double* degree) {
  int64_t at = count;
  for (int64_t i = 0; i < n && at < n; ++i) {
    if (degrees[i] < kRemoved / 2) continue;
    degree[i] = from_fixed_point(degrees[i], scale);
    order[at++] = i;
  }
  std::sort(order + count, order + n, [&](int64_t i, int64_t j) {
    return degrees[i] != degrees[j] ? degrees[i] > degrees[j] : i < j;
  });
}

template <class T>
void greedy_degree(const T* x, int64_t n, int64_t d, Edge edge, int64_t count, int64_t* order,
                   double* degree, void* scratch, int threads) {
  if (n == 0) return;
  count = count < n ? count : n;
  const double scale = fixed_point_scale(n);
  Scratch block(scratch);
  const auto work = GreedyWork<T>::take(block, n, d, threads);
  bool finite = true;
  if (graph_is_stored<T>(n)) {
    pairwise_cosine(x, static_cast<const T*>(nullptr), 1, n, n, d, edge, true, false, work.graph,
                    work.cosine_scratch, threads);
    finite = sum_rows(work.graph, n, scale, work.degrees, threads);
    if (finite) walk_stored(work, n, scale, count, order, degree);
  } else {
    work.panels.pack(x, threads);
    finite = work.panels.finite();
    with_edge(edge, [&](auto tag) {
      parallel_region(finite ? threads : 1, [&](const Team& team) {
        if (finite) walk_rows<decltype(tag)::value>(team, work, n, scale, count, order, degree);
      });
    });
  }
  if (finite) {
    rank_rest(work.degrees, n, scale, count, order, degree);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    order[i] = -1;
    degree[i] = std::numeric_limits<double>::quiet_NaN();
  }
}

#define HUBPRUNE_INSTANTIATE(T)                                                                \
  template int64_t greedy_degree_scratch<T>(int64_t, int64_t, int);                            \
  template void greedy_degree<T>(const T*, int64_t, int64_t, Edge, int64_t, int64_t*, double*, \
                                 void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
