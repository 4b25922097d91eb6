// SPDX-License-Identifier: MIT
// Weighted degree of long rows on Hopper's matrix units, fused: no n x n matrix exists.
//
//   degree_i = sum_{j != i} f(clamp(s_ij)),   s = sum over plane pairs of planes_a planes_b'
//
// Shapes: planes (n, count, pitch) bfloat16 (weighted_degree_panels.cu) -> sums (n), fixed point.
// Bound: n^2 d / 2 multiply-adds in bfloat16 for each of 1, 3 or 6 plane pairs: squares of 256 x
// 256 along the upper triangle, 128 x 256 (one plane) or 128 x 128 at a time by each of the two
// blocks of a cluster, which share their columns; one copying warp feeds a ring of stages, two
// warpgroups multiply 64 rows each. A stage is 64 features of all planes, which are read once for
// all pairs: 32 or 24 KB of the L2 cache a plane. Persistent clusters share the stages of all tiles
// out evenly (sm90_schedule.h). Numerics: bfloat16 in, smallest plane pairs first; float32 sums of
// 64, 256 or, with one plane, up to 65 536 features in the matrix unit, which truncates
// (sm90_layout.h); these sums added in float32 outside it, to nearest; weights as in
// fragment_sums.cuh: the same bits on every run and for every grid on devices of as many
// processors. Never run on a device yet (docs/gpu-status.md): selected on request only. Twin:
// hubprune.reference.weighted_degree.
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
constexpr int kBlockRegisters = (1 + kMultiplyGroups) * kLaunchRegisters;
// Less does not hold the sums of a wide tile, or a walk over the pieces.
template <int kColumns>
constexpr int kMultiplyRegisters = kColumns == kWide ? 224 : 216;
template <int kColumns>
constexpr int kCopyRegisters = kBlockRegisters - kMultiplyGroups * kMultiplyRegisters<kColumns>;

__device__ __forceinline__ int cluster_rank() {
  return static_cast<int>(block_index() % kClusterBlocks);
}

__device__ __forceinline__ PieceWalk first_piece_here() {
  return first_piece(static_cast<int>(block_index() / kClusterBlocks),
                     static_cast<int>(grid_blocks() / kClusterBlocks));
}

// One thread: every piece of this block.
template <int kColumns>
__device__ __forceinline__ void copy_pieces(const PlaneMaps& maps, TensorMemory<kColumns>& shared,
                                            const TensorSchedule& schedule, int n, int planes,
                                            int pitch) {
  const int stages = tensor_stages(kColumns, planes);
  const int64_t side = ceil_divide(n, kSquare);
  const int rank = cluster_rank();
  RingPlace place;
  PieceWalk walk = first_piece_here();
  for (TensorPiece piece; next_piece(schedule, walk, piece);) {
    const TileOrigin tile = tile_origin(piece.tile, side, kColumns, rank);
    copy_piece(maps, shared, piece, tile.row, tile.column, rank, planes, stages, pitch, place);
  }
}

// A warpgroup: what its 64 rows of a tile add to the sums, kNarrow columns at a time.
template <Edge kEdge, int kFirst = 0, int kValues>
__device__ __forceinline__ void add_tile(const float (&total)[kValues], int thread, int group,
                                         const TileOrigin& tile, int n, double scale,
                                         unsigned long long* __restrict__ sums) {
  if constexpr (kFirst < kValues) {
    const int column = tile.column + kFirst / kFragmentValues * kNarrow;
    if (column >= tile.row) {
      add_fragment_sums<kEdge, kFirst>(total, thread, column == tile.row,
                                       tile.row + group * kTensorTile / kMultiplyGroups, column, n,
                                       scale, sums);
    }
    add_tile<kEdge, kFirst + kFragmentValues>(total, thread, group, tile, n, scale, sums);
  }
}

// A warpgroup: 64 rows of every piece of this block.
template <Edge kEdge, int kColumns>
__device__ __forceinline__ void add_pieces(TensorMemory<kColumns>& shared, int group,
                                           const TensorSchedule& schedule, const SplitTiles& split,
                                           int n, int planes, double scale,
                                           unsigned long long* __restrict__ sums) {
  const int thread = thread_index() % kWarpgroup;
  const int64_t side = ceil_divide(n, kSquare);
  const int rank = cluster_rank();
  RingPlace place;
  PieceWalk walk = first_piece_here();
  for (TensorPiece piece; next_piece(schedule, walk, piece);) {
    float total[tensor_values(kColumns)];
    const int stages = piece.end - piece.first;
    if (planes == 1) {
      multiply_piece<1>(shared, group, stages, place, total);
    } else if (planes == 2) {
      multiply_piece<2>(shared, group, stages, place, total);
    } else {
      multiply_piece<3>(shared, group, stages, place, total);
    }
    if (piece.slot != kWholeTile &&
        !put_together(total, group * kWarpgroup + thread, rank, schedule, piece, split)) {
      continue;  // another block adds the tile
    }
    add_tile<kEdge>(total, thread, group, tile_origin(piece.tile, side, kColumns, rank), n, scale,
                    sums);
  }
}

