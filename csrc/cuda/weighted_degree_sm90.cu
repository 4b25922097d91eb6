// SPDX-License-Identifier: MIT
// Weighted degree of long rows on Hopper's matrix units, fused: no n x n matrix exists.
//
//   degree_i = sum_{j != i} f(clamp(s_ij)),   s = sum over plane pairs of planes_a planes_b'
//
// Shapes: planes (n, count, pitch) bfloat16 (weighted_degree_panels.cu) -> sums (n), fixed point.
// Bound: n^2 d / 2 multiply-adds in bfloat16 for each of 1, 3 or 6 plane pairs: 128 x 128 tiles of
// the upper triangle; one copying warp feeds a ring of stages, two warpgroups multiply 64 x 128
// each. A stage is 64 features of all planes, which are read once for all pairs: 32 KB of the L2
// cache a plane. Persistent blocks share the stages of all tiles out evenly (sm90_schedule.h).
// Numerics: bfloat16 in, smallest plane pairs first; float32 sums of 64 to 4096 features in the
// matrix unit, which truncates (promoted_stages in sm90_layout.h); these sums added in float32
// outside it, to nearest; weights as in fragment_sums.cuh: the same bits on every run and for every
// grid on devices of as many processors.
// Never run on a device yet (docs/gpu-status.md): selected on request only.
// Twin: hubprune.reference.weighted_degree.
#include <climits>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/bfloat16_split.h"
#include "cuda/fragment_sums.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/sm90.cuh"
#include "cuda/sm90_ring.cuh"
#include "cuda/sm90_schedule.h"
#include "cuda/split_sums.cuh"
#include "cuda/tensor_map.cuh"

namespace hubprune::cuda {
namespace {

// Registers a thread: a block starts with as many for each as the file holds, and the warpgroups
// share out these, not the file.
constexpr int kLaunchRegisters = 65536 / kTensorThreads / 8 * 8;
constexpr int kCopyRegisters = 56;  // less does not hold a walk over the pieces
constexpr int kMultiplyRegisters = 224;
static_assert(kCopyRegisters + kMultiplyGroups * kMultiplyRegisters <=
                  (1 + kMultiplyGroups) * kLaunchRegisters,
              "registers of a block");

// One thread: every piece of this block.
__device__ __forceinline__ void copy_pieces(const CUtensorMap& map, TensorMemory& shared,
                                            const TensorSchedule& schedule, int64_t side,
                                            int planes, int pitch) {
  const int stages = tensor_stages(planes);
  RingPlace place;
  PieceWalk walk = first_piece(block_index(), grid_blocks());
  for (TensorPiece piece; next_piece(schedule, walk, piece);) {
    const TileIndex tile = banded_index(piece.tile, side);
    copy_piece(map, shared, piece, static_cast<int>(tile.row) * kTensorTile,
               static_cast<int>(tile.column) * kTensorTile, planes, stages, pitch, place);
  }
}

// A warpgroup: 64 rows of every piece of this block.
template <Edge kEdge>
__device__ __forceinline__ void add_pieces(TensorMemory& shared, int group,
                                           const TensorSchedule& schedule, const SplitTiles& split,
                                           int64_t n, int planes, double scale,
                                           unsigned long long* __restrict__ sums) {
  const int thread = thread_index() % kWarpgroup;
  RingPlace place;
  PieceWalk walk = first_piece(block_index(), grid_blocks());
  for (TensorPiece piece; next_piece(schedule, walk, piece);) {
    float total[kTensorValues];
    const int stages = static_cast<int>(piece.end - piece.first);
    if (planes == 1) {
      multiply_piece<1>(shared, group, stages, place, total);
    } else if (planes == 2) {
      multiply_piece<2>(shared, group, stages, place, total);
    } else {
      multiply_piece<3>(shared, group, stages, place, total);
    }
    if (piece.slot != kWholeTile &&
        !put_together(total, group * kWarpgroup + thread, schedule, piece, split)) {
      continue;  // another block adds the tile
    }
    const TileIndex tile = banded_index(piece.tile, ceil_divide(n, kTensorTile));
    add_fragment_sums<kEdge>(total, thread, tile.row == tile.column,
                             tile.row * kTensorTile + group * kTensorTile / kMultiplyGroups,
                             tile.column * kTensorTile, n, scale, sums);
  }
}

// Adds to sums (n), zeroed before.
template <Edge kEdge>
__global__ void __launch_bounds__(kTensorThreads, 1)
    weighted_degree_sm90_kernel(const __grid_constant__ CUtensorMap map,
                                const __grid_constant__ TensorSchedule schedule,
                                const SplitTiles split, int64_t n, int planes, int pitch,
                                double scale, const unsigned long long* __restrict__ nonfinite,
                                unsigned long long* __restrict__ sums) {
  unsigned char* memory = block_bytes();
  const uint32_t start = sm90::shared_address(memory);
  auto& shared = *reinterpret_cast<TensorMemory*>(
      memory + (kOperandAlignment - start % kOperandAlignment) % kOperandAlignment);
  if (*nonfinite) return;  // every degree is NaN whatever the sums hold
  if (thread_index() == 0) {
    for (int stage = 0; stage < tensor_stages(planes); ++stage) {
      sm90::barrier_init(&shared.full[stage], 1);
      sm90::barrier_init(&shared.empty[stage], kMultiplyGroups * kWarpgroup / kWarp);
    }
    sm90::barrier_init_done();
  }
  __syncthreads();

  const int group = thread_index() / kWarpgroup;
  if (group == 0) {
    sm90::give_registers<kCopyRegisters>();
    if (thread_index() == 0) {
      copy_pieces(map, shared, schedule, ceil_divide(n, kTensorTile), planes, pitch);
    }
  } else {
    sm90::take_registers<kMultiplyRegisters>();
    add_pieces<kEdge>(shared, group - 1, schedule, split, n, planes, scale, sums);
  }
}

int64_t processors_of(int device) {
  int processors = 1;
  if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    cudaGetLastError();  // the launch will meet the same error, and report it
  }
  return processors;
}

struct DegreeScratch {
  TensorSchedule schedule;
  SplitTiles split;
  int64_t arrivals;
  int64_t bytes;

