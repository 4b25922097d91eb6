// SPDX-License-Identifier: MIT
// Tiles of cosines from bfloat16 unit rows with float32 sums, for `precision="medium"`, where the
// processor multiplies bfloat16 pairs (AVX512_BF16): twice the products per instruction.
// Error of a cosine: 2^-9 relative per factor, averaging out over d (about 2e-4 at d = 4608).
// The one instruction that x86-64-v4 does not include sits in a function of its own target; the
// rest of this header is plain, so that every level compiles it and the rule lives in one place.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/similarity_tiles.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

#if defined(__AVX512F__)
static inline bool bfloat16_supported() {
  static const bool supported = __builtin_cpu_supports("avx512bf16");
  return supported;
}

// kTileRows rows of `a` times kPanel<float> rows of `b` over `depth` pairs of features.
__attribute__((target("avx512bf16"))) static void medium_block(const uint32_t* a, const uint32_t* b,
                                                               int64_t depth, bool first,
                                                               const uint32_t* request,
                                                               float* tile) {
  __m512 left[kTileRows];
  __m512 right[kTileRows];
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) {
    float* row = tile + r * kTileMax;
    left[r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(row);
    right[r] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(row + 16);
  }
  for (int64_t k = 0; k < depth;) {
    __builtin_prefetch(request, 0, 2);
    request += kLineBytes / static_cast<int64_t>(sizeof(uint32_t));
    const int64_t end = k + kRequestEvery<float> < depth ? k + kRequestEvery<float> : depth;
    for (; k < end; ++k) {
      const auto b0 = (__m512bh)_mm512_loadu_si512(b);
      const auto b1 = (__m512bh)_mm512_loadu_si512(b + 16);
#pragma GCC unroll 8
      for (int r = 0; r < kTileRows; ++r) {
        const auto pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r]));
        left[r] = _mm512_dpbf16_ps(left[r], pair, b0);
        right[r] = _mm512_dpbf16_ps(right[r], pair, b1);
      }
      a += kPanel<float>;
      b += kPanel<float>;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) {
    float* row = tile + r * kTileMax;
    _mm512_storeu_ps(row, left[r]);
    _mm512_storeu_ps(row + 16, right[r]);
  }
}
#else
static inline bool bfloat16_supported() { return false; }
static inline void medium_block(const uint32_t*, const uint32_t*, int64_t, bool, const uint32_t*,
                                float*) {}
#endif

// Round to nearest, ties to even; unit rows hold no infinity.
static inline uint32_t bfloat16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

// Unit rows in pairs of features, packed as Panels are: one 32-bit pair in place of one feature.
struct MediumPanels {
  uint32_t* data;
  RowKind* kinds;
  int64_t n;
  int64_t d;

  static MediumPanels take(Scratch& scratch, int64_t n, int64_t d) {
    uint32_t* data = scratch.take<uint32_t>(padded_rows(n) * ((d + 1) / 2));
    return {data, scratch.take<RowKind>(n), n, d};
  }

  int64_t pairs() const { return (d + 1) / 2; }
  bool finite() const { return all_finite(kinds, n); }

  void pack(const Team& team, const float* x) const {
    constexpr int64_t kWidth = kPanel<float>;
    constexpr int64_t kPiece = 8;  // pairs: one cache line of x a row
    team.share(padded_rows(n) / kWidth, [&](int64_t q) {
      uint32_t* panel = data + q * kWidth * pairs();
      UnitScale units[kWidth] = {};
      for (int64_t r = 0; r < kWidth; ++r) {
        const int64_t i = q * kWidth + r;
        if (i >= n) continue;
        units[r] = unit_scale(x + i * d, d);
        kinds[i] = row_kind(units[r].inverse);
      }
      for (int64_t first = 0; first < pairs(); first += kPiece) {
        const int64_t last = first + kPiece < pairs() ? first + kPiece : pairs();
        for (int64_t r = 0; r < kWidth; ++r) {
          const int64_t i = q * kWidth + r;
          const float* row = x + (i < n ? i : 0) * d;
          const auto unit = [&](int64_t k) {  // in float64: 1 / norm may overflow float32
            return static_cast<float>(static_cast<double>(row[k]) * units[r].inverse);
          };
          for (int64_t k = first; k < last; ++k) {
            const float low = unit(2 * k);
            const float high = 2 * k + 1 < d ? unit(2 * k + 1) : 0.0f;
            panel[k * kWidth + r] = bfloat16_bits(low) | bfloat16_bits(high) << 16;
          }
        }
      }
    });
  }

  // Cosines of rows [i0, i0 + kTileMax) with rows [j0, j0 + kTileMax), row stride kTileMax.
  void multiply(int64_t i0, int64_t j0, float* tile) const {
    constexpr int64_t kWidth = kPanel<float>;
    for (int64_t k = 0; k < pairs(); k += kDepth) {
      const int64_t depth = pairs() - k < kDepth ? pairs() - k : kDepth;
      const int64_t next = k + kDepth < pairs() ? k + kDepth : k;
      int64_t block = 0;
      for (int64_t j = 0; j < kTileMax; j += kWidth) {
        const uint32_t* b = data + (j0 + j) * pairs() + k * kWidth;
        for (int64_t i = 0; i < kTileMax; i += kTileRows, ++block) {
          const int64_t inside = i % kWidth;
          const uint32_t* a = data + (i0 + i - inside) * pairs() + k * kWidth + inside;
          const uint32_t* request =
              request_start<float>(data + i0 * pairs(), data + j0 * pairs(), pairs(), next, block);
          medium_block(a, b, depth, k == 0, request, tile + i * kTileMax + j);
        }
      }
    }
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
