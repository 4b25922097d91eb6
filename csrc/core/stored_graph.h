// SPDX-License-Identifier: MIT
// When an operation that reads the whole graph again and again stores it.
#pragma once

#include <cstdint>

namespace hubprune {

// On the CPU, and for greedy orders on CUDA: beyond it the weights are computed again.
constexpr int64_t kStoredGraphBytes = int64_t(1) << 30;

template <class T>
constexpr bool graph_is_stored(int64_t n) {
  return n * n * static_cast<int64_t>(sizeof(T)) <= kStoredGraphBytes;
}

}  // namespace hubprune
