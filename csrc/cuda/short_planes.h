// SPDX-License-Identifier: MIT
// Where the bfloat16 planes of short unit rows lie for weighted_degree_mma.cu.
//
// The products of all plane pairs of two rows are one product of longer rows: entry i of such a row
// is feature i % d of a plane of pair i / d, the left one for one side and the right one for the
// other; zeros fill the last step of 16.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "cuda/bfloat16_split.h"

namespace hubprune::cuda {

constexpr int kStepEntries = 16;           // of a row, that one instruction takes
constexpr int kStepWords = 2;              // of two entries, that a lane holds of them
constexpr int kRowWords = 4 * kStepWords;  // ... its four lanes
constexpr int kMostSteps = 12;             // 32 features in three planes

// Steps of a row, of the numbers that there are kernels for; 0 if it is too long for all of them.
HUBPRUNE_SHARED int row_steps(int planes, int64_t d) {
  const int64_t needed = (plane_pair_count(planes) * d + kStepEntries - 1) / kStepEntries;
  if (needed > kMostSteps) return 0;
  return needed > 8 ? kMostSteps : needed > 4 ? 8 : needed > 2 ? 4 : needed > 1 ? 2 : 1;
}

// The first of the two neighbouring entries of a lane's word: what the instruction's fragments ask
// for (warp_product.cuh).
HUBPRUNE_SHARED int word_entry(int lane, int word) {
  return word / kStepWords * kStepEntries + word % kStepWords * 8 + 2 * lane;
}

// Words of a lane that lie side by side, and are loaded at once.
constexpr HUBPRUNE_SHARED int words_at_once(int steps) { return steps == 1 ? 2 : 4; }

// Where a word of a row lies on the side whose rows pass through shared memory: rows one after
// another. The lanes that read together, 16 bytes each of two rows or 8 of four, find 128 bytes in
// different banks.
HUBPRUNE_SHARED int64_t passing_place(int steps, int64_t row, int lane, int word) {
  const int size = words_at_once(steps);
  const int pieces = steps * kStepWords / size;  // of a lane
  int piece = lane * pieces + word / size;
  if (pieces % 2 == 0) piece ^= static_cast<int>(row & 1);
  if (pieces % 4 == 0) piece ^= lane & 2;
  return row * steps * kRowWords + piece * size + word % size;
}

// ... on the side that is kept in registers, the instruction's 16 rows: the four words of a lane
// lie side by side, in the order of its registers.
constexpr int kKeptRows = 16;
HUBPRUNE_SHARED int64_t kept_place(int steps, int64_t row, int lane, int word) {
  const int64_t step = row / kKeptRows * steps + word / kStepWords;
  const auto within = static_cast<int>(row % kKeptRows);
  return (step * 32 + within % 8 * 4 + lane) * 4 + word % kStepWords * 2 + within / 8;
}

}  // namespace hubprune::cuda
