// SPDX-License-Identifier: MIT
// Stands in for csrc/cuda/warp_product.cuh, whose function is an instruction.
#pragma once

#include <cstdint>

#include "hopper.h"

namespace hubprune::cuda {

inline void warp_multiply(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          bool add, int line = __builtin_LINE()) {
  ::emulator::hopper::warp_multiply(sums, a, b, add, line);
}

}  // namespace hubprune::cuda
