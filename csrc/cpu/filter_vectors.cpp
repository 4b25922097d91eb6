// SPDX-License-Identifier: MIT
// Rank-1 filter vectors: for filter o with weight W_o (c, p) the leading left singular vector u1 of
// A_o = W_o' (p x c), unit length, sign such that <u1, W_o[0]> > 0.
// u1 is the leading eigenvector of A A' (p x p); where c < p, of A' A (c x c), brought back by A.
// Bound by one read of the weights and q = min(p, c): n c p (q + 1) / 2 FMAs + 4/3 n q^3.
// Numerics: Gram matrix and eigenvector in float64, so the error is that of the input's rounding.
// Twin: hubprune.reference.filter_vectors. Source: Singh & Plumbley, Interspeech 2022.
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/symmetric_eigen.h"
#include "cpu/level_kernels.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kFiltersPerTask = 4;
constexpr int64_t kGramDepth = 64;  // terms of the Gram sum held in cache as float64
constexpr int kGramRows = 4;

static int64_t gram_stride(int64_t q) {
  return (q + kLanes<double> - 1) / kLanes<double> * kLanes<double>;
}

// One thread's arrays.
struct Rank1Work {
  double* terms;  // (kGramDepth, stride): W_o or its transpose, in float64
  double* gram;   // (stride, stride)
  double* short_vector;
  double* long_vector;
  double* eigen_work;
  int64_t stride;

  static Rank1Work take(Scratch& scratch, int64_t c, int64_t p) {
    const int64_t q = c < p ? c : p;
    const int64_t stride = gram_stride(q);
    Rank1Work work;
    work.stride = stride;
    work.terms = scratch.take<double>(kGramDepth * stride);
    work.gram = scratch.take<double>((stride + kGramRows) * stride);
    work.short_vector = scratch.take<double>(stride);
    work.long_vector = scratch.take<double>(p);
    work.eigen_work = scratch.take<double>(kEigenWork * stride);
    return work;
  }
};

int64_t filter_vectors_scratch(int64_t c, int64_t p, int threads) {
  Scratch scratch(nullptr);
  for (int t = 0; t < threads; ++t) Rank1Work::take(scratch, c, p);
  return scratch.bytes();
}

// gram[a.., b..] += terms' terms over `depth` terms, the upper triangle in register blocks.
static void add_gram(const double* terms, int64_t depth, int64_t q, int64_t stride, double* gram) {
  constexpr int kStep = kLanes<double>;
  for (int64_t a = 0; a < q; a += kGramRows) {
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
        double* row = gram + (a + r) * stride + b;
        store(row, load(row) + left[r]);
        if (wide) store(row + kStep, load(row + kStep) + right[r]);
      }
    }
  }
}

// The Gram matrix of the shorter side of `weight` (c, p), scaled; both triangles.
template <class T>
static void gram_of_filter(const T* weight, int64_t c, int64_t p, double scale,
                           const Rank1Work& work) {
  const bool channels_short = c < p;
  const int64_t q = channels_short ? c : p;
  const int64_t length = channels_short ? p : c;
  const int64_t stride = work.stride;
  for (int64_t i = 0; i < (stride + kGramRows) * stride; ++i) work.gram[i] = 0.0;
  for (int64_t i = 0; i < kGramDepth * stride; ++i) work.terms[i] = 0.0;
  for (int64_t first = 0; first < length; first += kGramDepth) {
    const int64_t depth = length - first < kGramDepth ? length - first : kGramDepth;
    for (int64_t k = 0; k < depth; ++k) {
      double* term = work.terms + k * stride;
      const T* source = channels_short ? weight + first + k : weight + (first + k) * p;
      const int64_t step = channels_short ? p : 1;
      for (int64_t a = 0; a < q; ++a) term[a] = static_cast<double>(source[a * step]) * scale;
    }
    add_gram(work.terms, depth, q, stride, work.gram);
  }
  for (int64_t a = 0; a < q; ++a) {
    for (int64_t b = 0; b < a; ++b) work.gram[a * stride + b] = work.gram[b * stride + a];
  }
}

template <class T, class Out>
static void rank1_of_filter(const T* weight, int64_t c, int64_t p, const Rank1Work& work,
                            Out* vector) {
  // float32 products stay far inside float64's range; float64 filters are brought to order 1.
  const double scale =
      sizeof(T) < sizeof(double) ? 1.0 : power_of_two_scale(largest_magnitude(weight, c * p));
  gram_of_filter(weight, c, p, scale, work);
  const int64_t q = c < p ? c : p;
  double trace = 0.0;
  for (int64_t a = 0; a < q; ++a) trace += work.gram[a * work.stride + a];
  if (trace == 0.0 || !std::isfinite(trace)) {
    const double fill = trace == 0.0 ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    for (int64_t k = 0; k < p; ++k) vector[k] = static_cast<Out>(fill);
    return;
  }
  const double lambda =
      leading_eigenpair(work.gram, q, work.stride, work.short_vector, work.eigen_work);
  const double* u = work.short_vector;
  if (c < p) {
    for (int64_t k = 0; k < p; ++k) work.long_vector[k] = 0.0;
    for (int64_t i = 0; i < c; ++i) {
      const double factor = work.short_vector[i] * scale;
      const T* row = weight + i * p;
      for (int64_t k = 0; k < p; ++k) work.long_vector[k] += factor * static_cast<double>(row[k]);
    }
    const double norm = std::sqrt(dot_as_double(work.long_vector, work.long_vector, p));
    for (int64_t k = 0; k < p; ++k) work.long_vector[k] /= norm;
    u = work.long_vector;
  }
  const double product = dot_as_double(weight, u, p, scale);
  const double sign = rank1_sign(u, p, product, std::sqrt(lambda));
  for (int64_t k = 0; k < p; ++k) vector[k] = static_cast<Out>(sign * u[k]);
}

template <class T, class Out>
void filter_vectors(const T* weight, int64_t n, int64_t c, int64_t p, Out* vectors, void* scratch,
                    int threads) {
  if (n == 0 || p == 0) return;
  const double q = static_cast<double>(c < p ? c : p);
  const double size = static_cast<double>(n) * static_cast<double>(c) * static_cast<double>(p);
  const int used = threads_for(size * q + 2.0 * static_cast<double>(n) * q * q * q, threads);
  Scratch block(scratch);
  const int64_t before = block.bytes();
  Rank1Work::take(block, c, p);
  const int64_t work_bytes = block.bytes() - before;
  char* memory = static_cast<char*>(scratch) + before;
  parallel_for((n + kFiltersPerTask - 1) / kFiltersPerTask, used, [&](int64_t task, int thread) {
    Scratch own(memory + thread * work_bytes);
    const Rank1Work work = Rank1Work::take(own, c, p);
    const int64_t end = (task + 1) * kFiltersPerTask;
    for (int64_t o = task * kFiltersPerTask; o < n && o < end; ++o) {
      rank1_of_filter(weight + o * c * p, c, p, work, vectors + o * p);
    }
  });
}

#define HUBPRUNE_INSTANTIATE(T, Out) \
  template void filter_vectors<T, Out>(const T*, int64_t, int64_t, int64_t, Out*, void*, int);
HUBPRUNE_INSTANTIATE(float, float)
HUBPRUNE_INSTANTIATE(float, double)
HUBPRUNE_INSTANTIATE(double, double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
