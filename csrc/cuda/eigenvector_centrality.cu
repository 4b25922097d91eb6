// SPDX-License-Identifier: MIT
// Eigenvector centrality of dense graphs: the leading eigenvector (largest algebraic eigenvalue) of
// a symmetric matrix, unit 2-norm, non-negative sum, by Lanczos with full reorthogonalisation.
//
// Shapes: weights (batch, n, n), start (batch, n) or null -> vector (batch, n), converged (batch),
// residual (batch). No host synchronisation: `max_iter` products are enqueued whatever happens, and
// each kernel leaves at once where an item's flag says that it has converged. Two launches a
// product: one warp per row multiplies, one block per item does the rest of the step (at most
// kBasisMax vectors of n). Bound: reads of the graph, n^2 sizeof(T) bytes a product. Numerics:
// products and all else in float64, in a fixed order: the same bits on every run. Stops at residual
// <= tol |lambda|, or below `noise`. An item that did not converge, or holds a NaN or an infinity,
// gets NaN. The method and its sources: cpu/lanczos.h. Twin:
// hubprune.reference.graph_eigenvector_centrality.
#include <cfloat>
#include <cmath>

#include "core/scratch.h"
#include "core/start_vector.h"
#include "core/symmetric_eigen.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kStepBlocks = 2;  // per multiprocessor: leaves 128 registers a thread, no spills
constexpr int kBasisMax = 24;
constexpr unsigned long long kNotFinite = 1;
constexpr unsigned long long kNegative = 2;

// What is known of one item between launches.
struct Progress {
  double diagonal[kBasisMax];
  double off[kBasisMax];
  double residual;
  int done;       // nothing is left to do
  int converged;  // and the vector is right
};

struct StepMemory {
  double partial[kWarps];
  double ritz[kBasisMax];
  double work[2 * kBasisMax];
  double total;
  int collapse;  // the basis is replaced by its best vector
};

// The sum of `value` over the block, on every thread. Fixed order.
__device__ __forceinline__ double block_sum(double value, StepMemory& shared) {
  value = warp_sum(value);
  __syncthreads();  // the last sum has been read by all
  if (thread_index() % kWarp == 0) shared.partial[thread_index() / kWarp] = value;
  __syncthreads();
  double total = 0.0;
  for (int i = 0; i < kWarps; ++i) total += shared.partial[i];
  return total;
}

__device__ __forceinline__ double block_dot(const double* x, const double* y, int64_t n,
                                            StepMemory& shared) {
  double sum = 0.0;
  for (int64_t k = thread_index(); k < n; k += kThreads) sum += x[k] * y[k];
  return block_sum(sum, shared);
}

// One warp per row. flags (batch), zeroed before.
template <class T>
__global__ void __launch_bounds__(kThreads)
    inspect_graph_kernel(const T* __restrict__ weights, int64_t batch, int64_t n,
                         unsigned long long* __restrict__ flags) {
  const int lane = thread_index() % kWarp;
  for (int64_t row = block_index() * kWarps + thread_index() / kWarp; row < batch * n;
       row += grid_blocks() * kWarps) {
    unsigned long long found = 0;
    for (int64_t k = lane; k < n; k += kWarp) {
      const double value = static_cast<double>(weights[row * n + k]);
      if (!(fabs(value) <= DBL_MAX)) found |= kNotFinite;
      if (value < 0.0) found |= kNegative;
    }
    if (found) atomicOr(flags + row / n, found);
  }
}

