// SPDX-License-Identifier: MIT
// Shortest paths from one source of a dense graph by label setting, with path counts: Dijkstra's
// algorithm without a heap, and with NetworkX's answer wherever that is not the textbook's.
// Where every edge makes a path longer, all nodes closer than the nearest possible end of an edge
// not yet walked are settled together (Crauser et al., 1998): 5 to 20 steps a source, n / lanes
// operations each, and edges are walked from near to far until they end behind the farthest label.
// Otherwise (zero, absorbed or negative lengths) nodes settle one by one in NetworkX's order: by
// distance, then by when the settled node that gave the label was settled, then by index; a settled
// node keeps its distance, but an edge back to it that ties still adds to its path count.
// Numerics: distances are float64 sums along the path, ties are exact equality.
// Twin: hubprune.reference._shortest_paths.
#pragma once

#include "cpu/path_graph.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

class LabelSetting {
 public:
  double* distance;  // (stride): infinity where no path leads, NaN in the padding
  double* paths;     // (stride): twice the number of shortest paths
  int64_t* before;   // (stride): the node before, the first one settled of several; see kTied
  int32_t* rank;     // (stride): position in `order`
  int32_t* order;    // (n): nodes as they were settled, the source first
  int64_t reached;

  static LabelSetting take(Scratch& scratch, const PathGraph& graph) {
    LabelSetting s(graph);
    s.distance = scratch.take<double>(graph.stride);
    s.paths = scratch.take<double>(graph.stride);
    s.before = scratch.take<int64_t>(graph.stride);
    s.rank = scratch.take<int32_t>(graph.stride);
    s.order = scratch.take<int32_t>(graph.n + 1);
    s.open_ = scratch.take<double>(graph.stride);
    return s;
  }

  void search(int64_t source) {
    reached = 0;
    for (int64_t w = 0; w < graph_.stride; ++w) {
      distance[w] = open_[w] = w < graph_.n ? kInfinity : kNaN;
      paths[w] = 0.0;
      before[w] = source;  // before itself too: it counts its own path twice, as NetworkX does
    }
    distance[source] = open_[source] = 0.0;
    paths[source] = 1.0;
    order[0] = static_cast<int32_t>(source);
    if (*graph_.increasing) {
      settle(1);
      const double* direct = graph_.row(source);
      for (int64_t w = 0; w < graph_.n; ++w) {
        if (w != source) distance[w] = open_[w] = direct[w];
      }
      search_in_batches();
    } else {
      search_one_by_one();
    }
  }

  int64_t first_before(int64_t w) const { return before[w] & ~kTied; }
  bool tied(int64_t w) const { return before[w] & kTied; }

 private:
  // In `before`: there may be other nodes before.
  static constexpr int64_t kTied = int64_t(1) << 62;

  explicit LabelSetting(const PathGraph& graph) : reached(0), graph_(graph) {}

  // The next `count` nodes of `order` are final.
  void settle(int64_t count) {
    for (const int64_t end = reached + count; reached < end; ++reached) {
      const int32_t v = order[reached];
      rank[v] = static_cast<int32_t>(reached);
      open_[v] = kNaN;  // compares false: never nearer, never relabelled
      paths[v] += paths[first_before(v)];
    }
  }

  void relabel(int64_t w, int64_t v, double through) {
    distance[w] = open_[w] = through;
    before[w] = v;
    paths[w] = 0.0;  // the path through `before` is counted when w is settled
  }

  void count_tie(int64_t w, int64_t v) {
    paths[w] += paths[v];
    before[w] |= kTied;
  }

  void search_in_batches() {
    while (reached < graph_.n) {
      double final_below;
      double farthest;
      bounds(&final_below, &farthest);
      int64_t end = reached;
      for (int64_t w = 0; w < graph_.n; ++w) {
        order[end] = static_cast<int32_t>(w);
        end += open_[w] < final_below ? 1 : 0;
      }
      if (end == reached) return;  // nothing else can be reached
      const int64_t first = reached;
      settle(end - first);
      if (reached == graph_.n) return;
      for (int64_t k = first; k < end; ++k) relax_useful_edges(order[k], farthest);
    }
  }

