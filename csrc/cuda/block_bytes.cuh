// SPDX-License-Identifier: MIT
// The block's shared memory. Apart from launch.cuh, as the emulator has another.
#pragma once

#include <cuda_runtime.h>

namespace hubprune::cuda {

// As many bytes as the launch passes. One dynamic block instead of static arrays: its size is then
// known to the launch, which the emulator checks.
__device__ __forceinline__ unsigned char* block_bytes() {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  return shared_memory;
}

}  // namespace hubprune::cuda
