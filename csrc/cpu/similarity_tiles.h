// SPDX-License-Identifier: MIT
// Tiles of the similarity matrix: the engine under pairwise_cosine, weighted_degree, nearest and
// the recomputed matvec. The n x n matrix never exists unless an operation writes it.
//
// Unit rows are packed once into panels of kPanel rows, feature by feature, so that the inner loop
// reads one vector pair and kTileRows broadcasts per feature. A tile is kTileRows x kPanel register
// blocks over kDepth features; the blocks' partial sums are added, which keeps the rounding error
// of long rows near sqrt(d / kDepth) ulp instead of sqrt(d).
// s_ij and s_ji are the same bits: the same products are added in the same order.
// Twin: hubprune.reference.pairwise_cosine.
#pragma once

#include <cstdint>

#include "core/edge.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/feature_lanes.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
constexpr int kPanel = 2 * kLanes<T>;
constexpr int64_t kDepth = 256;
constexpr int64_t kTileMax = 128;

// Long panels stream through the caches. While a register block multiplies, it requests its share
// of the next kDepth features of both tiles, a cache line every so many features: at d = 18 432
// that is 113 G multiply-adds/s instead of 75. As a burst, requests fill the queue of misses, the
// block's own loads wait behind them, and nothing is gained.
constexpr int64_t kLineBytes = 64;
constexpr int64_t kBlocksPerPanel = kTileMax / kTileRows / 2;  // they share its requests
template <class T>
constexpr int64_t kRequestEvery =
    kLineBytes * kBlocksPerPanel / (kPanel<T> * static_cast<int64_t>(sizeof(T)));

// Short rows are bound by the epilogue: tiles that stay in the nearest cache. Long rows are bound
// by the product: a larger tile reads the panels half as often.
constexpr int64_t kShortRows = 64;
static inline int64_t tile_edge(int64_t d) { return d <= kShortRows ? 64 : kTileMax; }

// Columns of short rows whose panels stay in the nearest cache while many rows pass.
static inline int64_t strip_width(int64_t d) { return d <= 16 ? 512 : (d <= 32 ? 256 : 128); }

static inline int64_t tiles_of(int64_t n, int64_t edge) { return (n + edge - 1) / edge; }
static inline int64_t padded_rows(int64_t n) { return tiles_of(n, kTileMax) * kTileMax; }

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

enum class RowKind : uint8_t { kZero, kUnit, kNotFinite };

// From UnitScale's inverse: 0 for a zero row, NaN for one that is not finite.
static inline RowKind row_kind(double inverse) {
  return inverse > 0.0 ? RowKind::kUnit : (inverse == 0.0 ? RowKind::kZero : RowKind::kNotFinite);
}

// The weight between a row and itself.
template <Edge kEdge, class T>
static inline T self_weight(RowKind kind) {
  if (kind == RowKind::kNotFinite) return std::numeric_limits<T>::quiet_NaN();
  return edge_weight<kEdge>(kind == RowKind::kUnit ? T(1) : T(0));
}

static inline bool all_finite(const RowKind* kinds, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (kinds[i] == RowKind::kNotFinite) return false;
  }
  return true;
}

// The packed unit rows of one (n, d) matrix, padded with zero rows to whole tiles.
template <class T>
struct Panels {
  T* data;
  RowKind* kinds;
  int64_t n;
  int64_t d;

  static Panels take(Scratch& scratch, int64_t n, int64_t d) {
    T* data = scratch.take<T>(padded_rows(n) * d);
    return {data, scratch.take<RowKind>(n), n, d};
  }

  const T* panel(int64_t row) const { return data + row * d; }

  bool finite() const { return all_finite(kinds, n); }

  void pack(const T* x, int threads) const {
    threads = threads_for(4.0 * static_cast<double>(n) * static_cast<double>(d), threads);
    parallel_region(threads, [&](const Team& team) { pack(team, x); });
  }

