// SPDX-License-Identifier: MIT
// Leading eigenpair of a tridiagonal matrix by a team of lanes: a whole warp, or each half of one.
// The method and its error bound are those of core/symmetric_eigen.h and cpu/tridiagonal_eigen.h;
// what differs:
//   - a round of the multisection tests one inner point per lane and leaves one (kLanes + 1)-th of
//     the interval: 11 (13) rounds for 32 (16) lanes;
//   - the signs tested are those of minors, not of pivots, so that no step waits for a division;
//   - the two factorisations run at once in two lanes, and their ratios in all lanes.
// Both teams of a warp take every branch together, so that a shuffle always finds all its lanes;
// what a team finds does not depend on the other's matrix.
// Twin: tridiagonal_eigenpair in cpu/tridiagonal_eigen.h.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "cuda/launch.cuh"
#include "cuda/power_scaling.cuh"
#include "cuda/warp_reduce.cuh"

namespace hubprune::cuda {

// A team's arrays beside the matrix, q doubles each.
template <class Index>
struct TeamWork {
  double* vector;
  double* diagonal;
  double* off;
  double* scale;  // 2 / |v|^2 of each reflector; 0 where none is needed
  double* forward;
  double* backward;

  __device__ __forceinline__ TeamWork(double* memory, Index q)
      : vector(memory),
        diagonal(memory + q),
        off(memory + 2 * q),
        scale(memory + 3 * q),
        forward(memory + 4 * q),
        backward(memory + 5 * q) {}
};
constexpr int kTeamWork = 6;

// Minors are brought back to order 1 after so many steps: each grows them by less than 2^3, and
// shrinks them to 2^-53 or so at worst, where the spectrum is one point.
constexpr int kMinorSteps = 16;

template <int kLanes>
__device__ __forceinline__ int team_lane() {
  return thread_index() % kLanes;
}

// Bit l: what lane l of the own team says.
template <int kLanes>
__device__ __forceinline__ unsigned team_ballot(bool value) {
  const unsigned bits = __ballot_sync(kFullWarp, value);
  return bits >> (thread_index() % kWarp / kLanes * kLanes) & (kFullWarp >> (kWarp - kLanes));
}

// True if `x` is above every eigenvalue of the tridiagonal matrix, whose entries are below 2: all
// leading minors of x I - T are positive (Sylvester's law of inertia). The pivots are their ratios;
// without these divisions a step is one multiply-add after the other.
template <class Index>
__device__ __forceinline__ bool minors_positive(const double* diagonal, const double* off, Index q,
                                                double x) {
  double last = 1.0;
  double minor = x - diagonal[0];
  bool positive = minor > 0.0;
  for (Index first = 1; first < q; first += kMinorSteps) {
    const Index end = first + kMinorSteps < q ? first + kMinorSteps : q;
#pragma unroll 4
    for (Index i = first; i < end; ++i) {
      const double next = (x - diagonal[i]) * minor - off[i - 1] * off[i - 1] * last;
      last = minor;
      minor = next;
      positive = positive && minor > 0.0;
    }
    if (!positive) return false;
    if (end < q) {  // back to order 1
      const double power = ldexp(1.0, -ilogb(minor));
      last *= power;
      minor *= power;
    }
  }
  return positive;
}

// The largest eigenvalue from above: all minors of lambda I - T are positive. First the matrix and
// its `magnitude`, which bounds the spectrum, are brought to order 1 by 2^-exponent.
template <int kLanes, class Index>
__device__ __forceinline__ double team_eigenvalue(const TeamWork<Index>& work, Index q,
                                                  double& magnitude, int& exponent) {
  const Index lane = team_lane<kLanes>();
  double* diagonal = work.diagonal;
  double* off = work.off;
  // The largest diagonal entry is a Rayleigh quotient (a lower bound); Gershgorin is an upper one.
  double low = diagonal[0];
  double high = low;
  magnitude = 0.0;
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) {
    const double sides = (i > 0 ? fabs(off[i - 1]) : 0.0) + (i + 1 < q ? fabs(off[i]) : 0.0);
    low = fmax(low, diagonal[i]);
    high = fmax(high, diagonal[i] + sides);
    magnitude = fmax(magnitude, fabs(diagonal[i]) + sides);
  }
  magnitude = warp_max<kLanes>(magnitude);
  exponent = range_exponent(magnitude);
  const double power = ldexp(1.0, -exponent);
  low = warp_max<kLanes>(low) * power;
  high = warp_max<kLanes>(high) * power;
  magnitude *= power;
  __syncwarp();  // all have read their neighbours
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) {
    diagonal[i] *= power;
    if (i + 1 < q) off[i] *= power;
  }
  __syncwarp();

  // 20 rounds end below one ulp from any starting interval that Gershgorin gives.
  for (int round = 0; round < 20; ++round) {
    const double width = high - low;
    const bool open = width > DBL_EPSILON * magnitude;
    if (__ballot_sync(kFullWarp, open) == 0) break;
    // fma: the point that one lane tests has the same bits where another makes it an end.
    const auto point = [&](int at) { return fma(width, (at + 1) * (1.0 / (kLanes + 1)), low); };
    const double tested = point(static_cast<int>(lane));
    const unsigned above = team_ballot<kLanes>(minors_positive(diagonal, off, q, tested));
    const int first = above != 0 ? __ffs(static_cast<int>(above)) - 1 : kLanes;
    const double next_low = first > 0 ? point(first - 1) : low;
    const double next_high = first < kLanes ? point(first) : high;
    if (open) {  // else the other team goes on alone
      low = next_low;
      high = next_high;
    }
  }
  return high;
}

