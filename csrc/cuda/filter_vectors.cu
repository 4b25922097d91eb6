// SPDX-License-Identifier: MIT
// The rank-1 vector of every filter: the leading left singular vector of its p x c matrix A.
//
//   u1 = argmax_{|u| = 1} |A' u|,   sign: <u1, first column of A> > 0 (core/symmetric_eigen.h)
//
// Shapes: weight (n, c, p), A_o = weight[o]' -> out (n, p).
// Bound: bytes (the weights are read once, twice in float64) up to p ~ 25; then the n min(p, c)^2
// max(p, c) float64 multiply-adds of the Gram matrix of the shorter side. Its leading eigenvector
// is found by one thread per filter: 4/3 q^3 flops, q = min(p, c); slow above q ~ 128. Scratch is
// 8 n (q^2 + 6 q + p) bytes.
// Numerics: float32 or float64 in, float64 throughout, rounded once to Out. float32 squares stay in
// float64's range; float64 filters are first scaled by a power of two. Error of u1 about
// 2^-53 lambda_1 / (lambda_1 - lambda_2), lambda = the squared singular values.
// A zero filter gives the zero vector, a filter with a NaN or an infinity a NaN vector.
// Twin: hubprune.reference.filter_vectors.
#include <cfloat>
#include <cmath>
#include <type_traits>

#include "core/scratch.h"
#include "core/symmetric_eigen.h"
#include "cuda/filter_gram.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kEigenThreads = 32;  // small blocks spread few filters over many multiprocessors
constexpr int kVectorThreads = 128;
constexpr int kVectorWarps = kVectorThreads / kWarp;

// One thread per filter. gram (n, q, q; destroyed), work (n, kEigenWork q) -> vectors (n, q): the
// leading eigenvector; sigmas (n): the leading singular value, 0 or NaN where there is no vector;
// norms (n): the trace is the filter's squared norm.
template <class T>
__global__ void __launch_bounds__(kEigenThreads)
    filter_eigen_kernel(double* __restrict__ gram, const int* __restrict__ exponents, int64_t n,
                        int64_t q, double* __restrict__ work, double* __restrict__ vectors,
                        double* __restrict__ sigmas, double* __restrict__ norms) {
  const int64_t step = grid_blocks() * kEigenThreads;
  for (int64_t filter = block_index() * kEigenThreads + thread_index(); filter < n;
       filter += step) {
    double* matrix = gram + filter * q * q;
    // Every weight is squared into some diagonal entry, so the trace sees each NaN and infinity.
    double trace = 0.0;
    for (int64_t i = 0; i < q; ++i) trace += matrix[i * q + i];
    norms[filter] = ldexp(sqrt(trace), scale_exponent<T>(exponents, filter));
    double sigma = trace <= DBL_MAX ? 0.0 : NAN;
    if (trace > 0.0 && trace <= DBL_MAX) {
      sigma = sqrt(
          leading_eigenpair(matrix, q, q, vectors + filter * q, work + filter * kEigenWork * q));
    }
    sigmas[filter] = sigma;
  }
}

struct VectorMemory {
  double squares[kVectorWarps];
  double products[kVectorWarps];
  double factor;
};

