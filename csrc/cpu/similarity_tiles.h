// SPDX-License-Identifier: MIT
// Tiles of the similarity matrix: the engine under pairwise_cosine, weighted_degree, nearest and
// the recomputed matvec. The n x n matrix never exists unless an operation writes it.
//
// Unit rows are packed once into panels of kPanel rows, feature by feature, so that the inner loop
// reads one vector pair and kBlockRows broadcasts per feature. A tile is kBlockRows x kPanel
// register blocks over kDepth features. A run of kRun features is added up in registers, runs in
// their block, the blocks of kSpan features in the tile, and spans in a compensated sum. For unit
// rows, whatever d,
//   |error| <= (kRun + kDepth / kRun + kSpan / kDepth + 4) u, u = 2^-24 in float32.
// The worst rows known (all entries equal, d up to 100 000) reach 9.6e-7, random ones 1e-7. Plain
// sums of blocks of 128 features reach 2e-6 from d = 128 on, twice what is allowed at "highest".
// s_ij and s_ji are the same bits: the same products are added in the same order.
// Twin: hubprune.reference.pairwise_cosine.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "cpu/unit_panels.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kRun = 48;
constexpr int64_t kDepth = 144;
constexpr int64_t kSpan = 16 * kDepth;
constexpr int64_t kTileMax = 128;

// Long panels stream through the caches. While a register block multiplies, it requests its share
// of the next block of features of both tiles, one or two cache lines every so many features: at
// d = 18 432 that is 113 G multiply-adds/s instead of 75. As a burst, requests fill the queue of
// misses, the block's own loads wait behind them, and nothing is gained.
template <class T, int kRows = kTileRows>
constexpr int64_t kRequestEvery =
    kLineBytes * (kTileMax / kRows / 2) / (kPanel<T> * static_cast<int64_t>(sizeof(T)));

// Long rows are bound by the product: a larger tile reads the panels half as often, but up to 512
// rows would be ten tiles or fewer, too few to share among threads. Short rows are bound by what
// follows the product: tiles that stay in the nearest cache.
constexpr int64_t kShortRows = 64;
constexpr int64_t kFewRows = 512;
static inline int64_t product_edge(int64_t n) { return n <= kFewRows ? kTileMax / 2 : kTileMax; }
static inline int64_t tile_edge(int64_t n, int64_t d) {
  return d <= kShortRows ? kTileMax / 2 : product_edge(n);
}

// Columns of short rows whose panels stay in the nearest cache while many rows pass.
static inline int64_t strip_width(int64_t d) { return d <= 16 ? 512 : (d <= 32 ? 256 : 128); }

