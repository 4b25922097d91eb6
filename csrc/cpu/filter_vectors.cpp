// SPDX-License-Identifier: MIT
// Rank-1 filter vectors and norms: for filter o with weight W_o (c, p) the leading left singular
// vector u1 of A_o = W_o' (p x c), unit length, sign such that <u1, W_o[0]> > 0, and |W_o|.
// u1 is the leading eigenvector of A A' (p x p); where c < p, of A' A (c x c), brought back by A.
// Where a layer asks for it, the norm is the operator norm: the root of the largest eigenvalue.
// One lane group of filters is one task: Gram matrices, eigenvectors and norms in one read of the
// weights, all layers of a model in one parallel region.
// Bound by that read for 3 x 3 kernels, else by n c p (q + 1) / 2 + n q^3 FMAs, q = min(p, c).
// Numerics: Gram matrix and eigenvector in float64, so the error is that of the input's rounding.
// Twin: hubprune.reference.filter_vectors. Source: Singh & Plumbley, Interspeech 2022.
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/symmetric_eigen.h"
#include "cpu/filter_gram.h"
#include "cpu/lane_eigen.h"
#include "cpu/level_kernels.h"
#include "cpu/matrix_eigen.h"
#include "cpu/nine_gram.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr int64_t kGroup = kLanes<double>;
static_assert(kGramRows >= kGroupRows, "a Gram matrix has whole groups of rows");

// One thread's arrays.
struct Rank1Work {
  GramWork gram;
  double* vectors;      // (kGroup, stride): the eigenvectors of a group
  double* long_vector;  // (p)
  double* eigen_work;
  Doubles* lane_matrix;  // (q, q), lane = filter
  Doubles* lane_vector;
  Doubles* lane_work;

  static Rank1Work take(Scratch& scratch, int64_t c, int64_t p) {
    const int64_t q = c < p ? c : p;
    const int64_t lanes = q <= kLaneOrder ? q : 0;
    Rank1Work work;
    work.gram = GramWork::take(scratch, q);
    work.vectors = scratch.take<double>(kGroup * work.gram.stride);
    work.long_vector = scratch.take<double>(p);
    work.eigen_work = scratch.take<double>(matrix_eigen_work(work.gram.stride));
    work.lane_matrix = scratch.take<Doubles>(lanes * lanes);
    work.lane_vector = scratch.take<Doubles>(lanes);
    work.lane_work = scratch.take<Doubles>(kLaneEigenWork * lanes);
    return work;
  }
};

static int64_t work_bytes(const WeightLayer* layers, int64_t count) {
  int64_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    Scratch scratch(nullptr);
    Rank1Work::take(scratch, layers[i].c, layers[i].p);
    if (scratch.bytes() > most) most = scratch.bytes();
  }
  return most;
}

int64_t filter_vectors_scratch(const WeightLayer* layers, int64_t count, int threads) {
  return Scratch::kAlignment + work_bytes(layers, count) * threads;
}

// What the Gram matrix says of a filter before its eigenvector is known.
struct GramSummary {
  double scale;  // the weights were multiplied by it
  double trace;
};

static bool has_direction(const GramSummary& filter) {
  return filter.trace > 0.0 && std::isfinite(filter.trace);
}

// Writes the rank-1 vector from `short_vector` (q), an eigenvector of the shorter side's Gram
// matrix to the eigenvalue `lambda`.
template <class T, class Out>
static void finish_vector(const T* weight, int64_t c, int64_t p, const GramSummary& filter,
                          double lambda, const double* short_vector, double* long_vector,
                          Out* vector) {
  if (!has_direction(filter)) {
    const double fill = filter.trace == 0.0 ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    for (int64_t k = 0; k < p; ++k) vector[k] = static_cast<Out>(fill);
    return;
  }
  const double* u = short_vector;
  if (c < p) {
    for (int64_t k = 0; k < p; ++k) long_vector[k] = 0.0;
    for (int64_t i = 0; i < c; ++i) {
      const double factor = short_vector[i] * filter.scale;
      const T* row = weight + i * p;
      for (int64_t k = 0; k < p; ++k) long_vector[k] += factor * static_cast<double>(row[k]);
    }
    const double norm = std::sqrt(dot_as_double(long_vector, long_vector, p));
    for (int64_t k = 0; k < p; ++k) long_vector[k] /= norm;
    u = long_vector;
  }
  const double product = dot_as_double(weight, u, p, filter.scale);
  const double sign = rank1_sign(u, p, product, std::sqrt(lambda));
  for (int64_t k = 0; k < p; ++k) vector[k] = static_cast<Out>(sign * u[k]);
}

