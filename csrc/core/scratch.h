// SPDX-License-Identifier: MIT
// Kernels never allocate: the caller passes one block of memory, and this cuts it into arrays.
// The same walk over a null block measures how large it must be, so size and use cannot differ.
#pragma once

#include <cstdint>

namespace hubprune {

class Scratch {
 public:
  static constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector

  explicit Scratch(void* memory) : memory_(static_cast<char*>(memory)) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    used_ = memory ? static_cast<int64_t>(-address & (kAlignment - 1)) : kAlignment;
  }

  template <class T>
  T* take(int64_t count) {
    T* piece = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return piece;
  }

  int64_t bytes() const { return used_; }

 private:
  char* memory_;
  int64_t used_;
};

}  // namespace hubprune
