// SPDX-License-Identifier: MIT
// Stands in for the CUDA runtime's header when g++ compiles csrc/cuda for the emulator: the words
// of the language, the thread's coordinates, shuffles, barriers, atomics and the few host calls
// that launch.cuh makes. Anything else that a kernel starts to use has to be added here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>

#include "emulator.h"

#define __global__
#define __grid_constant__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Only for the kernel that declares some, by mistake: block_bytes.cuh is the way to shared memory.
#define __shared__ thread_local

#define CUDART_VERSION 13000

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

inline void __syncthreads(int line = __builtin_LINE()) { emulator::barrier(line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
  emulator::warp_barrier(mask, line);
}

inline void __threadfence() { emulator::fence(); }
template <class T>
T __ldcg(const T* address) {
  return *address;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source_lane, int line = __builtin_LINE()) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "shuffles move up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = emulator::shuffle(mask, bits, source_lane, line);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int line = __builtin_LINE()) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % 32) ^ lane_mask, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return emulator::ballot(mask, predicate != 0, line);
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T atomicAdd(T* address, T value) {
  T old;
  emulator::atomic_load(address, &old, sizeof old);
  const T sum = old + value;
  emulator::atomic_store(address, &sum, sizeof sum);
  return old;
}
template <class T>
T atomicOr(T* address, T value) {
  T old;
  emulator::atomic_load(address, &old, sizeof old);
  const T bits = old | value;
  emulator::atomic_store(address, &bits, sizeof bits);
  return old;
}

template <class T>
T atomicMax(T* address, T value) {
  T old;
  emulator::atomic_load(address, &old, sizeof old);
  const T largest = old < value ? value : old;
  emulator::atomic_store(address, &largest, sizeof largest);
  return old;
}

inline double __longlong_as_double(long long bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
  cudaErrorNotSupported = 801,
};
enum cudaDeviceAttr : int {
  cudaDevAttrMaxGridDimX = 5,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
};
enum cudaFuncAttribute : int { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDriverEntryPointQueryResult : int {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1,
};
constexpr unsigned long long cudaEnableDefault = 0;
struct CUstream_st;
typedef CUstream_st* cudaStream_t;
enum cudaLaunchAttributeID : int { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

inline cudaError_t emulated_result(int error) {
  if (error != 0) emulator::machine.last_error = error;
  return static_cast<cudaError_t>(error);
}
inline cudaError_t cudaGetLastError() {
  const int error = emulator::machine.last_error;
  emulator::machine.last_error = 0;
  return static_cast<cudaError_t>(error);
}
inline const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
  }
  return "cudaErrorUnknown";
}
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }

inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = emulator::machine.devices;
  return emulated_result(*count > 0 ? 0 : cudaErrorNoDevice);
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = emulator::machine.device;
  return emulated_result(emulator::machine.devices > 0 ? 0 : cudaErrorNoDevice);
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= emulator::machine.devices) {
    return emulated_result(cudaErrorInvalidDevice);
  }
  emulator::machine.device = device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= emulator::machine.devices) {
    return emulated_result(cudaErrorInvalidDevice);
  }
  switch (attribute) {
    case cudaDevAttrMaxGridDimX:
      *value = emulator::machine.most_blocks;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = emulator::machine.processors;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = emulator::machine.capability / 10;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = emulator::machine.capability % 10;
      break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                                    unsigned long long,
                                                    cudaDriverEntryPointQueryResult* found) {
  *function = emulator::driver_function(name);
  *found = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

// What kernels have opted in to, by their address.
inline std::map<const void*, size_t> emulated_shared_bytes;
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > emulator::kMostSharedBytes) {
    return emulated_result(cudaErrorInvalidValue);
  }
  emulated_shared_bytes[reinterpret_cast<const void*>(kernel)] = static_cast<size_t>(value);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  return emulated_result(emulator::fill(memory, value, bytes));
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> arguments;
  };
  Call call = {kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...)};
  emulator::Kernel launched;
  launched.grid = {config->gridDim.x, config->gridDim.y, config->gridDim.z};
  launched.block = {config->blockDim.x, config->blockDim.y, config->blockDim.z};
  launched.cluster = config->numAttrs > 0 ? config->attrs[0].val.clusterDim.x : 1;
  launched.shared_bytes = config->dynamicSmemBytes;
  launched.most_shared_bytes = emulated_shared_bytes[reinterpret_cast<const void*>(kernel)];
  launched.entry = [](void* memory) {
    Call& own = *static_cast<Call*>(memory);
    std::apply(own.kernel, own.arguments);
  };
  launched.arguments = &call;
  launched.argument_bytes = sizeof call;
  return emulated_result(emulator::run(launched));
}