// One block per filter: u = A v for the longer side (u = v where v already lives on p), its length,
// its sign. directions (n, p) keeps u between the two walks.
template <class T, class Out>
__global__ void __launch_bounds__(kVectorThreads)
    filter_vectors_kernel(const T* __restrict__ weight, const int* __restrict__ exponents,
                          const double* __restrict__ vectors, const double* __restrict__ sigmas,
                          int64_t n, int64_t c, int64_t p, double* __restrict__ directions,
                          Out* __restrict__ out) {
  VectorMemory& shared = block_memory<VectorMemory>();
  const bool channels_shorter = c < p;
  const int lane = thread_index() % kWarp;
  const int warp = thread_index() / kWarp;

  for (int64_t filter = block_index(); filter < n; filter += grid_blocks()) {
    const T* values = weight + filter * c * p;
    const double* vector = vectors + filter * (channels_shorter ? c : p);
    double* direction = directions + filter * p;
    const double sigma = sigmas[filter];
    if (!(sigma > 0.0)) {  // zero or NaN: the same answer in every entry
      for (int64_t i = thread_index(); i < p; i += kVectorThreads) {
        out[filter * p + i] = static_cast<Out>(sigma);
      }
      continue;
    }

    // Load and compute
    const int exponent = scale_exponent<T>(exponents, filter);
    double square = 0.0;
    double product = 0.0;
    for (int64_t i = thread_index(); i < p; i += kVectorThreads) {
      double entry = 0.0;
      if (channels_shorter) {
        for (int64_t channel = 0; channel < c; ++channel) {
          entry += scaled(values[channel * p + i], exponent) * vector[channel];
        }
      } else {
        entry = vector[i];
      }
      direction[i] = entry;
      square += entry * entry;
      product += entry * scaled(values[i], exponent);  // the first column of A is channel 0
    }
    square = warp_sum(square);
    product = warp_sum(product);
    if (lane == 0) {
      shared.squares[warp] = square;
      shared.products[warp] = product;
    }
    __syncthreads();
    if (thread_index() == 0) {
      square = product = 0.0;
      for (int i = 0; i < kVectorWarps; ++i) {
        square += shared.squares[i];
        product += shared.products[i];
      }
      const double length = sqrt(square);
      shared.factor = rank1_sign(direction, p, product / length, sigma) / length;
    }
    __syncthreads();

    // Store
    const double factor = shared.factor;
    for (int64_t i = thread_index(); i < p; i += kVectorThreads) {
      out[filter * p + i] = static_cast<Out>(direction[i] * factor);
    }
    // No barrier: the next filter's first one comes before anything writes `factor` again.
  }
}

struct VectorScratch {
  double* gram;
  double* work;
  double* vectors;
  double* sigmas;
  double* directions;
  int* exponents;
  int64_t bytes;

  VectorScratch(void* memory, int64_t n, int64_t c, int64_t p) {
    const int64_t q = c < p ? c : p;
    Scratch pieces(memory);
    gram = pieces.take<double>(n * q * q);
    work = pieces.take<double>(n * kEigenWork * q);
    vectors = pieces.take<double>(n * q);
    sigmas = pieces.take<double>(n);
    directions = pieces.take<double>(n * p);
    exponents = pieces.take<int>(n);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t filter_vectors_scratch_bytes(int64_t n, int64_t c, int64_t p) {
  return VectorScratch(nullptr, n, c, p).bytes;
}

template <class T, class Out>
Status launch_filter_vectors(const T* weight, int64_t n, int64_t c, int64_t p, Out* out,
                             double* norms, void* scratch_memory, int device, void* stream) {
  if (n == 0 || p == 0) return Status::kOk;
  Launches launches("filter_vectors", device, stream);
  if (c == 0) {  // filters without an entry are zero filters
    launches.zero(out, n * p * static_cast<int64_t>(sizeof(Out)));
    launches.zero(norms, n * static_cast<int64_t>(sizeof(double)));
    return launches.status();
  }
  const VectorScratch scratch(scratch_memory, n, c, p);
  enqueue_filter_gram(launches, weight, n, c, p, scratch.exponents, scratch.gram);
  launches.kernel(filter_eigen_kernel<T>, ceil_divide(n, kEigenThreads), kEigenThreads, 0,
                  scratch.gram, scratch.exponents, n, c < p ? c : p, scratch.work, scratch.vectors,
                  scratch.sigmas, norms);
  launches.kernel(filter_vectors_kernel<T, Out>, n, kVectorThreads, sizeof(VectorMemory), weight,
                  scratch.exponents, scratch.vectors, scratch.sigmas, n, c, p, scratch.directions,
                  out);
  return launches.status();
}

template Status launch_filter_vectors<float, float>(const float*, int64_t, int64_t, int64_t, float*,
                                                    double*, void*, int, void*);
template Status launch_filter_vectors<float, double>(const float*, int64_t, int64_t, int64_t,
                                                     double*, double*, void*, int, void*);
template Status launch_filter_vectors<double, double>(const double*, int64_t, int64_t, int64_t,
                                                      double*, double*, void*, int, void*);

}  // namespace hubprune::cuda
