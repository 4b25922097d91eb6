// SPDX-License-Identifier: MIT
// Columns of the similarity graph: out_ij = f(<x_i, x_l> / (|x_i| |x_l|)), l = landmarks_j;
// x (n, d) -> (n, m). A landmark's own entry is exactly f(1), or f(0) for a zero row; the m x m
// rows of the landmarks are exactly symmetric. Landmarks are gathered and packed once; the rows
// pass in strips of kTileMax, each multiplied with all landmarks and forgotten, so memory stays at
// m d and a few tiles a thread. Bound by n m d FMAs and two reads of x. Numerics as
// similarity_tiles.h. Twin: hubprune.reference.nystrom_columns.
#include "cpu/level_kernels.h"
#include "cpu/row_strips.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Short rows are packed as the landmarks are, a strip at a time.
template <class T>
struct ColumnWork {
  Panels<T> landmarks;
  Panels<T> rows;     // one thread's, of short rows
  RowStrip<T> strip;  // one thread's, of long rows

  static ColumnWork take(Scratch& scratch, int64_t m, int64_t d, int threads, int thread) {
    ColumnWork own{};
    own.landmarks = Panels<T>::take(scratch, m, d);
    for (int t = 0; t < threads; ++t) {
      ColumnWork each = own;
      if (d <= kShortRows) {
        each.rows = Panels<T>::take(scratch, kTileMax, d);
      } else {
        each.strip = RowStrip<T>::take(scratch, m);
      }
      if (t == thread) own = each;
    }
    return own;
  }
};

template <class T>
int64_t nystrom_columns_scratch(int64_t m, int64_t d, int threads) {
  Scratch scratch(nullptr);
  ColumnWork<T>::take(scratch, m, d, threads, 0);
  return scratch.bytes();
}

// The columns of rows [0, height) of x.
template <Edge kEdge, class T>
static void write_columns(const T* x, int64_t height, const ColumnWork<T>& work, T* out) {
  const Panels<T>& landmarks = work.landmarks;
  const auto write = [&](T* tile, const TileShape& shape) {
    weigh_tile<kEdge>(tile, shape);
    write_tile(tile, shape, landmarks.n, out);
  };
  if (landmarks.d > kShortRows) {
    UnitScale units[kTileMax];
    for (int64_t r = 0; r < height; ++r) units[r] = unit_scale(x + r * landmarks.d, landmarks.d);
    multiply_strip(x, units, height, landmarks, work.strip, write);
    return;
  }
  Panels<T> rows = work.rows;
  rows.n = height;
  rows.pack(Team{0, 1}, x);
  for (int64_t j0 = 0; j0 < landmarks.n; j0 += kTileMax) {
    const TileShape shape = tile_shape(0, height, j0, landmarks.n, kTileMax);
    alignas(64) T tile[kTileSize];
    similarity_tile(rows, landmarks, shape, tile);
    write(tile, shape);
  }
}

template <class T>
void nystrom_columns(const T* x, const int64_t* landmarks, int64_t batch, int64_t n, int64_t m,
                     int64_t d, Edge edge, T* out, void* scratch, int threads) {
  if (batch == 0 || n == 0 || m == 0) return;
  parallel_region(threads_for(pair_operations(n, m, d), threads), [&](const Team& team) {
    Scratch block(scratch);
    const auto work = ColumnWork<T>::take(block, m, d, team.threads, team.thread);
    for (int64_t b = 0; b < batch; ++b) {
      const T* source = x + b * n * d;
      const int64_t* chosen = landmarks + b * m;
      T* columns = out + b * n * m;
      work.landmarks.pack(team, source, chosen);
      team.share(tiles_of(n, kTileMax), [&](int64_t strip) {
        const int64_t i0 = strip * kTileMax;
        const int64_t height = n - i0 < kTileMax ? n - i0 : kTileMax;
        with_edge(edge, [&](auto tag) {
          write_columns<decltype(tag)::value>(source + i0 * d, height, work, columns + i0 * m);
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
