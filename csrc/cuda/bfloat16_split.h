// SPDX-License-Identifier: MIT
// A float32-accurate number as a sum of up to three bfloat16 numbers, 8 bits of the mantissa each:
// what matrix units that multiply bfloat16 need to follow float32; and the products of such planes.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"
#include "core/layers.h"

namespace hubprune::cuda {

constexpr int kMostPlanes = 3;

// Planes that a precision keeps: the products of plane a with plane b, a + b < planes, are added.
HUBPRUNE_SHARED int precision_planes(Precision precision) {
  return kMostPlanes - static_cast<int>(precision);
}

// Rounded to nearest, ties to even. Only for finite values below the largest bfloat16.
HUBPRUNE_SHARED uint16_t to_bfloat16(float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

HUBPRUNE_SHARED float from_bfloat16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float result = 0.0f;
  memcpy(&result, &bits, sizeof result);
  return result;
}

struct PlanePair {
  int left;
  int right;
};

constexpr HUBPRUNE_SHARED int plane_pair_count(int planes) { return planes * (planes + 1) / 2; }

// The pairs (left, right) with left + right < planes, the smallest products first.
constexpr HUBPRUNE_SHARED PlanePair plane_pair(int planes, int index) {
  int sum = planes - 1;
  while (index > sum) {
    index -= sum + 1;
    --sum;
  }
  return {index, sum - index};
}

}  // namespace hubprune::cuda