  // The rows of x, or rows chosen[0], chosen[1], ... of it.
  void pack(const Team& team, const T* x, const int64_t* chosen = nullptr) const {
    constexpr int64_t kWidth = kPanel<T>;
    team.share(padded_rows(n) / kWidth, [&](int64_t q) {
      if (d == kNine) {
        pack_nine(x, chosen, q * kWidth);
      } else {
        pack_rows(x, chosen, q * kWidth);
      }
    });
  }

 private:
  const T* source(const T* x, const int64_t* chosen, int64_t i) const {
    if (i >= n) return x;
    return x + (chosen == nullptr ? i : chosen[i]) * d;
  }

  void pack_nine(const T* x, const int64_t* chosen, int64_t i0) const {
    constexpr int64_t kStep = kLanes<double>;
    T* panel = data + i0 * kNine;
    for (int64_t r = 0; r < kPanel<T>; r += kStep) {
      const int64_t left = n - i0 - r;
      const int64_t count = left < 0 ? 0 : (left < kStep ? left : kStep);
      Vector<double> unit[kNine] = {};
      if (count > 0) {
        T gathered[kStep * kNine];
        const T* rows = x + (i0 + r) * kNine;
        if (chosen != nullptr) {
          for (int64_t lane = 0; lane < count; ++lane) {
            __builtin_memcpy(gathered + lane * kNine, source(x, chosen, i0 + r + lane),
                             kNine * sizeof(T));
          }
          rows = gathered;
        }
        const Vector<double> inverse = unit_nine(rows, count, unit);
        for (int64_t lane = 0; lane < count; ++lane) kinds[i0 + r + lane] = row_kind(inverse[lane]);
      }
      for (int f = 0; f < kNine; ++f) store_doubles(panel + f * kPanel<T> + r, unit[f]);
    }
  }

  void pack_rows(const T* x, const int64_t* chosen, int64_t i0) const {
    constexpr int64_t kWidth = kPanel<T>;
    T* panel = data + i0 * d;
    UnitScale units[kWidth] = {};
    for (int64_t r = 0; r < kWidth && i0 + r < n; ++r) {
      units[r] = unit_scale(source(x, chosen, i0 + r), d);
      kinds[i0 + r] = row_kind(units[r].inverse);
    }
    // Sixteen features at a time: whole cache lines of x are read, the panel stays in cache.
    constexpr int64_t kPiece = 16;
    alignas(64) T piece[kWidth][kPiece];
    for (int64_t first = 0; first < d; first += kPiece) {
      const int64_t count = d - first < kPiece ? d - first : kPiece;
      for (int64_t r = 0; r < kWidth; ++r) {
        const T* row = source(x, chosen, i0 + r) + first;
        const double scale = units[r].scale;
        const double inverse = units[r].inverse;
        if (count == kPiece) {
          for (int64_t k = 0; k < kPiece; k += kLanes<double>) {
            store_doubles(piece[r] + k, load_as_double(row + k) * scale * inverse);
          }
        } else {
          for (int64_t k = 0; k < count; ++k) {
            piece[r][k] = static_cast<T>(static_cast<double>(row[k]) * scale * inverse);
          }
        }
        if (i0 + r >= n) {
          for (int64_t k = 0; k < count; ++k) piece[r][k] = T(0);  // the padding
        }
      }
      T* columns = panel + first * kWidth;
      for (int64_t k = 0; k < count; ++k) {
#pragma GCC unroll 32
        for (int64_t r = 0; r < kWidth; ++r) columns[k * kWidth + r] = piece[r][k];
      }
    }
  }
};

