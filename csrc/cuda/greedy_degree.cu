// SPDX-License-Identifier: MIT
// Greedy degree: remove the row of the largest weighted degree (ties: the lowest index), subtract
// its weights from the degrees of the others, and repeat `count` times; what is left is ranked by
// its last degree.
//
//   h = argmax_i degree_i;  degree_i -= f(clamp(<y_i, y_h>)) for the rows i that are left
//
// Shapes: x (n, d) -> order (n), degree (n): a row's degree when it was removed, or last.
// One launch a step (row_pieces.cuh), count + 1 of them: nothing waits on the host. The weights:
//   stored    the n x n matrix in T by pairwise_cosine, then one row of it a step
//   computed  every hub's row from the packed unit rows, n d multiply-adds a step
// Bound: the latency of a launch a step; for many rows the bytes it reads, n sizeof(T) stored and
// n d sizeof(T) computed, after n^2 d / 2 multiply-adds for the first degrees.
// Numerics: weights in T, their error that of a cosine (tile_product.cuh); degrees in 64-bit fixed
// point, so that subtracting a weight undoes exactly what adding it did: nothing drifts over n
// steps, equal rows keep equal degrees, both routes agree bit for bit, no grid can change a bit.
// A row that is not finite makes every degree NaN and every index -1, unless it is the only one.
// Twin: hubprune.reference.greedy_degree.
#include <climits>
#include <cmath>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/hub_weights.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"
#include "cuda/row_pieces.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = kPieceThreads;
constexpr int kStepBlocks = 4;   // per multiprocessor: leaves 64 registers a thread, no spills
using Hub = RankedRow<int64_t>;  // by its degree in fixed point
constexpr Hub kNoHub = {INT64_MIN, -1};

// What stands for the degree of a removed row: the magnitude of others is at most 2^61.
constexpr int64_t kRemoved = -(int64_t(1) << 62);

// removed: how many hubs are known when the launch ends; 0 only finds the first candidates.
template <class Weights>
__global__ void __launch_bounds__(kThreads, kStepBlocks)
    greedy_step_kernel(const Weights weights, int64_t n, double scale, int64_t removed,
                       const unsigned long long* __restrict__ flag, const Hub* __restrict__ before,
                       int64_t* __restrict__ degrees, Hub* __restrict__ after,
                       int64_t* __restrict__ order, double* __restrict__ degree) {
  PieceMemory<int64_t>& shared = block_memory<PieceMemory<int64_t>>();
  if (*flag) return;
  const int64_t rows = piece_rows(n, kThreads);
  const int64_t pieces = ceil_divide(n, rows);

  // Load
  Hub hub = kNoHub;
  if (removed > 0) {
    if (thread_index() < pieces) hub = before[thread_index()];
    hub = block_best(hub, shared);
    if (block_index() == 0 && thread_index() == 0) {
      order[removed - 1] = hub.row;
      degree[hub.row] = from_fixed_point(hub.value, scale);
    }
  }

  // Compute
  for (int64_t piece = block_index(); piece < pieces; piece += grid_blocks()) {
    const int64_t end = (piece + 1) * rows < n ? (piece + 1) * rows : n;
    Hub best = kNoHub;
    for (int64_t i = piece * rows + thread_index(); i < end; i += kThreads) {
      int64_t left = degrees[i];
      if (left == kRemoved) continue;
      if (i == hub.row) {
        degrees[i] = kRemoved;
        continue;
      }
      if (removed > 0) {
        left -= to_fixed_point(static_cast<double>(weights.of(hub.row, i)), scale);
        degrees[i] = left;
      }
      best.offer(left, i);
    }

    // Store
    best = block_best(best, shared);
    if (thread_index() == 0) after[piece] = best;
  }
}

// One thread per row: what is left takes the places after the removed rows. Comparing each with all
// is less work than the degrees were.
__global__ void __launch_bounds__(kThreads, kStepBlocks)
    greedy_finish_kernel(const int64_t* __restrict__ degrees, int64_t n, double scale,
                         int64_t count, const unsigned long long* __restrict__ flag,
                         int64_t* __restrict__ order, double* __restrict__ degree) {
  const bool finite = *flag == 0;
  const int64_t step = grid_blocks() * kThreads;
  for (int64_t i = block_index() * kThreads + thread_index(); i < n; i += step) {
    if (!finite) {
      order[i] = -1;
      degree[i] = NAN;
      continue;
    }
    const int64_t own = degrees[i];
    if (own == kRemoved) continue;
    int64_t place = count;
#pragma unroll 8
    for (int64_t j = 0; j < n; ++j) {
      const int64_t other = degrees[j];
      place += other > own || (other == own && j < i);
    }
    order[place] = i;
    degree[i] = from_fixed_point(own, scale);
  }
}

