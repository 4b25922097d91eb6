// SPDX-License-Identifier: MIT
// Row norms that are right at any finite scale, and rows scaled to unit length.
//
// float32 rows accumulate in float64: squares from 1e-90 to 1e77 neither vanish nor overflow.
// float64 rows whose plain sum of squares leaves the safe range are first scaled by a power of two.
// Twin: hubprune.reference.row_norms, normalized_rows.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/simd.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// As many values of T as fill a vector in float64.
template <class T>
struct NarrowOf {
  typedef T type __attribute__((vector_size(kLanes<double> * sizeof(T))));
};

// GCC would convert two halves and join them; the unmasked form warns inside its header.
template <class T>
static inline Vector<double> as_double(typename NarrowOf<T>::type v) {
  if constexpr (sizeof(T) == sizeof(double)) {
    return v;
  } else {
#if defined(__AVX512F__)
    return _mm512_maskz_cvtps_pd(0xFF, v);
#elif defined(__AVX2__)
    return _mm256_cvtps_pd(v);
#elif defined(__SSE2__)
    double both;
    __builtin_memcpy(&both, &v, sizeof both);
    return _mm_cvtps_pd(_mm_castpd_ps(_mm_set_sd(both)));
#else
    return __builtin_convertvector(v, Vector<double>);
#endif
  }
}

template <class T>
static inline Vector<double> load_as_double(const T* p) {
  typename NarrowOf<T>::type v;
  __builtin_memcpy(&v, p, sizeof v);
  return as_double<T>(v);
}

template <class T>
static inline void store_doubles(T* p, Vector<double> v) {
  if constexpr (sizeof(T) == sizeof(double)) {
    store(p, v);
  } else {
#if defined(__AVX512F__)
    _mm256_storeu_ps(p, _mm512_maskz_cvtpd_ps(0xFF, v));
#else
    typedef T Half __attribute__((vector_size(kVectorBytes / 2)));
    const Half half = __builtin_convertvector(v, Half);
    __builtin_memcpy(p, &half, sizeof half);
#endif
  }
}

// sum_k (x_scale x_k)(y_scale y_k) in float64, in an order fixed by d alone.
template <class T, class U>
static inline double dot_as_double(const T* x, const U* y, int64_t d, double x_scale = 1.0,
                                   double y_scale = 1.0) {
  constexpr int kStep = kLanes<double>;
  Vector<double> sums[4] = {};
  int64_t k = 0;
  for (; k + 4 * kStep <= d; k += 4 * kStep) {
    for (int u = 0; u < 4; ++u) {
      const int64_t at = k + u * kStep;
      sums[u] += (load_as_double(x + at) * x_scale) * (load_as_double(y + at) * y_scale);
    }
  }
  for (; k + kStep <= d; k += kStep) {
    sums[0] += (load_as_double(x + k) * x_scale) * (load_as_double(y + k) * y_scale);
  }
  double sum = horizontal_sum<double>((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; k < d; ++k) {
    sum += (static_cast<double>(x[k]) * x_scale) * (static_cast<double>(y[k]) * y_scale);
  }
  return sum;
}

template <class T>
static inline double largest_magnitude(const T* x, int64_t count) {
  double largest = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    const double magnitude = std::fabs(static_cast<double>(x[k]));
    if (!(magnitude <= largest)) largest = magnitude;  // the negation lets a NaN through
    if (std::isnan(largest)) break;
  }
  return largest;
}

// The power of two that brings `magnitude` into [1, 2); 1 for zero and for what is not finite.
static inline double power_of_two_scale(double magnitude) {
  if (magnitude == 0.0 || !std::isfinite(magnitude)) return 1.0;
  // A subnormal's own scale would overflow: 2^1000 is enough to bring it into the safe range.
  const int exponent = std::ilogb(magnitude);
  return std::ldexp(1.0, exponent < -1000 ? 1000 : -exponent);
}

// x_k * scale * inverse has unit length; inverse is 0 for a zero row and NaN for one that is not
// finite. Two factors, because their product may not be representable.
struct UnitScale {
  double scale;
  double inverse;
  double scaled_norm;
};

template <class T>
static inline UnitScale unit_scale(const T* x, int64_t d) {
  double scale = 1.0;
  double square = dot_as_double(x, x, d);
  const bool safe = sizeof(T) < sizeof(double) || (square > 1e-280 && square < 1e280);
  if (!safe) {
    const double largest = largest_magnitude(x, d);
    if (std::isfinite(largest)) {
      scale = power_of_two_scale(largest);
      square = dot_as_double(x, x, d, scale, scale);
    }
  }
  if (!std::isfinite(square)) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    return {1.0, nan, std::sqrt(square)};
  }
  const double norm = std::sqrt(square);
  return {scale, norm > 0.0 ? 1.0 / norm : 0.0, norm};
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
