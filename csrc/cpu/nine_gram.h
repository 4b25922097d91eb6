// SPDX-License-Identifier: MIT
// Gram matrices of 3 x 3 filters in float64: the sum of x x' over the rows x of nine features.
//
// A row is two quads, a = x[0..3] and b = x[4..7], and x[8]. Rotations of a quad's lanes by 0, 1
// and 2, times itself, hold all products within it, those of a by 0 to 3, times b, all between the
// two, and x[8] times a and b the rest: 13 products of four lanes for 45 entries, and five
// shuffles. Rows are read where they lie, one after the other, which memory's own prefetching
// follows. A vector of eight lanes holds the quads of two rows.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/simd.h"
#include "cpu/feature_lanes.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int kQuad = 4;
constexpr int kQuadParts = kLanes<double> < kQuad ? kQuad / kLanes<double> : 1;  // vectors a quad
constexpr int kQuadRows = kLanes<double> > kQuad ? kLanes<double> / kQuad : 1;   // rows a vector

// Four features of a row, or of two rows side by side.
struct Quad {
  Vector<double> part[kQuadParts] = {};

  void add_product(const Quad& x, const Quad& y) {
    for (int i = 0; i < kQuadParts; ++i) part[i] += x.part[i] * y.part[i];
  }

  void add(const Quad& x) {
    for (int i = 0; i < kQuadParts; ++i) part[i] += x.part[i];
  }

  // The four features' values, those of both rows added up.
  void collect(double* values) const {
    double lanes[kQuadParts * kLanes<double>];
    __builtin_memcpy(lanes, part, sizeof lanes);
    for (int i = 0; i < kQuad; ++i) {
      values[i] = lanes[i];
      if constexpr (kQuadRows == 2) values[i] += lanes[kQuad + i];
    }
  }
};

// Lanes 2, 3, 0, 1 of every row. GCC would take an instruction of two operations on AMD.
static inline Quad swapped_halves(const Quad& x) {
#if defined(__AVX512F__)
  return {{_mm512_maskz_shuffle_f64x2(0xFF, x.part[0], x.part[0], 0xB1)}};
#elif defined(__AVX2__)
  return {{_mm256_permute2f128_pd(x.part[0], x.part[0], 1)}};
#else
  return {{x.part[1], x.part[0]}};
#endif
}

template <int... kLane>
static inline Vector<double> alternated_lanes(Vector<double> x, Vector<double> y,
                                              std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(x, y, (kLane % 2 ? kLanes<double> + kLane - 1 : kLane + 1)...);
}

// x[1], y[0], x[3], y[2] of every row: of x and its swapped halves, x rotated by 1 (the other way
// round by 3).
static inline Quad alternated(const Quad& x, const Quad& y) {
  Quad both;
  for (int i = 0; i < kQuadParts; ++i) {
    both.part[i] = alternated_lanes(x.part[i], y.part[i], LaneNumbers<double>{});
  }
  return both;
}

template <class T>
struct FourOf {
  typedef T type __attribute__((vector_size(kQuad * sizeof(T))));
};

// A row's four features, those of the next row behind them where vectors hold two.
template <class T, int... kLane>
static inline Vector<double> side_by_side(typename FourOf<T>::type own,
                                          typename FourOf<T>::type next,
                                          std::integer_sequence<int, kLane...>) {
  return as_double<T>(__builtin_shufflevector(own, next, kLane...));
}

template <class T>
static inline void multiply(Quad& quad, double scale) {
  if constexpr (sizeof(T) == sizeof(double)) {
    for (int i = 0; i < kQuadParts; ++i) quad.part[i] *= scale;
  }
}

// Features p[0..3] of a row; where vectors hold two, those of the next one, or where kNext is false
// zeros, behind them.
template <bool kNext, class T>
static inline Quad load_quad(const T* p, double scale) {
  Quad quad;
  if constexpr (kQuadRows == 1) {
    for (int i = 0; i < kQuadParts; ++i) quad.part[i] = load_as_double(p + i * kLanes<double>);
  } else {
    typename FourOf<T>::type own, next = {};
    __builtin_memcpy(&own, p, sizeof own);
    if constexpr (kNext) __builtin_memcpy(&next, p + kNine, sizeof next);
    quad.part[0] = side_by_side<T>(own, next, LaneNumbers<double>{});
  }
  multiply<T>(quad, scale);
  return quad;
}