// Adds to sums (n), zeroed before. In clusters of kClusterBlocks blocks.
template <Edge kEdge, int kColumns>
__global__ void __launch_bounds__(kTensorThreads, 1)
    weighted_degree_sm90_kernel(const __grid_constant__ PlaneMaps maps,
                                const __grid_constant__ TensorSchedule schedule,
                                const SplitTiles split, int n, int count, int pitch, double scale,
                                const unsigned long long* __restrict__ nonfinite,
                                unsigned long long* __restrict__ sums) {
  unsigned char* memory = block_bytes();
  const uint32_t start = sm90::shared_address(memory);
  auto& shared = *reinterpret_cast<TensorMemory<kColumns>*>(
      memory + (kOperandAlignment - start % kOperandAlignment) % kOperandAlignment);
  if (*nonfinite) return;  // every degree is NaN whatever the sums hold
  const int planes = kColumns == kWide ? 1 : count;
  if (thread_index() == 0) {
    for (int slot = 0; slot < tensor_slots(kColumns); ++slot) {
      sm90::barrier_init(&shared.full[slot], 1);
      sm90::barrier_init(&shared.empty[slot],
                         kClusterBlocks * kMultiplyGroups * kWarpgroup / kWarp);
    }
    sm90::barrier_init_done();
  }
  sm90::cluster_barrier();

  const int group = thread_index() / kWarpgroup;
  if (group == 0) {
    sm90::give_registers<kCopyRegisters<kColumns>>();
    if (thread_index() == 0) {
      copy_pieces(maps, shared, schedule, n, planes, pitch);
    }
  } else {
    sm90::take_registers<kMultiplyRegisters<kColumns>>();
    add_pieces<kEdge>(shared, group - 1, schedule, split, n, planes, scale, sums);
  }
  sm90::cluster_barrier();  // until then the other block copies and counts in this one's memory
}

int clusters_of(int device) {
  int processors = 1;
  if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    cudaGetLastError();  // the launch will meet the same error, and report it
  }
  return processors < kClusterBlocks ? 1 : processors / kClusterBlocks;
}

struct DegreeScratch {
  int columns;  // of a tile
  TensorSchedule schedule;
  SplitTiles split;
  int64_t arrivals;
  int64_t bytes;

  DegreeScratch(void* memory, int count, int64_t n, int64_t pitch, int clusters)
      : columns(tile_columns(count, pitch)),
        schedule(tensor_schedule(triangular_count(ceil_divide(n, kSquare)) * (kSquare / columns),
                                 static_cast<int>(pitch / kTensorDepth), plane_pair_count(count),
                                 clusters)) {
    Scratch pieces(memory);
    arrivals = (schedule.tiles - schedule.whole) * kClusterBlocks * kSlotWarps;
    split.arrivals = pieces.take<unsigned>(arrivals);
    split.slots = pieces.take<float>(2 * schedule.parts * kClusterBlocks * kTensorTile * columns);
    bytes = pieces.bytes();
  }
};

template <int kColumns>
void launch_tiles(Launches& launches, const uint16_t* planes, int count, int64_t n, int64_t pitch,
                  Edge edge, const unsigned long long* nonfinite, unsigned long long* sums,
                  const DegreeScratch& scratch, int clusters) {
  const auto kernel = with_tiled_edge(
      edge, [](auto tag) { return weighted_degree_sm90_kernel<decltype(tag)::value, kColumns>; });
  constexpr size_t kBytes = tensor_bytes<kColumns>();
  launches.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(kBytes)));
  launches.zero(scratch.split.arrivals, scratch.arrivals * static_cast<int64_t>(sizeof(unsigned)));
  // After calls of the runtime, which make its context the thread's: this one is the driver's.
  PlaneMaps maps;
  launches.check(encode_planes(planes, n, count * pitch, kTensorTile, &maps.rows));
  launches.check(encode_planes(planes, n, count * pitch, column_share(kColumns), &maps.columns));
  launches.cluster_kernel(kernel, busy_clusters(scratch.schedule, clusters), kClusterBlocks,
                          kTensorThreads, kBytes, maps, scratch.schedule, scratch.split, n, count,
                          pitch, fixed_point_scale(n), nonfinite, sums);
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

int64_t sm90_degree_scratch_bytes(int count, int64_t n, int64_t pitch, int device) {
  if (count < 1 || count > kMostPlanes) return 0;  // the launch will refuse it
  return DegreeScratch(nullptr, count, n, pitch, clusters_of(device)).bytes;
}

Status launch_sm90_degree(const uint16_t* planes, int count, int64_t n, int64_t pitch, Edge edge,
                          const unsigned long long* nonfinite, unsigned long long* sums,
                          void* scratch_memory, int device, void* stream) {
  if (count < 1 || count > kMostPlanes || pitch % kTensorDepth != 0 || count * pitch > INT_MAX ||
      n > INT_MAX - kSquare || edge == Edge::kSigned || edge == Edge::kShifted ||
      !sm90_available(device)) {
    return Status::kInvalidValue;
  }
  if (n < 2 || pitch == 0) return Status::kOk;  // no weight but 0
  const int clusters = clusters_of(device);
  const DegreeScratch scratch(scratch_memory, count, n, pitch, clusters);
  Launches launches("weighted_degree_sm90", device, stream);
  const auto launch = scratch.columns == kWide ? launch_tiles<kWide> : launch_tiles<kNarrow>;
  launch(launches, planes, count, n, pitch, edge, nonfinite, sums, scratch, clusters);
  return launches.status();
}

}  // namespace hubprune::cuda
