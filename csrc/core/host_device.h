// SPDX-License-Identifier: MIT
// One spelling for functions that the CPU kernels, the CUDA kernels and the tests share.
//
// Shared functions are `static`: csrc/cpu compiles every kernel once per instruction set, and a
// symbol with external linkage would be merged by the linker, so that a machine without AVX-512
// could end up running the AVX-512 copy.
#pragma once

#if defined(__CUDACC__)
#define HUBPRUNE_SHARED __host__ __device__ static inline
#else
#define HUBPRUNE_SHARED static inline
#endif
