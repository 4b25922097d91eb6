// SPDX-License-Identifier: MIT
// Weighted degree of long rows on Hopper's matrix units, fused: no n x n matrix exists.
//
//   degree_i = sum_{j != i} f(clamp(s_ij)),   s = sum over plane pairs of planes_a planes_b'
//
// Shapes: planes (n, count, pitch) bfloat16 (weighted_degree_panels.cu) -> sums (n), fixed point.
// Bound: n^2 d / 2 multiply-adds in bfloat16 for each of 1, 3 or 6 plane pairs: 128 x 128 tiles of
// the upper triangle; one copying warp feeds a ring of four stages, two warpgroups multiply 64 x
// 128 each. Persistent blocks take the tiles in a fixed order, neighbours sharing their columns in
// L2. Numerics: bfloat16 in, float32 sums of 4096 features in the matrix unit, smallest plane pairs
// first, these sums added in float32 outside it; weights as in fragment_sums.cuh: the same bits on
// every run and for every grid.
// Never run on a device yet (docs/gpu-status.md): selected on request only.
// Twin: hubprune.reference.weighted_degree.
#include <climits>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "cuda/bfloat16_split.h"
#include "cuda/fragment_sums.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/sm90.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kMultiplyGroups = 2;  // of 64 rows each
constexpr int kTensorThreads = (1 + kMultiplyGroups) * kWarpgroup;
constexpr int kOperandValues = kTensorTile * kTensorDepth;
constexpr uint32_t kStageBytes = 2 * kOperandValues * sizeof(uint16_t);
constexpr int kOperandAlignment = 1024;  // where the swizzle's pattern repeats

struct TensorMemory {
  uint16_t rows[kTensorStages][kOperandValues];
  uint16_t columns[kTensorStages][kOperandValues];
  uint64_t full[kTensorStages];   // the copies of a stage have arrived
  uint64_t empty[kTensorStages];  // every multiplying warp has read a stage
};
constexpr size_t kTensorBytes = sizeof(TensorMemory) + kOperandAlignment;

// A place in the ring, walked alike by the copying and the multiplying threads.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kTensorStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// One thread: copies every stage of every tile of this block, as fast as the ring empties.
__device__ __forceinline__ void copy_tiles(const CUtensorMap& map, TensorMemory& shared,
                                           int64_t tiles, int planes, int pitch) {
  RingPlace place;
  for (int64_t work = block_index(); work < tiles; work += grid_blocks()) {
    const TileIndex tile = triangular_index(work);
    const int row = static_cast<int>(tile.row) * kTensorTile;
    const int column = static_cast<int>(tile.column) * kTensorTile;
    for (int index = 0; index < plane_pair_count(planes); ++index) {
      const PlanePair pair = plane_pair(planes, index);
      for (int k = 0; k < pitch; k += kTensorDepth) {
        sm90::barrier_wait(&shared.empty[place.stage], place.parity ^ 1);
        sm90::barrier_expect(&shared.full[place.stage], kStageBytes);
        sm90::copy_box(shared.rows[place.stage], &map, &shared.full[place.stage],
                       pair.left * pitch + k, row);
        sm90::copy_box(shared.columns[place.stage], &map, &shared.full[place.stage],
                       pair.right * pitch + k, column);
        place.advance();
      }
    }
  }
}

// A warpgroup: 64 rows of every tile of this block.
template <Edge kEdge>
__device__ __forceinline__ void multiply_tiles(TensorMemory& shared, int group, int64_t tiles,
                                               int64_t n, int stages, double scale,
                                               unsigned long long* __restrict__ sums) {
  const int thread = thread_index() % kWarpgroup;
  const bool first_lane = thread % kWarp == 0;
  RingPlace place;
  for (int64_t work = block_index(); work < tiles; work += grid_blocks()) {
    const TileIndex tile = triangular_index(work);
    float total[kTensorValues];
#pragma unroll
    for (int v = 0; v < kTensorValues; ++v) total[v] = 0.0f;

    for (int first = 0; first < stages; first += kTensorPromote) {
      const int end = first + kTensorPromote < stages ? first + kTensorPromote : stages;
      float part[kTensorValues];
      int previous = 0;
      for (int stage = first; stage < end; ++stage) {
        sm90::barrier_wait(&shared.full[place.stage], place.parity);
        const uint32_t a =
            sm90::shared_address(shared.rows[place.stage]) +
            static_cast<uint32_t>(group * kTensorTile / kMultiplyGroups * kTensorDepth * 2);
        const uint32_t b = sm90::shared_address(shared.columns[place.stage]);
        sm90::multiply_begin();
#pragma unroll
        for (int k = 0; k < kTensorDepth; k += kTensorStep) {
          sm90::multiply(part, operand_descriptor(a + static_cast<uint32_t>(k) * 2),
                         operand_descriptor(b + static_cast<uint32_t>(k) * 2),
                         stage > first || k > 0);
        }
        sm90::multiply_commit();
        if (stage > first) {
          sm90::multiply_wait<1>();  // all but this stage's
          if (first_lane) sm90::barrier_arrive(&shared.empty[previous]);
        }
        previous = place.stage;
        place.advance();
      }
      sm90::multiply_wait<0>();
      if (first_lane) sm90::barrier_arrive(&shared.empty[previous]);
      sm90::settle(part);
#pragma unroll
      for (int v = 0; v < kTensorValues; ++v) total[v] += part[v];
    }
    add_fragment_sums<kEdge>(total, thread, tile.row == tile.column,
                             tile.row * kTensorTile + group * kTensorTile / kMultiplyGroups,
                             tile.column * kTensorTile, n, scale, sums);
  }
}