  // Labels below `final_below` cannot change any more, and none is above `farthest`.
  void bounds(double* final_below, double* farthest) const {
    Vector<double> least = Vector<double>{} + kInfinity;
    Vector<double> most = -least;
    for (int64_t w = 0; w < graph_.stride; w += kLanes<double>) {
      const Vector<double> label = load(open_ + w);
      const Vector<double> next = label + load(graph_.shortest + w);
      least = next < least ? next : least;
      most = label > most ? label : most;
    }
    *final_below = least[0];
    *farthest = most[0];
    for (int lane = 1; lane < kLanes<double>; ++lane) {
      *final_below = least[lane] < *final_below ? least[lane] : *final_below;
      *farthest = most[lane] > *farthest ? most[lane] : *farthest;
    }
  }

  void relax_useful_edges(int64_t v, double farthest) {
    const double* length = graph_.near_length + v * graph_.stride;
    const int32_t* near = graph_.near + v * graph_.stride;
    const int64_t count = graph_.near_count[v];
    const double at = distance[v];
    for (int64_t k = 0; k < count; ++k) {
      const double through = at + length[k];
      if (through > farthest) return;
      const int64_t w = near[k];
      // One rare branch. Compared for equality first, settled nodes (NaN) would be a second one,
      // which is taken half the time: four times slower.
      if (!(through <= open_[w])) continue;
      if (through < open_[w]) {
        relabel(w, v, through);
      } else {
        count_tie(w, v);
      }
    }
  }

  void search_one_by_one() {
    double least = 0.0;
    for (int64_t v = order[0]; least < kInfinity; v = nearest_open(least)) {
      order[reached] = static_cast<int32_t>(v);
      settle(1);
      least = relax_row(v);
    }
  }

  // Every edge of v, also those back to settled nodes; returns the smallest open label. No
  // branches: with negative lengths every step relabels most nodes.
  double relax_row(int64_t v) {
    const double* length = graph_.row(v);
    const double at = distance[v];
    const Vector<double> none{};
    const Vector<double> more = none + paths[v];
    const Lanes through_v = Lanes{} + v;
    Vector<double> least = none + kInfinity;
    for (int64_t w = 0; w < graph_.stride; w += kLanes<double>) {
      const Vector<double> through = at + load(length + w);
      const Vector<double> known = load(distance + w);
      const Vector<double> label = load(open_ + w);
      const Vector<double> count = load(paths + w);
      const Lanes previous = load_lanes(before + w);
      const Lanes less = through < label;
      const Lanes tie = through == known;
      const Vector<double> now = less ? through : label;
      store(open_ + w, now);
      store(distance + w, less ? through : known);
      store(paths + w, less ? none : (tie ? count + more : count));
      const Lanes then = less ? through_v : (tie ? previous | kTied : previous);
      __builtin_memcpy(before + w, &then, sizeof then);
      least = now < least ? now : least;
    }
    double smallest = least[0];
    for (int lane = 1; lane < kLanes<double>; ++lane) {
      smallest = least[lane] < smallest ? least[lane] : smallest;
    }
    return smallest;
  }

  // The open node of the smallest label; of several the one whose label is the oldest.
  int64_t nearest_open(double least) const {
    Lanes count{};
    Lanes where{};
    for (int64_t w = 0; w < graph_.stride; w += kLanes<double>) {
      const Lanes equal = load(open_ + w) == least;
      count -= equal;
      where = equal ? Lanes{} + w : where;
    }
    int64_t candidates = 0;
    int64_t nearest = 0;
    for (int lane = 0; lane < kLanes<double>; ++lane) {
      candidates += count[lane];
      if (count[lane]) nearest = where[lane] + lane;
    }
    if (candidates == 1) return nearest;
    for (int64_t w = graph_.n - 1; w >= 0; --w) {
      if (open_[w] == least && rank[first_before(w)] <= rank[first_before(nearest)]) nearest = w;
    }
    return nearest;
  }

  using Lanes = decltype(Vector<double>{} < Vector<double>{});

  static Lanes load_lanes(const int64_t* p) {
    Lanes lanes;
    __builtin_memcpy(&lanes, p, sizeof lanes);
    return lanes;
  }

  PathGraph graph_;
  double* open_;  // (stride): the label of a node that is not settled, else NaN
};

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
