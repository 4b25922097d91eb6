// SPDX-License-Identifier: MIT
// Hopper's units under the emulator: barriers that count bytes, the bulk tensor copy and the
// warpgroup's matrix product, as the PTX manual describes them. Copies land late and in any order;
// products deliver their sums no sooner than they are waited for, and truncate them, as a warp's
// own do. What is reported:
//   barrier  one that was not initialised, or whose initialisation nobody can know of yet
//   copy     a map or a target that the engine refuses; a box that overwrites what a copy or a
//            product still uses, or that lands where nobody waits for it
//   product  an operand that no wait has made readable, a wrong descriptor, a missing fence,
//            warps of a warpgroup that do not issue the same products
//   cluster  the shared memory of a block that has left, or never was
// Knowledge travels as on a device: with arrivals, completed phases, __syncthreads and the
// cluster's barrier only (a vector clock for each warp).
#pragma once

#include <cstdint>

#include "cuda.h"

namespace emulator::hopper {

// Addresses of shared memory as the 32 bits a kernel sees; where the block's starts depends on the
// seed, and only multiples of 16 bytes are promised.
uint32_t shared_address(const void* pointer);

void barrier_init(uint64_t* barrier, int arrivals);
void barrier_init_done();
void barrier_expect(uint64_t* barrier, uint32_t bytes);
void barrier_arrive(uint64_t* barrier, int rank);  // at the same place in that block
void barrier_wait(uint64_t* barrier, uint32_t parity);

void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier, int feature, int row);
// ... to the same place in every block whose rank is a bit of `ranks`, and their barriers.
void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier, int feature, int row,
              unsigned ranks);

// All lanes of a warp call these together; `line` tells the places of a source apart.
void multiply_begin(int line);
void multiply(float* sums, int columns, uint64_t a, uint64_t b, bool add, int line);
void multiply_commit(int line);
void multiply_wait(int left, int line);
// The product of one warp (mma.sync), which has its sums at once.
void warp_multiply(float* sums, const uint32_t* a, const uint32_t* b, bool add, int line);
void set_registers(int count, bool take, int line);

// What the scheduler calls.
void start_cluster(int threads, uint64_t seed);
void synchronised(int first, int end);  // these threads met at a barrier
bool advance(uint64_t random);          // lets a copy land; false: none is under way
void end_cluster();

}  // namespace emulator::hopper
