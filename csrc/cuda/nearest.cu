// SPDX-License-Identifier: MIT
// Every row's most similar other row, fused: no n x n matrix exists.
//
//   index_i = argmax_{j != i} clamp(<y_i, y_j>)  (ties: the lowest j),  similarity_i = that maximum
//
// Shapes: x (batch, n, d) -> similarity (batch, n), index (batch, n).
// Bound: n^2 d float multiply-adds. A block keeps one panel of 64 rows and walks a share of the
// column panels, so that nothing is combined by atomics; where there are too few row panels to
// fill a device, the column panels are split and a last kernel merges the shares.
// Numerics: T -> T products (tile_product.cuh) -> T. Equal rows give equal bits, so that ties
// between duplicates are exact; the order of blocks changes nothing.
// A row with a NaN or an infinity gets (NaN, -1) and is nobody's nearest: its products are NaN and
// compare false. n = 1: (NaN, -1).
// Twin: hubprune.reference.nearest.
#include <cmath>

#include "core/edge.h"
#include "core/scratch.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/normalized_rows.cuh"
#include "cuda/tile_product.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kFinishThreads = 256;
constexpr int kBlocks = 2;              // per multiprocessor: 128 registers a thread, no spills
constexpr int64_t kWantedBlocks = 512;  // two for each of 132 multiprocessors, twice

template <class T>
struct Candidate {
  T similarity = T(-2);  // below every cosine
  int64_t index = -1;

  __device__ __forceinline__ void offer(T other_similarity, int64_t other_index) {
    const bool tie = other_similarity == similarity && other_index < index;
    if (other_similarity > similarity || tie) {
      similarity = other_similarity;
      index = other_index;
    }
  }
};

template <class T>
struct NearestMemory {
  Stages<T> stages;
  T similarity[kTileLanes][kPanel];
  int64_t index[kTileLanes][kPanel];
};

// similarity, index (splits, batch, n): the best of each share of the columns, index -1 for none.
template <class T>
__global__ void __launch_bounds__(kTileThreads, kBlocks)
    nearest_kernel(const T* __restrict__ panels, int64_t batch, int64_t n, int64_t d,
                   int64_t splits, T* __restrict__ similarity, int64_t* __restrict__ index) {
  NearestMemory<T>& shared = block_memory<NearestMemory<T>>();
  const int64_t side = ceil_divide(n, kPanel);
  const int64_t share = ceil_divide(side, splits);
  const int64_t panel_size = panel_depth<T>(d) * kPanel;
  const int row = micro_row();
  const int column = micro_column();

  for (int64_t work = block_index(); work < batch * side * splits; work += grid_blocks()) {
    const int64_t panel = work / splits;  // counted over the whole batch
    const int64_t split = work % splits;
    const int64_t item = panel / side;
    const int64_t first_row = panel % side * kPanel;
    const int64_t end = (split + 1) * share < side ? (split + 1) * share : side;

    // Compute: columns come in ascending order, so the first of equals stays
    Candidate<T> best[kMicro];
    for (int64_t other = split * share; other < end; ++other) {
      T product[kMicro][kMicro];
      tile_product(panels + panel * panel_size, panels + (item * side + other) * panel_size, d,
                   shared.stages, product);
#pragma unroll
      for (int r = 0; r < kMicro; ++r) {
#pragma unroll
        for (int c = 0; c < kMicro; ++c) {
          const int64_t j = other * kPanel + column + c;
          if (j < n && j != first_row + row + r) best[r].offer(clamp_cosine(product[r][c]), j);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      shared.similarity[column / kMicro][row + r] = best[r].similarity;
      shared.index[column / kMicro][row + r] = best[r].index;
    }
    __syncthreads();

    // Store
    const int lane = thread_index();
    if (lane < kPanel && first_row + lane < n) {
      Candidate<T> winner;
      for (int i = 0; i < kTileLanes; ++i) {
        winner.offer(shared.similarity[i][lane], shared.index[i][lane]);
      }
      const int64_t at = (split * batch + item) * n + first_row + lane;
      similarity[at] = winner.similarity;
      index[at] = winner.index;
    }
    // No barrier: the next tile_product has one before anything writes these candidates again,
    // and no share is empty.
  }
}

template <class T>
__global__ void __launch_bounds__(kFinishThreads)
    nearest_finish_kernel(const T* __restrict__ similarity, const int64_t* __restrict__ index,
                          int64_t rows, int64_t splits, T* __restrict__ out_similarity,
                          int64_t* __restrict__ out_index) {
  const int64_t step = grid_blocks() * kFinishThreads;
  for (int64_t i = block_index() * kFinishThreads + thread_index(); i < rows; i += step) {
    Candidate<T> winner;
    for (int64_t split = 0; split < splits; ++split) {
      winner.offer(similarity[split * rows + i], index[split * rows + i]);
    }
    out_similarity[i] = winner.index < 0 ? static_cast<T>(NAN) : winner.similarity;
    out_index[i] = winner.index;
  }
}

int64_t column_splits(int64_t batch, int64_t n) {
  const int64_t side = ceil_divide(n, kPanel);
  if (batch * side == 0) return 1;
  const int64_t wanted = ceil_divide(kWantedBlocks, batch * side);
  const int64_t share = ceil_divide(side, wanted);
  return ceil_divide(side, share);  // <= wanted: rounding up may leave nothing for the last ones
}

template <class T>
struct NearestScratch {
  double* norms;
  int* exponents;
  T* panels;
  T* similarity;
  int64_t* index;
  int64_t bytes;

  NearestScratch(void* memory, int64_t batch, int64_t n, int64_t d) {
    Scratch pieces(memory);
    const int64_t rows = batch * n;
    norms = pieces.take<double>(rows);
    exponents = pieces.take<int>(rows);
    panels = pieces.take<T>(panels_count<T>(batch, n, d));
    similarity = pieces.take<T>(column_splits(batch, n) * rows);
    index = pieces.take<int64_t>(column_splits(batch, n) * rows);
    bytes = pieces.bytes();
  }
};

}  // namespace

int64_t nearest_scratch_bytes(int64_t batch, int64_t n, int64_t d, bool is_double) {
  return is_double ? NearestScratch<double>(nullptr, batch, n, d).bytes
                   : NearestScratch<float>(nullptr, batch, n, d).bytes;
}

template <class T>
Status launch_nearest(const T* x, int64_t batch, int64_t n, int64_t d, T* similarity,
                      int64_t* index, void* scratch_memory, int device, void* stream) {
  if (batch == 0 || n == 0) return Status::kOk;
  const NearestScratch<T> scratch(scratch_memory, batch, n, d);
  const int64_t splits = column_splits(batch, n);
  Launches launches("nearest", device, stream);
  enqueue_normalized_panels(launches, x, batch, n, d, scratch.norms, scratch.exponents, nullptr,
                            scratch.panels);
  launches.kernel(nearest_kernel<T>, batch * ceil_divide(n, kPanel) * splits, kTileThreads,
                  sizeof(NearestMemory<T>), scratch.panels, batch, n, d, splits, scratch.similarity,
                  scratch.index);
  launches.kernel(nearest_finish_kernel<T>, ceil_divide(batch * n, kFinishThreads), kFinishThreads,
                  0, scratch.similarity, scratch.index, batch * n, splits, similarity, index);
  return launches.status();
}

template Status launch_nearest<float>(const float*, int64_t, int64_t, int64_t, float*, int64_t*,
                                      void*, int, void*);
template Status launch_nearest<double>(const double*, int64_t, int64_t, int64_t, double*, int64_t*,
                                       void*, int, void*);

}  // namespace hubprune::cuda
