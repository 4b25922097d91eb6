// SPDX-License-Identifier: MIT
// Gram matrices of filters in float64: the p x p matrix A A', or where c < p the c x c matrix A' A,
// in register blocks of the upper triangle. 3 x 3 kernels have cpu/nine_gram.h.
#pragma once

#include <cstdint>

#include "core/scratch.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGramDepth = 64;  // terms of the Gram sum held in cache as float64
constexpr int kGramRows = 4;

struct GramWork {
  double* terms;   // (kGramDepth, stride): W_o or its transpose, in float64; then kGramRows
                   // zeros, which the last rows of a block read where they end behind q
  double* matrix;  // (stride + kGramRows, stride)
  int64_t stride;

  static GramWork take(Scratch& scratch, int64_t q) {
    GramWork work;
    work.stride = (q + kLanes<double> - 1) / kLanes<double> * kLanes<double>;
    work.terms = scratch.take<double>(kGramDepth * work.stride + kGramRows);
    work.matrix = scratch.take<double>((work.stride + kGramRows) * work.stride);
    return work;
  }
};

// What is multiplied after the present piece: it is requested in equal parts all the time that this
// one takes. In a burst, memory would rest while the products are made.
struct Ahead {
  const char* from = nullptr;
  int64_t bytes = 0;  // of a part

  void request(int64_t part) const {
    for (int64_t at = 0; at < bytes; at += kLineBytes) {
      __builtin_prefetch(from + part * bytes + at);
    }
  }
};

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