  DegreeScratch(void* memory, int count, int64_t n, int64_t pitch, int64_t processors)
      : schedule(tensor_schedule(triangular_count(ceil_divide(n, kTensorTile)),
                                 pitch / kTensorDepth, plane_pair_count(count), processors)) {
    Scratch pieces(memory);
    arrivals = (schedule.tiles - schedule.whole) * kSlotWarps;
    split.arrivals = pieces.take<unsigned>(arrivals);
    split.slots = pieces.take<float>(2 * schedule.parts * kSlotValues);
    bytes = pieces.bytes();
  }
};

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

int64_t sm90_degree_scratch_bytes(int count, int64_t n, int64_t pitch, int device) {
  return DegreeScratch(nullptr, count, n, pitch, processors_of(device)).bytes;
}

Status launch_sm90_degree(const uint16_t* planes, int count, int64_t n, int64_t pitch, Edge edge,
                          const unsigned long long* nonfinite, unsigned long long* sums,
                          void* scratch_memory, int device, void* stream) {
  if (count < 1 || count > kMostPlanes || pitch % kTensorDepth != 0 || count * pitch > INT_MAX ||
      n > INT_MAX - kTensorTile || edge == Edge::kSigned || edge == Edge::kShifted ||
      !sm90_available(device)) {
    return Status::kInvalidValue;
  }
  if (n < 2 || pitch == 0) return Status::kOk;  // no weight but 0
  const auto kernel = with_tiled_edge(
      edge, [](auto tag) { return weighted_degree_sm90_kernel<decltype(tag)::value>; });
  const int64_t processors = processors_of(device);
  const DegreeScratch scratch(scratch_memory, count, n, pitch, processors);
  const TensorSchedule& schedule = scratch.schedule;
  Launches launches("weighted_degree_sm90", device, stream);
  launches.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(kTensorBytes)));
  launches.zero(scratch.split.arrivals, scratch.arrivals * static_cast<int64_t>(sizeof(unsigned)));
  // After calls of the runtime, which make its context the thread's: this one is the driver's.
  CUtensorMap map;
  launches.check(encode_planes(planes, n, count * pitch, &map));
  launches.kernel(kernel, busy_blocks(schedule, processors), kTensorThreads, kTensorBytes, map,
                  schedule, scratch.split, n, count, pitch, fixed_point_scale(n), nonfinite, sums);
  return launches.status();
}

}  // namespace hubprune::cuda
