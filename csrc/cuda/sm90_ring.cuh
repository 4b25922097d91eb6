// SPDX-License-Identifier: MIT
// The products of a piece of a tile (sm90_schedule.h) on Hopper's units: one thread copies the
// planes of its rows and columns into a ring in shared memory, two warpgroups multiply them.
//
//   total = sum over plane pairs of planes_a planes_b', 64 x 128 a warpgroup, in registers
//
// Bound: the matrix unit or the L2 cache, by the number of planes: a stage of 64 features is 32 KB
// of L2 a plane, and 512, 1536 or 3072 cycles of the matrix unit for 1, 2 or 3 planes. One plane is
// probably bound by the L2: the matrix units of 132 multiprocessors at full rate would read 8448
// bytes a cycle (5632 and 4224 with 2 and 3 planes), 64 operations a byte, where an A100's L2 gives
// 5120 and Hopper's is not published. Clusters of 2 x 2 or 4 x 4 tiles with multicast would halve
// or quarter that.
// Numerics: sums of promoted_stages() stages in the matrix unit, which truncates; these are added
// in float32, to nearest.
#pragma once

#include <cstdint>

#include "cuda/bfloat16_split.h"
#include "cuda/launch.cuh"
#include "cuda/sm90.cuh"
#include "cuda/sm90_layout.h"
#include "cuda/sm90_schedule.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kWarpgroup = 128;
constexpr int kMultiplyGroups = 2;  // of 64 rows each
constexpr int kTensorThreads = (1 + kMultiplyGroups) * kWarpgroup;
constexpr int kOperandValues = kTensorTile * kTensorDepth;
constexpr int kOperandAlignment = 1024;  // where the swizzle's pattern repeats

// A plane of the features of a stage, of the tile's rows and of its columns.
struct PlaneOperands {
  uint16_t rows[kOperandValues];
  uint16_t columns[kOperandValues];
};

struct TensorMemory {
  PlaneOperands slots[kTensorSlots];  // stage s of `planes`: from slot s * planes on
  uint64_t full[kTensorSlots];        // the copies of a stage have arrived
  uint64_t empty[kTensorSlots];       // every multiplying warp has read a stage
};
constexpr size_t kTensorBytes = sizeof(TensorMemory) + kOperandAlignment;
static_assert(kTensorBytes <= 227 * 1024, "shared memory of a block");

// A place in the ring, walked alike by the copying and the multiplying threads.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance(int stages) {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// One thread: copies the stages of a piece of the tile at (row, column), as fast as the ring
// empties. `map`: planes (n, planes, pitch); `stages`: tensor_stages(planes), a division that a
// stage should not wait for.
__device__ __forceinline__ void copy_piece(const CUtensorMap& map, TensorMemory& shared,
                                           const TensorPiece& piece, int row, int column,
                                           int planes, int stages, int pitch, RingPlace& place) {
  const int end = static_cast<int>(piece.end) * kTensorDepth;
  for (int k = static_cast<int>(piece.first) * kTensorDepth; k < end; k += kTensorDepth) {
    uint64_t* full = &shared.full[place.stage];
    PlaneOperands* slot = &shared.slots[place.stage * planes];
    sm90::barrier_wait(&shared.empty[place.stage], place.parity ^ 1);
    sm90::barrier_expect(full, static_cast<uint32_t>(planes) * sizeof(PlaneOperands));
    for (int plane = 0; plane < planes; ++plane, ++slot) {
      sm90::copy_box(slot->rows, &map, full, plane * pitch + k, row);
      sm90::copy_box(slot->columns, &map, full, plane * pitch + k, column);
    }
    place.advance(stages);
  }
}

// Starts the products of the plane pairs from kIndex on of a stage, whose operands begin at the
// shared addresses `rows` and `columns`; `part` is added to, or replaced. The pairs are constants:
// ptxas closes a group of products after every turn of a loop that it does not unroll.
template <int kPlanes, int kIndex = 0>
__device__ __forceinline__ void multiply_pairs(uint32_t rows, uint32_t columns, bool add,
                                               float (&part)[kTensorValues]) {
  if constexpr (kIndex < plane_pair_count(kPlanes)) {
    constexpr PlanePair kPair = plane_pair(kPlanes, kIndex);
    const uint32_t a = rows + kPair.left * sizeof(PlaneOperands);
    const uint32_t b = columns + kPair.right * sizeof(PlaneOperands);
#pragma unroll
    for (int k = 0; k < kTensorDepth; k += kTensorStep) {
      const auto along = static_cast<uint32_t>(k) * 2;
      sm90::multiply(part, operand_descriptor(a + along), operand_descriptor(b + along),
                     add || kIndex > 0 || k > 0);
    }
    multiply_pairs<kPlanes, kIndex + 1>(rows, columns, add, part);
  }
}

// A warpgroup: 64 rows of a piece. `total` = the sums of its stages.
template <int kPlanes>
__device__ __forceinline__ void multiply_piece(TensorMemory& shared, int group, int stages,
                                               RingPlace& place, float (&total)[kTensorValues]) {
  constexpr int kPromoted = promoted_stages(kPlanes);
  const bool first_lane = thread_index() % kWarp == 0;
  const int first_value = group * kTensorTile / kMultiplyGroups * kTensorDepth;
#pragma unroll
  for (int v = 0; v < kTensorValues; ++v) total[v] = 0.0f;
  for (int first = 0; first < stages; first += kPromoted) {
    const int end = first + kPromoted < stages ? first + kPromoted : stages;
    float part[kTensorValues];
    int previous = 0;
    for (int stage = first; stage < end; ++stage) {
      sm90::barrier_wait(&shared.full[place.stage], place.parity);
      const PlaneOperands& slot = shared.slots[place.stage * kPlanes];
      const bool add = kPromoted > 1 && stage > first;
      sm90::multiply_begin();
      multiply_pairs<kPlanes>(sm90::shared_address(slot.rows + first_value),
                              sm90::shared_address(slot.columns), add, part);
      sm90::multiply_commit();
      if (add) {
        sm90::multiply_wait<1>();  // all but this stage's
        if (first_lane) sm90::barrier_arrive(&shared.empty[previous]);
      }
      previous = place.stage;
      place.advance(tensor_stages(kPlanes));
    }
    // While one warpgroup adds, the other multiplies: with two and three planes 64 additions a
    // thread to every 48 or 24 matrix instructions of 64 cycles.
    sm90::multiply_wait<0>();
    if (first_lane) sm90::barrier_arrive(&shared.empty[previous]);
    sm90::settle(part);
#pragma unroll
    for (int v = 0; v < kTensorValues; ++v) total[v] += part[v];
  }
}

}  // namespace hubprune::cuda
