// SPDX-License-Identifier: MIT
// The upper triangle of a graph, stored for many products with it: each weight is computed once and
// read once a product, for its row and for its column.
//
// Tiles of the triangle lie one after the other. Of a tile on the diagonal both halves are stored.
// A product leaves every tile's sums of its rows and of its columns in places of their own, and
// adds them up by rows afterwards: the order, and so the bits, do not depend on the threads.
// Bound by reading n^2 / 2 weights; n^2 FMAs a product. Numerics: weights in T, sums in float64.
#pragma once

#include <cstdint>

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/pair_sums.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// The weights of a tile of short rows, straight from the registers; `tile` has row stride
// shape.edge.
template <Edge kEdge, class T>
static void weigh_short_rows(const Panels<T>& x, const TileShape& shape, T* tile) {
  constexpr int64_t kWidth = kPanel<T>;
  for (int64_t r = 0; r < shape.height; r += kStripRows) {
    const int64_t i = shape.i0 + r;
    const T* rows = x.panel(i - i % kWidth) + i % kWidth;
    for (int64_t j = 0; j < shape.width; j += kWidth) {
      Vector<T> left[kStripRows];
      Vector<T> right[kStripRows];
      weigh_rows<kEdge>(rows, x.panel(shape.j0 + j), x.d, left, right);
#pragma GCC unroll 4
      for (int q = 0; q < kStripRows; ++q) {
        T* row = tile + (r + q) * shape.edge + j;
        store(row, left[q]);
        store(row + kLanes<T>, right[q]);
      }
    }
  }
}

// The same of long rows.
template <Edge kEdge, class T>
static void weigh_long_rows(const Panels<T>& x, const TileShape& shape, T* tile) {
  alignas(64) T block[kTileMax * kTileMax];
  similarity_tile(x, x, shape, block);
  weigh_tile<kEdge>(block, shape);
  const int64_t height = tiles_of(shape.height, kStripRows) * kStripRows;
  const auto bytes = static_cast<size_t>(padded_rows<T>(shape.width)) * sizeof(T);
  for (int64_t r = 0; r < height; ++r) {
    __builtin_memcpy(tile + r * shape.edge, block + r * kTileMax, bytes);
  }
}

// Weights beyond this many bytes come from memory at every product, where asking for them in time
// saves half of it and more. Nearer ones would come later for it.
constexpr int64_t kNearBytes = 16 << 20;

template <class T>
struct TriangleGraph {
  T* tiles;      // (tiles_of(n, edge) (tiles_of(n, edge) + 1) / 2, edge, edge)
  double* sums;  // (as many, 2, edge): a tile's sums of rows, and of columns
  int64_t n;
  int64_t edge;

  static TriangleGraph take(Scratch& scratch, int64_t n) {
    TriangleGraph graph;
    graph.n = n;
    graph.edge = product_edge(n);
    const int64_t count = graph.first_of(tiles_of(n, graph.edge));
    graph.tiles = scratch.take<T>(count * graph.edge * graph.edge);
    graph.sums = scratch.take<double>(count * 2 * graph.edge);
    return graph;
  }

  // Stores the weights of the graph of finite rows x; edges for which f(0) = 0, so that the padding
  // weighs nothing.
  template <Edge kEdge>
  void fill(const Panels<T>& x, int threads) const {
    threads = threads_for(pair_operations(n, n, x.d) / 2.0, threads);
    parallel_region(threads, [&](const Team& team) {
      share_triangle(team, n, edge, edge, [&](int64_t i0, int64_t j0) {
        T* tile = tiles + place(i0, j0) * edge * edge;
        const TileShape shape = triangle_shape(i0, j0, n, edge);
        if (x.d <= kShortRows) {
          weigh_short_rows<kEdge>(x, shape, tile);
        } else {
          weigh_long_rows<kEdge>(x, shape, tile);
        }
        if (i0 == j0) mirror(shape.height, tile);
      });
    });
  }

