// SPDX-License-Identifier: MIT
// Columns of the similarity graph: out_ij = f(<x_i, x_l> / (|x_i| |x_l|)), l = landmarks_j;
// x (n, d) -> (n, m). A landmark's own entry is exactly f(1), or f(0) for a zero row; the m x m
// rows of the landmarks are exactly symmetric. Landmarks are gathered and packed once; the rows
// pass in strips of kTileMax, each multiplied with all landmarks and forgotten, so memory stays at
// m d and a few tiles a thread. Bound by n m d FMAs and two reads of x. Numerics, to the bit, as
// similarity_tiles.h. Twin: hubprune.reference.nystrom_columns.
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kTileSize = kTileMax * kTileMax;
constexpr int64_t kGroupTiles = 4;  // multiplied with a strip at once

// One thread's memory for a strip of kTileMax rows. Short rows are packed as the landmarks are. Of
// long rows kDepth features at a time become unit rows, in the order in which they come: what meets
// the panels by single values needs no transposing, and it stays in cache while all columns pass.
template <class T>
struct Strip {
  T* rows;         // (kTileMax, d) packed, or (kTileMax, kDepth)
  RowKind* kinds;  // (kTileMax), of short rows
  T* sums;         // (3, tiles of a group, kTileMax, kTileMax); of short rows one tile
};

template <class T>
struct ColumnWork {
  Panels<T> landmarks;
  T* rows;  // of all threads, as in Strip
  RowKind* kinds;
  T* sums;

  static int64_t row_values(int64_t d) { return kTileMax * (d <= kShortRows ? d : kDepth); }

  static int64_t sum_values(int64_t m, int64_t d) {
    if (d <= kShortRows) return kTileSize;
    const int64_t tiles = tiles_of(m, kTileMax);
    return 3 * (tiles < kGroupTiles ? tiles : kGroupTiles) * kTileSize;
  }

  static ColumnWork take(Scratch& scratch, int64_t m, int64_t d, int threads) {
    ColumnWork work;
    work.landmarks = Panels<T>::take(scratch, m, d);
    work.rows = scratch.take<T>(threads * row_values(d));
    work.kinds = scratch.take<RowKind>(threads * kTileMax);
    work.sums = scratch.take<T>(threads * sum_values(m, d));
    return work;
  }

  Strip<T> own(int thread) const {
    const int64_t m = landmarks.n;
    const int64_t d = landmarks.d;
    return {rows + thread * row_values(d), kinds + thread * kTileMax,
            sums + thread * sum_values(m, d)};
  }
};

template <class T>
int64_t nystrom_columns_scratch(int64_t m, int64_t d, int threads) {
  Scratch scratch(nullptr);
  ColumnWork<T>::take(scratch, m, d, threads);
  return scratch.bytes();
}

// Writes a finished tile of cosines to columns [shape.j0, shape.j0 + shape.width) of `out`.
template <Edge kEdge, class T>
static void write_tile(T* tile, const TileShape& shape, int64_t m, T* out) {
  weigh_tile<kEdge>(tile, shape);
  for (int64_t r = 0; r < shape.height; ++r) {
    __builtin_memcpy(out + r * m + shape.j0, tile + r * kTileMax,
                     static_cast<size_t>(shape.width) * sizeof(T));
  }
}

template <Edge kEdge, class T>
static void short_columns(const T* x, int64_t height, const Panels<T>& landmarks,
                          const Strip<T>& strip, T* out) {
  const Panels<T> rows{strip.rows, strip.kinds, height, landmarks.d};
  rows.pack(Team{0, 1}, x);
  for (int64_t j0 = 0; j0 < landmarks.n; j0 += kTileMax) {
    const TileShape shape = tile_shape(0, height, j0, landmarks.n, kTileMax);
    similarity_tile(rows, landmarks, shape, strip.sums);
    write_tile<kEdge>(strip.sums, shape, landmarks.n, out);
  }
}

// Features [k, k + depth) of rows scaled to unit length, row stride kDepth. The next ones are
// requested, which are to be read when all columns have met these.
template <class T>
static void load_unit_rows(const T* x, int64_t d, const UnitScale* units, int64_t height, int64_t k,
                           int64_t depth, T* block) {
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
static void multiply_group(const T* block, const Panels<T>& landmarks, int64_t height, int64_t j0,
                           int64_t width, int64_t k, int64_t depth, T* sums) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kSharing = kTileMax / kTileRows / 2;  // blocks that request one panel
  const int64_t next = (k + kDepth < landmarks.d ? k + kDepth : k) * kWidth;
  for (int64_t j = 0; j < width; j += kWidth) {
    const T* panel = landmarks.panel(j0 + j);
    T* columns = sums + j / kTileMax * kTileSize + j % kTileMax;
    for (int64_t i = 0; i < height; i += kTileRows) {
      const int64_t share = i / kTileRows;
      const Request<T> request{panel + next + share * (kDepth * kWidth / kSharing),
                               share < kSharing ? 1 : 0};
      register_block<kDepth, 1>(block + i * kDepth, panel + k * kWidth, depth, k % kSpan == 0,
                                request, columns + i * kTileMax);
    }
  }
}

