// SPDX-License-Identifier: MIT
// Pairwise cosine similarity: out_ij = f(<x_i, y_j> / (|x_i| |y_j|)), x (n, d), y (m, d).
// Without y the matrix is exactly symmetric: of long rows only the upper triangle is computed, and
// the lower is its mirror image. The diagonal is f(1) for a row of any length, f(0) for a zero row,
// or 0 on request. A zero row is 0 to the others, or NaN on request. Bound by n m d FMAs (half
// without y) for long rows, by the n m writes for short ones. Twin:
// hubprune.reference.pairwise_cosine.
#include "cpu/level_kernels.h"
#include "cpu/row_strips.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Long rows of x beside another matrix pass in strips, without a copy, where there are enough of
// them to share among threads. Tiles give the same bits.
static bool by_strips(int64_t n, int64_t d, bool symmetric, int threads) {
  return !symmetric && d > kShortRows && tiles_of(n, kTileMax) >= 4 * static_cast<int64_t>(threads);
}

// The memory of one matrix, and of one thread's strip.
template <class T>
struct CosineWork {
  Panels<T> x;  // not by strips
  Panels<T> y;
  RowStrip<T> strip;

  static CosineWork take(Scratch& scratch, int64_t n, int64_t m, int64_t d, bool symmetric,
                         int threads, int thread) {
    CosineWork own{};
    if (by_strips(n, d, symmetric, threads)) {
      own.y = Panels<T>::take(scratch, m, d);
      for (int t = 0; t < threads; ++t) {
        const auto strip = RowStrip<T>::take(scratch, m);
        if (t == thread) own.strip = strip;
      }
      return own;
    }
    own.x = Panels<T>::take(scratch, n, d);
    own.y = symmetric ? own.x : Panels<T>::take(scratch, m, d);
    return own;
  }
};

template <class T>
int64_t pairwise_cosine_scratch(int64_t n, int64_t m, int64_t d, bool symmetric, int threads) {
  Scratch scratch(nullptr);
  CosineWork<T>::take(scratch, n, m, d, symmetric, threads, 0);
  return scratch.bytes();
}

// Short rows go from the registers to the matrix, both triangles: multiplying them again costs less
// than transposing, and gives the same bits.
template <Edge kEdge, class T>
static void write_short_rows(const Panels<T>& x, const Panels<T>& y, bool symmetric,
                             bool zero_diagonal, T* out, int threads) {
  constexpr int64_t kWidth = kPanel<T>;
  const int64_t edge = tile_edge(x.n, x.d);
  const int64_t step = strip_width(x.d);
  threads = threads_for(pair_operations(x.n, y.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge), threads, [&](int64_t strip, int) {
    const int64_t i0 = strip * edge;
    const int64_t end = x.n - i0 < edge ? x.n : i0 + edge;
    for (int64_t first = 0; first < y.n; first += step) {
      const int64_t last = first + step < y.n ? first + step : y.n;
      for (int64_t i = i0; i < end; i += kStripRows) {
        const int64_t rows = end - i < kStripRows ? end - i : kStripRows;
        const T* a = x.panel(i - i % kWidth) + i % kWidth;
        for (int64_t j = first; j < last; j += kWidth) {
          Vector<T> left[kStripRows];
          Vector<T> right[kStripRows];
          weigh_rows<kEdge>(a, y.panel(j), x.d, left, right);
          T* target = out + i * y.n + j;
          if (rows == kStripRows && last - j >= kWidth) {
#pragma GCC unroll 4
            for (int r = 0; r < kStripRows; ++r) {
              store(target + r * y.n, left[r]);
              store(target + r * y.n + kLanes<T>, right[r]);
            }
            continue;
          }
          alignas(64) T block[kStripRows][kWidth];
#pragma GCC unroll 4
          for (int r = 0; r < kStripRows; ++r) {
            store(block[r], left[r]);
            store(block[r] + kLanes<T>, right[r]);
          }
          const auto bytes = static_cast<size_t>(last - j < kWidth ? last - j : kWidth) * sizeof(T);
          for (int64_t r = 0; r < rows; ++r) __builtin_memcpy(target + r * y.n, block[r], bytes);
        }
      }
    }
    if (symmetric) {
      for (int64_t i = i0; i < end; ++i) {
        out[i * y.n + i] = zero_diagonal ? T(0) : self_weight<kEdge, T>(x.kinds[i]);
      }
    }
  });
}

