// SPDX-License-Identifier: MIT
// Where the search for a leading eigenvector starts, the same on the CPU and on the GPU.
//
// Plain: ones. They are never orthogonal to the leading eigenspace of a non-negative graph, and are
// the start of the power iteration that others use. A signed graph can have them orthogonal (x and
// -x in pairs), so there the entries vary, by a fixed integer hash.
// Warm: a given vector and a share of the plain one, both of unit length. A given eigenvector of
// another eigenvalue would look converged at once: the share of the plain start makes its residual
// larger than the tolerance. Of a non-negative graph the leading vector has no negative entry, so
// magnitudes are as near to it, and nothing can cancel the share.
// No twin: the result of a search is the same from any start, but where the leading eigenvalue is
// degenerate.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/host_device.h"

namespace hubprune {

HUBPRUNE_SHARED double plain_start(int64_t i, bool negative_weights) {
  if (!negative_weights) return 1.0;
  uint64_t h = static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
  h = (h ^ (h >> 31)) * 0xBF58476D1CE4E5B9u;
  return 1.0 + (static_cast<double>(h >> 11) * 0x1p-53 - 0.5);
}

// The share of the plain start in a warm one: far above the tolerance, or an orthogonal start would
// converge before the share grows. At 1/128 the vector of a graph of 512 filters saves 1 to 3 of 5
// to 10 products after four of them are gone.
HUBPRUNE_SHARED double plain_share(double tol) {
  const double share = 64.0 * tol;
  return share < 1.0 / 128.0 ? 1.0 / 128.0 : (share > 1.0 ? 1.0 : share);
}

// `given` and `plain` are divided by their vectors' 2-norms already.
HUBPRUNE_SHARED double warm_start(double given, double plain, double share, bool negative_weights) {
  return (negative_weights ? given : fabs(given)) + share * plain;
}

}  // namespace hubprune
