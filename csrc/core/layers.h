// SPDX-License-Identifier: MIT
// What the grouped operations work on: the layers of a model, each by its memory and its sizes.
#pragma once

#include <cstdint>

namespace hubprune {

// weight (n, c, p) -> vectors (n, p), norms (n): Euclidean, or if `spectral` operator norms
struct WeightLayer {
  const void* weight;
  int64_t n;
  int64_t c;
  int64_t p;
  void* vectors;
  double* norms;
  bool spectral;
};

// rows (batch, n, d) -> degree (batch, n): `batch` graphs of n filters each
struct GraphLayer {
  const void* rows;
  int64_t batch;
  int64_t n;
  int64_t d;
  void* degree;
};

// How closely a similarity follows float32: kMedium allows bfloat16 inputs.
enum class Precision : int { kHighest = 0, kHigh = 1, kMedium = 2 };
constexpr int kPrecisionCount = 3;

}  // namespace hubprune