// Integers as wide as T, for column numbers beside vectors of T.
template <class T>
struct IndexOf;
template <>
struct IndexOf<float> {
  using scalar = int32_t;
  typedef int32_t type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct IndexOf<double> {
  using scalar = int64_t;
  typedef int64_t type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using IndexVector = typename IndexOf<T>::type;

template <class T>
static inline IndexVector<T> column_numbers(int64_t first) {
  using Scalar = typename IndexOf<T>::scalar;
  IndexVector<T> v;
  for (int i = 0; i < kLanes<T>; ++i) v[i] = static_cast<Scalar>(first) + static_cast<Scalar>(i);
  return v;
}

// The weight between a row and itself.
template <Edge kEdge, class T>
static inline T self_weight(RowKind kind) {
  if (kind == RowKind::kNotFinite) return std::numeric_limits<T>::quiet_NaN();
  return edge_weight<kEdge>(kind == RowKind::kUnit ? T(1) : T(0));
}

// A tile of the matrix of cosines: rows [i0, i0 + height) and columns [j0, j0 + width), at most
// `edge` of each, which is kTileMax or half of it. Of one on the diagonal of a symmetric matrix
// (`triangle`) nothing left of the diagonal's panels is computed.
struct TileShape {
  int64_t i0;
  int64_t j0;
  int64_t height;
  int64_t width;
  int64_t edge;
  bool triangle;

  // Of row r the columns from here on are computed,
  template <class T>
  int64_t first_column(int64_t r) const {
    return triangle ? r - r % kPanel<T> : 0;
  }

  // of column j the rows before this one.
  template <class T>
  int64_t last_row(int64_t j) const {
    const int64_t end = j - j % kPanel<T> + kPanel<T>;
    return triangle && end < height ? end : height;
  }
};

// The tile at (i0, j0) of an n x m matrix.
static inline TileShape tile_shape(int64_t i0, int64_t n, int64_t j0, int64_t m, int64_t edge) {
  return {i0, j0, n - i0 < edge ? n - i0 : edge, m - j0 < edge ? m - j0 : edge, edge, false};
}

// The tile at (i0, j0) of the upper triangle of an n x n matrix.
static inline TileShape triangle_shape(int64_t i0, int64_t j0, int64_t n, int64_t edge) {
  TileShape shape = tile_shape(i0, n, j0, n, edge);
  shape.triangle = i0 == j0;
  return shape;
}

// From where on a register block requests how many lines at a time.
template <class Word>
struct Request {
  const Word* from;
  int64_t lines;

  void send() {
    for (int64_t line = 0; line < lines; ++line) {
      __builtin_prefetch(from, 0, 2);
      from += kLineBytes / static_cast<int64_t>(sizeof(Word));
    }
  }
};

// The features [first, end) of rows of d.
struct Span {
  int64_t first;
  int64_t end;
  int64_t d;
};

// The rows of a register block: kCount, of which the first kSplit lie in one panel and the others
// in the next one.
template <int kCount, int kSplit = kCount>
struct BlockRows {
  static constexpr int count = kCount;
};

// Calls visit(rows, i) for the register blocks of `height` rows, rounded up to kTileRows: as many
// as there are of kBlockRows, in pairs, so that what is left are whole blocks of kTileRows.
template <class Visit>
static inline void visit_blocks(int64_t height, const Visit& visit) {
  const int64_t end = tiles_of(height, kTileRows) * kTileRows;
  int64_t i = 0;
  if constexpr (kBlockRows > kTileRows) {
    static_assert(2 * kBlockRows % kTileRows == 0);
    for (; i + 2 * kBlockRows <= end; i += 2 * kBlockRows) {
      visit(BlockRows<kBlockRows>{}, i);
      visit(BlockRows<kBlockRows>{}, i + kBlockRows);
    }
  }
  for (; i < end; i += kTileRows) visit(BlockRows<kTileRows>{}, i);
}

// Calls visit(rows) with the split of kCount rows of which the first `left` lie in one panel.
template <int kCount, class Visit>
static inline void visit_split(int64_t left, const Visit& visit) {
  if constexpr (kCount == kTileRows) {
    visit(BlockRows<kCount>{});  // panels are whole blocks of these
  } else {
    static_assert(kCount == 6, "starts at multiples of six, which are even");
    if (left >= kCount) {
      visit(BlockRows<kCount>{});
    } else if (left == 4) {
      visit(BlockRows<kCount, 4>{});
    } else {
      visit(BlockRows<kCount, 2>{});
    }
  }
}

// Calls block(rows, a, beyond, b, depth, first, request, at) for every register block of a tile,
// kWords words of a span after kWords words: rows of `a` (BlockRows: beyond its split, of `beyond`)
// times a panel `b`, whether nothing was added up yet, its share of the requests for the words
// after these, and its place in the tile. x, y: packed rows of span.d words each.
template <class T, int64_t kWords, class Word, class Block>
static inline void multiply_panels(const Word* x, const Word* y, const Span& span,
                                   const TileShape& shape, const Block& block) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t sharing = shape.edge / 2;  // rows whose blocks request one panel
  const int64_t d = span.d;
  const Word* rows = x + shape.i0 * d;
  const Word* columns = y + shape.j0 * d;
  const int64_t row_panels = tiles_of(shape.height, kWidth);
  for (int64_t k = span.first; k < span.end; k += kWords) {
    const int64_t depth = span.end - k < kWords ? span.end - k : kWords;
    const int64_t next = (k + kWords < d ? k + kWords : k) * kWidth;
    int64_t count = 0;
    for (int64_t j = 0; j < shape.width; j += kWidth) {
      const Word* b = columns + j * d + k * kWidth;
      visit_blocks(shape.last_row<T>(j), [&](auto whole, int64_t i) {
        constexpr int kCount = decltype(whole)::count;
        const int64_t inside = i % kWidth;
        const Word* a = rows + (i - inside) * d + k * kWidth + inside;
        const Word* beyond = a + kWidth * d - kWidth;
        const int64_t panel = count / sharing;
        const Word* from = panel < row_panels ? rows + panel * kWidth * d
                                              : columns + (panel - row_panels) * kWidth * d;
        from += next + count % sharing * (kWords * kWidth / sharing);
        count += kCount;
        const Request<Word> request{from, kTileMax / shape.edge};
        visit_split<kCount>(kWidth - inside, [&](auto split) {
          block(split, a, beyond, b, depth, k == span.first, request, i * kTileMax + j);
        });
      });
    }
  }
}

// The first sum is stored, the others are added to it.
template <class T>
static inline void add_up(T* sum, Vector<T> added, bool first) {
  store(sum, first ? added : load(sum) + added);
}

// One register block: rows of `a` and `beyond` (BlockRows) times kPanel rows of `b` over `depth`
// features, while the lines of `request` are on their way. The next row is kRowStep values further,
// the next feature kFeatureStep; `b` is a panel.
template <int64_t kRowStep, int64_t kFeatureStep, int kCount, int kSplit, class T>
static inline void register_block(BlockRows<kCount, kSplit>, const T* a, const T* beyond,
                                  const T* b, int64_t depth, bool first, Request<T> request,
                                  T* tile) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kEvery = kRequestEvery<T, kCount>;
  alignas(64) T sums[kCount * kWidth];
  int64_t run = 0;
  do {  // depth is 1 or more
    Vector<T> left[kCount] = {};
    Vector<T> right[kCount] = {};
    const int64_t last = depth - run < kRun ? depth : run + kRun;
    for (int64_t k = run; k < last;) {
      request.send();
      const int64_t end = k + kEvery < last ? k + kEvery : last;
      for (; k < end; ++k) {
        const Vector<T> b0 = load(b);
        const Vector<T> b1 = load(b + kLanes<T>);
#pragma GCC unroll 8
        for (int r = 0; r < kCount; ++r) {
          const T value = (r < kSplit ? a : beyond)[r * kRowStep];
          left[r] += value * b0;
          right[r] += value * b1;
        }
        a += kFeatureStep;
        beyond += kFeatureStep;
        b += kWidth;
      }
    }
    keep_in_memory(sums);
#pragma GCC unroll 8
    for (int r = 0; r < kCount; ++r) {
      add_up(sums + r * kWidth, left[r], run == 0);
      add_up(sums + r * kWidth + kLanes<T>, right[r], run == 0);
    }
    keep_in_memory(sums);
    run += kRun;
  } while (run < depth);
#pragma GCC unroll 8
  for (int r = 0; r < kCount; ++r) {
    const T* row = sums + r * kWidth;
    add_up(tile + r * kTileMax, load(row), first);
    add_up(tile + r * kTileMax + kLanes<T>, load(row + kLanes<T>), first);
  }
}

