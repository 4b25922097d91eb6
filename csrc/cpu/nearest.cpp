// SPDX-License-Identifier: MIT
// Nearest other row by cosine: similarity_i = max over j != i of s_ij, index_i = its j (ties: the
// lowest), x (n, d). A row that is not finite has no nearest (NaN, -1) and is nobody's nearest.
// Row strips of the whole matrix, n^2 d FMAs, O(1) memory per thread beside the panels. (The upper
// triangle alone would halve the products, but double the comparisons, which bound short rows.)
// Short rows are compared in registers as they are multiplied, long rows tile by tile.
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

// Rows whose products, best cosines and their columns fit the registers.
constexpr int64_t kBestRows = kVectorBytes == 64 ? 4 : 2;

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

  // Rows i0 + [r, r + kBestRows) against columns [first, last), multiples of kPanel, straight from
  // the registers.
  void add_strip(const Panels<T>& x, int64_t i0, int64_t r, int64_t first, int64_t last) {
    constexpr int64_t kWidth = kPanel<T>;
    const int64_t i = i0 + r;
    const int64_t inside = i % kWidth;
    const T* a = x.panel(i - inside) + inside;
    const Vector<T> one = Vector<T>{} + T(1);
    const Vector<T> excluded = Vector<T>{} + std::numeric_limits<T>::quiet_NaN();
    Vector<T> best[kBestRows];
    IndexVector<T> where[kBestRows];
    for (int q = 0; q < kBestRows; ++q) {
      best[q] = load(similarity[r + q]);
      __builtin_memcpy(&where[q], index[r + q], sizeof where[q]);
    }
    for (int64_t j = first; j < last; j += kWidth) {
      Vector<T> left[kBestRows];
      Vector<T> right[kBestRows];
      multiply_rows<kBestRows, 0>(a, x.panel(j), x.d, left, right);
      const auto left_columns = column_numbers<T>(j);
      const auto right_columns = column_numbers<T>(j + kLanes<T>);
      if (j == i - inside || j + kWidth > x.n) {  // itself, or columns that are padding
        using Number = typename IndexOf<T>::scalar;
        const auto end = static_cast<Number>(x.n);
#pragma GCC unroll 4
        for (int q = 0; q < kBestRows; ++q) {
          const auto self = static_cast<Number>(i + q);
          left[q] = (left_columns == self) | (left_columns >= end) ? excluded : left[q];
          right[q] = (right_columns == self) | (right_columns >= end) ? excluded : right[q];
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < kBestRows; ++q) {
        const Vector<T> s0 = one < left[q] ? one : left[q];
        const auto better0 = s0 > best[q];  // as in add_tile
        where[q] = better0 ? left_columns : where[q];
        best[q] = better0 ? s0 : best[q];
        const Vector<T> s1 = one < right[q] ? one : right[q];
        const auto better1 = s1 > best[q];
        where[q] = better1 ? right_columns : where[q];
        best[q] = better1 ? s1 : best[q];
      }
    }
    for (int q = 0; q < kBestRows; ++q) {
      store(similarity[r + q], best[q]);
      __builtin_memcpy(index[r + q], &where[q], sizeof where[q]);
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
    if (*best < T(-1)) *best = T(-1);  // rounding; add_strip clamps above only
    if (*where < 0) *best = std::numeric_limits<T>::quiet_NaN();
  }
};

// Rows [i0, i0 + 64) of short rows: the columns pass in pieces that stay in the nearest cache.
template <class T>
static void best_of_short_rows(const Panels<T>& x, int64_t i0, int64_t height, StripBest<T>& best) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t end = (x.n + kWidth - 1) / kWidth * kWidth;
  const int64_t step = strip_width(x.d);
  for (int64_t first = 0; first < end; first += step) {
    const int64_t last = first + step < end ? first + step : end;
    for (int64_t r = 0; r < height; r += kBestRows) best.add_strip(x, i0, r, first, last);
  }
}

template <class T>
static void best_of_long_rows(const Panels<T>& x, int64_t i0, StripBest<T>& best) {
  alignas(64) T tile[kTileMax * kTileMax];
  const T excluded = std::numeric_limits<T>::quiet_NaN();  // compares false: never the best
  for (int64_t j0 = 0; j0 < x.n; j0 += kTileMax) {
    similarity_tile(x, i0, x, j0, kTileMax, tile);
    for (int64_t r = 0; r < kTileMax; ++r) {
      if (j0 == i0) tile[r * kTileMax + r] = excluded;
      for (int64_t j = x.n - j0; j < kTileMax; ++j) tile[r * kTileMax + j] = excluded;
    }
    best.add_tile(tile, j0, kTileMax);
  }
}

template <class T>
static void nearest_of_matrix(const Panels<T>& x, T* similarity, int64_t* index, int threads) {
  const bool narrow = x.d <= kShortRows;
  const int64_t edge = tile_edge(x.d);
  threads = threads_for(pair_operations(x.n, x.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge), threads, [&](int64_t strip, int) {
    const int64_t i0 = strip * edge;
    const int64_t height = x.n - i0 < edge ? x.n - i0 : edge;
    StripBest<T> best;
    best.reset();
    if (narrow) {
      best_of_short_rows(x, i0, height, best);
    } else {
      best_of_long_rows(x, i0, best);
    }
    for (int64_t r = 0; r < height; ++r) best.reduce(r, similarity + i0 + r, index + i0 + r);
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
