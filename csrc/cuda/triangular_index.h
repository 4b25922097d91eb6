// SPDX-License-Identifier: MIT
// The upper triangle (diagonal included) of a square of tiles, walked by one number.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace hubprune::cuda {

struct TileIndex {
  int64_t row;
  int64_t column;  // >= row
};

HUBPRUNE_SHARED int64_t triangular_count(int64_t side) { return side * (side + 1) / 2; }

// index = column (column + 1) / 2 + row, row <= column. The square root only guesses: above 2^53
// it is off by a few, and integers decide. Exact for up to 2^31 tiles a side.
HUBPRUNE_SHARED TileIndex triangular_index(int64_t index) {
  int64_t column = static_cast<int64_t>((sqrt(8.0 * static_cast<double>(index) + 1.0) - 1.0) * 0.5);
  while (triangular_count(column) > index) --column;
  while (triangular_count(column + 1) <= index) ++column;
  return {index - triangular_count(column), column};
}

}  // namespace hubprune::cuda
