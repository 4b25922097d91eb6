// SPDX-License-Identifier: MIT
// The edge functions: w_ij = f(s_ij), s a cosine in [-1, 1]. Twin: hubprune.reference.edge_weight.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace hubprune {

enum class Edge : int { kSigned = 0, kSquared = 1, kAbs = 2, kPositive = 3, kShifted = 4 };
constexpr int kEdgeCount = 5;

// Whether the degree of kSquared is cheaper through the d x d Gram matrix of the unit rows than by
// pairs: n d (d + 1) multiply-adds in float64 against n^2 d / 2, on the CPU and on the GPU alike.
constexpr int64_t kMostGramFeatures = 256;
HUBPRUNE_SHARED bool squared_closed_form_pays(int64_t n, int64_t d) {
  return d <= kMostGramFeatures && 8 * d <= n;
}

// Whether a product of the graph of kSquared with a vector is cheaper through that matrix: n d^2
// multiply-adds in float64 each time. A stored graph takes n^2, after n^2 d / 2 once. A limit
// between what was measured on the CPU: even at d^2 = 2 n for 512 rows and 3 n for 1024, beyond
// 6 n from 2048 rows on, where the graph fits in no near cache. On a GPU a stored product is bound
// by reads of the graph, and about 6 n^2 multiply-adds fit in their time on a large one (not
// measured).
HUBPRUNE_SHARED bool squared_product_pays(int64_t n, int64_t d, bool stored) {
  return squared_closed_form_pays(n, d) && (!stored || d * d <= 4 * n);
}

// Rounding can leave a cosine a few ulp outside [-1, 1]; NaN passes through both comparisons.
template <class T>
HUBPRUNE_SHARED T clamp_cosine(T s) {
  return s > T(1) ? T(1) : (s < T(-1) ? T(-1) : s);
}

template <Edge kEdge, class T>
HUBPRUNE_SHARED T edge_weight(T s) {
  if constexpr (kEdge == Edge::kSquared) return s * s;
  if constexpr (kEdge == Edge::kAbs) return s < T(0) ? -s : s;
  // `s < 0` rather than `s > 0`: a NaN must stay a NaN.
  if constexpr (kEdge == Edge::kPositive) return s < T(0) ? T(0) : s;
  if constexpr (kEdge == Edge::kShifted) return (T(1) + s) * T(0.5);
  return s;
}

// The edge as a compile-time constant, for a function that is called with it: every edge, or those
// of which no closed form is linear in the cosine, where kPositive stands for the rest.
template <Edge kEdge>
struct EdgeTag {
  static constexpr Edge value = kEdge;
};

template <class Function>
static inline auto with_tiled_edge(Edge edge, const Function& function) {
  if (edge == Edge::kSquared) return function(EdgeTag<Edge::kSquared>{});
  if (edge == Edge::kAbs) return function(EdgeTag<Edge::kAbs>{});
  return function(EdgeTag<Edge::kPositive>{});
}

template <class Function>
static inline auto with_edge(Edge edge, const Function& function) {
  if (edge == Edge::kSigned) return function(EdgeTag<Edge::kSigned>{});
  if (edge == Edge::kShifted) return function(EdgeTag<Edge::kShifted>{});
  return with_tiled_edge(edge, function);
}

}  // namespace hubprune
