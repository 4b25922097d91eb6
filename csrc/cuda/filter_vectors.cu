// SPDX-License-Identifier: MIT
// The rank-1 vector of every filter: the leading left singular vector of its p x c matrix A. All
// layers of a model share the launches (layer_table.cuh): the Gram matrices of the shorter sides
// (filter_gram.cuh), then their eigenvectors, with all that follows from them.
//
//   u1 = argmax_{|u| = 1} |A' u|,   sign: <u1, first column of A> > 0 (core/symmetric_eigen.h)
//
// Shapes: weight (n, c, p), A_o = weight[o]' -> out (n, p), norms (n).
// Bound: bytes (the weights are read once, twice in float64) for 3 x 3 kernels, else the float64
// multiply-adds of the Gram matrix; with few channels the eigenvectors, a chain of latencies.
// One warp per filter finds them, half a warp for q = min(p, c) <= 16, in shared memory for
// q <= 75 (warp_eigen.cuh); beyond that 4/3 q^3 flops in global memory, one warp per filter:
// slow above q ~ 200. Channel 0 is read again for the sign, the whole filter where c < p.
// Estimate for an H200, not a measurement: the 8064 filters of CNN14 (q = 9) are 31 warps on a
// multiprocessor, all resident, of some 5500 instructions for two filters each: 20 to 30 us.
// Scratch: 8 n q^2 bytes, 8 n p more where c < p, 48 n q more where q > 75.
// Numerics: float32 or float64 in, float64 throughout, rounded once to Out. float32 squares stay in
// float64's range; float64 filters are first scaled by a power of two. Error of u1 about
// 2^-53 lambda_1 / (lambda_1 - lambda_2), lambda = the squared singular values.
// A zero filter gives the zero vector, a filter with a NaN or an infinity a NaN vector.
// Twin: hubprune.reference.filter_vectors.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <type_traits>
#include <vector>

#include "core/scratch.h"
#include "core/symmetric_eigen.h"
#include "cuda/filter_gram.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/nine_gram.cuh"
#include "cuda/warp_eigen.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kEigenThreads = 128;
constexpr int kEigenBlocks = 8;  // per multiprocessor: 64 registers a thread
constexpr int kEigenWarps = kEigenThreads / kWarp;
constexpr int kHalfOrder = 16;    // up to here half a warp is enough for a filter
constexpr int kSharedOrder = 75;  // up to here matrix and vectors fit in shared memory
constexpr int kSharedDoubles = static_cast<int>(kMaxSharedBytes / sizeof(double));

__host__ __device__ constexpr int eigen_doubles(int q) { return (q + kTeamWork) * q; }
static_assert(eigen_doubles(kSharedOrder) <= kSharedDoubles, "one filter of the largest order");
static_assert(2 * kEigenWarps * eigen_doubles(kHalfOrder) <= kSharedDoubles, "eight small ones");

// Filters of one block: as many as its lanes and its shared memory take.
__host__ __device__ inline int eigen_filters(int q) {
  if (q <= kHalfOrder) return 2 * kEigenWarps;
  const int fit = kSharedDoubles / eigen_doubles(q);
  return fit < kEigenWarps ? fit : kEigenWarps;
}

struct EigenMemory {
  double values[kSharedDoubles];  // a launch asks for less where its layers need less
};

// One filter, by the kLanes lanes of a team. Everything of it that is a loop over lanes is the same
// for both teams of a warp; `active` is false where the layer has no filter left for this one.
template <int kLanes, bool kShared, class T, class Out>
__device__ __forceinline__ void team_filter_vector(const LayerFilters<T>& layer, int64_t filter,
                                                   bool active, double* shared) {
  using Index = std::conditional_t<kShared, int, int64_t>;
  const int lane = team_lane<kLanes>();
  const int64_t c = layer.c;
  const int64_t p = layer.p;
  const Index q = static_cast<Index>(shorter_side(layer));

  // Load. Every weight is squared into some diagonal entry, so the trace sees NaN and infinity.
  double* gram = layer.gram + filter * q * q;
  double trace = 0.0;
#pragma unroll 1
  for (Index i = lane; active && i < q; i += kLanes) trace += gram[i * q + i];
  trace = warp_sum<kLanes>(trace);
  const int exponent = active ? scale_exponent<T>(layer.exponents, filter) : 0;
  const bool directed = trace > 0.0 && trace <= DBL_MAX;
  if (active && lane == 0) layer.norms[filter] = ldexp(sqrt(trace), exponent);
  Out* out = static_cast<Out*>(layer.vectors) + filter * p;
  if (active && !directed) {  // zero or NaN: the same answer in every entry
#pragma unroll 1
    for (int64_t i = lane; i < p; i += kLanes) out[i] = static_cast<Out>(trace == 0.0 ? 0.0 : NAN);
  }
  if (__ballot_sync(kFullWarp, directed) == 0) return;
  double* matrix = kShared ? shared + kTeamWork * q : gram;
  double* memory = kShared ? shared : layer.work + filter * kTeamWork * q;
  if constexpr (kShared) {
    // Without a direction the team computes with zeros while the other one works.
#pragma unroll 4
    for (Index e = lane; e < q * q; e += kLanes) matrix[e] = directed ? gram[e] : 0.0;
  }
  __syncwarp();

  // Compute: the eigenvector, which lives on p already or is brought there by A.
  const TeamWork<Index> work(memory, q);
  const double sigma = sqrt(team_leading_eigenpair<kLanes>(matrix, q, work));
  const T* __restrict__ values = layer.weight + filter * c * p;
  double* direction = c < p ? layer.directions + filter * p : work.vector;
  double square = 0.0;
  double product = 0.0;
#pragma unroll 1
  for (int64_t i = lane; directed && i < p; i += kLanes) {
    double entry = 0.0;
    if (c < p) {
#pragma unroll 4
      for (int64_t channel = 0; channel < c; ++channel) {
        entry += scaled(values[channel * p + i], exponent) * work.vector[channel];
      }
      direction[i] = entry;
    } else {
      entry = direction[i];
    }
    square += entry * entry;
    product += entry * scaled(values[i], exponent);  // the first column of A is channel 0
  }
  const double length = sqrt(warp_sum<kLanes>(square));
  product = warp_sum<kLanes>(product);
  __syncwarp();

  // Store
  if (directed) {
    const double factor = rank1_sign(direction, p, product / length, sigma) / length;
#pragma unroll 1
    for (int64_t i = lane; i < p; i += kLanes) out[i] = static_cast<Out>(direction[i] * factor);
  }
}

