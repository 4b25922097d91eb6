// SPDX-License-Identifier: MIT
// The weight of a pair in as few instructions as there are, for kernels that look for NaN
// elsewhere: those of short rows, and the sums of matrix units' products (fragment_sums.cuh).
#pragma once

#include <cmath>

#include "core/edge.h"

namespace hubprune::cuda {

// f(clamp(s)) of the edges with f(0) = 0, so that the padding adds nothing. A NaN may get lost: an
// item that has one is not computed.
template <Edge kEdge>
__device__ __forceinline__ float short_weight(float s) {
  static_assert(kEdge == Edge::kSquared || kEdge == Edge::kAbs || kEdge == Edge::kPositive, "");
  if constexpr (kEdge == Edge::kSquared) return fminf(fmaxf(s * s, 0.0f), 1.0f);
  if constexpr (kEdge == Edge::kAbs) return fminf(fabsf(s), 1.0f);
  return fminf(fmaxf(s, 0.0f), 1.0f);
}

}  // namespace hubprune::cuda