template <Edge kEdge, class T>
static void write_matrix(const Panels<T>& x, const Panels<T>& y, bool symmetric, bool zero_diagonal,
                         T* out, int threads) {
  if (x.d <= kShortRows) {
    write_short_rows<kEdge>(x, y, symmetric, zero_diagonal, out, threads);
    return;
  }
  const int64_t edge = tile_edge(x.n, x.d);
  const int64_t columns = tiles_of(y.n, edge);
  threads = threads_for(pair_operations(x.n, y.n, x.d), threads);
  parallel_for(tiles_of(x.n, edge) * columns, threads, [&](int64_t task, int) {
    const int64_t i0 = task / columns * edge;
    const int64_t j0 = task % columns * edge;
    if (symmetric && j0 < i0) return;
    const TileShape shape =
        symmetric ? triangle_shape(i0, j0, x.n, edge) : tile_shape(i0, x.n, j0, y.n, edge);
    alignas(64) T tile[kTileMax * kTileMax];
    similarity_tile(x, y, shape, tile);
    weigh_tile<kEdge>(tile, shape);
    if (shape.triangle) {
      for (int64_t r = 0; r < shape.height; ++r) {
        tile[r * kTileMax + r] = zero_diagonal ? T(0) : self_weight<kEdge, T>(x.kinds[i0 + r]);
      }
    }
    write_tile(tile, shape, y.n, out + i0 * y.n);
    if (!symmetric) return;  // no self-similarity to correct either: x and y are different sets
    for (int64_t j = 0; j < shape.width; ++j) {
      T* row = out + (j0 + j) * y.n + i0;
      const int64_t end = shape.triangle ? shape.first_column<T>(j) : shape.height;
      for (int64_t r = 0; r < end; ++r) row[r] = tile[r * kTileMax + j];
    }
  });
}

template <Edge kEdge, class T>
static void write_strips(const T* x, int64_t n, const Panels<T>& y, const RowStrip<T>& strip,
                         bool nan_zero_rows, const Team& team, T* out) {
  team.share(tiles_of(n, kTileMax), [&](int64_t index) {
    const int64_t i0 = index * kTileMax;
    const int64_t height = n - i0 < kTileMax ? n - i0 : kTileMax;
    const T* rows = x + i0 * y.d;
    UnitScale units[kTileMax];
    for (int64_t r = 0; r < height; ++r) {
      units[r] = unit_scale(rows + r * y.d, y.d);
      if (nan_zero_rows && units[r].inverse == 0.0) {
        units[r].inverse = std::numeric_limits<double>::quiet_NaN();
      }
    }
    multiply_strip(rows, units, height, y, strip, [&](T* tile, const TileShape& shape) {
      weigh_tile<kEdge>(tile, shape);
      write_tile(tile, shape, y.n, out + i0 * y.n);
    });
  });
}

template <class T>
void pairwise_cosine(const T* x, const T* y, int64_t batch, int64_t n, int64_t m, int64_t d,
                     Edge edge, bool zero_diagonal, bool nan_zero_rows, T* out, void* scratch,
                     int threads) {
  if (batch == 0 || n == 0 || m == 0) return;
  const bool symmetric = y == nullptr;
  const auto work_of = [&](int thread) {
    Scratch block(scratch);
    return CosineWork<T>::take(block, n, m, d, symmetric, threads, thread);
  };
  const auto work = work_of(0);
  for (int64_t b = 0; b < batch; ++b) {
    const T* rows = x + b * n * d;
    T* matrix = out + b * n * m;
    if (!symmetric) {
      work.y.pack(y + b * m * d, threads);
      if (nan_zero_rows) work.y.make_zero_rows_nan();
    }
    if (by_strips(n, d, symmetric, threads)) {
      parallel_region(threads_for(pair_operations(n, m, d), threads), [&](const Team& team) {
        with_edge(edge, [&](auto tag) {
          write_strips<decltype(tag)::value>(rows, n, work.y, work_of(team.thread).strip,
                                             nan_zero_rows, team, matrix);
        });
      });
      continue;
    }
    work.x.pack(rows, threads);
    if (nan_zero_rows) work.x.make_zero_rows_nan();
    with_edge(edge, [&](auto tag) {
      write_matrix<decltype(tag)::value>(work.x, work.y, symmetric, zero_diagonal, matrix, threads);
    });
  }
}

#define HUBPRUNE_INSTANTIATE(T)                                                                  \
  template int64_t pairwise_cosine_scratch<T>(int64_t, int64_t, int64_t, bool, int);             \
  template void pairwise_cosine<T>(const T*, const T*, int64_t, int64_t, int64_t, int64_t, Edge, \
                                   bool, bool, T*, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
