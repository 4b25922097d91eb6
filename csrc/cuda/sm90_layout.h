// SPDX-License-Identifier: MIT
// Where things are in weighted_degree_sm90.cu, in functions that run on any machine: the operand's
// descriptor, and which entry of a product a thread's register holds.
// Source: PTX ISA 8.0 and later, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace hubprune::cuda {

constexpr int kTensorTile = 128;  // rows of a block's tile
constexpr int kNarrow = 128;      // columns of a tile
constexpr int kWide = 256;        // ... with one plane
constexpr int kTensorDepth = 64;  // features staged at once: 128 bytes, the swizzle's row
constexpr int kTensorStep = 16;   // features of one matrix instruction

// The two blocks of a cluster have tiles of the same columns, one below the other: each copies half
// of the columns for both.
constexpr int kClusterBlocks = 2;
constexpr int kSquare = kClusterBlocks * kTensorTile;  // rows and columns, of one tile or two
constexpr HUBPRUNE_SHARED int column_share(int columns) { return columns / kClusterBlocks; }

// Float registers a thread of a warpgroup holds of 64 rows.
constexpr HUBPRUNE_SHARED int tensor_values(int columns) { return columns / 2; }

// The ring between the copies and the products holds the operands of 6 planes (32 KB each), or of 4
// of wide tiles (48 KB).
constexpr HUBPRUNE_SHARED int tensor_slots(int columns) { return columns == kWide ? 4 : 6; }

// A stage is all planes of kTensorDepth features: 4 wide ones, or 6, 3 or 2.
constexpr HUBPRUNE_SHARED int tensor_stages(int columns, int planes) {
  return tensor_slots(columns) / planes;
}

// For the same products wide tiles move four fifths of the bytes through shared memory and two
// thirds through the cache, but their sums leave no registers for others: all features are added up
// inside the matrix unit. 65 536 make up to 2.4e-4 of a sum, where one plane keeps 1e-3 in any
// case.
constexpr int64_t kWideFeatures = 65536;

constexpr HUBPRUNE_SHARED int tile_columns(int planes, int64_t features) {
  return planes == 1 && features <= kWideFeatures ? kWide : kNarrow;
}

// Stages of narrow tiles that are added up inside the matrix unit. It truncates its float32 sums
// after every instruction, so that they fall short by up to 2^-24 of themselves each time. With
// three planes the products of the largest are the last four instructions of a stage, and no other
// is added to them: 1.4e-7 of a degree of 4300 features, where two stages are 6e-7 and 64 are 2e-5.
// Two planes reach 2e-6 with four stages; one plane keeps 1e-3 in any case.
constexpr HUBPRUNE_SHARED int promoted_stages(int planes) {
  return planes == 1 ? 64 : planes == 2 ? 4 : 1;
}

// Row (0 to 63) and column (0 to 255) of register `value` of a thread (0 to 127) of a warpgroup:
// each warp holds 16 rows; a quad of lanes holds 8 neighbouring columns of one row, two a lane.
HUBPRUNE_SHARED int fragment_row(int thread, int value) {
  return thread / 32 * 16 + thread % 32 / 4 + value / 2 % 2 * 8;
}
HUBPRUNE_SHARED int fragment_column(int thread, int value) {
  return value / 4 * 8 + thread % 4 * 2 + value % 2;
}

// Descriptor of an operand in shared memory: rows of 128 bytes, features side by side, in groups of
// 8 rows (1024 bytes apart), 16-byte chunks swizzled over the row's 128 bytes. `address` is the
// shared address of its first feature; the tile itself starts at a multiple of 1024.
HUBPRUNE_SHARED uint64_t operand_descriptor(uint32_t address) {
  const uint64_t start = (address & 0x3ffffu) >> 4;
  const uint64_t leading = 1;             // not used by this layout
  const uint64_t group = (8 * 128) >> 4;  // bytes between groups of 8 rows
  const uint64_t swizzle_128_bytes = 1;
  return start | leading << 16 | group << 32 | swizzle_128_bytes << 62;
}

// What `features` further along its rows adds to an operand's descriptor.
constexpr HUBPRUNE_SHARED uint64_t descriptor_step(int features) {
  return static_cast<uint64_t>(features) * 2 >> 4;
}

// Where the copy engine puts byte `byte` (0 to 127) of row `row` of a tile: the 16-byte chunk
// number is combined with the row's number in its group of 8.
HUBPRUNE_SHARED int swizzled_offset(int row, int byte) {
  return row * 128 + ((byte / 16) ^ (row % 8)) * 16 + byte % 16;
}

}  // namespace hubprune::cuda
