// SPDX-License-Identifier: MIT
// Stands in for csrc/cuda/block_bytes.cuh: each block of a cluster has its own shared memory.
#pragma once

#include "emulator.h"

namespace hubprune::cuda {

inline unsigned char* block_bytes() { return ::emulator::block_memory(); }

}  // namespace hubprune::cuda
