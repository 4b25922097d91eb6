// SPDX-License-Identifier: MIT
// Stands in for the driver's header: the types of tensor maps, and a map that the emulator reads.
#pragma once

#include <cstdint>

using cuuint32_t = uint32_t;
using cuuint64_t = uint64_t;

enum CUresult : int { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType : int { CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave : int { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle : int { CU_TENSOR_MAP_SWIZZLE_NONE = 0, CU_TENSOR_MAP_SWIZZLE_128B = 3 };
enum CUtensorMapL2promotion : int { CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill : int { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };

// As large and as aligned as the driver's.
struct alignas(64) CUtensorMap {
  const unsigned char* address;
  uint64_t sizes[2];
  uint64_t stride;  // bytes between rows
  uint32_t box[2];
  uint32_t encoded;  // a map that cuTensorMapEncodeTiled wrote
  unsigned char rest[76];
};
static_assert(sizeof(CUtensorMap) == 128, "a tensor map has 128 bytes");
