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
                                                               Request<uint32_t> request,
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
    request.send();
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
static inline void medium_block(const uint32_t*, const uint32_t*, int64_t, bool, Request<uint32_t>,
                                float*) {}
#endif

// Rounds to nearest, ties to even; unit rows hold no infinity.
static inline void store_bfloat16(uint16_t* p, Vector<double> v) {
  typedef uint32_t Words __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 4)));
  float values[kLanes<double>];
  store_doubles(values, v);
  Words bits;
  std::memcpy(&bits, values, sizeof bits);
  bits = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Halves halves = __builtin_convertvector(bits, Halves);
  std::memcpy(p, &halves, sizeof halves);
}

// Unit rows in pairs of features, packed as Panels are: one 32-bit pair in place of one feature.
struct MediumPanels {
  static constexpr int64_t kPairs = 128;  // multiplied before the next ones are requested
  static constexpr int64_t kPiece = 16;   // features packed at a time: one cache line of x a row

  uint32_t* data;
  RowKind* kinds;
  int64_t n;
  int64_t d;

  static MediumPanels take(Scratch& scratch, int64_t n, int64_t d) {
    uint32_t* data = scratch.take<uint32_t>(padded_rows<float>(n) * ((d + 1) / 2));
    return {data, scratch.take<RowKind>(n), n, d};
  }

  int64_t pairs() const { return (d + 1) / 2; }
  bool finite() const { return all_finite(kinds, n); }

  void pack(const Team& team, const float* x) const {
    constexpr int64_t kWidth = kPanel<float>;
    team.share(tiles_of(n, kWidth), [&](int64_t q) {
      uint32_t* panel = data + q * kWidth * pairs();
      const int64_t height = n - q * kWidth < kWidth ? n - q * kWidth : kWidth;
      const float* rows = x + q * kWidth * d;
      double inverse[kWidth];
      for (int64_t r = 0; r < height; ++r) {
        inverse[r] = unit_scale(rows + r * d, d).inverse;
        kinds[q * kWidth + r] = row_kind(inverse[r]);
      }
      alignas(64) uint16_t piece[kWidth][kPiece] = {};
      for (int64_t first = 0; first < d; first += kPiece) {
        const int64_t count = d - first < kPiece ? d - first : kPiece;
        for (int64_t r = 0; r < height; ++r) {
          store_unit(rows + r * d + first, count, inverse[r], piece[r]);
        }
        uint32_t* columns = panel + first / 2 * kWidth;
        for (int64_t k = 0; 2 * k < count; ++k) {
#pragma GCC unroll 32
          for (int64_t r = 0; r < kWidth; ++r) {
            std::memcpy(columns + k * kWidth + r, piece[r] + 2 * k, sizeof *columns);
          }
        }
      }
    });
  }

  // As similarity_tile.
  void multiply(const TileShape& shape, float* tile) const {
    multiply_panels<float, kPairs>(
        data, data, Span{0, pairs(), pairs()}, shape,
        [&](auto, const uint32_t* a, const uint32_t*, const uint32_t* b, int64_t depth, bool first,
            Request<uint32_t> request,
            int64_t at) { medium_block(a, b, depth, first, request, tile + at); });
  }

 private:
  // `count` features of a row, zeros up to kPiece. In float64 first: 1 / norm may overflow float32.
  static void store_unit(const float* row, int64_t count, double inverse, uint16_t* unit) {
    float padded[kPiece] = {};
    if (count < kPiece) {
      for (int64_t k = 0; k < count; ++k) padded[k] = row[k];
      row = padded;
    }
    for (int64_t k = 0; k < kPiece; k += kLanes<double>) {
      store_bfloat16(unit + k, load_as_double(row + k) * inverse);
    }
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
