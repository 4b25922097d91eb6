// SPDX-License-Identifier: MIT
// Hopper's own instructions (compute capability 9.0, target sm_90a): barriers in shared memory that
// count bytes, clusters of blocks, the bulk tensor copy (TMA) and the warpgroup's matrix product
// (wgmma).
// Source: PTX ISA 8.0 and later. No symbol of libcuda: the one driver function that is needed comes
// through the runtime.
#pragma once

#include <cuda.h>  // types only
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/sm90_layout.h"

namespace hubprune::cuda::sm90 {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- barriers ---

__device__ __forceinline__ void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

// At the barrier that block `rank` of the cluster has at the same place. Orders no loads and stores
// of this block for the other: a warpgroup's products, once waited for, have read their operands.
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}

__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// All threads of the cluster's blocks meet; what they did to shared memory before is done.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;\n" ::
          : "memory");
}

// --- the copy engine ---

// The box at (feature, row) of the map's matrix goes to `target`; rows outside arrive as zeros.
__device__ __forceinline__ void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier,
                                         int feature, int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(target)),
      "l"(map), "r"(shared_address(barrier)), "r"(feature), "r"(row)
      : "memory");
}

// ... to the same place in every block of the cluster whose rank is a bit of `ranks`; the barrier
// at the same place there counts its bytes.
__device__ __forceinline__ void copy_box(void* target, const CUtensorMap* map, uint64_t* barrier,
                                         int feature, int row, unsigned ranks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(target)),
      "l"(map), "r"(shared_address(barrier)), "r"(feature), "r"(row),
      "h"(static_cast<uint16_t>(ranks))
      : "memory");
}

// --- the matrix product ---

__device__ __forceinline__ void multiply_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void multiply_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void multiply_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

// Keeps the compiler from moving reads of the sums before the wait that precedes this.
template <int kValues>
__device__ __forceinline__ void settle(float (&sums)[kValues]) {
#pragma unroll
  for (int v = 0; v < kValues; ++v) asm volatile("" : "+f"(sums[v])::"memory");
}

#define HUBPRUNE_FOUR(v) "+f"(sums[v]), "+f"(sums[v + 1]), "+f"(sums[v + 2]), "+f"(sums[v + 3])
#define HUBPRUNE_SIXTEEN(v) \
  HUBPRUNE_FOUR(v), HUBPRUNE_FOUR(v + 4), HUBPRUNE_FOUR(v + 8), HUBPRUNE_FOUR(v + 12)

// sums (64 x 128, float32) = a (64 x 16) b' (128 x 16), bfloat16, added to themselves if `add`.
__device__ __forceinline__ void multiply(float (&sums)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, add, 1, 1, 0, 0;\n"
      "}\n"
      : HUBPRUNE_SIXTEEN(0), HUBPRUNE_SIXTEEN(16), HUBPRUNE_SIXTEEN(32), HUBPRUNE_SIXTEEN(48)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// ... of 64 x 256, b (256 x 16).
__device__ __forceinline__ void multiply(float (&sums)[128], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
      "%127}, "
      "%128, %129, add, 1, 1, 0, 0;\n"
      "}\n"
      : HUBPRUNE_SIXTEEN(0), HUBPRUNE_SIXTEEN(16), HUBPRUNE_SIXTEEN(32), HUBPRUNE_SIXTEEN(48),
        HUBPRUNE_SIXTEEN(64), HUBPRUNE_SIXTEEN(80), HUBPRUNE_SIXTEEN(96), HUBPRUNE_SIXTEEN(112)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

#undef HUBPRUNE_SIXTEEN
#undef HUBPRUNE_FOUR

// --- registers of a warpgroup ---

template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace hubprune::cuda::sm90
