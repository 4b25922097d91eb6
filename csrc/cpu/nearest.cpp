// SPDX-License-Identifier: MIT
// Nearest other row by cosine: similarity_i = max over j != i of s_ij, index_i = its j (ties: the
// lowest), x (n, d). A row that is not finite has no nearest (NaN, -1) and is nobody's nearest.
// Tiles of the upper triangle, n^2 d / 2 FMAs, each compared by rows and by columns; O(n) memory
// per thread beside the panels. Short rows are bound by the comparisons: of each pair only the
// largest cosine is kept, in registers, with the block of columns that it came from; which column
// it was is looked for at the end, 64 products a row. Long rows are bound by the products: whole
// tiles, and where the largest is one looks for in the tile. Numerics: cosines in T, compared after
// clamping. Twin: hubprune.reference.nearest.
#include "cpu/level_kernels.h"
#include "cpu/pair_sums.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Below every cosine: none found yet.
template <class T>
constexpr T kNoSimilarity = T(-2);

template <class T, class Index>
static inline void keep_best(T similarity, Index index, T* best, Index* where) {
  if (similarity > *best || (similarity == *best && index < *where)) {
    *best = similarity;
    *where = index;
  }
}

// Columns of short rows among which the nearest is looked for when it is known to be one of them.
constexpr int64_t kSearched = 64;
template <class T>
constexpr int kSearchedPanels = kSearched / kPanel<T> < 4 ? kSearched / kPanel<T> : 4;  // at once

// The largest cosine of every row over the tiles that one thread has seen, and the block of
// kSearched columns that it lies in: the lowest of several. From -1 on: cosines there and, by
// rounding, below are clamped to it, and tie (see nearest_opposite).
template <class T>
struct BlockBest {
  using Number = typename IndexOf<T>::scalar;
  T* similarity;  // (padded rows)
  Number* block;  // (padded rows): -1 where there is none yet

  static BlockBest take(Scratch& scratch, int64_t n, int threads) {
    T* similarity = scratch.take<T>(padded_rows<T>(n) * threads);
    return {similarity, scratch.take<Number>(padded_rows<T>(n) * threads)};
  }

  BlockBest of_thread(int64_t n, int thread) const {
    return {similarity + padded_rows<T>(n) * thread, block + padded_rows<T>(n) * thread};
  }

  void reset(int64_t n) const {
    for (int64_t i = 0; i < padded_rows<T>(n); ++i) {
      similarity[i] = T(-1);
      block[i] = -1;
    }
  }

  // The largest cosines of row i with the blocks from `first` on, lane by lane, `stride` apart.
  void add_row(int64_t i, const Vector<T>* largest, int64_t count, int64_t stride,
               int64_t first) const {
    Vector<T> all = largest[0];
    for (int64_t b = 1; b < count; ++b) {
      all = largest[b * stride] > all ? largest[b * stride] : all;
    }
    const T most = clamped(largest_lane<T>(all));
    if (most < similarity[i]) return;
    int64_t b = 0;
    while (b + 1 < count && clamped(largest_lane<T>(largest[b * stride])) != most) ++b;
    keep_best(most, static_cast<Number>(first + b), similarity + i, block + i);
  }

  // The largest cosines of the rows [j, j + width) with the rows of one block.
  void add_columns(int64_t j, const T* largest, int64_t width, int64_t from) const {
    const auto here = IndexVector<T>{} + static_cast<Number>(from);
    for (int64_t k = 0; k < width; k += kLanes<T>) {
      const Vector<T> found = clamp_cosines<T>(load(largest + k));
      const Vector<T> before = load(similarity + j + k);
      IndexVector<T> where;
      __builtin_memcpy(&where, block + j + k, sizeof where);
      const auto better = (found > before) | ((found == before) & (here < where));
      where = better ? here : where;
      store(similarity + j + k, better ? found : before);
      __builtin_memcpy(block + j + k, &where, sizeof where);
    }
  }

 private:
  static T clamped(T cosine) { return cosine > T(1) ? T(1) : cosine; }
};