// The unit eigenvector of the tridiagonal matrix to `lambda`, by its twisted factorisation.
template <int kLanes, class Index>
__device__ __forceinline__ void team_tridiagonal_vector(const TeamWork<Index>& work, Index q,
                                                        double lambda, double magnitude) {
  const Index lane = team_lane<kLanes>();
  const double* diagonal = work.diagonal;
  const double* off = work.off;
  double* vector = work.vector;
  const double tiny = magnitude * DBL_EPSILON * DBL_EPSILON + DBL_MIN;
  if (lane < 2) {  // from both ends at once
    double* pivots = lane == 0 ? work.forward : work.backward;
    const Index step = lane == 0 ? 1 : -1;
    Index at = lane == 0 ? 0 : q - 1;
    double pivot = diagonal[at] - lambda;
#pragma unroll 1
    for (Index i = 1; i < q; ++i) {
      if (fabs(pivot) < tiny) pivot = -tiny;
      pivots[at] = pivot;
      const double coupling = off[lane == 0 ? at : at - 1];
      at += step;
      pivot = diagonal[at] - lambda - coupling * coupling / pivot;
    }
    pivots[at] = pivot;
  }
  __syncwarp();

  // Where the two factorisations meet with the smallest residual, the vector is largest.
  Index twist = 0;
  double smallest = HUGE_VAL;
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) {
    const double residual = fabs(work.forward[i] + work.backward[i] - (diagonal[i] - lambda));
    if (residual < smallest) {
      smallest = residual;
      twist = i;
    }
  }
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kFullWarp, smallest, step);
    const Index place = __shfl_xor_sync(kFullWarp, twist, step);
    if (other < smallest || (other == smallest && place < twist)) {
      smallest = other;
      twist = place;
    }
  }

  // Each entry over its neighbour on the twist's side, then their products outward.
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) {
    double ratio = 1.0;
    if (i < twist) ratio = -off[i] / work.forward[i];
    if (i > twist) {
      const double pivot = work.backward[i];
      ratio = -off[i - 1] / pivot;
    }
    vector[i] = ratio;
  }
  __syncwarp();
  if (lane < 2) {
    const Index step = lane == 0 ? -1 : 1;
    double entry = 1.0;
#pragma unroll 1
    for (Index i = twist + step; i >= 0 && i < q; i += step) {
      entry *= vector[i];
      vector[i] = entry;
    }
  }
  __syncwarp();
  double square = 0.0;
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) square += vector[i] * vector[i];
  const double inverse = 1.0 / sqrt(warp_sum<kLanes>(square));
#pragma unroll 1
  for (Index i = lane; i < q; i += kLanes) vector[i] *= inverse;
}

// Leading eigenpair of the tridiagonal matrix in work.diagonal and work.off (both scaled in place),
// visible to the team: returns the eigenvalue. Each lane wrote its own entries of work.vector.
template <int kLanes, class Index>
__device__ __forceinline__ double team_tridiagonal_eigenpair(const TeamWork<Index>& work, Index q) {
  double magnitude;
  int exponent;
  const double lambda = team_eigenvalue<kLanes>(work, q, magnitude, exponent);
  team_tridiagonal_vector<kLanes>(work, q, lambda, magnitude);
  return ldexp(lambda, exponent);
}

}  // namespace hubprune::cuda
