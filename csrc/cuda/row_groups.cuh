// SPDX-License-Identifier: MIT
// Rows shared out among lanes: one lane reads a row of few features alone, a warp a long one.
//
// A lane requests kLoads values before it uses one, those behind the end of the row as zeros: there
// is no tail. How many lanes share a row depends on its length alone, and so do the order and the
// bits of its sums. Up to 12 features neighbouring lanes read 48 bytes apart or less, which the L1
// cache serves about as fast as memory can; longer rows of one lane each would keep it busy longer.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/launch.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

constexpr int kGroupThreads = 256;  // of a block that works by groups of lanes

// The values that a lane of a group has under way: 2048 rows of 18432 then keep 2.4 MB in flight,
// what an H200 reads in 0.55 us (4.3 TB/s), about its latency.
constexpr int kLoadsAhead = 8;
constexpr int kLoadsAlone = 12;
template <int kLanes>
constexpr int kGroupLoads = kLanes == 1 ? kLoadsAlone : kLoadsAhead;

// The binary logarithm of the lanes that share a row: 1, 4, 16 or a warp.
HUBPRUNE_SHARED int row_lanes_log2(int64_t d) {
  if (d <= kLoadsAlone) return 0;
  return d <= 4 * kLoadsAhead ? 2 : (d <= 16 * kLoadsAhead ? 4 : 5);
}

// Rows of a block, and the blocks for all of them.
HUBPRUNE_SHARED int64_t group_rows(int64_t d) { return kGroupThreads >> row_lanes_log2(d); }
HUBPRUNE_SHARED int64_t group_blocks(int64_t rows, int64_t d) {
  return ceil_divide(rows, group_rows(d));
}

// The row of a thread in one piece of group_blocks, and its place among the lanes that share it.
struct GroupRow {
  int64_t row;
  int lane;
};
__device__ __forceinline__ GroupRow group_row(int64_t d, int64_t work) {
  const int log2 = row_lanes_log2(d);
  return {work * group_rows(d) + (thread_index() >> log2), thread_index() & ((1 << log2) - 1)};
}

// What body returns, given the lanes of a row as a compile-time constant: the same one in a whole
// block.
template <class Body>
__device__ __forceinline__ double with_row_lanes(int64_t d, const Body& body) {
  const int log2 = row_lanes_log2(d);
  if (log2 == 0) return body(std::integral_constant<int, 1>());
  if (log2 == 2) return body(std::integral_constant<int, 4>());
  if (log2 == 4) return body(std::integral_constant<int, 16>());
  return body(std::integral_constant<int, kWarp>());
}

// Calls body(k) for the places of a row of d from which a lane takes its next kGroupLoads values,
// kLanes apart: one place where a warp has several rows.
template <int kLanes, class Body>
__device__ __forceinline__ void each_load(int lane, int64_t d, const Body& body) {
  if constexpr (kLanes < kWarp) {
    body(static_cast<int64_t>(lane));
  } else {
#pragma unroll 1
    for (int64_t k = lane; k < d; k += kLanes * kGroupLoads<kLanes>) body(k);
  }
}

// The values at k, k + kLanes, ... of a row of d; 0 behind its end.
template <int kLanes, class T>
__device__ __forceinline__ void load_apart(const T* __restrict__ row, int64_t k, int64_t d,
                                           T (&values)[kGroupLoads<kLanes>]) {
  constexpr int kReach = kLanes * kGroupLoads<kLanes>;
  const int left = d - k < kReach ? static_cast<int>(d - k) : kReach;
#pragma unroll
  for (int l = 0; l < kGroupLoads<kLanes>; ++l) {
    values[l] = l * kLanes < left ? row[k + l * kLanes] : T(0);
  }
}

}  // namespace hubprune::cuda
