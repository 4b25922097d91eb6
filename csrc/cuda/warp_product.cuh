// SPDX-License-Identifier: MIT
// A warp's product on the matrix unit (mma.sync, bfloat16, compute capability 8.0).
// tests/emulator/cuda has the emulator's version.
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace hubprune::cuda {

// sums (16 x 8, float32) = a (16 x 16) b (16 x 8), added to themselves if `add`, a constant. Lane
// 4 g + t holds entries 2 t and 2 t + 1 of rows g (sums 0 and 1) and g + 8; a: of row g, row g + 8,
// then the same 8 columns further on; b: of column g, then 8 rows further down.
__device__ __forceinline__ void warp_multiply(float (&sums)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2], bool add) {
  if (add) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {  // registers that are set to zero first would take four more instructions
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));
  }
}

}  // namespace hubprune::cuda
