// SPDX-License-Identifier: MIT
// Nearest other row by cosine: similarity_i = max over j != i of s_ij, index_i = its j (ties: the
// lowest), x (n, d). A row that is not finite has no nearest (NaN, -1) and is nobody's nearest.
// Short rows are bound by the comparisons: strips of the whole matrix, n^2 d FMAs, compared in
// registers as they are multiplied, O(1) memory per thread beside the panels. Long rows are bound
// by the products: tiles of the upper triangle, n^2 d / 2 FMAs, each compared by rows and by
// columns, O(n) memory per thread. Numerics: cosines in T, compared after clamping. Twin:
// hubprune.reference.nearest.
#include "cpu/level_kernels.h"
#include "cpu/pair_sums.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Below every cosine: none found yet.
template <class T>
constexpr T kNoSimilarity = T(-2);

// Rows whose products, best cosines and their columns fit the registers.
constexpr int64_t kBestRows = kVectorBytes == 64 ? 4 : 2;

template <class T>
static inline void keep_best(T similarity, int64_t index, T* best, int64_t* where) {
  if (similarity > *best || (similarity == *best && index < *where)) {
    *best = similarity;
    *where = index;
  }
}

// The best of each lane, row by row, over the columns that have passed. From -1 on: cosines there
// and, by rounding, below are clamped to it, and tie (see nearest_opposite).
template <class T>
struct StripBest {
  alignas(64) T similarity[kTileMax][kLanes<T>];
  alignas(64) typename IndexOf<T>::scalar index[kTileMax][kLanes<T>];

  void reset() {
    for (int64_t r = 0; r < kTileMax; ++r) {
      for (int lane = 0; lane < kLanes<T>; ++lane) {
        similarity[r][lane] = T(-1);
        index[r][lane] = -1;
      }
    }
  }

  // Rows i0 + [r, r + kBestRows) against columns [first, last), multiples of kPanel, straight from
  // the registers.
  template <int kFeatures>
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
      multiply_rows<kBestRows, kFeatures>(a, x.panel(j), x.d, left, right);
      const auto left_columns = column_numbers<T>(j);
      const auto right_columns = column_numbers<T>(j + kLanes<T>);
      if (j == i - inside || j + kWidth > x.n) {  // itself, or columns that are padding
        using Number = typename IndexOf<T>::scalar;
        const auto end = static_cast<Number>(x.n);
#pragma GCC unroll 4
        for (int q = 0; q < kBestRows; ++q) {
          const auto self = static_cast<Number>(i + q);
          left[q] = ((left_columns == self) | (left_columns >= end)) ? excluded : left[q];
          right[q] = ((right_columns == self) | (right_columns >= end)) ? excluded : right[q];
        }
      }
#pragma GCC unroll 4
      for (int q = 0; q < kBestRows; ++q) {
        const Vector<T> s0 = one < left[q] ? one : left[q];
        const auto better0 = s0 > best[q];  // strictly: the earlier column wins; false for NaN
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
      keep_best(similarity[r][lane], index[r][lane], best, where);
    }
  }
};

// Rows [i0, i0 + 64) of short rows: the columns pass in pieces that stay in the nearest cache.
template <class T>
static void best_of_short_rows(const Panels<T>& x, int64_t i0, int64_t height, StripBest<T>& best) {
  const int64_t end = padded_rows<T>(x.n);
  const int64_t step = strip_width(x.d);
  for (int64_t first = 0; first < end; first += step) {
    const int64_t last = first + step < end ? first + step : end;
    for (int64_t r = 0; r < height; r += kBestRows) {
      if (x.d == kNine) {
        best.template add_strip<kNine>(x, i0, r, first, last);
      } else {
        best.template add_strip<0>(x, i0, r, first, last);
      }
    }
  }
}

// Row i, of which no cosine is above -1: all rows that are finite are opposite, and the first wins.
template <class T>
static void nearest_opposite(const Panels<T>& x, int64_t i, T* similarity, int64_t* index) {
  *similarity = std::numeric_limits<T>::quiet_NaN();
  *index = -1;
  if (x.kinds[i] == RowKind::kNotFinite) return;
  for (int64_t j = 0; j < x.n; ++j) {
    if (j == i || x.kinds[j] == RowKind::kNotFinite) continue;
    *similarity = T(-1);
    *index = j;
    return;
  }
}

template <class T>
static void nearest_of_short_rows(const Panels<T>& x, T* similarity, int64_t* index, int threads) {
  const int64_t edge = tile_edge(x.n, x.d);
  threads = threads_for(pair_operations(x.n, x.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge), threads, [&](int64_t strip, int) {
    const int64_t i0 = strip * edge;
    const int64_t height = x.n - i0 < edge ? x.n - i0 : edge;
    StripBest<T> best;
    best.reset();
    best_of_short_rows(x, i0, height, best);
    for (int64_t i = i0; i < i0 + height; ++i) {
      best.reduce(i - i0, similarity + i, index + i);
      if (index[i] < 0) nearest_opposite(x, i, similarity + i, index + i);
    }
  });
}

