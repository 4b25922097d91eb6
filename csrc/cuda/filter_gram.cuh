// SPDX-License-Identifier: MIT
// The Gram matrix of every filter's shorter side, in float64.
//
//   p <= c: G_ij = sum_channel w_{channel, i} w_{channel, j}   (q = p)
//   c <  p: G_ij = sum_tap     w_{i, tap} w_{j, tap}           (q = c)
//
// Shapes: weight (n, c, p) -> gram (n, q, q), both triangles; exponents (n) in float64 only: the
// filter is multiplied by 2^-exponent first, so that no square leaves the range.
// Bound: float64 multiply-adds, 256 a term and tile whatever q is. 3 x 3 kernels, for which that is
// three times too many, have a kernel of their own: nine_gram.cuh.
// Numerics: products of float32 are exact in float64; sums in a fixed order, relative to the trace
// |error| <= max(p, c) 2^-53. One 16 x 16 tile per block: four groups of 64 threads share the
// terms, 2 x 2 entries a thread.
// Twin: `A @ A.T` in float64.
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/layer_table.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/triangular_index.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kGramThreads = 256;
constexpr int kGramWarps = kGramThreads / kWarp;
constexpr int kGramTile = 16;
constexpr int kGramTerms = 64;  // terms of the sum staged at once
constexpr int kGramGroups = 4;
// Per multiprocessor: 80 registers a thread in float32, more in float64, no spills.
template <class T>
constexpr int kGramBlocks = kNeedsScaling<T> ? 2 : kDenseBlocks;

// The filters of one layer and what the kernels keep of them, q = min(p, c).
template <class T>
struct LayerFilters {
  const T* weight;  // (n, c, p)
  int64_t n;
  int64_t c;
  int64_t p;
  void* vectors;       // (n, p) in the output's type
  double* norms;       // (n)
  int* exponents;      // (n)
  double* gram;        // (n, q, q)
  double* work;        // (n, kTeamWork q) where q > kSharedOrder
  double* directions;  // (n, p) where c < p
};

template <class T>
using FilterTable = LayerTable<LayerFilters<T>>;
static_assert(sizeof(FilterTable<float>) <= kParameterBytes - 64, "room for other parameters");

template <class T>
__host__ __device__ int64_t shorter_side(const LayerFilters<T>& layer) {
  return layer.c < layer.p ? layer.c : layer.p;
}

// What nine_gram.cuh takes.
constexpr int kNineTaps = 9;
constexpr int64_t kMostNineChannels = int64_t{1} << 27;  // the weights of a filter fit an int
template <class T>
__host__ __device__ bool has_nine_taps(const LayerFilters<T>& layer) {
  return layer.p == kNineTaps && layer.c >= kNineTaps && layer.c <= kMostNineChannels;
}

// float32 filters are never scaled, and have no exponents.
template <class T>
__device__ __forceinline__ int scale_exponent(const int* exponents, int64_t filter) {
  if constexpr (kNeedsScaling<T>) {
    return exponents[filter];
  } else {
    return 0;
  }
}

struct ExponentMemory {
  double largest[kGramWarps];
};

// One block per filter: the exponent of its largest magnitude (0 for a zero filter; a NaN is left
// to the Gram matrix, which it reaches whatever the exponent). Work: filters.
template <class T>
__global__ void __launch_bounds__(kGramThreads)
    filter_exponents_kernel(const __grid_constant__ FilterTable<T> table) {
  ExponentMemory& shared = block_memory<ExponentMemory>();
  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int64_t filter = next - table.first[at];
    const int64_t size = layer.c * layer.p;
    const T* __restrict__ values = layer.weight + filter * size;
    double largest = 0.0;
#pragma unroll 4
    for (int64_t i = thread_index(); i < size; i += kGramThreads) {
      largest = fmax(largest, fabs(static_cast<double>(values[i])));
    }
    largest = warp_max(largest);
    if (thread_index() % kWarp == 0) shared.largest[thread_index() / kWarp] = largest;
    __syncthreads();
    if (thread_index() == 0) {
      for (int i = 1; i < kGramWarps; ++i) largest = fmax(largest, shared.largest[i]);
      layer.exponents[filter] = range_exponent(largest);
    }
    __syncthreads();
  }
}

struct GramStage {
  double rows[kGramTerms][kGramTile + 2];  // an even stride keeps pairs 16-byte aligned
  double columns[kGramTerms][kGramTile + 2];
};

union alignas(16) GramMemory {
  GramStage stage;
  double partial[kGramGroups][kGramTile][kGramTile];
};

// How a block's threads walk a filter: neighbouring threads read neighbouring weights (taps are
// contiguous), each thread kGramLoads of them.
constexpr int kGramLoads = kGramTerms * kGramTile / kGramThreads;

struct GramShape {
  int64_t q;      // entries: the shorter side
  int64_t terms;  // the longer side
  int64_t entry_stride;
  int64_t term_stride;
  int entry;  // of the thread's first weight in a tile, and the step to its next
  int term;
  int entry_step;
  int term_step;

