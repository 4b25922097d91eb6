// SPDX-License-Identifier: MIT
// The products of a piece of a tile (sm90_schedule.h) on Hopper's units: one thread copies the
// planes of its rows and columns into a ring in shared memory, two warpgroups multiply them. Of the
// columns each of the cluster's two blocks copies half, for both.
//
//   total = sum over plane pairs of planes_a planes_b', 64 x 128 or 64 x 256 a warpgroup, in
//   registers
//
// Bound: the matrix unit, or shared memory, by an estimate. A stage of 64 features takes 1024
// cycles of the matrix unit for one plane (wide tiles), 1536 or 3072 for 2 or 3 (narrow ones), in
// which a block moves 128, 208 or 384 KB to and from its shared memory: 1024, 1664 or 3072 cycles
// at 128 bytes each. Of the L2 cache it reads 32, 48 or 72 KB: 132 multiprocessors 4224, 4224 or
// 3168 bytes a cycle; Hopper's L2 is not published, an A100's gives 5120. Numerics: sums of
// promoted_stages() stages in the matrix unit, which truncates; these are added in float32, to
// nearest. Wide tiles add up all in the matrix unit.
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
constexpr int kOperandAlignment = 1024;  // where the swizzle's pattern repeats

// A plane of the features of a stage, of the tile's rows and of its columns.
template <int kColumns>
struct PlaneOperands {
  uint16_t rows[kTensorTile * kTensorDepth];
  uint16_t columns[kColumns * kTensorDepth];
};

template <int kColumns>
struct TensorMemory {
  static constexpr int kSlots = tensor_slots(kColumns);
  PlaneOperands<kColumns> slots[kSlots];  // stage s of `planes`: from slot s * planes on
  uint64_t full[kSlots];                  // the copies of a stage have arrived
  uint64_t empty[kSlots];                 // every multiplying warp of the cluster has read a slot
};

template <int kColumns>
constexpr size_t tensor_bytes() {
  constexpr size_t kBytes = sizeof(TensorMemory<kColumns>) + kOperandAlignment;
  static_assert(kBytes <= 227 * 1024, "shared memory of a block");
  return kBytes;
}

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

// How the copy engine sees the planes (n, planes, pitch): in boxes of a tile's rows, and of a
// block's share of its columns.
struct PlaneMaps {
  CUtensorMap rows;
  CUtensorMap columns;
};

// One thread of the block of that rank: copies the stages of a piece of the tile at (row, column),
// as fast as the cluster's rings empty. `stages`: tensor_stages(kColumns, planes), a division that
// a stage should not wait for.
template <int kColumns>
__device__ __forceinline__ void copy_piece(const PlaneMaps& maps, TensorMemory<kColumns>& shared,
                                           const TensorPiece& piece, int row, int column, int rank,
                                           int planes, int stages, int pitch, RingPlace& place) {
  constexpr unsigned kBoth = (1u << kClusterBlocks) - 1;
  const int share = rank * column_share(kColumns);
  const int end = piece.end * kTensorDepth;
  for (int k = piece.first * kTensorDepth; k < end; k += kTensorDepth) {
    uint64_t* full = &shared.full[place.stage];
    for (int plane = planes - 1; plane >= 0; --plane) {  // as they are read for the last time
      const int at = place.stage * planes + plane;
      PlaneOperands<kColumns>& slot = shared.slots[at];
      const int feature = plane * pitch + k;
      sm90::barrier_wait(&shared.empty[at], place.parity ^ 1);
      if (plane == planes - 1) {
        sm90::barrier_expect(full, static_cast<uint32_t>(planes) * sizeof(slot));
      }
      sm90::copy_box(slot.rows, &maps.rows, full, feature, row);
      sm90::copy_box(slot.columns + share * kTensorDepth, &maps.columns, full, feature,
                     column + share, kBoth);
    }
    place.advance(stages);
  }
}

