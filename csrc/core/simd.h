// SPDX-License-Identifier: MIT
// Vectors of one instruction-set level. Every source in csrc/cpu that includes this header is
// compiled once per level (CMake sets HUBPRUNE_LEVEL and -march), into its own namespace.
//
// GCC vector types instead of intrinsics: one source for SSE4.2, AVX2 + FMA, AVX-512 and, where
// the machine is not x86-64, whatever 16-byte vectors it has. The tile shape differs per level
// because the register files do (the same shape ran at 14, 9 and 107 GFLOP/s on the three).
#pragma once

#include <cstdint>
#include <utility>

#ifndef HUBPRUNE_LEVEL
#error "HUBPRUNE_LEVEL names the instruction-set level: v2, v3, v4 or generic"
#endif

namespace hubprune::cpu::HUBPRUNE_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileRows = 8;
constexpr int kBlockRows = 8;  // 8 x 2 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 4;   // 4 x 2 accumulators, and registers for what is done with them
constexpr int kBlockRows = 6;  // 6 x 2 accumulators of 16 registers, for products alone
#else
constexpr int kVectorBytes = 16;
constexpr int kTileRows = 4;
constexpr int kBlockRows = 4;
#endif
constexpr int64_t kLineBytes = 64;  // of a cache line

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
static inline Vector<T> load(const T* p) {
  Vector<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
static inline void store(T* p, Vector<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// Loads `v` into a register now, where there are 32 of them. GCC would otherwise read it from
// memory again in every instruction that uses it, and a loop that multiplies is bound by its loads
// as much as by its multipliers.
template <class V>
static inline void keep_in_register(V& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#else
  (void)v;
#endif
}

// Leaves an array in memory where there are no 32 registers. GCC would otherwise hold it in
// registers and, in a loop that needs all of them, spill the others.
template <class T>
static inline void keep_in_memory(T* p) {
#if defined(__AVX512F__)
  (void)p;
#else
  asm("" : : "r"(p) : "memory");
#endif
}

// Lets a loop read at constant offsets from a pointer that does not change in it. GCC would
// otherwise compute every address ahead of the loop and, as there are more than registers, load it
// from the stack before each use.
template <class T>
static inline void keep_offsets(const T*& p) {
  asm("" : "+r"(p));
}

// Lane sums in a fixed order (a binary tree), so that a result does not depend on the compiler.
template <class T>
static inline T horizontal_sum(Vector<T> v) {
  T lanes[kLanes<T>];
  __builtin_memcpy(lanes, &v, sizeof v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

template <class T>
static inline T largest_lane(Vector<T> v) {
  T lanes[kLanes<T>];
  __builtin_memcpy(lanes, &v, sizeof v);
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i)
      lanes[i] = lanes[i + half] > lanes[i] ? lanes[i + half] : lanes[i];
  }
  return lanes[0];
}

// 0, 1, ... kLanes<T> - 1, for shuffles, whose lane numbers must be constants.
template <class T>
using LaneNumbers = std::make_integer_sequence<int, kLanes<T>>;

template <class T, int... kLane>
static inline Vector<T> add_neighbours(Vector<T> a, Vector<T> b,
                                       std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(a, b, (2 * kLane)...) +
         __builtin_shufflevector(a, b, (2 * kLane + 1)...);
}

// Lane r of the result is the sum of the lanes of sums[r * stride], r < kLanes<T>: three operations
// a row instead of a dozen.
template <class T>
static inline Vector<T> sums_of_lanes(const Vector<T>* sums, int64_t stride) {
  Vector<T> level[kLanes<T>];
#pragma GCC unroll 16
  for (int r = 0; r < kLanes<T>; ++r) level[r] = sums[r * stride];
#pragma GCC unroll 4
  for (int count = kLanes<T>; count > 1; count /= 2) {
#pragma GCC unroll 8
    for (int r = 0; r < count / 2; ++r) {
      level[r] = add_neighbours<T>(level[2 * r], level[2 * r + 1], LaneNumbers<T>{});
    }
  }
  return level[0];
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
