// SPDX-License-Identifier: MIT
// How every launcher of this folder talks to the CUDA runtime: the device guard and the checked
// launch; the block's shared memory as a struct.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "core/host_device.h"
#include "core/status.h"
#include "cuda/block_bytes.cuh"

namespace hubprune::cuda {

// Keeps "operation: cudaErrorName: text" for last_error(), clears the runtime's own record, so
// that nobody else's check trips over it, and returns kCudaError (kOk for cudaSuccess).
Status report(cudaError_t error, const char* operation);

// The work one launcher call enqueues: on its device and stream, up to the first error.
class Launches {
 public:
  Launches(const char* operation, int device, void* stream)
      : operation_(operation), stream_(static_cast<cudaStream_t>(stream)) {
    error_ = cudaGetDevice(&previous_);
    if (error_ == cudaSuccess && previous_ != device) {
      error_ = cudaSetDevice(device);
      switched_ = error_ == cudaSuccess;
    }
    if (error_ == cudaSuccess) {
      error_ = cudaDeviceGetAttribute(&most_blocks_, cudaDevAttrMaxGridDimX, device);
    }
  }
  ~Launches() {
    if (switched_) cudaSetDevice(previous_);
  }
  Launches(const Launches&) = delete;
  Launches& operator=(const Launches&) = delete;

  void zero(void* memory, int64_t bytes) {
    if (error_ != cudaSuccess || bytes == 0) return;
    error_ = cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), stream_);
  }

  // Takes the answer to a call that a launch depends on.
  void check(cudaError_t error) {
    if (error_ == cudaSuccess) error_ = error;
  }

  // Asks for `blocks` blocks and gets at most what the device allows: every kernel here walks its
  // work in steps of gridDim.x.
  template <class... Parameters, class... Arguments>
  void kernel(void (*function)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
              Arguments... arguments) {
    if (error_ != cudaSuccess || blocks == 0) return;
    cudaLaunchConfig_t config = configuration(blocks, 1, threads, shared_bytes);
    error_ = cudaLaunchKernelEx(&config, function, static_cast<Parameters>(arguments)...);
  }

  // ... for `clusters` clusters of `size` blocks that run at the same time (compute capability 9.0
  // and later).
  template <class... Parameters, class... Arguments>
  void cluster_kernel(void (*function)(Parameters...), int64_t clusters, int size, int threads,
                      size_t shared_bytes, Arguments... arguments) {
    if (error_ != cudaSuccess || clusters == 0) return;
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {static_cast<unsigned>(size), 1, 1};
    cudaLaunchConfig_t config = configuration(clusters, size, threads, shared_bytes);
    config.attrs = &attribute;
    config.numAttrs = 1;
    error_ = cudaLaunchKernelEx(&config, function, static_cast<Parameters>(arguments)...);
  }

  Status status() const { return report(error_, operation_); }

 private:
  // `groups` times `size` blocks, or as many groups as the device allows.
  cudaLaunchConfig_t configuration(int64_t groups, int size, int threads,
                                   size_t shared_bytes) const {
    const int64_t most = most_blocks_ / size;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>((groups < most ? groups : most) * size));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    return config;
  }

  const char* operation_;
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
  int previous_ = 0;
  int most_blocks_ = 1;
  bool switched_ = false;
};

// The block's shared memory as a struct; the launch passes sizeof(Shared).
constexpr size_t kMaxSharedBytes = 48 * 1024;  // what every architecture gives without opting in

template <class Shared>
__device__ __forceinline__ Shared& block_memory() {
  static_assert(sizeof(Shared) <= kMaxSharedBytes, "shared memory of a block");
  static_assert(alignof(Shared) <= 16, "alignment of shared memory");
  return *reinterpret_cast<Shared*>(block_bytes());
}

// Blocks of 256 threads per multiprocessor that a float32 kernel near 80 registers a thread asks
// for in its launch bounds; code for newer chips needs a few registers more and would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kDenseBlocks = 2;
#else
constexpr int kDenseBlocks = 3;
#endif

__device__ __forceinline__ int64_t block_index() { return static_cast<int64_t>(blockIdx.x); }
__device__ __forceinline__ int64_t grid_blocks() { return static_cast<int64_t>(gridDim.x); }
__device__ __forceinline__ int thread_index() { return static_cast<int>(threadIdx.x); }

HUBPRUNE_SHARED int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace hubprune::cuda