  // out = W v.
  void multiply(const double* v, double* out, int threads) const {
    threads = threads_for(static_cast<double>(n) * static_cast<double>(n), threads);
    const bool far = n * n / 2 * static_cast<int64_t>(sizeof(T)) > kNearBytes;
    parallel_region(threads, [&](const Team& team) {
      share_triangle(team, n, edge, edge, [&](int64_t i0, int64_t j0) {
        if (i0 == j0) {
          multiply_tile<false, false>(i0, j0, v);
        } else if (far) {
          multiply_tile<true, true>(i0, j0, v);
        } else {
          multiply_tile<true, false>(i0, j0, v);
        }
      });
      team.share(tiles_of(n, edge), [&](int64_t strip) { add_up(strip * edge, out); });
    });
  }

 private:
  // Cache lines that kStripRows rows of kLanes<double> weights fill.
  static constexpr int64_t kStripLines =
      (kStripRows * kLanes<double> * static_cast<int64_t>(sizeof(T)) + kLineBytes - 1) / kLineBytes;

  // The place of the first tile of strip `strip`, counted in tiles: strips get shorter by one.
  int64_t first_of(int64_t strip) const {
    return strip * tiles_of(n, edge) - strip * (strip - 1) / 2;
  }

  int64_t place(int64_t i0, int64_t j0) const { return first_of(i0 / edge) + (j0 - i0) / edge; }

  // The upper half of a tile on the diagonal to the lower; no row is joined with itself.
  void mirror(int64_t height, T* tile) const {
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t j = 0; j < r; ++j) tile[r * edge + j] = tile[j * edge + r];
      tile[r * edge + r] = T(0);
    }
  }

  // The sums of a tile: of its rows, and of its columns too (kColumns) where it is not on the
  // diagonal. kFar: memory is asked for the weights that are needed two strips later.
  template <bool kColumns, bool kFar>
  void multiply_tile(int64_t i0, int64_t j0, const double* v) const {
    alignas(64) double rows[kTileMax];
    alignas(64) double columns[kTileMax];
    load_part(v, i0, rows);
    load_part(v, j0, columns);
    const int64_t height = n - i0 < edge ? n - i0 : edge;
    const int64_t width = padded_rows<T>(n - j0 < edge ? n - j0 : edge);
    const T* tile = tiles + place(i0, j0) * edge * edge;
    double* row_sums = sums + place(i0, j0) * 2 * edge;
    double* column_sums = row_sums + edge;
    if constexpr (kColumns) {
      for (int64_t j = 0; j < width; ++j) column_sums[j] = 0.0;
    }
    for (int64_t r = 0; r < height; r += kStripRows) {
      Vector<double> sum[kStripRows] = {};
      Vector<double> own[kStripRows];
      for (int q = 0; q < kStripRows; ++q) own[q] = Vector<double>{} + rows[r + q];
      Request<T> ahead{tile + (r + 2 * kStripRows) * edge, kFar ? kStripLines : 0};
      for (int64_t j = 0; j < width; j += kLanes<double>) {
        ahead.send();
        const Vector<double> across = load(columns + j);
        Vector<double> down = {};
        if constexpr (kColumns) down = load(column_sums + j);
#pragma GCC unroll 4
        for (int q = 0; q < kStripRows; ++q) {
          const Vector<double> weights = load_as_double(tile + (r + q) * edge + j);
          sum[q] += weights * across;
          if constexpr (kColumns) down += weights * own[q];
        }
        if constexpr (kColumns) store(column_sums + j, down);
      }
      for (int q = 0; q < kStripRows; ++q) row_sums[r + q] = horizontal_sum<double>(sum[q]);
    }
  }

  // v[first, first + edge), zeros behind its end.
  void load_part(const double* v, int64_t first, double* part) const {
    for (int64_t k = 0; k < edge; ++k) part[k] = first + k < n ? v[first + k] : 0.0;
  }

  // Rows [i0, i0 + edge) of the result: the columns of the tiles above, the rows of those beside.
  void add_up(int64_t i0, double* out) const {
    const int64_t height = n - i0 < edge ? n - i0 : edge;
    double total[kTileMax] = {};
    for (int64_t j0 = 0; j0 < n; j0 += edge) {
      const double* part =
          j0 < i0 ? sums + place(j0, i0) * 2 * edge + edge : sums + place(i0, j0) * 2 * edge;
      for (int64_t k = 0; k < height; ++k) total[k] += part[k];
    }
    for (int64_t k = 0; k < height; ++k) out[i0 + k] = total[k];
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