template <Edge kEdge, class T>
static void long_columns(const T* x, int64_t height, const Panels<T>& landmarks,
                         const Strip<T>& strip, T* out) {
  const int64_t m = landmarks.n;
  const int64_t d = landmarks.d;
  UnitScale units[kTileMax];
  for (int64_t r = 0; r < height; ++r) units[r] = unit_scale(x + r * d, d);
  for (int64_t at = height * kDepth; at < tiles_of(height, kTileRows) * kTileRows * kDepth; ++at) {
    strip.rows[at] = T(0);
  }
  for (int64_t j0 = 0; j0 < m; j0 += kGroupTiles * kTileMax) {
    const int64_t width = m - j0 < kGroupTiles * kTileMax ? m - j0 : kGroupTiles * kTileMax;
    const int64_t group = tiles_of(width, kTileMax) * kTileSize;
    const auto each_tile = [&](const auto& visit) {
      for (int64_t at = 0; at < group; at += kTileSize) {
        T* tile = strip.sums + at;
        visit(TileSums<T>{tile, tile + group, tile + 2 * group},
              tile_shape(0, height, j0 + at / kTileMax, m, kTileMax));
      }
    };
    each_tile([&](const auto& sums, const auto& shape) { sums.start(shape, d); });
    for (int64_t k = 0; k < d; k += kDepth) {
      const int64_t depth = d - k < kDepth ? d - k : kDepth;
      const int64_t span = k - k % kSpan;
      load_unit_rows(x, d, units, height, k, depth, strip.rows);
      multiply_group(strip.rows, landmarks, height, j0, width, k, depth,
                     strip.sums + (span == 0 ? 0 : group));
      if (k + depth < d && k + depth - span < kSpan) continue;
      each_tile([&](const auto& sums, const auto& shape) { sums.add_span(shape, span); });
    }
    each_tile([&](const auto& sums, const auto& shape) {
      sums.finish(shape, d);
      write_tile<kEdge>(sums.tile, shape, m, out);
    });
  }
}

template <class T>
void nystrom_columns(const T* x, const int64_t* landmarks, int64_t batch, int64_t n, int64_t m,
                     int64_t d, Edge edge, T* out, void* scratch, int threads) {
  if (batch == 0 || n == 0 || m == 0) return;
  parallel_region(threads_for(pair_operations(n, m, d), threads), [&](const Team& team) {
    Scratch block(scratch);
    const auto work = ColumnWork<T>::take(block, m, d, team.threads);
    const auto strip = work.own(team.thread);
    for (int64_t b = 0; b < batch; ++b) {
      const T* source = x + b * n * d;
      const int64_t* chosen = landmarks + b * m;
      T* columns = out + b * n * m;
      work.landmarks.pack(team, source, chosen);
      team.share(tiles_of(n, kTileMax), [&](int64_t index) {
        const int64_t i0 = index * kTileMax;
        const int64_t height = n - i0 < kTileMax ? n - i0 : kTileMax;
        with_edge(edge, [&](auto tag) {
          constexpr Edge kEdge = decltype(tag)::value;
          if (d <= kShortRows) {
            short_columns<kEdge>(source + i0 * d, height, work.landmarks, strip, columns + i0 * m);
          } else {
            long_columns<kEdge>(source + i0 * d, height, work.landmarks, strip, columns + i0 * m);
          }
        });
      });
      team.share(m, [&](int64_t j) {
        with_edge(edge, [&](auto tag) {
          columns[chosen[j] * m + j] =
              self_weight<decltype(tag)::value, T>(work.landmarks.kinds[j]);
        });
      });
    }
  });
}

#define HUBPRUNE_INSTANTIATE(T)                                                                  \
  template int64_t nystrom_columns_scratch<T>(int64_t, int64_t, int);                            \
  template void nystrom_columns<T>(const T*, const int64_t*, int64_t, int64_t, int64_t, int64_t, \
                                   Edge, T*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
