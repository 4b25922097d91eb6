// SPDX-License-Identifier: MIT
// The rank-1 vector of every filter: the leading left singular vector of its p x c matrix A. All
// layers of a model share the three launches (four in float64), whatever their number
// (layer_table.cuh).
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
#include <vector>

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

// One thread per filter. gram (n, q, q; destroyed), work (n, kEigenWork q) -> shorter (n, q): the
// leading eigenvector; sigmas (n): the leading singular value, 0 or NaN where there is no vector;
// norms (n): the trace is the filter's squared norm. Work: filters.
template <class T>
__global__ void __launch_bounds__(kEigenThreads)
    filter_eigen_kernel(const __grid_constant__ FilterTable<T> table) {
  const int64_t step = grid_blocks() * kEigenThreads;
  for (int64_t next = block_index() * kEigenThreads + thread_index(); next < table.total();
       next += step) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int64_t filter = next - table.first[at];
    const int64_t q = layer.c < layer.p ? layer.c : layer.p;
    double* matrix = layer.gram + filter * q * q;
    // Every weight is squared into some diagonal entry, so the trace sees each NaN and infinity.
    double trace = 0.0;
    for (int64_t i = 0; i < q; ++i) trace += matrix[i * q + i];
    layer.norms[filter] = ldexp(sqrt(trace), scale_exponent<T>(layer.exponents, filter));
    double sigma = trace <= DBL_MAX ? 0.0 : NAN;
    if (trace > 0.0 && trace <= DBL_MAX) {
      sigma = sqrt(leading_eigenpair(matrix, q, q, layer.shorter + filter * q,
                                     layer.work + filter * kEigenWork * q));
    }
    layer.sigmas[filter] = sigma;
  }
}

struct VectorMemory {
  double squares[kVectorWarps];
  double products[kVectorWarps];
  double factor;
};

// One block per filter: u = A v for the longer side (u = v where v already lives on p), its length,
// its sign. directions (n, p) keeps u between the two walks. Work: filters.
template <class T, class Out>
__global__ void __launch_bounds__(kVectorThreads)
    filter_vectors_kernel(const __grid_constant__ FilterTable<T> table) {
  VectorMemory& shared = block_memory<VectorMemory>();
  const int lane = thread_index() % kWarp;
  const int warp = thread_index() / kWarp;

  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int64_t filter = next - table.first[at];
    const int64_t c = layer.c;
    const int64_t p = layer.p;
    const bool channels_shorter = c < p;
    const T* __restrict__ values = layer.weight + filter * c * p;
    const double* __restrict__ vector = layer.shorter + filter * (channels_shorter ? c : p);
    double* direction = layer.directions + filter * p;
    Out* out = static_cast<Out*>(layer.vectors) + filter * p;
    const double sigma = layer.sigmas[filter];
    if (!(sigma > 0.0)) {  // zero or NaN: the same answer in every entry
      for (int64_t i = thread_index(); i < p; i += kVectorThreads) {
        out[i] = static_cast<Out>(sigma);
      }
      continue;
    }

    // Load and compute
    const int exponent = scale_exponent<T>(layer.exponents, filter);
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
      out[i] = static_cast<Out>(direction[i] * factor);
    }
    // No barrier: the next filter's first one comes before anything writes `factor` again.
  }
}

// The layers with their scratch; those without a filter or a tap are left out, and so are those
// without a channel, whose results are zero.
template <class T>
struct VectorScratch {
  std::vector<LayerFilters<T>> layers;
  std::vector<LayerFilters<T>> zeros;
  int64_t bytes;

  VectorScratch(void* memory, const WeightLayer* given, int64_t count) {
    Scratch pieces(memory);
    for (int64_t l = 0; l < count; ++l) {
      const WeightLayer& layer = given[l];  // always with Euclidean norms here
      const int64_t n = layer.n;
      const int64_t c = layer.c;
      const int64_t p = layer.p;
      if (n == 0 || p == 0) continue;
      LayerFilters<T> own = {};
      own.weight = static_cast<const T*>(layer.weight);
      own.n = n;
      own.c = c;
      own.p = p;
      own.vectors = layer.vectors;
      own.norms = layer.norms;
      if (c == 0) {
        zeros.push_back(own);
        continue;
      }
      const int64_t q = c < p ? c : p;
      own.gram = pieces.take<double>(n * q * q);
      own.work = pieces.take<double>(n * kEigenWork * q);
      own.shorter = pieces.take<double>(n * q);
      own.sigmas = pieces.take<double>(n);
      own.directions = pieces.take<double>(n * p);
      own.exponents = pieces.take<int>(n);
      layers.push_back(own);
    }
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t filter_vectors_scratch_bytes(const WeightLayer* layers, int64_t count) {
  return VectorScratch<float>(nullptr, layers, count).bytes;
}

template <class T, class Out>
Status launch_filter_vectors(const WeightLayer* layers, int64_t count, void* scratch_memory,
                             int device, void* stream) {
  const VectorScratch<T> scratch(scratch_memory, layers, count);
  if (scratch.layers.empty() && scratch.zeros.empty()) return Status::kOk;
  Launches launches("filter_vectors", device, stream);
  for (const LayerFilters<T>& layer : scratch.zeros) {
    launches.zero(layer.vectors, layer.n * layer.p * static_cast<int64_t>(sizeof(Out)));
    launches.zero(layer.norms, layer.n * static_cast<int64_t>(sizeof(double)));
  }
  each_table(scratch.layers.data(), static_cast<int64_t>(scratch.layers.size()),
             [&](FilterTable<T>& table) {
               enqueue_filter_gram(launches, table);
               const int64_t n = table.number([](const auto& layer) { return layer.n; });
               launches.kernel(filter_eigen_kernel<T>, ceil_divide(n, kEigenThreads), kEigenThreads,
                               0, table);
               launches.kernel(filter_vectors_kernel<T, Out>, n, kVectorThreads,
                               sizeof(VectorMemory), table);
             });
  return launches.status();
}

template Status launch_filter_vectors<float, float>(const WeightLayer*, int64_t, void*, int, void*);
template Status launch_filter_vectors<float, double>(const WeightLayer*, int64_t, void*, int,
                                                     void*);
template Status launch_filter_vectors<double, double>(const WeightLayer*, int64_t, void*, int,
                                                      void*);

}  // namespace hubprune::cuda
