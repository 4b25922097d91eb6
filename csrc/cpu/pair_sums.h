// SPDX-License-Identifier: MIT
// Row and column sums of the edge weights of one tile of the upper triangle: what the degree of a
// graph without a closed form is made of. Every pair is computed once and counted on both sides.
//
// Short rows (d <= kShortRows) are bound by what follows the product, so nothing leaves the
// registers: a strip of kStripRows rows walks along the columns with its row sums in registers and
// adds the column sums of each block to the nearest cache. Long rows are bound by the product:
// whole tiles, summed afterwards.
// Numerics: weights and sums inside a tile in T (no chain longer than 128 additions), tiles in
// 64-bit fixed point, which no order of summation can change. Cosines are not clamped: a few ulp
// above 1 change a sum by less than its rounding.
#pragma once

#include <cstdint>

#include "core/fixed_point.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kStripHeight = 128;

template <class T>
static inline void add_fixed(const T* sums, int64_t count, double scale, int64_t* degrees) {
  for (int64_t k = 0; k < count; ++k) {
    degrees[k] += to_fixed_point(static_cast<double>(sums[k]), scale);
  }
}

// Rows [i, i + kStripRows) against the columns [first, last) that lie right of the diagonal.
// kFeatures: d where it is known when compiling, else 0.
template <Edge kEdge, int kFeatures, class T>
static inline void add_strip(const Panels<T>& x, int64_t i, int64_t first, int64_t last,
                             T* column_sums, Vector<T>* row_sums) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t inside = i % kWidth;
  const T* rows = x.panel(i - inside) + inside;
  Vector<T> sums[kStripRows] = {};
  for (int64_t j = first; j < last; j += kWidth) {
    Vector<T> left[kStripRows];
    Vector<T> right[kStripRows];
    multiply_rows<kStripRows, kFeatures>(rows, x.panel(j), x.d, left, right);
#pragma GCC unroll 4
    for (int r = 0; r < kStripRows; ++r) {
      left[r] = edge_weights<kEdge, T>(left[r]);
      right[r] = edge_weights<kEdge, T>(right[r]);
    }
    if (j == i - inside) {  // the block on the diagonal
#pragma GCC unroll 4
      for (int r = 0; r < kStripRows; ++r) {
        const auto row = column_numbers<T>(inside + r)[0];
        left[r] = column_numbers<T>(0) > row ? left[r] : Vector<T>{};
        right[r] = column_numbers<T>(kLanes<T>) > row ? right[r] : Vector<T>{};
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kStripRows; ++r) sums[r] += left[r] + right[r];
#pragma GCC unroll 3
    for (int step = kStripRows / 2; step > 0; step /= 2) {
#pragma GCC unroll 4
      for (int r = 0; r < step; ++r) {
        left[r] += left[r + step];
        right[r] += right[r + step];
      }
    }
    T* column = column_sums + (j - first);
    store(column, load(column) + left[0]);
    store(column + kLanes<T>, load(column + kLanes<T>) + right[0]);
  }
  for (int r = 0; r < kStripRows; ++r) row_sums[r] = sums[r];
}

// Rows [i0, i0 + kStripHeight) against columns [j0, j0 + strip_width(d)).
template <Edge kEdge, class T>
static void add_short_tile(const Panels<T>& x, int64_t i0, int64_t j0, double scale,
                           int64_t* degrees) {
  constexpr int64_t kWidth = kPanel<T>;
  alignas(64) T column_sums[512] = {};
  alignas(64) Vector<T> row_sums[kStripHeight];
  const int64_t end = padded_rows<T>(x.n);
  const int64_t last = j0 + strip_width(x.d) < end ? j0 + strip_width(x.d) : end;
  const int64_t height = x.n - i0 < kStripHeight ? x.n - i0 : kStripHeight;
  for (int64_t r = 0; r < kStripHeight; r += kStripRows) {
    const int64_t i = i0 + r;
    const int64_t diagonal = i - i % kWidth;
    const int64_t first = diagonal > j0 ? diagonal : j0;
    if (r >= height || first >= last) {
      for (int q = 0; q < kStripRows; ++q) row_sums[r + q] = Vector<T>{};
    } else if (x.d == kNine) {
      add_strip<kEdge, kNine>(x, i, first, last, column_sums + (first - j0), row_sums + r);
    } else {
      add_strip<kEdge, 0>(x, i, first, last, column_sums + (first - j0), row_sums + r);
    }
  }
  for (int64_t r = 0; r < height; r += kLanes<T>) {
    alignas(64) T sums[kLanes<T>];
    store(sums, sums_of_lanes<T>(row_sums + r, 1));
    add_fixed(sums, kLanes<T>, scale, degrees + i0 + r);
  }
  add_fixed(column_sums, last - j0, scale, degrees + j0);
}

