// SPDX-License-Identifier: MIT
// Short rows side by side: rows of nine features (3 x 3 kernels, the filters of nearly every audio
// network) turned into one vector per feature whose lanes are consecutive rows.
//
// Gathering them would read every value by itself. Nine is 1 modulo every lane count N (2, 4, 8),
// so lane l of the j-th stream vector holds feature (N j + l) mod 9: each lane is the wanted order,
// rotated by l times a constant. A rotation by a different amount per lane takes log2(N) rounds of
// blends, one per bit of l; one lane rotation per feature then brings the same row into the same
// lane everywhere. 27 blends and 8 rotations for 72 values at N = 8.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "core/simd.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int kNine = 9;
constexpr int64_t kNinePairs = kNine * kNine;  // entry a * 9 + b with a <= b is in use

// The multiplicative inverse of the lane count modulo 9: 2 * 5 = 4 * 7 = 8 * 8 = 1 (mod 9).
constexpr int kInverseLanes = kLanes<double> == 8 ? 8 : (kLanes<double> == 4 ? 7 : 5);

template <int kBit, int... kLane>
static inline Vector<double> blend_lanes(Vector<double> unset, Vector<double> set,
                                         std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(unset, set, (kLane & kBit ? kLane + kLanes<double> : kLane)...);
}

template <int kBy, int... kLane>
static inline Vector<double> rotate_lanes(Vector<double> v, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(v, v, ((kLane + kBy) % kLanes<double>)...);
}

template <int kBit>
static inline void rotate_round(Vector<double>* stream) {
  if constexpr (kBit < kLanes<double>) {
    Vector<double> rotated[kNine];
#pragma GCC unroll 9
    for (int j = 0; j < kNine; ++j) {
      rotated[j] =
          blend_lanes<kBit>(stream[j], stream[(j + kNine - kBit) % kNine], LaneNumbers<double>{});
    }
#pragma GCC unroll 9
    for (int j = 0; j < kNine; ++j) stream[j] = rotated[j];
  }
}

template <int... kFeature>
static inline void align_rows(const Vector<double>* stream, Vector<double>* features,
                              std::integer_sequence<int, kFeature...>) {
  ((features[kFeature] =
        rotate_lanes<kFeature % kLanes<double>>(stream[kFeature], LaneNumbers<double>{})),
   ...);
}

// rows (kLanes<double>, 9), contiguous -> features (9), lane r = row r, in float64.
template <class T>
static inline void split_nine(const T* rows, Vector<double>* features) {
  Vector<double> stream[kNine];
#pragma GCC unroll 9
  for (int j = 0; j < kNine; ++j) {
    stream[j] = load_as_double(rows + kLanes<double> * (kInverseLanes * j % kNine));
  }
  rotate_round<1>(stream);
  rotate_round<2>(stream);
  rotate_round<4>(stream);
  align_rows(stream, features, std::make_integer_sequence<int, kNine>{});
}

// As split_nine for the last `count` < kLanes<double> rows: the missing ones are zero.
template <class T>
static inline void split_last_nine(const T* rows, int64_t count, Vector<double>* features) {
  T padded[kLanes<double> * kNine] = {};
  for (int64_t k = 0; k < count * kNine; ++k) padded[k] = rows[k];
  split_nine(padded, features);
}

static inline Vector<double> square_root(Vector<double> v) {
  for (int i = 0; i < kLanes<double>; ++i) v[i] = std::sqrt(v[i]);
  return v;
}

// Unit length for kLanes<double> rows of nine features at once; `inverse` as UnitScale's, all
// lanes.
template <class T>
static inline Vector<double> unit_nine(const T* rows, int64_t count, Vector<double>* features) {
  const Vector<double> zero = {};
  if (count < kLanes<double>) {
    split_last_nine(rows, count, features);
  } else {
    split_nine(rows, features);
  }
  Vector<double> square = zero;
  for (int f = 0; f < kNine; ++f) square += features[f] * features[f];
  Vector<double> inverse = square > 0.0 ? 1.0 / square_root(square) : zero;
  if constexpr (sizeof(T) == sizeof(double)) {
    // Squares outside the safe range (tiny, huge or not finite): those rows one by one, scaled.
    for (int64_t r = 0; r < count; ++r) {
      if (square[r] > 1e-280 && square[r] < 1e280) continue;
      const UnitScale unit = unit_scale(rows + r * kNine, kNine);
      inverse[r] = unit.inverse;
      for (int f = 0; f < kNine; ++f) features[f][r] *= unit.scale;
    }
  } else {
    inverse = square < HUGE_VAL ? inverse : zero + std::numeric_limits<double>::quiet_NaN();
  }
  for (int f = 0; f < kNine; ++f) features[f] *= inverse;
  return inverse;
}

// Adds to `sums` the products of features [3 x, 3 x + 3) with themselves (kSelf) and with features
// [3 y, 3 y + 3) (kCross), over `count` vectors of `terms` (9, kVectors).
template <bool kSelf, bool kCross, int kX, int kY, int kVectors>
static inline void add_products(const Vector<double>* terms, int64_t count, Vector<double>* sums) {
  Vector<double> self[6] = {};
  Vector<double> cross[9] = {};
  for (int64_t v = 0; v < count; ++v) {
    const Vector<double> x[3] = {terms[(3 * kX) * kVectors + v], terms[(3 * kX + 1) * kVectors + v],
                                 terms[(3 * kX + 2) * kVectors + v]};
    if constexpr (kSelf) {
      self[0] += x[0] * x[0];
      self[1] += x[0] * x[1];
      self[2] += x[0] * x[2];
      self[3] += x[1] * x[1];
      self[4] += x[1] * x[2];
      self[5] += x[2] * x[2];
    }
    if constexpr (kCross) {
#pragma GCC unroll 3
      for (int b = 0; b < 3; ++b) {
        Vector<double> y = terms[(3 * kY + b) * kVectors + v];
        keep_in_register(y);
        cross[b] += x[0] * y;
        cross[3 + b] += x[1] * y;
        cross[6 + b] += x[2] * y;
      }
    }
  }
  if constexpr (kSelf) {
    constexpr int kEntry[6] = {0, 1, 2, 10, 11, 20};
    for (int e = 0; e < 6; ++e) sums[(3 * kX) * 10 + kEntry[e]] += self[e];
  }
  if constexpr (kCross) {
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) {
        const int row = 3 * kX + a;
        const int column = 3 * kY + b;
        sums[row < column ? row * kNine + column : column * kNine + row] += cross[a * 3 + b];
      }
    }
  }
}

// Fifteen sums at a time where there are 32 registers, at most nine where there are 16.
template <int kX, int kY, int kVectors>
static inline void add_block(const Vector<double>* terms, int64_t count, Vector<double>* sums) {
  if constexpr (kVectorBytes == 64) {
    add_products<true, true, kX, kY, kVectors>(terms, count, sums);
  } else {
    add_products<true, false, kX, kY, kVectors>(terms, count, sums);
    add_products<false, true, kX, kY, kVectors>(terms, count, sums);
  }
}

// All 45 products: three blocks of three features, each with itself and with the next one round.
template <int kVectors>
static inline void add_all_pairs(const Vector<double>* terms, int64_t count, Vector<double>* sums) {
  add_block<0, 1, kVectors>(terms, count, sums);
  add_block<1, 2, kVectors>(terms, count, sums);
  add_block<2, 0, kVectors>(terms, count, sums);
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