// Where register block `block` of a tile requests the features from k on: `a` and `b` are the first
// panels of the two tiles, d their features (or pairs of features, in a word of T's size).
template <class T, class Word>
static inline const Word* request_start(const Word* a, const Word* b, int64_t d, int64_t k,
                                        int64_t block) {
  constexpr int64_t kWidth = kPanel<T>;
  constexpr int64_t kPanels = kTileMax / kWidth;
  const int64_t panel = block / kBlocksPerPanel;
  const int64_t share = block % kBlocksPerPanel * (kDepth * kWidth / kBlocksPerPanel);
  const Word* start = panel < kPanels ? a + panel * kWidth * d : b + (panel - kPanels) * kWidth * d;
  return start + k * kWidth + share;
}

// One register block: kTileRows rows of `a` times kPanel rows of `b` over `depth` features, while
// the lines from `request` on are on their way.
template <class T>
static inline void register_block(const T* a, const T* b, int64_t depth, bool first,
                                  const T* request, T* tile) {
  Vector<T> left[kTileRows] = {};
  Vector<T> right[kTileRows] = {};
  for (int64_t k = 0; k < depth;) {
    __builtin_prefetch(request, 0, 2);
    request += kLineBytes / static_cast<int64_t>(sizeof(T));
    const int64_t end = k + kRequestEvery<T> < depth ? k + kRequestEvery<T> : depth;
    for (; k < end; ++k) {
      const Vector<T> b0 = load(b);
      const Vector<T> b1 = load(b + kLanes<T>);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        left[r] += a[r] * b0;
        right[r] += a[r] * b1;
      }
      a += kPanel<T>;
      b += kPanel<T>;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) {
    T* row = tile + r * kTileMax;
    store(row, first ? left[r] : load(row) + left[r]);
    store(row + kLanes<T>, first ? right[r] : load(row + kLanes<T>) + right[r]);
  }
}

// kRows rows of `a` times kPanel rows of `b` over all d features, left in registers: for short
// rows, whose products are used at once. kFeatures: d where it is known when compiling, else 0.
template <int kRows, int kFeatures, class T>
static inline __attribute__((always_inline)) void multiply_rows(const T* a, const T* b, int64_t d,
                                                                Vector<T> (&left)[kRows],
                                                                Vector<T> (&right)[kRows]) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t depth = kFeatures > 0 ? kFeatures : d;
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

// Cosines of rows [i0, i0 + edge) of `x` with rows [j0, j0 + width) of `y`, row stride kTileMax,
// not yet clamped; whole panels, so up to kPanel - 1 columns more. Padding rows and columns hold
// zeros.
template <class T>
static inline void similarity_tile(const Panels<T>& x, int64_t i0, const Panels<T>& y, int64_t j0,
                                   int64_t edge, int64_t width, T* tile) {
  constexpr int64_t kWidth = kPanel<T>;
  for (int64_t k = 0; k < x.d; k += kDepth) {
    const int64_t depth = x.d - k < kDepth ? x.d - k : kDepth;
    const int64_t next = k + kDepth < x.d ? k + kDepth : k;
    int64_t block = 0;
    for (int64_t j = 0; j < width; j += kWidth) {
      const T* b = y.panel(j0 + j) + k * kWidth;
      for (int64_t i = 0; i < edge; i += kTileRows, ++block) {
        const int64_t inside = i % kWidth;
        const T* a = x.panel(i0 + i - inside) + k * kWidth + inside;
        const T* request = request_start<T>(x.panel(i0), y.panel(j0), x.d, next, block);
        register_block(a, b, depth, k == 0, request, tile + i * kTileMax + j);
      }
    }
  }
  if (x.d == 0) {
    for (int64_t i = 0; i < edge * kTileMax; ++i) tile[i] = T(0);
  }
}

template <class T>
static inline void similarity_tile(const Panels<T>& x, int64_t i0, const Panels<T>& y, int64_t j0,
                                   int64_t edge, T* tile) {
  similarity_tile(x, i0, y, j0, edge, edge, tile);
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

// The operations of a product of all pairs, for threads_for.
static inline double pair_operations(int64_t n, int64_t m, int64_t d) {
  return static_cast<double>(n) * static_cast<double>(m) * static_cast<double>(d + 2);
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