// The largest cosine, lane by lane, of rows [i, i + kStripRows) in each block of the columns
// [first, last) right of the diagonal, straight from the registers; those of the columns join
// `of_columns`. What is not finite compares false, and so is never the largest.
template <int kFeatures, class T>
static inline void largest_of_strip(const Panels<T>& x, int64_t i, int64_t first, int64_t last,
                                    T* of_columns, Vector<T>* of_blocks) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t inside = i % kWidth;
  const T* rows = x.panel(i - inside) + inside;
  const Vector<T> none = Vector<T>{} + kNoSimilarity<T>;
  const Vector<T> excluded = Vector<T>{} + std::numeric_limits<T>::quiet_NaN();
  for (int64_t j = first; j < last;) {
    const int64_t next = j - j % kSearched + kSearched;
    const int64_t end = next < last ? next : last;
    Vector<T> best[kStripRows] = {none, none, none, none};
    for (; j < end; j += kWidth) {
      Vector<T> left[kStripRows];
      Vector<T> right[kStripRows];
      multiply_rows<kStripRows, kFeatures>(rows, x.panel(j), x.d, left, right);
      if (j == i - inside || j + kWidth > x.n) {  // itself and those before, or padding
        using Number = typename IndexOf<T>::scalar;
        const auto width = static_cast<Number>(x.n - j < kWidth ? x.n - j : kWidth);
#pragma GCC unroll 4
        for (int r = 0; r < kStripRows; ++r) {
          const auto row = static_cast<Number>(j == i - inside ? inside + r : -1);
          const auto columns = column_numbers<T>(0);
          const auto beyond = column_numbers<T>(kLanes<T>);
          left[r] = ((columns > row) & (columns < width)) ? left[r] : excluded;
          right[r] = ((beyond > row) & (beyond < width)) ? right[r] : excluded;
        }
      }
      T* column = of_columns + (j - first);
      Vector<T> below_left = load(column);
      Vector<T> below_right = load(column + kLanes<T>);
#pragma GCC unroll 4
      for (int r = 0; r < kStripRows; ++r) {
        best[r] = left[r] > best[r] ? left[r] : best[r];
        best[r] = right[r] > best[r] ? right[r] : best[r];
        below_left = left[r] > below_left ? left[r] : below_left;
        below_right = right[r] > below_right ? right[r] : below_right;
      }
      store(column, below_left);
      store(column + kLanes<T>, below_right);
    }
    for (int r = 0; r < kStripRows; ++r) of_blocks[r] = best[r];
    of_blocks += kStripRows;
  }
}

// Rows [i0, i0 + kSearched) against columns [j0, j0 + strip_width(d)).
template <class T>
static void add_short_tile(const Panels<T>& x, int64_t i0, int64_t j0, const BlockBest<T>& best) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kMostColumns = 512;  // strip_width
  alignas(64) T of_columns[kMostColumns];
  const int64_t end = padded_rows<T>(x.n);
  const int64_t last = j0 + strip_width(x.d) < end ? j0 + strip_width(x.d) : end;
  for (int64_t j = 0; j < last - j0; ++j) of_columns[j] = kNoSimilarity<T>;
  for (int64_t i = i0; i < x.n && i < i0 + kSearched; i += kStripRows) {
    const int64_t diagonal = i - i % kWidth;
    const int64_t first = diagonal > j0 ? diagonal : j0;
    if (first >= last) break;
    Vector<T> of_blocks[kMostColumns / kSearched * kStripRows];
    if (x.d == kNine) {
      largest_of_strip<kNine>(x, i, first, last, of_columns + (first - j0), of_blocks);
    } else {
      largest_of_strip<0>(x, i, first, last, of_columns + (first - j0), of_blocks);
    }
    const int64_t count = tiles_of(last, kSearched) - first / kSearched;
    for (int64_t r = 0; r < kStripRows && i + r < x.n; ++r) {
      best.add_row(i + r, of_blocks + r, count, kStripRows, first / kSearched);
    }
  }
  best.add_columns(j0, of_columns, last - j0, i0 / kSearched);
}

