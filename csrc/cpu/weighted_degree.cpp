// SPDX-License-Identifier: MIT
// Weighted degree (strength): degree_i = sum over j != i of f(s_ij), x (n, d) -> degree (n).
// signed, shifted: closed form, two reads of x. squared: closed form through the d x d Gram matrix
// while that is smaller than the graph. abs, positive: tiles of the upper triangle, whose row and
// column sums are both used; O(n) memory per thread; n^2 (d + 2) / 2 operations.
// Numerics: cosines in T; sums of one tile in T (<= 128 terms), beyond a tile in 64-bit fixed
// point, which no order of summation can change. Twin: hubprune.reference.weighted_degree.
#include "core/fixed_point.h"
#include "cpu/closed_forms.h"
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Enough tasks to share among any number of threads, few enough to cost nothing at n = 10^6.
static int64_t tiles_per_task(int64_t tiles) { return tiles > 512 ? tiles / 64 : 8; }

static bool has_closed_form(Edge edge, int64_t n, int64_t d) {
  if (edge == Edge::kSigned || edge == Edge::kShifted) return true;
  return edge == Edge::kSquared && squared_closed_form_pays(n, d);
}

template <class T>
int64_t weighted_degree_scratch(int64_t n, int64_t d, Edge edge, int threads) {
  Scratch scratch(nullptr);
  if (has_closed_form(edge, n, d)) {
    ClosedForm<T>::take(scratch, n, d, edge == Edge::kSquared);
  } else {
    Panels<T>::take(scratch, n, d);
    scratch.take<int64_t>(padded_rows(n) * threads);
  }
  return scratch.bytes();
}

// Adds the row sums and the column sums of one tile's weights to the thread's degrees. On a
// diagonal tile only the entries above the diagonal count.
template <Edge kEdge, class T>
static void add_tile(const T* tile, int64_t i0, int64_t j0, int64_t edge, double scale,
                     int64_t* degrees) {
  alignas(64) T column_sums[kTileMax] = {};
  const bool diagonal = i0 == j0;
  for (int64_t r = 0; r < edge; ++r) {
    Vector<T> row_sum = {};
    for (int64_t j = 0; j < edge; j += kLanes<T>) {
      Vector<T> w = edge_weights<kEdge, T>(clamp_cosines<T>(load(tile + r * kTileMax + j)));
      if (diagonal) {
        const auto above = column_numbers<T>(j) > column_numbers<T>(r)[0];
        w = above ? w : Vector<T>{};
      }
      row_sum += w;
      store(column_sums + j, load(column_sums + j) + w);
    }
    degrees[i0 + r] += to_fixed_point(static_cast<double>(horizontal_sum<T>(row_sum)), scale);
  }
  for (int64_t j = 0; j < edge; ++j) {
    degrees[j0 + j] += to_fixed_point(static_cast<double>(column_sums[j]), scale);
  }
}

template <Edge kEdge, class T>
static void tiled_degree(const Panels<T>& x, int64_t* partial, T* degree, int threads) {
  const int64_t edge = tile_edge(x.d);
  const int64_t tiles = tiles_of(x.n, edge);
  const int64_t per_task = tiles_per_task(tiles);
  const int64_t groups = tiles_of(tiles, per_task);
  const int64_t padded = padded_rows(x.n);
  const double scale = fixed_point_scale(x.n);
  const int used = threads_for(0.5 * pair_operations(x.n, x.n, x.d), threads);
  for (int64_t i = 0; i < padded * used; ++i) partial[i] = 0;
  parallel_for(tiles * groups, used, [&](int64_t task, int thread) {
    const int64_t row_tile = task / groups;
    const int64_t first = task % groups * per_task;
    const int64_t last = first + per_task < tiles ? first + per_task : tiles;
    alignas(64) T tile[kTileMax * kTileMax];
    for (int64_t column = first < row_tile ? row_tile : first; column < last; ++column) {
      similarity_tile(x, row_tile * edge, x, column * edge, edge, tile);
      add_tile<kEdge>(tile, row_tile * edge, column * edge, edge, scale, partial + thread * padded);
    }
  });
  for (int64_t i = 0; i < x.n; ++i) {
    int64_t sum = 0;
    for (int t = 0; t < used; ++t) sum += partial[t * padded + i];
    degree[i] = static_cast<T>(from_fixed_point(sum, scale));
  }
}

template <class T>
void weighted_degree(const T* x, int64_t batch, int64_t n, int64_t d, Edge edge, T* degree,
                     void* scratch, int threads) {
  if (batch == 0 || n == 0) return;
  for (int64_t b = 0; b < batch; ++b) {
    const T* rows = x + b * n * d;
    T* out = degree + b * n;
    Scratch block(scratch);
    if (n == 1) {
      out[0] = T(0);  // no other filter, whatever this one holds
    } else if (has_closed_form(edge, n, d)) {
      const auto form = ClosedForm<T>::take(block, n, d, edge == Edge::kSquared);
      if (edge == Edge::kSquared) {
        form.squared_degree(rows, out, threads);
      } else {
        form.signed_degree(rows, edge == Edge::kShifted, out, threads);
      }
    } else {
      const auto panels = Panels<T>::take(block, n, d);
      int64_t* partial = block.take<int64_t>(padded_rows(n) * threads);
      panels.pack(rows, threads);
      if (!panels.finite()) {
        for (int64_t i = 0; i < n; ++i) out[i] = std::numeric_limits<T>::quiet_NaN();
        continue;
      }
      with_edge(edge, [&](auto tag) {
        tiled_degree<decltype(tag)::value>(panels, partial, out, threads);
      });
    }
  }
}

#define HUBPRUNE_INSTANTIATE(T)                                             \
  template int64_t weighted_degree_scratch<T>(int64_t, int64_t, Edge, int); \
  template void weighted_degree<T>(const T*, int64_t, int64_t, int64_t, Edge, T*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