// Eigenvectors of a group whose Gram matrices lie in the lanes of work.lane_matrix.
static void lane_eigenvectors(const Rank1Work& work, int64_t q, const GramSummary* filters,
                              int64_t count, double* lambda) {
  for (int64_t lane = 0; lane < kGroup; ++lane) {
    // Lanes without a direction must not spoil the others: they compute with the identity.
    if (lane < count && has_direction(filters[lane])) continue;
    for (int64_t e = 0; e < q * q; ++e) work.lane_matrix[e][lane] = e % (q + 1) == 0 ? 1.0 : 0.0;
  }
  const Doubles values = leading_eigenpairs(work.lane_matrix, q, work.lane_vector, work.lane_work);
  for (int64_t lane = 0; lane < count; ++lane) {
    lambda[lane] = values[lane];
    double* vector = work.vectors + lane * work.gram.stride;
    for (int64_t k = 0; k < q; ++k) vector[k] = work.lane_vector[k][lane];
  }
}

template <class T, class Out>
static void group_vectors(const WeightLayer& layer, int64_t first, const Rank1Work& work) {
  const int64_t c = layer.c;
  const int64_t p = layer.p;
  const int64_t q = c < p ? c : p;
  const int64_t count = layer.n - first < kGroup ? layer.n - first : kGroup;
  const T* weight = static_cast<const T*>(layer.weight) + first * c * p;
  GramSummary filters[kGroup] = {};
  double lambda[kGroup] = {};
  // float32 products stay far inside float64's range; float64 filters are brought to order 1.
  for (int64_t r = 0; r < count; ++r) {
    const bool narrow = sizeof(T) < sizeof(double);
    filters[r].scale =
        narrow ? 1.0 : power_of_two_scale(largest_magnitude(weight + r * c * p, c * p));
  }
  if (q == kNine && p == kNine) {
    for (int64_t r = 0; r < count; ++r) {
      nine_gram(weight + r * c * p, c, filters[r].scale, r, work.lane_matrix);
    }
  } else {
    for (int64_t r = 0; r < count; ++r) {
      gram_of_filter(weight + r * c * p, c, p, filters[r].scale, work.gram);
      filters[r].trace = 0.0;
      for (int64_t a = 0; a < q; ++a)
        filters[r].trace += work.gram.matrix[a * (work.gram.stride + 1)];
      double* vector = work.vectors + r * work.gram.stride;
      if (q <= kLaneOrder) {
        for (int64_t a = 0; a < q; ++a) {
          for (int64_t b = 0; b < q; ++b) {
            work.lane_matrix[a * q + b][r] = work.gram.matrix[a * work.gram.stride + b];
          }
        }
      } else if (has_direction(filters[r])) {
        lambda[r] = leading_eigenpair(PaddedMatrix{work.gram.matrix, q, work.gram.stride}, vector,
                                      work.eigen_work);
      }
    }
  }
  if (q > 0 && q <= kLaneOrder) {
    for (int64_t r = 0; r < count; ++r) {
      filters[r].trace = 0.0;
      for (int64_t a = 0; a < q; ++a) filters[r].trace += work.lane_matrix[a * (q + 1)][r];
    }
    lane_eigenvectors(work, q, filters, count, lambda);
  }
  for (int64_t r = 0; r < count; ++r) {
    const bool largest = layer.spectral && has_direction(filters[r]);
    layer.norms[first + r] = std::sqrt(largest ? lambda[r] : filters[r].trace) / filters[r].scale;
    finish_vector(weight + r * c * p, c, p, filters[r], lambda[r],
                  work.vectors + r * work.gram.stride, work.long_vector,
                  static_cast<Out*>(layer.vectors) + (first + r) * p);
  }
}

template <class T, class Out>
void filter_vectors(const WeightLayer* layers, int64_t count, void* scratch, int threads) {
  double operations = 0.0;
  int64_t groups = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double q = static_cast<double>(layers[i].c < layers[i].p ? layers[i].c : layers[i].p);
    const double n = static_cast<double>(layers[i].n);
    operations += n * q * (static_cast<double>(layers[i].c * layers[i].p) + 2.0 * q * q);
    groups += (layers[i].n + kGroup - 1) / kGroup;
  }
  const int64_t bytes = work_bytes(layers, count);
  parallel_region(threads_for(operations, threads), [&](const Team& team) {
    char* own = static_cast<char*>(scratch) + team.thread * bytes;
    team.share(groups, [&](int64_t group) {
      const WeightLayer* layer = layers;
      for (int64_t of; group >= (of = (layer->n + kGroup - 1) / kGroup); ++layer) group -= of;
      Scratch block(own);
      const Rank1Work work = Rank1Work::take(block, layer->c, layer->p);
      group_vectors<T, Out>(*layer, group * kGroup, work);
    });
  });
}

#define HUBPRUNE_INSTANTIATE(T, Out) \
  template void filter_vectors<T, Out>(const WeightLayer*, int64_t, void*, int);
HUBPRUNE_INSTANTIATE(float, float)
HUBPRUNE_INSTANTIATE(float, double)
HUBPRUNE_INSTANTIATE(double, double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