// Short rows that are multiplied at once. With eight, what is done with their products would not
// overlap the products of the next ones (measured on Zen 4: the abs degree of 2048 x 9 in 0.49 ms
// for 0.40).
constexpr int kStripRows = 4;

// kRows rows of `a` times kPanel rows of `b` over all d features, left in registers: for short
// rows, whose products are used at once. kFeatures: d where it is known when compiling, else 0.
template <int kRows, int kFeatures, class T>
static inline __attribute__((always_inline)) void multiply_rows(const T* a, const T* b, int64_t d,
                                                                Vector<T> (&left)[kRows],
                                                                Vector<T> (&right)[kRows]) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t depth = kFeatures > 0 ? kFeatures : d;
  if constexpr (kFeatures > 0) keep_offsets(a);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    left[r] = Vector<T>{};
    right[r] = Vector<T>{};
  }
#pragma GCC unroll 9
  for (int64_t k = 0; k < depth; ++k) {
    const Vector<T> b0 = load(b + k * kWidth);
    const Vector<T> b1 = load(b + k * kWidth + kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      left[r] += a[k * kWidth + r] * b0;
      right[r] += a[k * kWidth + r] * b1;
    }
  }
}

// Calls visit(at) for the place of every vector of the register blocks of a tile.
template <class T, class Visit>
static inline void visit_tile(const TileShape& shape, const Visit& visit) {
  const int64_t height = tiles_of(shape.height, kTileRows) * kTileRows;
  const int64_t width = padded_rows<T>(shape.width);
  for (int64_t r = 0; r < height; ++r) {
    for (int64_t j = shape.first_column<T>(r); j < width; j += kLanes<T>) visit(r * kTileMax + j);
  }
}

// The sums of a tile over spans of kSpan features: the first span's go to `tile`, each of the
// others' first to `part`; what adding them loses is kept in `lost`. Row stride kTileMax each.
template <class T>
struct TileSums {
  T* tile;
  T* part;
  T* lost;

  // Where the span from feature k on is added up.
  T* of_span(int64_t k) const { return k == 0 ? tile : part; }

  // Before the first span of rows of d,
  void start(const TileShape& shape, int64_t d) const {
    if (d == 0) visit_tile<T>(shape, [&](int64_t at) { store(tile + at, Vector<T>{}); });
    if (d > kSpan) visit_tile<T>(shape, [&](int64_t at) { store(lost + at, Vector<T>{}); });
  }

  // after the span from feature k on,
  void add_span(const TileShape& shape, int64_t k) const {
    if (k == 0) return;
    visit_tile<T>(shape, [&](int64_t at) {
      const Vector<T> before = load(tile + at);
      const Vector<T> added = load(part + at);
      const Vector<T> after = before + added;
      store(tile + at, after);
      store(lost + at, load(lost + at) + (added - (after - before)));
    });
  }

