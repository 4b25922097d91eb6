// SPDX-License-Identifier: MIT
// Sums of edge weights that do not depend on the order of their terms.
//
// Every edge weight lies in [-1, 1], so a sum over n filters fits a 64-bit integer scaled by a
// power of two. Integer addition is associative: the degree has the same bits whatever the number
// of threads, the tile schedule or the order of the atomic additions on a GPU.
// Resolution: 2^-(61 - ceil(log2 n)), that is 2^-50 (8.9e-16) at n = 2048 and 2^-41 at n = 10^6.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace hubprune {

// The largest power of two that keeps n terms of magnitude <= 1, each rounded, at or below 2^61.
HUBPRUNE_SHARED double fixed_point_scale(int64_t n) {
  int bits = 0;
  while ((int64_t(1) << bits) < n) ++bits;
  return static_cast<double>(int64_t(1) << (61 - bits));
}

// Adding and subtracting 1.5 * 2^52 would be faster, but is wrong above 2^51: the scale leaves
// more bits than that. Rounding half away from zero is symmetric, so f(-s) sums to -f(s).
HUBPRUNE_SHARED int64_t to_fixed_point(double value, double scale) {
  const double scaled = value * scale;
  return static_cast<int64_t>(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

HUBPRUNE_SHARED double from_fixed_point(int64_t sum, double scale) {
  return static_cast<double>(sum) / scale;
}

}  // namespace hubprune
