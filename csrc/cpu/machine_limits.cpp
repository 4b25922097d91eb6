// SPDX-License-Identifier: MIT
// What this machine can do at most, measured with the vectors of the level in use: reading memory,
// and multiplying in registers. The ceilings that docs/performance.md holds the kernels against.
#include "core/parallel.h"
#include "core/simd.h"
#include "cpu/level_kernels.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

// Reads `count` floats once, in pieces of 1 MiB shared among the threads; writes their sum, so that
// no compiler can leave the reading out.
void read_memory(const float* data, int64_t count, double* sum, int threads) {
  constexpr int64_t kPiece = int64_t(1) << 18;
  constexpr int kStreams = 8;
  double total = 0.0;
  parallel_region(threads, [&](const Team& team) {
    double own = 0.0;
    team.share((count + kPiece - 1) / kPiece, [&](int64_t piece) {
      const int64_t end = (piece + 1) * kPiece < count ? (piece + 1) * kPiece : count;
      Vector<float> sums[kStreams] = {};
      int64_t k = piece * kPiece;
      for (; k + kStreams * kLanes<float> <= end; k += kStreams * kLanes<float>) {
#pragma GCC unroll 8
        for (int s = 0; s < kStreams; ++s) sums[s] += load(data + k + s * kLanes<float>);
      }
      for (int s = 0; s < kStreams; ++s) own += static_cast<double>(horizontal_sum<float>(sums[s]));
      for (; k < end; ++k) own += static_cast<double>(data[k]);
    });
#pragma omp atomic
    total += own;
  });
  *sum = total;
}

// `rounds` rounds of kMultiplyAdds float32 multiply-adds in registers on every thread; returns how
// many scalar multiply-adds one thread did in all.
int64_t multiply_add(int64_t rounds, double* sum, int threads) {
  // Enough to hide the latency of two units, few enough for 16 registers.
  constexpr int kChains = 12;
  double total = 0.0;
  parallel_region(threads, [&](const Team&) {
    Vector<float> chains[kChains] = {};
    for (int c = 0; c < kChains; ++c) chains[c] += static_cast<float>(c);  // no two alike
    const volatile float opaque[2] = {0.999f, 0.001f};  // no compiler computes with these
    const Vector<float> factor = Vector<float>{} + opaque[0];
    const Vector<float> term = Vector<float>{} + opaque[1];
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
      for (int c = 0; c < kChains; ++c) chains[c] = chains[c] * factor + term;
    }
    double own = 0.0;
    for (int c = 0; c < kChains; ++c) own += static_cast<double>(horizontal_sum<float>(chains[c]));
#pragma omp atomic
    total += own;
  });
  *sum = total;
  return rounds * kChains * kLanes<float>;
}

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