  // and after the last.
  void finish(const TileShape& shape, int64_t d) const {
    if (d <= kSpan) return;
    visit_tile<T>(shape, [&](int64_t at) { store(tile + at, load(tile + at) + load(lost + at)); });
  }
};

// The cosines of a tile of rows of `x` and rows of `y`, row stride kTileMax, not yet clamped: whole
// register blocks, so up to kTileRows - 1 rows and kPanel - 1 columns more, which hold zeros.
template <class T>
static inline void similarity_tile(const Panels<T>& x, const Panels<T>& y, const TileShape& shape,
                                   T* tile) {
  const int64_t d = x.d;
  alignas(64) T part[kTileMax * kTileMax];
  alignas(64) T lost[kTileMax * kTileMax];
  const TileSums<T> all{tile, part, lost};
  all.start(shape, d);
  for (int64_t k = 0; k < d; k += kSpan) {
    T* sums = all.of_span(k);
    multiply_panels<T, kDepth>(x.data, y.data, Span{k, d - k < kSpan ? d : k + kSpan, d}, shape,
                               [&](auto rows, const T* a, const T* beyond, const T* b,
                                   int64_t depth, bool first, Request<T> request, int64_t at) {
                                 register_block<1, kPanel<T>>(rows, a, beyond, b, depth, first,
                                                              request, sums + at);
                               });
    all.add_span(shape, k);
  }
  all.finish(shape, d);
}

template <class T>
static inline Vector<T> clamp_cosines(Vector<T> s) {
  const Vector<T> one = Vector<T>{} + T(1);
  s = one < s ? one : s;  // written as the minimum instruction computes it: NaN stays NaN
  return -one > s ? -one : s;
}

template <class T>
static inline Vector<T> absolute(Vector<T> s) {
  using Bits = IndexVector<T>;
  using Scalar = typename IndexOf<T>::scalar;
  Bits bits;
  __builtin_memcpy(&bits, &s, sizeof bits);
  bits &= std::numeric_limits<Scalar>::max();  // all but the sign bit
  __builtin_memcpy(&s, &bits, sizeof bits);
  return s;
}

template <Edge kEdge, class T>
static inline Vector<T> edge_weights(Vector<T> s) {
  const Vector<T> zero = {};
  if constexpr (kEdge == Edge::kSquared) return s * s;
  if constexpr (kEdge == Edge::kAbs) return absolute<T>(s);
  if constexpr (kEdge == Edge::kPositive) return zero > s ? zero : s;
  if constexpr (kEdge == Edge::kShifted) return (s + T(1)) * T(0.5);
  return s;
}

// The weights of kStripRows short rows `a` and a panel `b`, left in registers.
template <Edge kEdge, class T>
static inline __attribute__((always_inline)) void weigh_rows(const T* a, const T* b, int64_t d,
                                                             Vector<T> (&left)[kStripRows],
                                                             Vector<T> (&right)[kStripRows]) {
  multiply_rows<kStripRows, 0>(a, b, d, left, right);
#pragma GCC unroll 4
  for (int r = 0; r < kStripRows; ++r) {
    left[r] = edge_weights<kEdge, T>(clamp_cosines<T>(left[r]));
    right[r] = edge_weights<kEdge, T>(clamp_cosines<T>(right[r]));
  }
}

// Replaces the cosines of a tile by their weights.
template <Edge kEdge, class T>
static inline void weigh_tile(T* tile, const TileShape& shape) {
  for (int64_t r = 0; r < shape.height; ++r) {
    for (int64_t j = shape.first_column<T>(r); j < shape.width; j += kLanes<T>) {
      T* p = tile + r * kTileMax + j;
      store(p, edge_weights<kEdge, T>(clamp_cosines<T>(load(p))));
    }
  }
}

// Copies a tile to an array whose first row is the tile's and whose row stride is `stride`; of one
// on the diagonal what was computed.
template <class T>
static inline void write_tile(const T* tile, const TileShape& shape, int64_t stride, T* out) {
  for (int64_t r = 0; r < shape.height; ++r) {
    const int64_t first = shape.first_column<T>(r);
    __builtin_memcpy(out + r * stride + shape.j0 + first, tile + r * kTileMax + first,
                     static_cast<size_t>(shape.width - first) * sizeof(T));
  }
}

// The operations of a product of all pairs, for threads_for.
static inline double pair_operations(int64_t n, int64_t m, int64_t d) {
  return static_cast<double>(n) * static_cast<double>(m) * static_cast<double>(d + 2);
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
