// SPDX-License-Identifier: MIT
// The copy engine's description of a matrix in device memory, made by the driver on the host.
// Source: CUDA driver API, cuTensorMapEncodeTiled.
#pragma once

#include <cstdint>

#include "cuda/sm90.cuh"
#include "cuda/sm90_layout.h"

namespace hubprune::cuda {

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*,
                                 const cuuint64_t*, const cuuint64_t*, const cuuint32_t*,
                                 const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                                 CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// The driver's function, asked of the runtime: linking it would tie the library to libcuda.
static inline cudaError_t find_encode(EncodeTiled* encode) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                             12000, cudaEnableDefault, &found);
#else
  const cudaError_t error =
      cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found);
#endif
  if (error != cudaSuccess) return error;
  *encode = reinterpret_cast<EncodeTiled>(function);
  return found == cudaDriverEntryPointSuccess && function ? cudaSuccess : cudaErrorNotSupported;
}

// Boxes of `rows` rows and 64 features of planes (n, width), 16-byte chunks swizzled over 128
// bytes.
static inline cudaError_t encode_planes(const uint16_t* planes, int64_t n, int64_t width, int rows,
                                        CUtensorMap* map) {
  EncodeTiled encode = nullptr;
  const cudaError_t error = find_encode(&encode);
  if (error != cudaSuccess) return error;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(n)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(width) * sizeof(uint16_t)};
  const cuuint32_t box[2] = {kTensorDepth, static_cast<cuuint32_t>(rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result =
      encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint16_t*>(planes), sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return static_cast<cudaError_t>(result);  // since CUDA 10.1 both number their errors alike
}

}  // namespace hubprune::cuda
