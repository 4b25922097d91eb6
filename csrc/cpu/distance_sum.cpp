// SPDX-License-Identifier: MIT
// Sum of Euclidean distances: sum_i = sum_j |x_i - x_j|, x (n, d) -> sum (n), in float64: what the
// geometric-median rule (FPGM) ranks by. From the cosines of the upper triangle, which costs one
// product of all pairs: |x_i - x_j|^2 = (a_i - a_j)^2 + 2 a_i a_j (1 - s_ij), a = norms.
// Bound by n^2 d / 2 FMAs; O(n) memory per thread.
// Numerics: norms relative to the largest one, cosines and distances in T, tiles in 64-bit fixed
// point. A distance is right to 1e-3 of the norms where two float32 rows are equal, to 1e-7 where
// they are not close; sums to 1e-6. Twin: hubprune.reference.geometric_median.
#include "cpu/level_kernels.h"
#include "cpu/pair_sums.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

template <class T>
struct DistanceWork {
  Panels<T> panels;
  double* norms;     // (n)
  T* relative;       // (padded rows): norms over the largest, 0 in the padding
  int64_t* partial;  // (threads, padded rows)

  static DistanceWork take(Scratch& scratch, int64_t n, int64_t d, int threads) {
    DistanceWork work;
    work.panels = Panels<T>::take(scratch, n, d);
    work.norms = scratch.take<double>(n);
    work.relative = scratch.take<T>(padded_rows<T>(n));
    work.partial = scratch.take<int64_t>(padded_rows<T>(n) * threads);
    return work;
  }
};

template <class T>
int64_t distance_sum_scratch(int64_t n, int64_t d, int threads) {
  Scratch scratch(nullptr);
  DistanceWork<T>::take(scratch, n, d, threads);
  return scratch.bytes();
}

template <class T>
void distance_sum(const T* x, int64_t n, int64_t d, double* sums, void* scratch, int threads) {
  if (n == 0) return;
  const int64_t padded = padded_rows<T>(n);
  // A distance is at most twice the largest norm.
  const double scale = fixed_point_scale(2 * n);
  parallel_region(threads_for(pair_operations(n, n, d), threads), [&](const Team& team) {
    Scratch block(scratch);
    const auto work = DistanceWork<T>::take(block, n, d, team.threads);
    int64_t* own = work.partial + team.thread * padded;
    for (int64_t i = 0; i < padded; ++i) own[i] = 0;
    team.share(n, [&](int64_t i) {
      const UnitScale unit = unit_scale(x + i * d, d);
      work.norms[i] = unit.scaled_norm / unit.scale;
    });
    work.panels.pack(team, x);
    double largest = 0.0;
    for (int64_t i = 0; i < n; ++i) largest = work.norms[i] > largest ? work.norms[i] : largest;
    const bool finite = work.panels.finite() && std::isfinite(largest);
    team.once([&] {
      for (int64_t i = 0; i < padded; ++i) {
        work.relative[i] = i < n && largest > 0.0 ? static_cast<T>(work.norms[i] / largest) : T(0);
      }
    });
    share_tiles(team, finite ? n : 0, [&](const TileShape& shape) {
      alignas(64) T tile[kTileMax * kTileMax];
      similarity_tile(work.panels, work.panels, shape, tile);
      const auto end = column_numbers<T>(shape.width)[0];
      add_tile(tile, shape, scale, own, [&](int64_t r, int64_t j, Vector<T> s) {
        const T a = work.relative[shape.i0 + r];
        const Vector<T> b = load(work.relative + shape.j0 + j);
        const Vector<T> difference = a - b;
        Vector<T> square = difference * difference + T(2) * a * b * (T(1) - clamp_cosines<T>(s));
        for (int lane = 0; lane < kLanes<T>; ++lane) square[lane] = std::sqrt(square[lane]);
        return column_numbers<T>(j) < end ? square : Vector<T>{};  // the padding is no row
      });
    });
    share_totals<T>(team, work.partial, n, [&](int64_t i, int64_t sum) {
      sums[i] = finite ? from_fixed_point(sum, scale) * largest
                       : std::numeric_limits<double>::quiet_NaN();
    });
  });
}

#define HUBPRUNE_INSTANTIATE(T)                                    \
  template int64_t distance_sum_scratch<T>(int64_t, int64_t, int); \
  template void distance_sum<T>(const T*, int64_t, int64_t, double*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
