// SPDX-License-Identifier: MIT
// Gram matrices of filters in float64: the p x p matrix A A', or where c < p the c x c matrix A' A.
// 3 x 3 kernels go through feature lanes: 45 products for 81 entries, every product once. Other
// sizes go through register blocks of the upper triangle.
#pragma once

#include <cstdint>

#include "core/scratch.h"
#include "cpu/feature_lanes.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGramDepth = 64;  // terms of the Gram sum held in cache as float64
constexpr int kGramRows = 4;
constexpr int64_t kCacheLine = 64;             // bytes
constexpr int64_t kNinePairs = kNine * kNine;  // entry a * 9 + b with a <= b is in use

struct GramWork {
  double* terms;         // (kGramDepth, stride): W_o or its transpose, in float64; then kGramRows
                         // zeros, which the last rows of a block read where they end behind q
  double* matrix;        // (stride + kGramRows, stride)
  Vector<double>* sums;  // (kLanes<double>, kNinePairs): per filter, not yet summed over lanes
  int64_t stride;

  static GramWork take(Scratch& scratch, int64_t q) {
    GramWork work;
    work.stride = (q + kLanes<double> - 1) / kLanes<double> * kLanes<double>;
    work.terms = scratch.take<double>(kGramDepth * work.stride + kGramRows);
    work.matrix = scratch.take<double>((work.stride + kGramRows) * work.stride);
    work.sums = scratch.take<Vector<double>>(q == kNine ? kLanes<double> * kNinePairs : 0);
    return work;
  }
};

// What is split and multiplied after the present piece: it is requested in equal parts all the time
// that this one takes. In a burst, memory would rest while the products are made (measured on Zen
// 4: 35 ns for eight channels so, 28 ns in parts; 23 ns from the cache, 13 ns for a bare read).
struct Ahead {
  const char* from = nullptr;
  int64_t bytes = 0;  // of a part

  void request(int64_t part) const {
    for (int64_t at = 0; at < bytes; at += kCacheLine) {
      __builtin_prefetch(from + part * bytes + at);
    }
  }

  // What lies behind `count` parts of this one.
  Ahead next(int64_t count, int64_t of_each) const { return {from + count * bytes, of_each}; }
};