// The first row but i in a block whose cosine with row i is `largest`: there is one, and none is
// above it but for the clamping. The products are those that were compared, to the bit. kTogether
// panels are multiplied at once, which keeps the multipliers busy; in place of those behind the
// last one it comes again, and its own are found.
template <int kTogether, class T>
static int64_t first_in_block(const Panels<T>& x, int64_t i, int64_t block, T largest) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kStep = kTogether * kWidth;
  using Number = typename IndexOf<T>::scalar;
  const int64_t first = block * kSearched;
  const int64_t last_panel = padded_rows<T>(x.n) - kWidth;
  const int64_t width = x.n - first < kSearched ? x.n - first : kSearched;
  const int64_t inside = i % kWidth;
  const T* row = x.panel(i - inside) + inside;
  const Vector<T> sought = Vector<T>{} + largest;
  const auto self = static_cast<Number>(i - first < kSearched ? i - first : -1);
  auto found = IndexVector<T>{} + static_cast<Number>(kSearched);
  for (int64_t from = (width - 1) / kStep * kStep; from >= 0; from -= kStep) {
    const T* panels[kTogether];
    for (int q = 0; q < kTogether; ++q) {
      const int64_t j = first + from + q * kWidth;
      panels[q] = x.panel(j < last_panel ? j : last_panel);
    }
    Vector<T> left[kTogether] = {};
    Vector<T> right[kTogether] = {};
    for (int64_t k = 0; k < x.d * kWidth; k += kWidth) {
      const T value = row[k];
#pragma GCC unroll 4
      for (int q = 0; q < kTogether; ++q) {
        left[q] += value * load(panels[q] + k);
        right[q] += value * load(panels[q] + k + kLanes<T>);
      }
    }
    for (int q = kTogether - 1; q >= 0; --q) {  // the lowest is seen last
      const auto columns = column_numbers<T>(from + q * kWidth);
      const auto beyond = column_numbers<T>(from + q * kWidth + kLanes<T>);
      found = ((right[q] >= sought) & (beyond != self)) ? beyond : found;
      found = ((left[q] >= sought) & (columns != self)) ? columns : found;
    }
  }
  Number lowest = found[0];
  for (int lane = 1; lane < kLanes<T>; ++lane) {
    if (found[lane] < lowest) lowest = found[lane];
  }
  return first + lowest;
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
static void nearest_of_short_rows(const Team& team, const Panels<T>& x, const BlockBest<T>& best,
                                  T* similarity, int64_t* index) {
  const auto own = best.of_thread(x.n, team.thread);
  own.reset(x.n);
  share_triangle(team, x.n, kSearched, strip_width(x.d),
                 [&](int64_t i0, int64_t j0) { add_short_tile(x, i0, j0, own); });
  constexpr int64_t kRows = 256;
  team.share(tiles_of(x.n, kRows), [&](int64_t task) {
    for (int64_t i = task * kRows; i < x.n && i < (task + 1) * kRows; ++i) {
      T most = T(-1);
      typename IndexOf<T>::scalar block = -1;
      for (int t = 0; t < team.threads; ++t) {
        const auto other = best.of_thread(x.n, t);
        keep_best(other.similarity[i], other.block[i], &most, &block);
      }
      if (block < 0) {
        nearest_opposite(x, i, similarity + i, index + i);
        continue;
      }
      similarity[i] = most;
      const bool narrow = x.n - block * kSearched <= 2 * kPanel<T>;
      index[i] = narrow ? first_in_block<2>(x, i, block, most)
                        : first_in_block<kSearchedPanels<T>>(x, i, block, most);
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
  BlockBest<T> of_blocks;  // short rows
  TriangleBest<T> best;    // long rows

  static NearestWork take(Scratch& scratch, int64_t n, int64_t d, int threads) {
    const bool is_short = d <= kShortRows;
    const auto panels = Panels<T>::take(scratch, n, d);
    const auto of_blocks = BlockBest<T>::take(scratch, is_short ? n : 0, threads);
    return {panels, of_blocks, TriangleBest<T>::take(scratch, is_short ? 0 : n, threads)};
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
    T* of_graph = similarity + b * n;
    parallel_region(threads_for(pair_operations(n, n, d) / 2, threads), [&](const Team& team) {
      work.panels.pack(team, x + b * n * d);
      if (d <= kShortRows) {
        nearest_of_short_rows(team, work.panels, work.of_blocks, of_graph, index + b * n);
      } else {
        nearest_of_long_rows(team, work.panels, work.best, of_graph, index + b * n);
      }
    });
  }
}

#define HUBPRUNE_INSTANTIATE(T)                               \
  template int64_t nearest_scratch<T>(int64_t, int64_t, int); \
  template void nearest<T>(const T*, int64_t, int64_t, int64_t, T*, int64_t*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