// The best of every row over the tiles that one thread has seen.
template <class T>
struct TriangleBest {
  T* similarity;   // (n)
  int64_t* index;  // (n)

  static TriangleBest take(Scratch& scratch, int64_t n, int threads) {
    T* similarity = scratch.take<T>(n * threads);
    return {similarity, scratch.take<int64_t>(n * threads)};
  }

  TriangleBest of_thread(int64_t n, int thread) const {
    return {similarity + n * thread, index + n * thread};
  }

  // A tile of cosines; the diagonal is excluded here. First the best of every row and column, which
  // takes a comparison a cosine; where it is one looks for only if it is good enough.
  void add_tile(T* tile, const TileShape& shape) const {
    const T excluded = std::numeric_limits<T>::quiet_NaN();  // compares false: never the best
    const int64_t end = tiles_of(shape.width, kLanes<T>) * kLanes<T>;
    alignas(64) T column_best[kTileMax];
    for (int64_t j = 0; j < end; ++j) column_best[j] = kNoSimilarity<T>;
    for (int64_t r = 0; r < shape.height; ++r) {
      T* row = tile + r * kTileMax;
      if (shape.triangle) row[r] = excluded;
      for (int64_t j = shape.width; j < end; ++j) row[j] = excluded;
      const int64_t first = shape.first_column<T>(r);
      Vector<T> best = Vector<T>{} + kNoSimilarity<T>;
      for (int64_t j = first; j < end; j += kLanes<T>) {
        const Vector<T> s = clamp_cosines<T>(load(row + j));
        store(row + j, s);
        best = s > best ? s : best;
        const Vector<T> above = load(column_best + j);
        store(column_best + j, s > above ? s : above);
      }
      add(shape.i0 + r, largest_lane<T>(best), shape.j0 + first, shape.width - first, row + first,
          1);
    }
    for (int64_t j = 0; j < shape.width; ++j) {
      add(shape.j0 + j, column_best[j], shape.i0, shape.last_row<T>(j), tile + j, kTileMax);
    }
  }

 private:
  // Row i against the rows [first, first + count), whose cosines lie `stride` apart and reach
  // `largest`.
  void add(int64_t i, T largest, int64_t first, int64_t count, const T* cosines,
           int64_t stride) const {
    if (largest < similarity[i] || largest == kNoSimilarity<T>) return;
    int64_t at = 0;
    while (at < count && cosines[at * stride] != largest) ++at;
    keep_best(largest, first + at, similarity + i, index + i);
  }
};

template <class T>
static void nearest_of_long_rows(const Team& team, const Panels<T>& x, const TriangleBest<T>& best,
                                 T* similarity, int64_t* index) {
  const auto own = best.of_thread(x.n, team.thread);
  for (int64_t i = 0; i < x.n; ++i) {
    own.similarity[i] = kNoSimilarity<T>;
    own.index[i] = -1;
  }
  share_tiles(team, x.n, [&](const TileShape& shape) {
    alignas(64) T tile[kTileMax * kTileMax];
    similarity_tile(x, x, shape, tile);
    own.add_tile(tile, shape);
  });
  team.once([&] {
    for (int64_t i = 0; i < x.n; ++i) {
      T most = kNoSimilarity<T>;
      int64_t where = -1;
      for (int t = 0; t < team.threads; ++t) {
        const auto other = best.of_thread(x.n, t);
        keep_best(other.similarity[i], other.index[i], &most, &where);
      }
      similarity[i] = where < 0 ? std::numeric_limits<T>::quiet_NaN() : most;
      index[i] = where;
    }
  });
}

template <class T>
struct NearestWork {
  Panels<T> panels;
  TriangleBest<T> best;  // long rows

  static NearestWork take(Scratch& scratch, int64_t n, int64_t d, int threads) {
    const auto panels = Panels<T>::take(scratch, n, d);
    return {panels, TriangleBest<T>::take(scratch, d <= kShortRows ? 0 : n, threads)};
  }
};

template <class T>
int64_t nearest_scratch(int64_t n, int64_t d, int threads) {
  Scratch scratch(nullptr);
  NearestWork<T>::take(scratch, n, d, threads);
  return scratch.bytes();
}

template <class T>
void nearest(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity, int64_t* index,
             void* scratch, int threads) {
  if (batch == 0 || n == 0) return;
  for (int64_t b = 0; b < batch; ++b) {
    Scratch block(scratch);
    const auto work = NearestWork<T>::take(block, n, d, threads);
    work.panels.pack(x + b * n * d, threads);
    if (d <= kShortRows) {
      nearest_of_short_rows(work.panels, similarity + b * n, index + b * n, threads);
      continue;
    }
    parallel_region(threads_for(pair_operations(n, n, d) / 2, threads), [&](const Team& team) {
      nearest_of_long_rows(team, work.panels, work.best, similarity + b * n, index + b * n);
    });
  }
}

#define HUBPRUNE_INSTANTIATE(T)                               \
  template int64_t nearest_scratch<T>(int64_t, int64_t, int); \
  template void nearest<T>(const T*, int64_t, int64_t, int64_t, T*, int64_t*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
