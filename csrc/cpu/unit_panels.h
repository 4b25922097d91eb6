// SPDX-License-Identifier: MIT
// Unit rows, packed into panels of kPanel rows, feature by feature: what the tiles of the
// similarity matrix multiply. Twin: hubprune.reference.normalized_rows.
#pragma once

#include <cstdint>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/feature_lanes.h"
#include "cpu/unit_rows.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
constexpr int kPanel = 2 * kLanes<T>;

static inline int64_t tiles_of(int64_t n, int64_t edge) { return (n + edge - 1) / edge; }
template <class T>
static inline int64_t padded_rows(int64_t n) {
  return tiles_of(n, kPanel<T>) * kPanel<T>;
}

enum class RowKind : uint8_t { kZero, kUnit, kNotFinite };

// From UnitScale's inverse: 0 for a zero row, NaN for one that is not finite.
static inline RowKind row_kind(double inverse) {
  return inverse > 0.0 ? RowKind::kUnit : (inverse == 0.0 ? RowKind::kZero : RowKind::kNotFinite);
}

static inline bool all_finite(const RowKind* kinds, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (kinds[i] == RowKind::kNotFinite) return false;
  }
  return true;
}

// The packed unit rows of one (n, d) matrix, padded with zero rows to whole panels.
template <class T>
struct Panels {
  T* data;
  RowKind* kinds;
  int64_t n;
  int64_t d;

  static Panels take(Scratch& scratch, int64_t n, int64_t d) {
    T* data = scratch.take<T>(padded_rows<T>(n) * d);
    return {data, scratch.take<RowKind>(n), n, d};
  }

  const T* panel(int64_t row) const { return data + row * d; }

  bool finite() const { return all_finite(kinds, n); }

  // For callers to whom 0 / 0 is NaN, as it is to torch.
  void make_zero_rows_nan() const {
    for (int64_t i = 0; i < n; ++i) {
      if (kinds[i] != RowKind::kZero) continue;
      kinds[i] = RowKind::kNotFinite;
      T* first = data + i / kPanel<T> * kPanel<T> * d + i % kPanel<T>;
      for (int64_t k = 0; k < d; ++k) first[k * kPanel<T>] = std::numeric_limits<T>::quiet_NaN();
    }
  }

  void pack(const T* x, int threads) const {
    threads = threads_for(4.0 * static_cast<double>(n) * static_cast<double>(d), threads);
    parallel_region(threads, [&](const Team& team) { pack(team, x); });
  }

  // The rows of x, or rows chosen[0], chosen[1], ... of it.
  void pack(const Team& team, const T* x, const int64_t* chosen = nullptr) const {
    constexpr int64_t kWidth = kPanel<T>;
    team.share(tiles_of(n, kWidth), [&](int64_t q) {
      if (d == kNine) {
        pack_nine(x, chosen, q * kWidth);
      } else {
        pack_rows(x, chosen, q * kWidth);
      }
    });
  }

 private:
  const T* source(const T* x, const int64_t* chosen, int64_t i) const {
    return x + (chosen == nullptr ? i : chosen[i]) * d;
  }

  void pack_nine(const T* x, const int64_t* chosen, int64_t i0) const {
    constexpr int64_t kStep = kLanes<double>;
    T* panel = data + i0 * kNine;
    for (int64_t r = 0; r < kPanel<T>; r += kStep) {
      const int64_t left = n - i0 - r;
      const int64_t count = left < 0 ? 0 : (left < kStep ? left : kStep);
      Vector<double> unit[kNine] = {};
      if (count > 0) {
        T gathered[kStep * kNine];
        const T* rows = x + (i0 + r) * kNine;
        if (chosen != nullptr) {
          for (int64_t lane = 0; lane < count; ++lane) {
            __builtin_memcpy(gathered + lane * kNine, source(x, chosen, i0 + r + lane),
                             kNine * sizeof(T));
          }
          rows = gathered;
        }
        const Vector<double> inverse = unit_nine(rows, count, unit);
        for (int64_t lane = 0; lane < count; ++lane) kinds[i0 + r + lane] = row_kind(inverse[lane]);
      }
      for (int f = 0; f < kNine; ++f) store_doubles(panel + f * kPanel<T> + r, unit[f]);
    }
  }

  void pack_rows(const T* x, const int64_t* chosen, int64_t i0) const {
    constexpr int64_t kWidth = kPanel<T>;
    T* panel = data + i0 * d;
    const int64_t height = n - i0 < kWidth ? n - i0 : kWidth;
    UnitScale units[kWidth];
    for (int64_t r = 0; r < height; ++r) {
      units[r] = unit_scale(source(x, chosen, i0 + r), d);
      kinds[i0 + r] = row_kind(units[r].inverse);
    }
    // Sixteen features at a time: whole cache lines of x are read, the panel stays in cache.
    constexpr int64_t kPiece = 16;
    alignas(64) T piece[kWidth][kPiece] = {};  // rows of the padding stay zero
    for (int64_t first = 0; first < d; first += kPiece) {
      const int64_t count = d - first < kPiece ? d - first : kPiece;
      for (int64_t r = 0; r < height; ++r) {
        const T* row = source(x, chosen, i0 + r) + first;
        const double scale = units[r].scale;
        const double inverse = units[r].inverse;
        if (count == kPiece) {
          for (int64_t k = 0; k < kPiece; k += kLanes<double>) {
            store_doubles(piece[r] + k, load_as_double(row + k) * scale * inverse);
          }
        } else {
          for (int64_t k = 0; k < count; ++k) {
            piece[r][k] = static_cast<T>(static_cast<double>(row[k]) * scale * inverse);
          }
        }
      }
      T* columns = panel + first * kWidth;
      for (int64_t k = 0; k < count; ++k) {
#pragma GCC unroll 32
        for (int64_t r = 0; r < kWidth; ++r) columns[k * kWidth + r] = piece[r][k];
      }
    }
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
