// SPDX-License-Identifier: MIT
// A dense graph of path lengths, packed once for the searches from every source.
// Edges that no shortest path can use are left out of the lists that a search walks along:
//   - w is longer than a path over one of v's kNearby nearest, by more than rounding can undo;
//   - every other source is so far from v that its direct edge to w is shorter.
// Of 2048 Gaussian 9-vectors with lengths 1 - s, 7 of 100 edges stay; of a metric, nearly all.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/simd.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kNearby = 32;

// Whole vectors of every level.
static inline int64_t padded_nodes(int64_t n) { return (n + 7) / 8 * 8; }

struct PathGraph {
  int64_t n;
  int64_t stride;
  double* lengths;       // (n, stride): infinity on the diagonal, in the padding, for no edge
  double* near_length;   // (n, stride): the lengths of row v's useful edges, ascending
  int32_t* near;         // (n, stride): where they lead
  int64_t* near_count;   // (n)
  double* shortest;      // (stride): of each row; infinity in the padding
  double* longest;       // (stride): of each row, infinity where an edge is missing
  double* longest_edge;  // (n): of each row, without what is missing
  double* slack;         // (1): what rounding can change in any path's length
  bool* defined;         // (1): no NaN and no minus infinity
  bool* increasing;      // (1): every edge makes a path longer, whatever the rounding

  static PathGraph take(Scratch& scratch, int64_t n) {
    PathGraph g{};
    g.n = n;
    g.stride = padded_nodes(n);
    g.lengths = scratch.take<double>(n * g.stride);
    g.near_length = scratch.take<double>(n * g.stride);
    g.near = scratch.take<int32_t>(n * g.stride);
    g.near_count = scratch.take<int64_t>(n);
    g.shortest = scratch.take<double>(g.stride);
    g.longest = scratch.take<double>(g.stride);
    g.longest_edge = scratch.take<double>(n);
    g.slack = scratch.take<double>(1);
    g.defined = scratch.take<bool>(1);
    g.increasing = scratch.take<bool>(1);
    return g;
  }

  const double* row(int64_t v) const { return lengths + v * stride; }

  void pack(const double* given, int threads) const {
    const auto size = static_cast<double>(n);
    parallel_region(threads_for(32.0 * size * size, threads), [&](const Team& team) {
      team.share(n, [&](int64_t v) { pack_row(given, v); });
      team.once([&] { summarise(); });
      if (*increasing) team.share(n, [&](int64_t v) { list_useful_edges(v); });
    });
  }

 private:
  void pack_row(const double* given, int64_t v) const {
    double* out = lengths + v * stride;
    double least = kInfinity;
    double most = -kInfinity;
    double most_edge = 0.0;
    bool bad = false;
    for (int64_t w = 0; w < stride; ++w) out[w] = w < n && w != v ? given[v * n + w] : kInfinity;
    for (int64_t w = 0; w < n; ++w) {
      if (w == v) continue;
      bad |= !(out[w] > -kInfinity);
      least = out[w] < least ? out[w] : least;
      most = out[w] > most ? out[w] : most;
      most_edge = out[w] > most_edge && out[w] < kInfinity ? out[w] : most_edge;
    }
    shortest[v] = bad ? kNaN : least;
    longest[v] = most;
    longest_edge[v] = most_edge;
  }

  void summarise() const {
    double least = kInfinity;
    double most = 0.0;
    *defined = true;
    for (int64_t v = n; v < stride; ++v) shortest[v] = longest[v] = kInfinity;
    for (int64_t v = 0; v < n; ++v) {
      if (std::isnan(shortest[v])) *defined = false;
      least = shortest[v] < least ? shortest[v] : least;
      most = longest_edge[v] > most ? longest_edge[v] : most;
    }
    // A path has fewer than n edges; each addition rounds by at most half an epsilon.
    *slack = 8.0 * std::numeric_limits<double>::epsilon() * static_cast<double>(n) * most;
    *increasing = *defined && least > *slack;
  }

  void list_useful_edges(int64_t v) const {
    int32_t* ends = near + v * stride;
    const double* own = row(v);
    int64_t count = 0;
    for (int64_t w = 0; w < n; ++w) {
      // From another source, v is at least its shortest edge away, and w at most its longest.
      if (own[w] < kInfinity && shortest[v] + own[w] <= longest[w]) {
        ends[count++] = static_cast<int32_t>(w);
      }
    }
    const auto closer = [own](int32_t a, int32_t b) { return own[a] < own[b]; };
    if (count > kNearby) {
      std::nth_element(ends, ends + kNearby, ends + count, closer);
      double* detour = near_length + v * stride;  // until the lengths themselves go there
      for (int64_t w = 0; w < stride; ++w) detour[w] = kInfinity;
      for (int64_t k = 0; k < kNearby; ++k) shorten(detour, own[ends[k]], row(ends[k]));
      count = std::remove_if(ends, ends + count,
                             [&](int32_t w) { return own[w] > detour[w] + *slack; }) -
              ends;
    }
    std::sort(ends, ends + count, closer);
    for (int64_t k = 0; k < count; ++k) near_length[v * stride + k] = own[ends[k]];
    near_count[v] = count;
  }

  void shorten(double* detour, double first, const double* second) const {
    for (int64_t w = 0; w < stride; w += kLanes<double>) {
      const Vector<double> before = load(detour + w);
      const Vector<double> through = first + load(second + w);
      store(detour + w, through < before ? through : before);
    }
  }
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
