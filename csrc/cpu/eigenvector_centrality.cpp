// SPDX-License-Identifier: MIT
// Eigenvector centrality: the leading eigenvector (largest algebraic eigenvalue) of the weight
// matrix w_ij = f(s_ij), w_ii = 0, unit 2-norm, non-negative sum.
// The products with the graph, by what is cheapest:
//   implicit  signed, shifted: O(n d); squared, where it pays: O(n d^2); no graph
//   stored    the upper triangle in T, while the matrix fits kStoredGraphBytes: n^2 FMAs a product
//   tiles     recomputed for every product: n^2 (d + 2) operations, O(n) memory
// Numerics: similarities in T, everything else in float64. Twin:
// hubprune.reference.eigenvector_centrality.
#include <atomic>

#include "core/start_vector.h"
#include "core/stored_graph.h"
#include "cpu/implicit_products.h"
#include "cpu/lanczos.h"
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"
#include "cpu/triangle_graph.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Unit rows have length 1 to a few ulp, and the implicit products subtract exactly 1: a graph
// without edges is left with this much.
template <class T>
constexpr double kGraphNoise = 8.0 * static_cast<double>(std::numeric_limits<T>::epsilon());

enum class Route { kImplicit, kStored, kTiles };

template <class T>
static Route choose_route(int64_t n, int64_t d, Edge edge) {
  if (edge == Edge::kSigned || edge == Edge::kShifted) return Route::kImplicit;
  const bool fits = graph_is_stored<T>(n);
  if (edge == Edge::kSquared && squared_product_pays(n, d, fits)) return Route::kImplicit;
  return fits ? Route::kStored : Route::kTiles;
}

template <class T>
const char* eigenvector_centrality_route(int64_t n, int64_t d, Edge edge) {
  const Route route = choose_route<T>(n, d, edge);
  return route == Route::kImplicit ? "implicit" : (route == Route::kStored ? "stored" : "tiles");
}

template <class T>
static void stored_product(const T* weights, int64_t n, double scale, const double* v, double* out,
                           int threads) {
  constexpr int64_t kRows = 16;
  threads = threads_for(static_cast<double>(n) * static_cast<double>(n), threads);
  parallel_for((n + kRows - 1) / kRows, threads, [&](int64_t task, int) {
    for (int64_t i = task * kRows; i < n && i < (task + 1) * kRows; ++i) {
      out[i] = dot_as_double(weights + i * n, v, n, scale);
    }
  });
}

template <Edge kEdge, class T>
static void tiled_product(const Panels<T>& x, const double* v, double* out, int threads) {
  const int64_t edge = tile_edge(x.n, x.d);
  threads = threads_for(pair_operations(x.n, x.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge), threads, [&](int64_t strip, int) {
    alignas(64) T tile[kTileMax * kTileMax];
    const int64_t i0 = strip * edge;
    for (int64_t i = i0; i < x.n && i < i0 + edge; ++i) out[i] = 0.0;
    for (int64_t j0 = 0; j0 < x.n; j0 += edge) {
      const TileShape shape = tile_shape(i0, x.n, j0, x.n, edge);
      similarity_tile(x, x, shape, tile);
      for (int64_t r = 0; r < shape.height; ++r) {
        T* row = tile + r * kTileMax;
        for (int64_t j = 0; j < shape.width; ++j) row[j] = edge_weight<kEdge>(clamp_cosine(row[j]));
        if (i0 == j0) row[r] = T(0);
        out[i0 + r] += dot_as_double(row, v + j0, shape.width);
      }
    }
  });
}

template <class T>
struct CentralityWork {
  Panels<T> panels;
  LanczosWork lanczos;
  double* implicit;
  TriangleGraph<T> stored;

  static CentralityWork take(Scratch& scratch, int64_t n, int64_t d, Edge edge) {
    const Route route = choose_route<T>(n, d, edge);
    CentralityWork work;
    work.panels = Panels<T>::take(scratch, n, d);
    work.lanczos = LanczosWork::take(scratch, n);
    work.implicit =
        scratch.take<double>(route == Route::kImplicit ? implicit_work<T>(n, d, edge) : 0);
    work.stored = TriangleGraph<T>::take(scratch, route == Route::kStored ? n : 0);
    return work;
  }
};

template <class T>
int64_t eigenvector_centrality_scratch(int64_t n, int64_t d, Edge edge, int64_t, int) {
  Scratch scratch(nullptr);
  CentralityWork<T>::take(scratch, n, d, edge);
  return scratch.bytes();
}

// `start` (n) is null for a search from nothing.
static void fill_start(double* v, int64_t n, bool negative_weights, const double* start,
                       double tol) {
  for (int64_t i = 0; i < n; ++i) v[i] = plain_start(i, negative_weights);
  if (start == nullptr) return;
  const double plain = 1.0 / std::sqrt(chunked_dot(v, v, n));
  const double given = 1.0 / std::sqrt(chunked_dot(start, start, n));
  const double share = plain_share(tol);
  for (int64_t i = 0; i < n; ++i) {
    v[i] = warm_start(start[i] * given, v[i] * plain, share, negative_weights);
  }
}

static const double* item_of(const double* start, int64_t item, int64_t n) {
  return start == nullptr ? nullptr : start + item * n;
}

template <class T>
static void write_oriented(const double* v, int64_t n, T* out) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += v[i];
  const double sign = sum < 0.0 ? -1.0 : 1.0;
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(sign * v[i]);
}

template <class T>
static void fill_not_finite(T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = std::numeric_limits<T>::quiet_NaN();
}