  __device__ __forceinline__ GramShape(int64_t c, int64_t p) {
    const int thread = thread_index();
    if (c < p) {
      q = c, terms = p, entry_stride = p, term_stride = 1;
      entry = thread / kGramTerms, term = thread % kGramTerms;
      entry_step = kGramThreads / kGramTerms, term_step = 0;
    } else {
      q = p, terms = c, entry_stride = 1, term_stride = p;
      entry = thread % kGramTile, term = thread / kGramTile;
      entry_step = 0, term_step = kGramThreads / kGramTile;
    }
  }
};

// Entries first .. first + 15 of the short side, terms term .. term + 63; zero outside.
template <class T>
__device__ __forceinline__ void stage_terms(const T* __restrict__ values, int exponent,
                                            const GramShape& shape, int64_t first, int64_t term,
                                            double (&staged)[kGramTerms][kGramTile + 2]) {
#pragma unroll
  for (int load = 0; load < kGramLoads; ++load) {
    const int entry = shape.entry + load * shape.entry_step;
    const int k = shape.term + load * shape.term_step;
    double value = 0.0;
    if (first + entry < shape.q && term + k < shape.terms) {
      value = scaled(values[(first + entry) * shape.entry_stride + (term + k) * shape.term_stride],
                     exponent);
    }
    staged[k][entry] = value;
  }
}

// Blocks of filter_gram_kernel: one per filter and upper tile of its Gram matrix.
template <class T>
__host__ __device__ int64_t gram_tiles(const LayerFilters<T>& layer) {
  if (has_nine_taps(layer)) return 0;
  return layer.n * triangular_count(ceil_divide(shorter_side(layer), kGramTile));
}

// Work: gram_tiles.
template <class T>
__global__ void __launch_bounds__(kGramThreads, kGramBlocks<T>)
    filter_gram_kernel(const __grid_constant__ FilterTable<T> table) {
  GramMemory& shared = block_memory<GramMemory>();
  const int group = thread_index() / 64;
  const int row = thread_index() % 64 / 8 * 2;
  const int column = thread_index() % 8 * 2;

  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const LayerFilters<T>& layer = table.layers[at];
    const int64_t work = next - table.first[at];
    const GramShape shape(layer.c, layer.p);
    const int64_t q = shape.q;
    const int64_t tiles = triangular_count(ceil_divide(q, kGramTile));
    double* __restrict__ gram = layer.gram;
    const int64_t filter = work / tiles;
    const TileIndex tile = triangular_index(work % tiles);
    const T* __restrict__ values = layer.weight + filter * layer.c * layer.p;
    const int exponent = scale_exponent<T>(layer.exponents, filter);
    const bool diagonal = tile.row == tile.column;

    double sum[2][2] = {};
    for (int64_t term = 0; term < shape.terms; term += kGramTerms) {
      // Load
      stage_terms(values, exponent, shape, tile.row * kGramTile, term, shared.stage.rows);
      if (!diagonal) {
        stage_terms(values, exponent, shape, tile.column * kGramTile, term, shared.stage.columns);
      }
      __syncthreads();

      // Compute
      const auto& columns = diagonal ? shared.stage.rows : shared.stage.columns;
#pragma unroll 4
      for (int k = group; k < kGramTerms; k += kGramGroups) {
        const double a[2] = {shared.stage.rows[k][row], shared.stage.rows[k][row + 1]};
        const double b[2] = {columns[k][column], columns[k][column + 1]};
        sum[0][0] += a[0] * b[0];
        sum[0][1] += a[0] * b[1];
        sum[1][0] += a[1] * b[0];
        sum[1][1] += a[1] * b[1];
      }
      __syncthreads();
    }

    // Store
    for (int r = 0; r < 2; ++r) {
      for (int s = 0; s < 2; ++s) shared.partial[group][row + r][column + s] = sum[r][s];
    }
    __syncthreads();
    const int own_row = thread_index() / kGramTile;
    const int own_column = thread_index() % kGramTile;
    const int64_t i = tile.row * kGramTile + own_row;
    const int64_t j = tile.column * kGramTile + own_column;
    if (i < q && j < q) {
      double total = 0.0;
      for (int g = 0; g < kGramGroups; ++g) total += shared.partial[g][own_row][own_column];
      gram[(filter * q + i) * q + j] = total;
      if (!diagonal) gram[(filter * q + j) * q + i] = total;
    }
    __syncthreads();
  }
}

template <class T>
void enqueue_filter_gram(Launches& launches, FilterTable<T>& table) {
  if constexpr (kNeedsScaling<T>) {
    const int64_t filters = table.number([](const auto& layer) { return layer.n; });
    launches.kernel(filter_exponents_kernel<T>, filters, kGramThreads, sizeof(ExponentMemory),
                    table);
  }
  const int64_t tiles = table.number([](const auto& layer) { return gram_tiles(layer); });
  launches.kernel(filter_gram_kernel<T>, tiles, kGramThreads, sizeof(GramMemory), table);
}

}  // namespace hubprune::cuda
