// SPDX-License-Identifier: MIT
// The end of weighted_degree_sm90.cu under the emulator, which has no matrix unit: products
// computed elsewhere, put into registers as the unit would.
#include "core/fixed_point.h"
#include "cuda/fragment_sums.cuh"
#include "cuda/launch.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {
namespace {

constexpr int kWarpgroup = 128;

// products (side, side), side = n rounded up to 128. One block of two warpgroups per upper tile.
template <Edge kEdge>
__global__ void fragment_kernel(const float* products, int64_t n, double scale,
                                unsigned long long* sums) {
  const int64_t side = ceil_divide(n, kTensorTile) * kTensorTile;
  const int thread = thread_index() % kWarpgroup;
  const int group = thread_index() / kWarpgroup;
  const int64_t tiles = triangular_count(side / kTensorTile);
  for (int64_t work = block_index(); work < tiles; work += grid_blocks()) {
    const TileIndex tile = triangular_index(work);
    const int64_t row = tile.row * kTensorTile + group * kTensorTile / 2;
    const int64_t column = tile.column * kTensorTile;
    float values[kTensorValues];
    for (int v = 0; v < kTensorValues; ++v) {
      values[v] =
          products[(row + fragment_row(thread, v)) * side + column + fragment_column(thread, v)];
    }
    add_fragment_sums<kEdge>(values, thread, tile.row == tile.column, row, column, n, scale, sums);
  }
}

}  // namespace
}  // namespace hubprune::cuda

extern "C" int emulated_fragment_sums(const float* products, int64_t n, int edge,
                                      unsigned long long* sums) {
  using namespace hubprune;
  const int64_t tiles = cuda::triangular_count(cuda::ceil_divide(n, cuda::kTensorTile));
  const auto kernel = edge == static_cast<int>(Edge::kAbs) ? cuda::fragment_kernel<Edge::kAbs>
                      : edge == static_cast<int>(Edge::kPositive)
                          ? cuda::fragment_kernel<Edge::kPositive>
                          : cuda::fragment_kernel<Edge::kSquared>;
  cuda::Launches launches("fragment_sums", 0, nullptr);
  launches.kernel(kernel, tiles, 2 * cuda::kWarpgroup, 0, products, n, fixed_point_scale(n), sums);
  return static_cast<int>(launches.status());
}