// gram (n, q, q) -> out, norms: layers with q <= kSharedOrder, one warp per filter, half a warp up
// to kHalfOrder. Work: blocks of eigen_filters.
template <class T, class Out>
__global__ void __launch_bounds__(kEigenThreads, kEigenBlocks)
    filter_eigen_kernel(const __grid_constant__ FilterTable<T> table) {
  double* memory = block_memory<EigenMemory>().values;
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int q = static_cast<int>(shorter_side(layer));
    const int filters = eigen_filters(q);
    const int64_t first = (next - table.first[at]) * filters;
    const int team = thread_index() / (q <= kHalfOrder ? kWarp / 2 : kWarp);
    // A warp without a filter waits, one with a single filter works with one half only.
    const bool active = team < filters && first + team < layer.n;
    double* own = memory + team * eigen_doubles(q);
    if (__ballot_sync(kFullWarp, active) != 0) {
      if (q <= kHalfOrder) {
        team_filter_vector<kWarp / 2, true, T, Out>(layer, first + team, active, own);
      } else {
        team_filter_vector<kWarp, true, T, Out>(layer, first + team, true, own);
      }
    }
    __syncthreads();  // the next layer's filters may lie elsewhere
  }
}

// The same for q > kSharedOrder, where gram is destroyed: one warp per filter and block. Work:
// filters.
template <class T, class Out>
__global__ void __launch_bounds__(kWarp)
    filter_eigen_wide_kernel(const __grid_constant__ FilterTable<T> table) {
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    team_filter_vector<kWarp, false, T, Out>(table.layers[at], next - table.first[at], true,
                                             nullptr);
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
      own.work = pieces.take<double>(q > kSharedOrder ? n * kTeamWork * q : 0);
      own.directions = pieces.take<double>(c < p ? n * p : 0);
      own.exponents = pieces.take<int>(n);
      layers.push_back(own);
    }
    // Blocks start in the layers' order: long filters first, so that none is started last.
    std::stable_sort(layers.begin(), layers.end(),
                     [](const auto& a, const auto& b) { return a.c * a.p > b.c * b.p; });
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
  each_table(
      scratch.layers.data(), static_cast<int64_t>(scratch.layers.size()),
      [&](FilterTable<T>& table) {
        enqueue_filter_gram(launches, table);
        enqueue_nine_gram(launches, table);
        size_t shared_bytes = 0;
        const int64_t blocks = table.number([&](const auto& layer) {
          const int64_t q = shorter_side(layer);
          if (q > kSharedOrder) return int64_t{0};
          const int filters = eigen_filters(static_cast<int>(q));
          const size_t bytes = filters * eigen_doubles(static_cast<int>(q)) * sizeof(double);
          if (bytes > shared_bytes) shared_bytes = bytes;
          return ceil_divide(layer.n, filters);
        });
        launches.kernel(filter_eigen_kernel<T, Out>, blocks, kEigenThreads, shared_bytes, table);
        const int64_t wide = table.number(
            [](const auto& layer) { return shorter_side(layer) > kSharedOrder ? layer.n : 0; });
        launches.kernel(filter_eigen_wide_kernel<T, Out>, wide, kWarp, 0, table);
      });
  return launches.status();
}

template Status launch_filter_vectors<float, float>(const WeightLayer*, int64_t, void*, int, void*);
template Status launch_filter_vectors<float, double>(const WeightLayer*, int64_t, void*, int,
                                                     void*);
template Status launch_filter_vectors<double, double>(const WeightLayer*, int64_t, void*, int,
                                                      void*);

}  // namespace hubprune::cuda
