// SPDX-License-Identifier: MIT
// Nearest other row by cosine: similarity_i = max over j != i of s_ij, index_i = its j (ties: the
// lowest), x (n, d). A row that is not finite has no nearest (NaN, -1) and is nobody's nearest.
// Row strips of the whole matrix: n^2 (d + 2) operations, O(1) memory per thread beside the panels.
// Numerics: cosines in T, compared after clamping. Twin: hubprune.reference.nearest.
#include "cpu/level_kernels.h"
#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
int64_t nearest_scratch(int64_t n, int64_t d, int) {
  Scratch scratch(nullptr);
  Panels<T>::take(scratch, n, d);
  return scratch.bytes();
}

// Below every cosine: none found yet.
template <class T>
constexpr T kNoSimilarity = T(-2);

// The best of each lane, row by row, over the tiles of one strip.
template <class T>
struct StripBest {
  alignas(64) T similarity[kTileMax][kLanes<T>];
  alignas(64) typename IndexOf<T>::scalar index[kTileMax][kLanes<T>];

  void reset() {
    for (int64_t r = 0; r < kTileMax; ++r) {
      for (int lane = 0; lane < kLanes<T>; ++lane) {
        similarity[r][lane] = kNoSimilarity<T>;
        index[r][lane] = -1;
      }
    }
  }

  void add_tile(const T* tile, int64_t j0, int64_t edge) {
    for (int64_t r = 0; r < edge; ++r) {
      Vector<T> best = load(similarity[r]);
      IndexVector<T> where;
      __builtin_memcpy(&where, index[r], sizeof where);
      for (int64_t j = 0; j < edge; j += kLanes<T>) {
        const Vector<T> s = clamp_cosines<T>(load(tile + r * kTileMax + j));
        const auto better = s > best;  // strictly: the earlier column wins a tie; false for NaN
        where = better ? column_numbers<T>(j0 + j) : where;
        best = better ? s : best;
      }
      store(similarity[r], best);
      __builtin_memcpy(index[r], &where, sizeof where);
    }
  }

  void reduce(int64_t r, T* best, int64_t* where) const {
    *best = similarity[r][0];
    *where = index[r][0];
    for (int lane = 1; lane < kLanes<T>; ++lane) {
      const bool tie = similarity[r][lane] == *best && index[r][lane] < *where;
      if (similarity[r][lane] > *best || tie) {
        *best = similarity[r][lane];
        *where = index[r][lane];
      }
    }
    if (*where < 0) *best = std::numeric_limits<T>::quiet_NaN();
  }
};

template <class T>
static void nearest_of_matrix(const Panels<T>& x, T* similarity, int64_t* index, int threads) {
  const int64_t edge = tile_edge(x.d);
  threads = threads_for(pair_operations(x.n, x.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge), threads, [&](int64_t strip, int) {
    const int64_t i0 = strip * edge;
    alignas(64) T tile[kTileMax * kTileMax];
    StripBest<T> best;
    best.reset();
    const T excluded = std::numeric_limits<T>::quiet_NaN();  // compares false: never the best
    for (int64_t j0 = 0; j0 < x.n; j0 += edge) {
      similarity_tile(x, i0, x, j0, edge, tile);
      for (int64_t r = 0; r < edge; ++r) {
        if (j0 == i0) tile[r * kTileMax + r] = excluded;
        for (int64_t j = x.n - j0; j < edge; ++j) tile[r * kTileMax + j] = excluded;
      }
      best.add_tile(tile, j0, edge);
    }
    for (int64_t r = 0; r < edge && i0 + r < x.n; ++r) {
      best.reduce(r, similarity + i0 + r, index + i0 + r);
    }
  });
}

template <class T>
void nearest(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity, int64_t* index,
             void* scratch, int threads) {
  if (batch == 0 || n == 0) return;
  for (int64_t b = 0; b < batch; ++b) {
    Scratch block(scratch);
    const auto panels = Panels<T>::take(block, n, d);
    panels.pack(x + b * n * d, threads);
    nearest_of_matrix(panels, similarity + b * n, index + b * n, threads);
  }
}

#define HUBPRUNE_INSTANTIATE(T)                               \
  template int64_t nearest_scratch<T>(int64_t, int64_t, int); \
  template void nearest<T>(const T*, int64_t, int64_t, int64_t, T*, int64_t*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