// One block per item: the start vector and a clean slate. start (batch, n), or null.
__global__ void __launch_bounds__(kThreads)
    lanczos_start_kernel(const unsigned long long* __restrict__ flags, int64_t batch, int64_t n,
                         const double* __restrict__ start, double tol, double* __restrict__ basis,
                         Progress* __restrict__ progress) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    double* v = basis + item * (kBasisMax + 1) * n;
    const bool negative = (flags[item] & kNegative) != 0;
    for (int64_t i = thread_index(); i < n; i += kThreads) v[i] = plain_start(i, negative);
    if (start != nullptr) {
      const double* given = start + item * n;
      const double plain_norm = sqrt(block_dot(v, v, n, shared));
      const double given_norm = sqrt(block_dot(given, given, n, shared));
      for (int64_t i = thread_index(); i < n; i += kThreads) {
        v[i] = warm_start(given[i] / given_norm, v[i] / plain_norm, plain_share(tol), negative);
      }
    }
    const double norm = sqrt(block_dot(v, v, n, shared));
    for (int64_t i = thread_index(); i < n; i += kThreads) v[i] /= norm;
    if (thread_index() == 0) {
      progress[item].residual = 0.0;
      progress[item].done = (flags[item] & kNotFinite) != 0;
      progress[item].converged = 0;
    }
  }
}

// One warp per row: basis[j + 1] = A basis[j].
template <class T>
__global__ void __launch_bounds__(kThreads)
    lanczos_multiply_kernel(const T* __restrict__ weights, int64_t batch, int64_t n, int j,
                            const Progress* __restrict__ progress, double* __restrict__ basis) {
  const int lane = thread_index() % kWarp;
  for (int64_t row = block_index() * kWarps + thread_index() / kWarp; row < batch * n;
       row += grid_blocks() * kWarps) {
    const int64_t item = row / n;
    if (progress[item].done) continue;  // the same for every lane of the warp
    double* vectors = basis + item * (kBasisMax + 1) * n;
    const double* v = vectors + j * n;
    double sum = 0.0;
#pragma unroll 4
    for (int64_t k = lane; k < n; k += kWarp) {
      sum += static_cast<double>(weights[row * n + k]) * v[k];
    }
    sum = warp_sum(sum);
    if (lane == 0) vectors[(j + 1) * n + row % n] = sum;
  }
}

// One block per item: orthogonalise the product, look at the tridiagonal matrix, go on or stop.
__global__ void __launch_bounds__(kThreads, kStepBlocks)
    lanczos_step_kernel(int64_t batch, int64_t n, int j, double tol, double noise, bool last,
                        Progress* __restrict__ progress, double* __restrict__ basis) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    Progress& own = progress[item];
    if (own.done) continue;
    double* vectors = basis + item * (kBasisMax + 1) * n;
    double* next = vectors + (j + 1) * n;

    // Compute. Twice is enough: the second pass removes what rounding left of the first.
    const double alpha = block_dot(vectors + j * n, next, n, shared);
    for (int pass = 0; pass < 2; ++pass) {
      for (int i = 0; i <= j; ++i) {
        const double* v = vectors + i * n;
        const double component = block_dot(v, next, n, shared);
        for (int64_t k = thread_index(); k < n; k += kThreads) next[k] -= component * v[k];
      }
    }
    const double beta = sqrt(block_dot(next, next, n, shared));
    if (thread_index() == 0) {
      own.diagonal[j] = alpha;
      own.off[j] = beta;
      const double lambda =
          leading_tridiagonal_eigenpair(own.diagonal, own.off, j + 1, shared.ritz, shared.work);
      const double error = beta * fabs(shared.ritz[j]);
      own.residual = error > 0.0 ? error / fabs(lambda) : 0.0;
      const bool converged = error <= tol * fabs(lambda) || error <= noise ||
                             beta <= 1e-14 * fabs(lambda);  // an invariant subspace
      own.converged = converged;
      shared.collapse = converged || last || j + 1 == kBasisMax;
    }
    __syncthreads();

    // Store
    if (shared.collapse) {
      double square = 0.0;
      for (int64_t k = thread_index(); k < n; k += kThreads) {
        double sum = 0.0;
        for (int i = 0; i <= j; ++i) sum += shared.ritz[i] * vectors[i * n + k];
        vectors[k] = sum;
        square += sum * sum;
      }
      const double norm = sqrt(block_sum(square, shared));
      for (int64_t k = thread_index(); k < n; k += kThreads) vectors[k] /= norm;
      if (thread_index() == 0) own.done = own.converged || last;
    } else {
      for (int64_t k = thread_index(); k < n; k += kThreads) next[k] /= beta;
    }
    __syncthreads();
  }
}

