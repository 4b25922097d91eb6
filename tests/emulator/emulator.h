// SPDX-License-Identifier: MIT
// CUDA thread blocks on a CPU, for tests: every thread of a block is a fiber, one block (or one
// cluster of blocks) runs at a time, and every load and store of a kernel is checked.
//
// Kernels are compiled unmodified by g++ (cuda_runtime.h beside this file stands in for NVIDIA's)
// with -fsanitize=thread. That makes the compiler call __tsan_read4(address), ... before each
// memory access; emulator.cpp supplies those functions and no sanitizer library is linked.
// What it reports, as compute-sanitizer would on a device:
//   memory   access outside every buffer, into another thread's stack, or misaligned
//   race     two threads touch the same word, one writes, and neither a barrier nor, from block to
//            block, fences and an atomic operation lie between
//   init     a word is read that nothing has written
//   sync     divergent __syncthreads, wrong shuffle masks, threads that left before a barrier
// and, of Hopper's own units, what hopper.h lists;
// undefined behaviour too, which the compiler turns into traps
// (-fsanitize-undefined-trap-on-error). Blocks and threads run in a seeded random order, which
// makes order-dependent results differ.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

constexpr size_t kMostSharedBytes = 227 * 1024;  // of a block that opts in
constexpr int kMostClusterBlocks = 2;            // 8 on a device: nothing here asks for more

// The driver's function of this name, null for one that is not emulated (hopper.cpp).
void* driver_function(const char* name);

struct Extent {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

struct Kernel {
  Extent grid;
  Extent block;
  unsigned cluster;  // blocks along x that run together; 1: none do
  size_t shared_bytes;
  size_t most_shared_bytes;  // what the kernel has opted in to
  void (*entry)(void* arguments);
  void* arguments;  // readable by the kernel, as parameters are
  size_t argument_bytes;
};

// 0, or the number of the CUDA error that the runtime would answer with.
int run(const Kernel& kernel);
int fill(void* memory, int value, size_t bytes);

// What a kernel calls; `line` tells the places of a source apart.
unsigned char* block_memory();  // the block's dynamic shared memory
void barrier(int line);
void cluster_barrier();  // of all threads of the cluster's blocks
void warp_barrier(unsigned mask, int line);
void fence();  // __threadfence
uint64_t shuffle(unsigned mask, uint64_t value, int source_lane, int line);
unsigned ballot(unsigned mask, bool value, int line);
// A copy to shared memory beside the threads (cp.async), of zeros where `valid` is false. Until the
// thread has waited, its target counts as unwritten: for all its copies, or for those of the groups
// before the last `groups` that it committed.
void copy_async(void* shared, const void* source, size_t bytes, bool valid);
void wait_for_copies();
void commit_copies();
void wait_for_groups(uint64_t groups);
// The two halves of an atomic operation; nothing runs between them.
void atomic_load(const void* address, void* value, size_t bytes);
void atomic_store(void* address, const void* value, size_t bytes);

// The pretended machine.
struct Machine {
  int devices = 2;
  int device = 0;  // current
  int last_error = 0;
  int most_blocks = 2147483647;  // gridDim.x limit
  int capability = 90;           // major and minor digit
  int processors = 132;
  uint64_t seed = 0;       // 0: ascending order
  uint64_t kernels = 0;    // launched so far
  int kernel_device = -1;  // device of the last one
};
extern Machine machine;

}  // namespace emulator
