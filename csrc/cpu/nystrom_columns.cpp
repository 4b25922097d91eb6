// SPDX-License-Identifier: MIT
// Columns of the similarity graph: out_ij = f(<x_i, x_l> / (|x_i| |x_l|)), l = landmarks_j;
// x (n, d) -> (n, m). A landmark's own entry is exactly f(1), or f(0) for a zero row; the m x m
// rows of the landmarks are exactly symmetric. Landmarks are gathered and packed once; every tile
// of rows is packed into its thread's own block, multiplied with all landmarks and forgotten, so x
// is read once and memory stays at (m + 128 a thread) d. Bound by n m d FMAs. Numerics as
// similarity_tiles.h. Twin: hubprune.reference.nystrom_columns.
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
struct ColumnWork {
  Panels<T> landmarks;
  T* rows;         // (threads, kTileMax * d), packed
  RowKind* kinds;  // (threads, kTileMax)

  static ColumnWork take(Scratch& scratch, int64_t m, int64_t d, int threads) {
    ColumnWork work;
    work.landmarks = Panels<T>::take(scratch, m, d);
    work.rows = scratch.take<T>(threads * kTileMax * d);
    work.kinds = scratch.take<RowKind>(threads * kTileMax);
    return work;
  }

  Panels<T> own(int thread, int64_t height) const {
    const int64_t d = landmarks.d;
    return {rows + thread * kTileMax * d, kinds + thread * kTileMax, height, d};
  }
};

template <class T>
int64_t nystrom_columns_scratch(int64_t m, int64_t d, int threads) {
  Scratch scratch(nullptr);
  ColumnWork<T>::take(scratch, m, d, threads);
  return scratch.bytes();
}

template <Edge kEdge, class T>
static void write_columns(const Panels<T>& rows, const Panels<T>& landmarks, T* out) {
  for (int64_t j0 = 0; j0 < landmarks.n; j0 += kTileMax) {
    const TileShape shape = tile_shape(0, rows.n, j0, landmarks.n, kTileMax);
    alignas(64) T tile[kTileMax * kTileMax];
    similarity_tile(rows, landmarks, shape, tile);
    weigh_tile<kEdge>(tile, shape);
    for (int64_t r = 0; r < shape.height; ++r) {
      __builtin_memcpy(out + r * landmarks.n + j0, tile + r * kTileMax,
                       static_cast<size_t>(shape.width) * sizeof(T));
    }
  }
}

template <class T>
void nystrom_columns(const T* x, const int64_t* landmarks, int64_t batch, int64_t n, int64_t m,
                     int64_t d, Edge edge, T* out, void* scratch, int threads) {
  if (batch == 0 || n == 0 || m == 0) return;
  parallel_region(threads_for(pair_operations(n, m, d), threads), [&](const Team& team) {
    Scratch block(scratch);
    const auto work = ColumnWork<T>::take(block, m, d, team.threads);
    for (int64_t b = 0; b < batch; ++b) {
      const T* source = x + b * n * d;
      const int64_t* chosen = landmarks + b * m;
      T* columns = out + b * n * m;
      work.landmarks.pack(team, source, chosen);
      team.share(tiles_of(n, kTileMax), [&](int64_t strip) {
        const int64_t i0 = strip * kTileMax;
        const auto rows = work.own(team.thread, n - i0 < kTileMax ? n - i0 : kTileMax);
        rows.pack(Team{0, 1}, source + i0 * d);
        with_edge(edge, [&](auto tag) {
          write_columns<decltype(tag)::value>(rows, work.landmarks, columns + i0 * m);
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