// One block per item: the sign of the sum, the dtype of the graph.
template <class T>
__global__ void __launch_bounds__(kThreads)
    lanczos_finish_kernel(const double* __restrict__ basis, const Progress* __restrict__ progress,
                          const unsigned long long* __restrict__ flags, int64_t batch, int64_t n,
                          T* __restrict__ out, int64_t* __restrict__ converged,
                          double* __restrict__ residual) {
  StepMemory& shared = block_memory<StepMemory>();
  for (int64_t item = block_index(); item < batch; item += grid_blocks()) {
    const double* v = basis + item * (kBasisMax + 1) * n;
    const bool right = progress[item].converged != 0;
    double sum = 0.0;
    for (int64_t k = thread_index(); k < n; k += kThreads) sum += v[k];
    const double sign = block_sum(sum, shared) < 0.0 ? -1.0 : 1.0;
    for (int64_t k = thread_index(); k < n; k += kThreads) {
      out[item * n + k] = static_cast<T>(right ? sign * v[k] : NAN);
    }
    if (thread_index() == 0) {
      // NaN in, NaN out is an answer, not a failure.
      converged[item] = right || (flags[item] & kNotFinite) != 0;
      residual[item] = progress[item].residual;
    }
  }
}

struct LanczosScratch {
  unsigned long long* flags;
  Progress* progress;
  double* basis;
  int64_t bytes;

  LanczosScratch(void* memory, int64_t batch, int64_t n) {
    Scratch pieces(memory);
    flags = pieces.take<unsigned long long>(batch);
    progress = pieces.take<Progress>(batch);
    basis = pieces.take<double>(batch * (kBasisMax + 1) * n);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t graph_eigenvector_centrality_scratch_bytes(int64_t batch, int64_t n) {
  return LanczosScratch(nullptr, batch, n).bytes;
}

template <class T>
Status launch_graph_eigenvector_centrality(const T* weights, int64_t batch, int64_t n,
                                           const double* start, double tol, double noise,
                                           int64_t max_iter, T* vector, int64_t* converged,
                                           double* residual, void* scratch_memory, int device,
                                           void* stream) {
  if (batch == 0 || n == 0) return Status::kOk;
  const LanczosScratch scratch(scratch_memory, batch, n);
  const int64_t row_blocks = ceil_divide(batch * n, kWarps);
  Launches launches("graph_eigenvector_centrality", device, stream);
  launches.zero(scratch.flags, batch * static_cast<int64_t>(sizeof(*scratch.flags)));
  launches.kernel(inspect_graph_kernel<T>, row_blocks, kThreads, 0, weights, batch, n,
                  scratch.flags);
  launches.kernel(lanczos_start_kernel, batch, kThreads, sizeof(StepMemory), scratch.flags, batch,
                  n, start, tol, scratch.basis, scratch.progress);
  for (int64_t product = 0; product < max_iter; ++product) {
    const int j = static_cast<int>(product % kBasisMax);
    launches.kernel(lanczos_multiply_kernel<T>, row_blocks, kThreads, 0, weights, batch, n, j,
                    scratch.progress, scratch.basis);
    launches.kernel(lanczos_step_kernel, batch, kThreads, sizeof(StepMemory), batch, n, j, tol,
                    noise, product + 1 == max_iter, scratch.progress, scratch.basis);
  }
  launches.kernel(lanczos_finish_kernel<T>, batch, kThreads, sizeof(StepMemory), scratch.basis,
                  scratch.progress, scratch.flags, batch, n, vector, converged, residual);
  return launches.status();
}

template Status launch_graph_eigenvector_centrality<float>(const float*, int64_t, int64_t,
                                                           const double*, double, double, int64_t,
                                                           float*, int64_t*, double*, void*, int,
                                                           void*);
template Status launch_graph_eigenvector_centrality<double>(const double*, int64_t, int64_t,
                                                            const double*, double, double, int64_t,
                                                            double*, int64_t*, double*, void*, int,
                                                            void*);

}  // namespace hubprune::cuda
