// SPDX-License-Identifier: MIT
// Copies from device to shared memory that run beside the arithmetic and take no registers
// (cp.async, compute capability 8.0). tests/emulator/cuda has the emulator's version.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace hubprune::cuda {

// kBytes (4, 8 or 16) of them, aligned to that, or as many zeros where `valid` is false: `source`
// is not read then. They are there once the thread has waited, for other threads after a barrier
// too.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* source, bool valid) {
  const auto target = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {  // the others pass through the first-level cache
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source),
                 "r"(valid ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(source),
                 "n"(kBytes), "r"(valid ? kBytes : 0)
                 : "memory");
  }
}

__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// The thread's copies since the last call become a group, an empty one where there are none.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits for all groups but the last kGroups of them, and for no copy outside a group.
template <int kGroups>
__device__ __forceinline__ void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

}  // namespace hubprune::cuda