// Adds to `sums` the products of features [3 x, 3 x + 3) with themselves (kSelf) and with features
// [3 y, 3 y + 3) (kCross), over `count` vectors of `terms` (9, kVectors).
template <bool kSelf, bool kCross, int kX, int kY, int kVectors>
static inline void add_products(const Vector<double>* terms, int64_t count, Vector<double>* sums,
                                const Ahead& ahead) {
  Vector<double> self[6] = {};
  Vector<double> cross[9] = {};
  for (int64_t v = 0; v < count; ++v) {
    if constexpr (kCross) ahead.request(v);
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
static inline void add_block(const Vector<double>* terms, int64_t count, Vector<double>* sums,
                             const Ahead& ahead) {
  if constexpr (kVectorBytes == 64) {
    add_products<true, true, kX, kY, kVectors>(terms, count, sums, ahead);
  } else {
    add_products<true, false, kX, kY, kVectors>(terms, count, sums, ahead);
    add_products<false, true, kX, kY, kVectors>(terms, count, sums, ahead);
  }
}

// All 45 products: three blocks of three features, each with itself and with the next one round.
template <int kVectors>
static inline void add_all_pairs(const Vector<double>* terms, int64_t count, Vector<double>* sums,
                                 Ahead ahead = {}) {
  add_block<0, 1, kVectors>(terms, count, sums, ahead);
  ahead = ahead.next(count, ahead.bytes);
  add_block<1, 2, kVectors>(terms, count, sums, ahead);
  ahead = ahead.next(count, ahead.bytes);
  add_block<2, 0, kVectors>(terms, count, sums, ahead);
}

// weight (c, 9) -> the 45 sums of products, spread over lanes. A piece is split, a third of the
// next one requested meanwhile, and multiplied: two ninths in each of the three blocks.
template <class T>
static void nine_feature_sums(const T* weight, int64_t c, double scale, Vector<double>* sums) {
  constexpr int64_t kStep = kLanes<double>;
  constexpr int64_t kNinth = kStep * static_cast<int64_t>(sizeof(T));  // bytes
  constexpr int kVectors = 16;  // 9 KiB at the widest: a piece of the filter in the nearest cache
  alignas(64) Vector<double> terms[kNine * kVectors];
  for (int64_t e = 0; e < kNinePairs; ++e) sums[e] = Vector<double>{};
  for (int64_t first = 0; first < c; first += kVectors * kStep) {
    const int64_t left = (c - first + kStep - 1) / kStep;
    const int64_t count = left < kVectors ? left : kVectors;
    const T* next = weight + (first + kVectors * kStep) * kNine;
    const Ahead ahead{reinterpret_cast<const char*>(next), 3 * kNinth};
    for (int64_t v = 0; v < count; ++v) {
      Vector<double> features[kNine];
      const int64_t row = first + v * kStep;
      ahead.request(v);
      if (c - row >= kStep) {
        split_nine(weight + row * kNine, features);
      } else {
        split_last_nine(weight + row * kNine, c - row, features);
      }
      for (int f = 0; f < kNine; ++f) {
        terms[f * kVectors + v] = sizeof(T) < sizeof(double) ? features[f] : features[f] * scale;
      }
    }
    add_all_pairs<kVectors>(terms, count, sums, ahead.next(count, 2 * kNinth));
  }
}

// Sums of a lane group of filters -> their Gram matrices (9, 9), lane = filter.
static inline void collect_nine(const Vector<double>* sums, Vector<double>* matrix) {
  for (int a = 0; a < kNine; ++a) {
    for (int b = a; b < kNine; ++b) {
      const Vector<double> entry = sums_of_lanes<double>(sums + a * kNine + b, kNinePairs);
      matrix[a * kNine + b] = entry;
      matrix[b * kNine + a] = entry;
    }
  }
}

// matrix[a.., b..] += terms' terms over `depth` terms, the upper triangle in register blocks.
static inline void add_gram(const double* terms, int64_t depth, int64_t q, int64_t stride,
                            double* matrix, const Ahead& ahead = {}) {
  constexpr int kStep = kLanes<double>;
  for (int64_t a = 0; a < q; a += kGramRows) {
    ahead.request(a / kGramRows);
    for (int64_t b = a / kStep * kStep; b < stride; b += 2 * kStep) {
      const bool wide = b + kStep < stride;
      Vector<double> left[kGramRows] = {};
      Vector<double> right[kGramRows] = {};
      for (int64_t k = 0; k < depth; ++k) {
        const double* term = terms + k * stride;
        const Vector<double> x0 = load(term + b);
        const Vector<double> x1 = wide ? load(term + b + kStep) : Vector<double>{};
#pragma GCC unroll 4
        for (int r = 0; r < kGramRows; ++r) {
          const double factor = term[a + r];  // padded columns hold zeros
          left[r] += factor * x0;
          right[r] += factor * x1;
        }
      }
      for (int r = 0; r < kGramRows; ++r) {
        double* row = matrix + (a + r) * stride + b;
        store(row, load(row) + left[r]);
        if (wide) store(row + kStep, load(row + kStep) + right[r]);
      }
    }
  }
}

// The Gram matrix of the shorter side of `weight` (c, p), scaled, in work.matrix; both triangles.
template <class T>
static void gram_of_filter(const T* weight, int64_t c, int64_t p, double scale,
                           const GramWork& work) {
  const bool channels_short = c < p;
  const int64_t q = channels_short ? c : p;
  const int64_t length = channels_short ? p : c;
  const int64_t stride = work.stride;
  for (int64_t i = 0; i < (stride + kGramRows) * stride; ++i) work.matrix[i] = 0.0;
  for (int64_t i = 0; i < kGramDepth * stride + kGramRows; ++i) work.terms[i] = 0.0;
  for (int64_t first = 0; first < length; first += kGramDepth) {
    const int64_t depth = length - first < kGramDepth ? length - first : kGramDepth;
    Ahead ahead;
    if (channels_short) {
      for (int64_t a = 0; a < q; ++a) {
        const T* source = weight + a * p + first;
        for (int64_t k = 0; k < depth; ++k) {
          work.terms[k * stride + a] = static_cast<double>(source[k]) * scale;
        }
      }
    } else {
      for (int64_t k = 0; k < depth; ++k) {
        const T* source = weight + (first + k) * p;
        double* term = work.terms + k * stride;
        int64_t a = 0;
        for (; a + kLanes<double> <= q; a += kLanes<double>) {
          store(term + a, load_as_double(source + a) * scale);
        }
        for (; a < q; ++a) term[a] = static_cast<double>(source[a]) * scale;
      }
      ahead.from = reinterpret_cast<const char*>(weight + (first + depth) * p);
      ahead.bytes = depth * kGramRows * static_cast<int64_t>(sizeof(T));
    }
    add_gram(work.terms, depth, q, stride, work.matrix, ahead);
  }
  for (int64_t a = 0; a < q; ++a) {
    for (int64_t b = 0; b < a; ++b) work.matrix[a * stride + b] = work.matrix[b * stride + a];
  }
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
