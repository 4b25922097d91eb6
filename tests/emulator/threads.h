// SPDX-License-Identifier: MIT
// What the units beside the threads (hopper.cpp) ask of the emulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace emulator {

// Records the first failure and leaves the kernel for good.
[[gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

int current_thread_number();  // counted over the blocks of its cluster
int threads_of_block();
int cluster_size();                  // blocks
int current_rank();                  // of the current thread's block in its cluster
bool has_left(int rank);             // whether no thread of that block is left
uint32_t barriers_passed();          // by the current block so far, its cluster's included
uint32_t cluster_barriers_passed();  // by all blocks of the cluster

// A block's dynamic shared memory; `shared_bytes` of it belong to the launch.
unsigned char* shared_start(int rank);
size_t shared_bytes();

// A read of device memory by the current thread, checked as its own reads are.
void check_read(const void* address, size_t bytes);

// Suspends the current thread until `ready`.
void wait_until(std::function<bool()> ready);

}  // namespace emulator
