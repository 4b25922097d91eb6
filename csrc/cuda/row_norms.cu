// SPDX-License-Identifier: MIT
// Row norms: |x_i|, x (rows, d) -> norms (rows). Bound by one read of x (two in float64).
// Numerics: accumulated in float64, right at any finite scale (normalized_rows.cuh); rounded once
// to T. A row with a NaN has norm NaN, one with an
// infinity and no NaN an infinite one.
// Twin: hubprune.reference.row_norms.
#include <cmath>

#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kFinishThreads = 256;

template <class Out>
__global__ void __launch_bounds__(kFinishThreads)
    row_norms_finish_kernel(const double* __restrict__ norms, const int* __restrict__ exponents,
                            int64_t rows, Out* __restrict__ out) {
  const int64_t step = grid_blocks() * kFinishThreads;
  for (int64_t i = block_index() * kFinishThreads + thread_index(); i < rows; i += step) {
    out[i] = static_cast<Out>(ldexp(norms[i], exponents[i]));
  }
}

struct NormScratch {
  double* norms;
  int* exponents;
  int64_t bytes;

  NormScratch(void* memory, int64_t rows) {
    Scratch pieces(memory);
    norms = pieces.take<double>(rows);
    exponents = pieces.take<int>(rows);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t row_norms_scratch_bytes(int64_t rows) { return NormScratch(nullptr, rows).bytes; }

template <class T>
Status launch_row_norms(const T* x, int64_t rows, int64_t d, T* out, void* scratch_memory,
                        int device, void* stream) {
  if (rows == 0) return Status::kOk;
  const NormScratch scratch(scratch_memory, rows);
  Launches launches("row_norms", device, stream);
  GraphTable<T> table = table_of(GraphRows<T>{x, 1, rows, d, 0.0, nullptr, scratch.norms,
                                              scratch.exponents, nullptr, nullptr, nullptr});
  enqueue_row_norms(launches, table, Norm::kInfinite);
  launches.kernel(row_norms_finish_kernel<T>, ceil_divide(rows, kFinishThreads), kFinishThreads, 0,
                  scratch.norms, scratch.exponents, rows, out);
  return launches.status();
}

template Status launch_row_norms<float>(const float*, int64_t, int64_t, float*, void*, int, void*);
template Status launch_row_norms<double>(const double*, int64_t, int64_t, double*, void*, int,
                                         void*);

}  // namespace hubprune::cuda