template <class T>
Status eigenvector_centrality(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge,
                              const double* start, double tol, int64_t max_iter, T* vector,
                              double* residual, void* scratch, int threads) {
  *residual = 0.0;
  if (batch == 0 || n == 0) return Status::kOk;
  const Route route = choose_route<T>(n, d, edge);
  for (int64_t b = 0; b < batch; ++b) {
    Scratch block(scratch);
    const auto work = CentralityWork<T>::take(block, n, d, edge);
    const T* rows = x + b * n * d;
    work.panels.pack(rows, threads);
    if (!work.panels.finite()) {
      fill_not_finite(vector + b * n, n);
      continue;
    }
    if (route == Route::kStored) {
      with_edge(edge, [&](auto tag) {
        work.stored.template fill<decltype(tag)::value>(work.panels, threads);
      });
    }
    const auto multiply = [&](const double* v, double* out) {
      if (route == Route::kImplicit) {
        implicit_product(work.panels, edge, v, work.implicit, out, threads);
      } else if (route == Route::kStored) {
        work.stored.multiply(v, out, threads);
      } else {
        with_edge(edge, [&](auto tag) {
          tiled_product<decltype(tag)::value>(work.panels, v, out, threads);
        });
      }
    };
    fill_start(work.lanczos.vector(0), n, edge == Edge::kSigned, item_of(start, b, n), tol);
    double error = 0.0;
    const Status status =
        leading_eigenvector(work.lanczos, tol, kGraphNoise<T>, max_iter, multiply, &error);
    if (error > *residual) *residual = error;
    if (status != Status::kOk) return status;
    write_oriented(work.lanczos.vector(0), n, vector + b * n);
  }
  return Status::kOk;
}

struct GraphSummary {
  bool finite;
  bool negative;  // some weight is
  double scale;   // a power of two that keeps the sums of squares of float64 weights in range
};

// Without short cuts: the loop must stay one that fits vectors, for it reads the whole graph.
template <class T>
static GraphSummary summary_of(const T* graph, int64_t n, int threads) {
  using Flag = typename IndexOf<T>::scalar;
  constexpr bool kNarrow = sizeof(T) < sizeof(double);
  const T least = kNarrow ? T(0) : static_cast<T>(1e-100);
  const T most = kNarrow ? std::numeric_limits<T>::max() : static_cast<T>(1e100);
  std::atomic<bool> bad{false};
  std::atomic<bool> below{false};
  std::atomic<bool> seen{false};
  std::atomic<bool> huge{false};
  threads = threads_for(static_cast<double>(n) * static_cast<double>(n), threads);
  parallel_for(n, threads, [&](int64_t i, int) {
    const T* row = graph + i * n;
    Flag row_bad = 0;
    Flag row_below = 0;
    Flag row_seen = 0;
    Flag row_huge = 0;
    for (int64_t j = 0; j < n; ++j) {
      const T magnitude = row[j] < T(0) ? -row[j] : row[j];
      row_bad |= row[j] - row[j] == T(0) ? Flag(0) : Flag(1);  // infinity and NaN give NaN
      row_below |= row[j] < T(0) ? Flag(1) : Flag(0);
      row_seen |= magnitude > least ? Flag(1) : Flag(0);
      row_huge |= magnitude > most ? Flag(1) : Flag(0);
    }
    if (row_bad) bad = true;
    if (row_below) below = true;
    if (row_seen) seen = true;
    if (row_huge) huge = true;
  });
  const bool scaled = !bad && (huge || !seen);
  return {!bad, below, scaled ? power_of_two_scale(largest_magnitude(graph, n * n)) : 1.0};
}

template <class T>
int64_t graph_eigenvector_centrality_scratch(int64_t n, int64_t, int) {
  Scratch scratch(nullptr);
  LanczosWork::take(scratch, n);
  return scratch.bytes();
}

template <class T>
Status graph_eigenvector_centrality(const T* weights, int64_t batch, int64_t n, const double* start,
                                    double tol, int64_t max_iter, T* vector, double* residual,
                                    void* scratch, int threads) {
  *residual = 0.0;
  if (batch == 0 || n == 0) return Status::kOk;
  for (int64_t b = 0; b < batch; ++b) {
    Scratch block(scratch);
    const auto work = LanczosWork::take(block, n);
    const T* graph = weights + b * n * n;
    const GraphSummary summary = summary_of(graph, n, threads);
    if (!summary.finite) {
      fill_not_finite(vector + b * n, n);
      continue;
    }
    fill_start(work.vector(0), n, summary.negative, item_of(start, b, n), tol);
    double error = 0.0;
    const Status status = leading_eigenvector(
        work, tol, 0.0, max_iter,
        [&](const double* v, double* out) {
          stored_product(graph, n, summary.scale, v, out, threads);
        },
        &error);
    if (error > *residual) *residual = error;
    if (status != Status::kOk) return status;
    write_oriented(work.vector(0), n, vector + b * n);
  }
  return Status::kOk;
}

#define HUBPRUNE_INSTANTIATE(T)                                                                 \
  template const char* eigenvector_centrality_route<T>(int64_t, int64_t, Edge);                 \
  template int64_t eigenvector_centrality_scratch<T>(int64_t, int64_t, Edge, int64_t, int);     \
  template Status eigenvector_centrality<T>(const T*, int64_t, int64_t, int64_t, Edge,          \
                                            const double*, double, int64_t, T*, double*, void*, \
                                            int);                                               \
  template int64_t graph_eigenvector_centrality_scratch<T>(int64_t, int64_t, int);              \
  template Status graph_eigenvector_centrality<T>(const T*, int64_t, int64_t, const double*,    \
                                                  double, int64_t, T*, double*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
