// SPDX-License-Identifier: MIT
// Stands in for csrc/cuda/async_copy.cuh, whose functions are instructions.
#pragma once

#include "emulator.h"

namespace hubprune::cuda {

template <int kBytes>
void copy_async(void* shared, const void* source, bool valid) {
  ::emulator::copy_async(shared, source, kBytes, valid);
}
inline void wait_for_copies() { ::emulator::wait_for_copies(); }
inline void commit_copies() { ::emulator::commit_copies(); }
template <int kGroups>
void wait_for_groups() {
  ::emulator::wait_for_groups(kGroups);
}

}  // namespace hubprune::cuda
