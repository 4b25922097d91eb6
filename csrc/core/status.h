// SPDX-License-Identifier: MIT
// What a kernel launcher reports. The binding turns everything but kOk into a Python exception.
#pragma once

namespace hubprune {

enum class Status : int {
  kOk = 0,
  kNotConverged = 1,  // an iteration ended above its tolerance; the residual is in the result
  kNoCuda = 2,        // built without CUDA kernels
  kCudaError = 3,     // the CUDA runtime refused; see cuda::last_error()
  kInvalidValue = 4,  // a size or an option that would crash a kernel
};

}  // namespace hubprune