// The sums of a finished tile of cosines (row stride kTileMax), weighed by weigh(row, column,
// cosines) with row and column counted within the tile. On a diagonal tile only the entries above
// the diagonal count.
template <class T, class Weigh>
static void add_tile(const T* tile, const TileShape& shape, double scale, int64_t* degrees,
                     const Weigh& weigh) {
  alignas(64) T column_sums[kTileMax] = {};
  for (int64_t r0 = 0; r0 < shape.height; r0 += kLanes<T>) {
    Vector<T> row_sums[kLanes<T>] = {};
    for (int64_t r = 0; r < kLanes<T> && r0 + r < shape.height; ++r) {
      for (int64_t j = shape.first_column<T>(r0); j < shape.width; j += kLanes<T>) {
        Vector<T> w = weigh(r0 + r, j, load(tile + (r0 + r) * kTileMax + j));
        if (shape.triangle) {
          w = column_numbers<T>(j) > column_numbers<T>(r0 + r)[0] ? w : Vector<T>{};
        }
        row_sums[r] += w;
        store(column_sums + j, load(column_sums + j) + w);
      }
    }
    alignas(64) T sums[kLanes<T>];
    store(sums, sums_of_lanes<T>(row_sums, 1));
    add_fixed(sums, kLanes<T>, scale, degrees + shape.i0 + r0);
  }
  const int64_t columns = tiles_of(shape.width, kLanes<T>) * kLanes<T>;
  add_fixed(column_sums, columns, scale, degrees + shape.j0);
}

template <Edge kEdge, class T>
static void add_tile(const T* tile, const TileShape& shape, double scale, int64_t* degrees) {
  add_tile(tile, shape, scale, degrees,
           [](int64_t, int64_t, Vector<T> s) { return edge_weights<kEdge, T>(s); });
}

// Calls body(row, column) for the corners of every tile that touches the upper triangle.
template <class Body>
static void share_triangle(const Team& team, int64_t n, int64_t height, int64_t width,
                           const Body& body) {
  const int64_t columns = tiles_of(n, width);
  team.share(tiles_of(n, height) * columns, [&](int64_t task) {
    const int64_t i0 = task / columns * height;
    const int64_t j0 = task % columns * width;
    if (j0 + width > i0) body(i0, j0);
  });
}

// Calls body(shape) for every tile of the upper triangle of the products of long rows.
template <class Body>
static void share_tiles(const Team& team, int64_t n, const Body& body) {
  const int64_t edge = product_edge(n);
  share_triangle(team, n, edge, edge,
                 [&](int64_t i0, int64_t j0) { body(triangle_shape(i0, j0, n, edge)); });
}

// Calls body(i, sum) for every row with the sum of its fixed-point sums over the team's threads,
// `partial` (threads, padded rows).
template <class T, class Body>
static void share_totals(const Team& team, const int64_t* partial, int64_t n, const Body& body) {
  constexpr int64_t kRows = 4096;
  const int64_t padded = padded_rows<T>(n);
  team.share((n + kRows - 1) / kRows, [&](int64_t task) {
    for (int64_t i = task * kRows; i < n && i < (task + 1) * kRows; ++i) {
      int64_t sum = 0;
      for (int t = 0; t < team.threads; ++t) sum += partial[t * padded + i];
      body(i, sum);
    }
  });
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
