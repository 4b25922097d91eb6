// SPDX-License-Identifier: MIT
// The steps of the weighted degree of long rows around a matrix product that is not ours: unit rows
// split into bfloat16 planes before it, edge weights and their sums after it.
//
//   planes_ib = bfloat16 of what the planes before it left of y_i;  y = rows of unit length
//   sums_i += sum_j f(clamp(s_ij)),  sums_j += sum_i f(clamp(s_ij)) for a panel s of row products
//
// Shapes: x (n, d) float32 -> planes (n, count, pitch) bfloat16, pitch = d rounded up to 64, zeros
// between; panel (rows, n - first) float32, row stride `stride`: the products of rows first ..
// first + rows - 1 with rows first .. n - 1; sums (n).
// Bound: bytes. The planes read x once (and once more from the cache) and write 2 to 6 bytes an
// entry, a panel is read once.
// Numerics: y in float64, rounded to float32, which three planes hold; weights and sums as in
// tile_sums.cuh, in fixed point: the same bits for the same panels, whatever their number and
// order. A row with a NaN or an infinity sets `nonfinite`, which makes every degree NaN. Twin:
// hubprune.reference.weighted_degree.
#include <cfloat>
#include <cmath>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/bfloat16_split.h"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/tile_product.cuh"
#include "cuda/tile_sums.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {
namespace {

constexpr int kSplitThreads = 512;  // two blocks a multiprocessor: their rows stay in its L1 cache
constexpr int kQuad = 4;            // features a thread takes at once
constexpr int64_t kPitch = 64;      // ... and a matrix unit

struct SplitMemory {
  double squares[kSplitThreads / kWarp];
};

struct alignas(8) PlaneQuad {
  uint16_t values[kQuad];
};

// Features first .. first + 3 of a row, zeros beyond d. Rows that all start at 16 bytes are
// `aligned`.
template <bool kAligned>
__device__ __forceinline__ Packet<float> load_quad(const float* __restrict__ row, int64_t first,
                                                   int64_t d) {
  Packet<float> quad = {};
  if constexpr (kAligned) {
    if (first < d) quad = *reinterpret_cast<const Packet<float>*>(row + first);
  } else {
#pragma unroll
    for (int k = 0; k < kQuad; ++k) {
      if (first + k < d) quad.values[k] = row[first + k];
    }
  }
  return quad;
}

// planes (n, count, pitch / 4): one block per row, which it reads a second time while its values
// are still in the cache.
template <bool kAligned>
__global__ void __launch_bounds__(kSplitThreads, 2)
    split_rows_kernel(const float* __restrict__ x, int64_t n, int64_t d, int64_t pitch, int count,
                      PlaneQuad* __restrict__ planes, unsigned long long* __restrict__ nonfinite) {
  SplitMemory& shared = block_memory<SplitMemory>();
  const int64_t quads = pitch / kQuad;
  for (int64_t row = block_index(); row < n; row += grid_blocks()) {
    // Load: the row's length
    const float* __restrict__ values = x + row * d;
    double square = 0.0;
#pragma unroll 4
    for (int64_t q = thread_index(); q < quads; q += kSplitThreads) {
      const Packet<float> quad = load_quad<kAligned>(values, q * kQuad, d);
#pragma unroll
      for (int k = 0; k < kQuad; ++k) {
        const auto value = static_cast<double>(quad.values[k]);
        square += value * value;
      }
    }
    square = block_sum(square, shared.squares);
    const bool finite = square <= DBL_MAX;
    if (!finite && thread_index() == 0) atomicOr(nonfinite, 1ull);
    // A zero row stays zero; what becomes of one that is not finite nobody reads.
    const double scale = finite && square > 0.0 ? 1.0 / sqrt(square) : 0.0;

    // Compute and store
#pragma unroll 2
    for (int64_t q = thread_index(); q < quads; q += kSplitThreads) {
      const Packet<float> quad = load_quad<kAligned>(values, q * kQuad, d);
      float left[kQuad];
#pragma unroll
      for (int k = 0; k < kQuad; ++k) {
        left[k] = static_cast<float>(static_cast<double>(quad.values[k]) * scale);
      }
      for (int plane = 0; plane < count; ++plane) {
        PlaneQuad parts;
#pragma unroll
        for (int k = 0; k < kQuad; ++k) {
          parts.values[k] = to_bfloat16(left[k]);
          left[k] -= from_bfloat16(parts.values[k]);  // exact
        }
        planes[(row * count + plane) * quads + q] = parts;
      }
    }
  }
}

struct Panel {
  const float* products;
  int64_t rows;
  int64_t columns;
  int64_t stride;
  int64_t first;
};

// One block per 64 x 64 tile of the panel. Columns that are rows of the panel too meet each pair
// from both ends there, so that only the others are summed over rows.
template <Edge kEdge>
__global__ void __launch_bounds__(kTileThreads, kDenseBlocks)
    add_panel_kernel(const Panel panel, int64_t n, double scale,
                     const unsigned long long* __restrict__ nonfinite,
                     unsigned long long* __restrict__ sums) {
  TileSumMemory<float>& shared = block_memory<TileSumMemory<float>>();
  if (*nonfinite) return;  // every degree is NaN whatever the sums hold
  const int64_t across = ceil_divide(panel.columns, kPanel);
  const int64_t tiles = ceil_divide(panel.rows, kPanel) * across;

  for (int64_t work = block_index(); work < tiles; work += grid_blocks()) {
    const int64_t first_row = work / across * kPanel;
    const int64_t first_column = work % across * kPanel;

    // Load: the product of every pair, its weight in place
    float weight[kMicro][kMicro];
    const int64_t column = first_column + micro_column();
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      const int64_t row = first_row + micro_row() + r;
      const float* values = panel.products + row * panel.stride + column;
      Micro<float> loaded = {};
      if (row < panel.rows && column + kMicro <= panel.columns) {
        loaded = *reinterpret_cast<const Micro<float>*>(values);
      } else if (row < panel.rows) {
        for (int c = 0; c < kMicro; ++c) {
          if (column + c < panel.columns) loaded.values[c] = values[c];
        }
      }
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const bool inside = row < panel.rows && column + c < panel.columns;
        const bool self = row == column + c;
        const float cosine = clamp_cosine(loaded.values[c]);
        weight[r][c] = inside && !self ? edge_weight<kEdge>(cosine) : 0.0f;
      }
    }