template <class T>
struct GreedyScratch {
  int64_t* degrees;  // (n), and the flag after them: cleared together
  unsigned long long* flag;
  Hub* hubs[2];
  T* graph;
  void* cosine_scratch;
  double* norms;
  int* exponents;
  T* panels;
  int64_t bytes;

  GreedyScratch(void* memory, int64_t n, int64_t d, bool stored) {
    Scratch pieces(memory);
    degrees = pieces.take<int64_t>(n + 1);
    flag = memory ? reinterpret_cast<unsigned long long*>(degrees + n) : nullptr;
    for (Hub*& half : hubs) half = pieces.take<Hub>(kMostPieces);
    if (stored) {
      graph = pieces.take<T>(n * n);
      cosine_scratch = pieces.take<char>(
          pairwise_cosine_scratch_bytes(1, n, n, d, true, sizeof(T) == sizeof(double)));
    } else {
      norms = pieces.take<double>(n);
      exponents = pieces.take<int>(n);
      panels = pieces.take<T>(panels_count<T>(1, n, d));
    }
    bytes = pieces.bytes();
  }
};

template <class T, class Weights>
void enqueue_walk(Launches& launches, const GreedyScratch<T>& scratch, const Weights& weights,
                  int64_t n, double scale, int64_t count, int64_t* order, double* degree) {
  const int64_t pieces = ceil_divide(n, piece_rows(n, kThreads));
  for (int64_t removed = 0; removed <= count; ++removed) {
    launches.kernel(greedy_step_kernel<Weights>, pieces, kThreads, sizeof(PieceMemory<int64_t>),
                    weights, n, scale, removed, scratch.flag, scratch.hubs[(removed + 1) % 2],
                    scratch.degrees, scratch.hubs[removed % 2], order, degree);
  }
  launches.kernel(greedy_finish_kernel, ceil_divide(n, kThreads), kThreads, 0, scratch.degrees, n,
                  scale, count, scratch.flag, order, degree);
}

}  // namespace

int64_t greedy_degree_scratch_bytes(int64_t n, int64_t d, bool stored, bool is_double) {
  return is_double ? GreedyScratch<double>(nullptr, n, d, stored).bytes
                   : GreedyScratch<float>(nullptr, n, d, stored).bytes;
}

template <class T>
Status launch_greedy_degree(const T* x, int64_t n, int64_t d, Edge edge, int64_t count, bool stored,
                            int64_t* order, double* degree, void* scratch_memory, int device,
                            void* stream) {
  const int code = static_cast<int>(edge);
  if (code < 0 || code >= kEdgeCount || count < 0) return Status::kInvalidValue;
  if (n == 0) return Status::kOk;
  count = count < n ? count : n;
  const double scale = fixed_point_scale(n);
  const GreedyScratch<T> scratch(scratch_memory, n, d, stored);
  Launches launches("greedy_degree", device, stream);
  launches.zero(scratch.degrees, (n + 1) * static_cast<int64_t>(sizeof(int64_t)));
  if (stored) {
    const Status status =
        launch_pairwise_cosine(x, static_cast<const T*>(nullptr), 1, n, n, d, edge, true, false,
                               scratch.graph, scratch.cosine_scratch, device, stream);
    if (status != Status::kOk) return status;
    const StoredWeights<T> weights{scratch.graph, n};
    enqueue_degrees(launches, weights, n, scale, scratch.degrees, scratch.flag);
    enqueue_walk(launches, scratch, weights, n, scale, count, order, degree);
  } else {
    enqueue_normalized_panels(launches, x, 1, n, d, scratch.norms, scratch.exponents, scratch.flag,
                              scratch.panels);
    const ComputedWeights<T> weights{scratch.panels, d, edge};
    enqueue_degrees(launches, weights, n, scale, scratch.degrees, scratch.flag);
    enqueue_walk(launches, scratch, weights, n, scale, count, order, degree);
  }
  return launches.status();
}

template Status launch_greedy_degree<float>(const float*, int64_t, int64_t, Edge, int64_t, bool,
                                            int64_t*, double*, void*, int, void*);
template Status launch_greedy_degree<double>(const double*, int64_t, int64_t, Edge, int64_t, bool,
                                             int64_t*, double*, void*, int, void*);

}  // namespace hubprune::cuda
