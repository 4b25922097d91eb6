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

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