    // Store
    add_tile_sums(weight, first_column < panel.rows, panel.first + first_row,
                  panel.first + first_column, n, scale, shared, sums);
    __syncthreads();
  }
}

}  // namespace

int64_t split_rows_pitch(int64_t d) { return ceil_divide(d, kPitch) * kPitch; }

Status launch_split_rows(const float* x, int64_t n, int64_t d, int planes, uint16_t* out,
                         unsigned long long* nonfinite, int device, void* stream) {
  if (planes < 1 || planes > kMostPlanes) return Status::kInvalidValue;
  if (n == 0) return Status::kOk;
  Launches launches("weighted_degree", device, stream);
  const bool aligned =
      d % kQuad == 0 && reinterpret_cast<uintptr_t>(x) % alignof(Packet<float>) == 0;
  launches.kernel(aligned ? split_rows_kernel<true> : split_rows_kernel<false>, n, kSplitThreads,
                  sizeof(SplitMemory), x, n, d, split_rows_pitch(d), planes,
                  reinterpret_cast<PlaneQuad*>(out), nonfinite);
  return launches.status();
}

Status launch_add_panel(const float* products, int64_t rows, int64_t stride, int64_t first,
                        int64_t n, Edge edge, const unsigned long long* nonfinite,
                        unsigned long long* sums, int device, void* stream) {
  const int64_t columns = n - first;
  const bool whole_tiles = rows % kPanel == 0 || rows == columns;
  if (edge == Edge::kSigned || edge == Edge::kShifted || !whole_tiles || rows > columns ||
      stride < columns || stride % kMicro != 0) {
    return Status::kInvalidValue;
  }
  if (rows == 0) return Status::kOk;
  const auto kernel =
      with_tiled_edge(edge, [](auto tag) { return add_panel_kernel<decltype(tag)::value>; });
  Launches launches("weighted_degree", device, stream);
  launches.kernel(kernel, ceil_divide(rows, kPanel) * ceil_divide(columns, kPanel), kTileThreads,
                  sizeof(TileSumMemory<float>), Panel{products, rows, columns, stride, first}, n,
                  fixed_point_scale(n), nonfinite, sums);
  return launches.status();
}

Status launch_degree_finish(unsigned long long* sums, unsigned long long* nonfinite, int64_t n,
                            float* degree, int device, void* stream) {
  if (n == 0) return Status::kOk;
  Launches launches("weighted_degree", device, stream);
  GraphTable<float> table = table_of(GraphRows<float>{
      nullptr, 1, n, 0, fixed_point_scale(n), degree, nullptr, nullptr, nonfinite, sums, nullptr});
  enqueue_degree_finish(launches, table);
  return launches.status();
}

}  // namespace hubprune::cuda
