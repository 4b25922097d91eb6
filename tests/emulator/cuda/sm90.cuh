// SPDX-License-Identifier: MIT
// Stands in for csrc/cuda/sm90.cuh, whose functions are instructions of Hopper: the same names,
// done by hopper.cpp.
#pragma once

#include <cstdint>

#include "cuda.h"
#include "cuda/sm90_layout.h"
#include "cuda_runtime.h"
#include "hopper.h"

namespace hubprune::cuda::sm90 {

namespace unit = ::emulator::hopper;

inline uint32_t shared_address(const void* pointer) { return unit::shared_address(pointer); }
inline void barrier_init(uint64_t* barrier, int arrivals) { unit::barrier_init(barrier, arrivals); }
inline void barrier_init_done() { unit::barrier_init_done(); }
inline void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  unit::barrier_expect(barrier, bytes);
}
inline void barrier_arrive(uint64_t* barrier, int rank) { unit::barrier_arrive(barrier, rank); }
inline void cluster_barrier() { ::emulator::cluster_barrier(); }
inline void barrier_wait(uint64_t* barrier, uint32_t parity) {
  unit::barrier_wait(barrier, parity);
}
inline void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier, int feature,
                     int row) {
  unit::copy_box(target, map, barrier, feature, row);
}
inline void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier, int feature, int row,
                     unsigned ranks) {
  unit::copy_box(target, map, barrier, feature, row, ranks);
}

inline void multiply_begin(int line = __builtin_LINE()) { unit::multiply_begin(line); }
inline void multiply_commit(int line = __builtin_LINE()) { unit::multiply_commit(line); }
template <int kLeft>
void multiply_wait(int line = __builtin_LINE()) {
  unit::multiply_wait(kLeft, line);
}
template <int kValues>
void settle(float (&)[kValues]) {}
template <int kValues>
void multiply(float (&sums)[kValues], uint64_t a, uint64_t b, bool add,
              int line = __builtin_LINE()) {
  unit::multiply(sums, 2 * kValues, a, b, add, line);
}
template <int kRegisters>
void give_registers(int line = __builtin_LINE()) {
  unit::set_registers(kRegisters, false, line);
}
template <int kRegisters>
void take_registers(int line = __builtin_LINE()) {
  unit::set_registers(kRegisters, true, line);
}

}  // namespace hubprune::cuda::sm90
