// SPDX-License-Identifier: MIT
// What this build and this machine offer, and the text of the last error.
#include <cstdio>

#include "cuda/launch.cuh"
#include "cuda/launchers.h"

namespace hubprune::cuda {
namespace {

constexpr size_t kTextBytes = 512;
thread_local char error_text[kTextBytes] = "";

}  // namespace

Status report(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return Status::kOk;
  cudaGetLastError();
  std::snprintf(error_text, kTextBytes, "%s: %s: %s", operation, cudaGetErrorName(error),
                cudaGetErrorString(error));
  return Status::kCudaError;
}

bool built() { return true; }

int device_count() {
  int count = 0;
  // Without a driver this fails with 35 (cudaErrorInsufficientDriver), without a device with 100
  // (cudaErrorNoDevice): both mean that there is no CUDA here, which is no error.
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

int runtime_version() { return CUDART_VERSION; }

const char* last_error() { return error_text; }

}  // namespace hubprune::cuda