// The same with feature p[0] four times.
template <bool kNext, class T>
static inline Quad repeat_feature(const T* p, double scale) {
  Quad quad;
  if constexpr (kQuadRows == 1) {
    for (int i = 0; i < kQuadParts; ++i) {
      quad.part[i] = static_cast<double>(p[0]) - Vector<double>{};  // the shortest broadcast
    }
  } else {
    typedef typename FourOf<T>::type Four;
    const T next = kNext ? p[kNine] : T{0};
    quad.part[0] = side_by_side<T>(p[0] - Four{}, next - Four{}, LaneNumbers<double>{});
  }
  multiply<T>(quad, scale);
  return quad;
}

// The sums. Lane i of each is an entry of the Gram matrix, i and i + k within 0..3:
enum NineSums {
  kWithinA = 0,    // k = 0, 1, 2: (i, i + k)
  kBetween = 3,    // k = 0 to 3: (4 + i, i + k)
  kWithinB = 7,    // k = 0, 1, 2: (4 + i, 4 + (i + k))
  kWithLast = 10,  // (8, i), (8, 4 + i), (8, 8)
  kNineSums = 13
};

// Adds the products of `count` rows to sums[kFrom..kTo): all of them, or those before or from
// kWithinB.
template <int kFrom, int kTo, class T>
static inline void add_nine_products(const T* rows, int64_t count, double scale, Quad* sums) {
  Quad sum[kNineSums];  // in registers
  const auto add_row = [&](const T* row, auto next) {
    const Quad a = load_quad<decltype(next)::value>(row, scale);
    const Quad b = load_quad<decltype(next)::value>(row + kQuad, scale);
    if constexpr (kFrom < kWithinB) {
      const Quad swapped = swapped_halves(a);
      const Quad rotated = alternated(a, swapped);
      sum[kWithinA].add_product(a, a);
      sum[kWithinA + 1].add_product(a, rotated);
      sum[kWithinA + 2].add_product(a, swapped);
      sum[kBetween].add_product(b, a);
      sum[kBetween + 1].add_product(b, rotated);
      sum[kBetween + 2].add_product(b, swapped);
      sum[kBetween + 3].add_product(b, alternated(swapped, a));
    }
    if constexpr (kTo > kWithinB) {
      const Quad swapped = swapped_halves(b);
      const Quad last = repeat_feature<decltype(next)::value>(row + 2 * kQuad, scale);
      sum[kWithinB].add_product(b, b);
      sum[kWithinB + 1].add_product(b, alternated(b, swapped));
      sum[kWithinB + 2].add_product(b, swapped);
      sum[kWithLast].add_product(last, a);
      sum[kWithLast + 1].add_product(last, b);
      sum[kWithLast + 2].add_product(last, last);
    }
  };
  int64_t i = 0;
  for (; i + kQuadRows <= count; i += kQuadRows) add_row(rows + i * kNine, std::true_type{});
  if (i < count) add_row(rows + i * kNine, std::false_type{});
  for (int k = kFrom; k < kTo; ++k) sums[k].add(sum[k]);
}

// The Gram matrix of weight (c, 9) in lane `lane` of `matrix` (9, 9), both triangles.
template <class T>
static inline void nine_gram(const T* weight, int64_t c, double scale, int64_t lane,
                             Vector<double>* matrix) {
  Quad sums[kNineSums];
  if constexpr (kVectorBytes == 64) {
    add_nine_products<0, kNineSums>(weight, c, scale, sums);
  } else {
    // Thirteen sums and what they are made of are too much for 16 registers.
    constexpr int64_t kRows = 32;  // stay in the nearest cache for the second half
    for (int64_t i = 0; i < c; i += kRows) {
      const T* rows = weight + i * kNine;
      const int64_t count = c - i < kRows ? c - i : kRows;
      add_nine_products<0, kWithinB>(rows, count, scale, sums);
      add_nine_products<kWithinB, kNineSums>(rows, count, scale, sums);
    }
  }
  double entries[kNineSums][kQuad];
  for (int k = 0; k < kNineSums; ++k) sums[k].collect(entries[k]);
  const auto put = [&](int a, int b, double entry) {
    matrix[a * kNine + b][lane] = entry;
    matrix[b * kNine + a][lane] = entry;
  };
#pragma GCC unroll 4
  for (int i = 0; i < kQuad; ++i) {
#pragma GCC unroll 4
    for (int k = 0; k < kQuad; ++k) {
      const int rotated = (i + k) % kQuad;
      if (k < 3) put(i, rotated, entries[kWithinA + k][i]);
      put(kQuad + i, rotated, entries[kBetween + k][i]);
      if (k < 3) put(kQuad + i, kQuad + rotated, entries[kWithinB + k][i]);
    }
    put(2 * kQuad, i, entries[kWithLast][i]);
    put(2 * kQuad, kQuad + i, entries[kWithLast + 1][i]);
  }
  put(2 * kQuad, 2 * kQuad, entries[kWithLast + 2][0]);
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
