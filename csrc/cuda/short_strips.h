// SPDX-License-Identifier: MIT
// How the upper triangle (diagonal included) of a square of tiles is cut into strips: parts of a
// column, which short_degree.cuh walks one to a block.
#pragma once

#include <cstdint>

#include "core/host_device.h"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {

constexpr int kMostStripShift = 6;  // strips of 64 tiles: their ends are then 1 % of the work
constexpr int64_t kLeastStripSide = 64;

// Strips have 2^shift tiles: one while a side has few tiles, so that small layers fill the device,
// later a 32nd of the side, so that 1000 strips or more can be dealt out evenly.
HUBPRUNE_SHARED int strip_shift(int64_t side) {
  int shift = 0;
  while (shift < kMostStripShift && side >= kLeastStripSide << shift) ++shift;
  return shift;
}

// Column j has tiles 0 .. j: the 2^shift columns of group j >> shift have as many strips each, one
// more than the group's number.
HUBPRUNE_SHARED int64_t strip_count(int64_t side) {
  const int shift = strip_shift(side);
  const int64_t groups = side >> shift;
  return (triangular_count(groups) << shift) + (side - (groups << shift)) * (groups + 1);
}

struct Strip {
  int column;
  int first;  // tiles first .. end - 1 of the column
  int end;
};

// For at most 2^30 tiles a side. Strips of a column follow one another: blocks that run at the
// same time then have different rows, to whose sums they add.
HUBPRUNE_SHARED Strip strip_at(int64_t index, int64_t side) {
  const int shift = strip_shift(side);
  const int64_t group = triangular_index(index >> shift).column;
  const auto within = static_cast<uint32_t>(index - (triangular_count(group) << shift));
  const auto strips = static_cast<uint32_t>(group + 1);
  const int column = static_cast<int>((group << shift) + within / strips);
  const int first = static_cast<int>(within % strips << shift);
  const int end = first + (1 << shift);
  return {column, first, end <= column ? end : column + 1};
}

}  // namespace hubprune::cuda
