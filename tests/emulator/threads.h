// SPDX-License-Identifier: MIT
// What the units beside the threads (hopper.cpp) ask of the emulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace emulator {

// Records the first failure and leaves the kernel for good.
[[gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

int current_thread_number();  // within its block
uint32_t barriers_passed();   // __syncthreads of this block so far

// The block's dynamic shared memory; `bytes` of it belong to the launch.
unsigned char* shared_start();
size_t shared_bytes();

// A read of device memory by the current thread, checked as its own reads are.
void check_read(const void* address, size_t bytes);

// Suspends the current thread until `ready`.
void wait_until(std::function<bool()> ready);

}  // namespace emulator