// Starts the products of the pairs of planes (left, kSum - left) of a stage, whose operands begin
// at the shared addresses `rows` and `columns`; `sums` are added to, or replaced. The pairs are
// constants: ptxas closes a group of products after every turn of a loop that it does not unroll.
template <int kColumns, int kSum, int kLeft = 0>
__device__ __forceinline__ void multiply_pairs(uint32_t rows, uint32_t columns, bool add,
                                               float (&sums)[tensor_values(kColumns)]) {
  if constexpr (kLeft <= kSum) {
    constexpr uint32_t kPlaneBytes = sizeof(PlaneOperands<kColumns>);
    const uint64_t a = operand_descriptor(rows + kLeft * kPlaneBytes);
    const uint64_t b = operand_descriptor(columns + (kSum - kLeft) * kPlaneBytes);
#pragma unroll
    for (int k = 0; k < kTensorDepth; k += kTensorStep) {
      const uint64_t along = descriptor_step(k);
      sm90::multiply(sums, a + along, b + along, add || kLeft > 0 || k > 0);
    }
    multiply_pairs<kColumns, kSum, kLeft + 1>(rows, columns, add, sums);
  }
}

// A warp: tells both blocks that it has read a slot, the half of its columns that came from the
// other block too.
template <int kColumns>
__device__ __forceinline__ void release_slot(TensorMemory<kColumns>& shared, int slot) {
  const int lane = thread_index() % kWarp;
  if (lane < kClusterBlocks) sm90::barrier_arrive(&shared.empty[slot], lane);
}

// A warpgroup: the products of a stage, the smallest first, from slot `first` on. They form a group
// for every sum of the planes' numbers: when that is done, no later product needs the plane of that
// number, whose slot is `busy` until the next group has begun.
template <int kPlanes, int kColumns, int kSum = kPlanes - 1>
__device__ __forceinline__ void multiply_stage(TensorMemory<kColumns>& shared, int first,
                                               uint32_t rows, uint32_t columns, bool add, int& busy,
                                               float (&sums)[tensor_values(kColumns)]) {
  if constexpr (kSum >= 0) {
    const bool begun = add || kSum < kPlanes - 1;
    sm90::multiply_begin();
    multiply_pairs<kColumns, kSum>(rows, columns, begun, sums);
    sm90::multiply_commit();
    if (begun) {
      sm90::multiply_wait<1>();  // all but this group
      release_slot(shared, busy);
    }
    busy = first + kSum;
    multiply_stage<kPlanes, kColumns, kSum - 1>(shared, first, rows, columns, add, busy, sums);
  }
}

// A warpgroup: 64 rows. `sums` = the next stages, added up in the matrix unit.
template <int kPlanes, int kColumns>
__device__ __forceinline__ void multiply_stages(TensorMemory<kColumns>& shared, int group,
                                                int stages, RingPlace& place,
                                                float (&sums)[tensor_values(kColumns)]) {
  const int first_value = group * kTensorTile / kMultiplyGroups * kTensorDepth;
  int busy = 0;
  int stage = 0;
#pragma unroll 1
  do {  // there is one
    const int first = place.stage * kPlanes;
    const PlaneOperands<kColumns>& slot = shared.slots[first];
    sm90::barrier_wait(&shared.full[place.stage], place.parity);
    multiply_stage<kPlanes>(shared, first, sm90::shared_address(slot.rows + first_value),
                            sm90::shared_address(slot.columns), stage > 0, busy, sums);
    place.advance(tensor_stages(kColumns, kPlanes));
  } while (++stage < stages);
  sm90::multiply_wait<0>();
  release_slot(shared, busy);
  sm90::settle(sums);
}

// A warpgroup: 64 rows of a piece. `total` = the sums of its stages.
template <int kPlanes, int kColumns>
__device__ __forceinline__ void multiply_piece(TensorMemory<kColumns>& shared, int group,
                                               int stages, RingPlace& place,
                                               float (&total)[tensor_values(kColumns)]) {
  if constexpr (kColumns == kWide) {
    multiply_stages<kPlanes>(shared, group, stages, place, total);
  } else {
    constexpr int kPromoted = promoted_stages(kPlanes);
#pragma unroll
    for (float& sum : total) sum = 0.0f;
    for (int first = 0; first < stages; first += kPromoted) {
      // A single stage has to be known as such: its sums are replaced, never added to.
      const int left = stages - first;
      const int count = kPromoted == 1 ? 1 : left < kPromoted ? left : kPromoted;
      float part[tensor_values(kColumns)];
      // While one warpgroup adds, the other multiplies: with two and three planes 64 additions a
      // thread to every 48 or 24 matrix instructions of 64 cycles.
      multiply_stages<kPlanes>(shared, group, count, place, part);
#pragma unroll
      for (int v = 0; v < tensor_values(kColumns); ++v) total[v] += part[v];
    }
  }
}

}  // namespace hubprune::cuda
