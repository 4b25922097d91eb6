// SPDX-License-Identifier: MIT
// Strips of the similarity matrix: the cosines of kTileMax rows of x with all rows of y, for a
// matrix that is not symmetric. y is packed, a strip of x is not: kDepth features at a time become
// unit rows in the order in which they come, and stay in cache while all panels of y pass. What
// meets panels by single values needs no transposing, and no copy of x is made. Long rows only
// (d > kShortRows): those of short rows are cheaper to pack than to scale row by row.
// Numerics, to the bit, as similarity_tiles.h. Twin: hubprune.reference.pairwise_cosine.
#pragma once

#include <cstdint>

#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kTileSize = kTileMax * kTileMax;
constexpr int64_t kGroupTiles = 4;  // of y that a strip is multiplied with at once

// One thread's memory for a strip.
template <class T>
struct RowStrip {
  T* rows;  // (kTileMax, kDepth): unit rows
  T* sums;  // (3, tiles of a group, kTileMax, kTileMax): as TileSums

  static RowStrip take(Scratch& scratch, int64_t m) {
    const int64_t tiles = tiles_of(m, kTileMax);
    T* rows = scratch.take<T>(kTileMax * kDepth);
    return {rows, scratch.take<T>(3 * (tiles < kGroupTiles ? tiles : kGroupTiles) * kTileSize)};
  }
};

// Features [k, k + depth) of rows scaled to unit length, row stride kDepth. The next ones are
// requested, which are to be read when all columns have met these.
template <class T>
static inline void load_unit_rows(const T* x, int64_t d, const UnitScale* units, int64_t height,
                                  int64_t k, int64_t depth, T* block) {
  constexpr int64_t kLine = kLineBytes / static_cast<int64_t>(sizeof(T));
  const int64_t ahead = d - k < 2 * depth ? d - k : 2 * depth;
  for (int64_t r = 0; r < height; ++r) {
    const T* row = x + r * d + k;
    T* unit = block + r * kDepth;
    const double scale = units[r].scale;
    const double inverse = units[r].inverse;
    for (int64_t i = depth; i < ahead; i += kLine) __builtin_prefetch(row + i, 0, 2);
    int64_t i = 0;
    for (; i + kLanes<double> <= depth; i += kLanes<double>) {
      store_doubles(unit + i, load_as_double(row + i) * scale * inverse);
    }
    for (; i < depth; ++i) {
      unit[i] = static_cast<T>(static_cast<double>(row[i]) * scale * inverse);
    }
  }
}

// The sums of features [k, k + depth) of a strip and a group of `width` columns from j0 on.
template <class T>
static inline void multiply_group(const T* block, const Panels<T>& y, int64_t height, int64_t j0,
                                  int64_t width, int64_t k, int64_t depth, T* sums) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kSharing = kTileMax / 2;  // rows whose blocks request one panel
  const int64_t next = (k + kDepth < y.d ? k + kDepth : k) * kWidth;
  for (int64_t j = 0; j < width; j += kWidth) {
    const T* panel = y.panel(j0 + j);
    T* columns = sums + j / kTileMax * kTileSize + j % kTileMax;
    visit_blocks(height, [&](auto rows, int64_t i) {
      const Request<T> request{panel + next + i % kSharing * (kDepth * kWidth / kSharing),
                               i < kSharing ? 1 : 0};
      const T* a = block + i * kDepth;
      register_block<kDepth, 1>(rows, a, a, panel + k * kWidth, depth, k % kSpan == 0, request,
                                columns + i * kTileMax);
    });
  }
}

// Calls visit(tile, shape) for the cosines of rows [0, height) of x, which units[0, height) scales,
// with a tile of y after the other: row stride kTileMax, not yet clamped.
template <class T, class Visit>
static inline void multiply_strip(const T* x, const UnitScale* units, int64_t height,
                                  const Panels<T>& y, const RowStrip<T>& strip,
                                  const Visit& visit) {
  const int64_t m = y.n;
  const int64_t d = y.d;
  const int64_t padded = tiles_of(height, kTileRows) * kTileRows;
  for (int64_t at = height * kDepth; at < padded * kDepth; ++at) strip.rows[at] = T(0);
  for (int64_t j0 = 0; j0 < m; j0 += kGroupTiles * kTileMax) {
    const int64_t width = m - j0 < kGroupTiles * kTileMax ? m - j0 : kGroupTiles * kTileMax;
    const int64_t group = tiles_of(width, kTileMax) * kTileSize;
    const auto each_tile = [&](const auto& body) {
      for (int64_t at = 0; at < group; at += kTileSize) {
        T* tile = strip.sums + at;
        body(TileSums<T>{tile, tile + group, tile + 2 * group},
             tile_shape(0, height, j0 + at / kTileMax, m, kTileMax));
      }
    };
    each_tile([&](const auto& sums, const auto& shape) { sums.start(shape, d); });
    for (int64_t k = 0; k < d; k += kDepth) {
      const int64_t depth = d - k < kDepth ? d - k : kDepth;
      const int64_t span = k - k % kSpan;
      load_unit_rows(x, d, units, height, k, depth, strip.rows);
      multiply_group(strip.rows, y, height, j0, width, k, depth,
                     strip.sums + (span == 0 ? 0 : group));
      if (k + depth < d && k + depth - span < kSpan) continue;
      each_tile([&](const auto& sums, const auto& shape) { sums.add_span(shape, span); });
    }
    each_tile([&](const auto& sums, const auto& shape) {
      sums.finish(shape, d);
      visit(sums.tile, shape);
    });
  }
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