// Adds to sums (n), zeroed before.
template <Edge kEdge>
__global__ void __launch_bounds__(kTensorThreads, 1)
    weighted_degree_sm90_kernel(const __grid_constant__ CUtensorMap map, int64_t n, int planes,
                                int pitch, double scale,
                                const unsigned long long* __restrict__ nonfinite,
                                unsigned long long* __restrict__ sums) {
  unsigned char* memory = block_bytes();
  const uint32_t start = sm90::shared_address(memory);
  auto& shared = *reinterpret_cast<TensorMemory*>(
      memory + (kOperandAlignment - start % kOperandAlignment) % kOperandAlignment);
  if (*nonfinite) return;  // every degree is NaN whatever the sums hold
  if (thread_index() == 0) {
    for (int stage = 0; stage < kTensorStages; ++stage) {
      sm90::barrier_init(&shared.full[stage], 1);
      sm90::barrier_init(&shared.empty[stage], kMultiplyGroups * kWarpgroup / kWarp);
    }
    sm90::barrier_init_done();
  }
  __syncthreads();

  const int64_t tiles = triangular_count(ceil_divide(n, kTensorTile));
  const int group = thread_index() / kWarpgroup;
  if (group == 0) {
    sm90::give_registers<40>();
    if (thread_index() == 0) copy_tiles(map, shared, tiles, planes, pitch);
  } else {
    sm90::take_registers<232>();
    const int stages = plane_pair_count(planes) * (pitch / kTensorDepth);
    multiply_tiles<kEdge>(shared, group - 1, tiles, n, stages, scale, sums);
  }
}

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                 const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                 const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's function, asked of the runtime: linking it would tie the library to libcuda.
cudaError_t find_encode(EncodeTiled* encode) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess) return error;
  *encode = reinterpret_cast<EncodeTiled>(function);
  return found == cudaDriverEntryPointSuccess && function ? cudaSuccess : cudaErrorNotSupported;
}

// Boxes of 128 rows and 64 features of planes (n, width), 16-byte chunks swizzled over 128 bytes.
cudaError_t encode_planes(const uint16_t* planes, int64_t n, int64_t width, CUtensorMap* map) {
  EncodeTiled encode = nullptr;
  const cudaError_t error = find_encode(&encode);
  if (error != cudaSuccess) return error;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(n)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(width) * sizeof(uint16_t)};
  const cuuint32_t box[2] = {kTensorDepth, kTensorTile};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint16_t*>(planes), sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

bool sm90_available(int device) {
  int major = 0;
  int minor = 0;
  const bool asked =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  if (!asked) cudaGetLastError();
  return asked && major == 9 && minor == 0;
}

Status launch_sm90_degree(const uint16_t* planes, int count, int64_t n, int64_t pitch, Edge edge,
                          const unsigned long long* nonfinite, unsigned long long* sums, int device,
                          void* stream) {
  if (count < 1 || count > kMostPlanes || pitch % kTensorDepth != 0 || count * pitch > INT_MAX ||
      n > INT_MAX - kTensorTile || edge == Edge::kSigned || edge == Edge::kShifted ||
      !sm90_available(device)) {
    return Status::kInvalidValue;
  }
  if (n < 2 || pitch == 0) return Status::kOk;  // no weight but 0
  const auto kernel = edge == Edge::kAbs        ? weighted_degree_sm90_kernel<Edge::kAbs>
                      : edge == Edge::kPositive ? weighted_degree_sm90_kernel<Edge::kPositive>
                                                : weighted_degree_sm90_kernel<Edge::kSquared>;
  Launches launches("weighted_degree_sm90", device, stream);
  CUtensorMap map;
  int processors = 1;
  launches.check(encode_planes(planes, n, count * pitch, &map));
  launches.check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
  launches.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(kTensorBytes)));
  const int64_t tiles = triangular_count(ceil_divide(n, kTensorTile));
  launches.kernel(kernel, tiles < processors ? tiles : processors, kTensorThreads, kTensorBytes,
                  map, n, count, pitch, fixed_point_scale(n), nonfinite, sums);
  return launches.status();
}

}  // namespace hubprune::cuda
