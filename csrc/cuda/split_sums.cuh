// SPDX-License-Identifier: MIT
// Puts the products of a tile together that several blocks have computed pieces of.
//
// Every block leaves its sums in a slot and counts itself; the one that counts last adds all slots
// up in the order of their features, its own among them: the same bits whoever comes last. Each
// warp does so for its own 16 x 128 products; nobody waits.
// Bound: bytes, 64 or 128 KB a block and piece written and read, most of it in L2.
// Numerics: float32 sums of float32 sums, as between stages.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/sm90_layout.h"
#include "cuda/sm90_schedule.h"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kSlotThreads = 256;  // the multiplying ones of a block
constexpr int kSlotWarps = kSlotThreads / kWarp;

// slots (2 parts, kClusterBlocks, values a thread, kSlotThreads), arrivals (cut tiles,
// kClusterBlocks, kSlotWarps), zeroed before.
struct SplitTiles {
  float* slots;
  unsigned* arrivals;
};

// Called by whole warps of the block of that rank, `thread` counts its multiplying threads. True
// for the warp that is the last of its tile: `sums` then hold all of the tile's stages.
template <int kValues>
__device__ __forceinline__ bool put_together(float (&sums)[kValues], int thread, int rank,
                                             const TensorSchedule& schedule,
                                             const TensorPiece& piece, const SplitTiles& split) {
  constexpr int64_t kSlotValues = static_cast<int64_t>(kValues) * kSlotThreads;
  float* ranked = split.slots + rank * kSlotValues + thread;
  float* own = ranked + piece.slot * kClusterBlocks * kSlotValues;
#pragma unroll
  for (int v = 0; v < kValues; ++v) own[v * kSlotThreads] = sums[v];
  __threadfence();
  __syncwarp();

  const int64_t cut = piece.tile - schedule.whole;
  const int first = part_of(schedule, cut * schedule.stages);
  const int last = part_of(schedule, (cut + 1) * schedule.stages - 1);
  unsigned before = 0;
  if (thread % kWarp == 0) {
    __threadfence();  // after the lanes have met: what the count releases is the stores of all
    before =
        atomicAdd(split.arrivals + (cut * kClusterBlocks + rank) * kSlotWarps + thread / kWarp, 1u);
  }
  before = __shfl_sync(kFullWarp, before, 0);
  if (before != static_cast<unsigned>(last - first)) return false;
  __threadfence();
  __syncwarp();  // passes on what the counting lane's fence has acquired: a shuffle orders no
                 // memory

#pragma unroll
  for (int v = 0; v < kValues; ++v) sums[v] = 0.0f;
  for (int part = first; part <= last; ++part) {
    const float* slot =
        ranked + piece_slot(schedule, part, piece.tile) * kClusterBlocks * kSlotValues;
#pragma unroll
    for (int v = 0; v < kValues; ++v) sums[v] += __ldcg(slot + v * kSlotThreads);
  }
  return true;
}

}  // namespace hubprune::cuda
