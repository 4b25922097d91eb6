// SPDX-License-Identifier: MIT
// Weighted degree (strength): degree_i = sum over j != i of f(s_ij), x (n, d) -> degree (n), for
// all graphs of a model in one parallel region: wide graphs are shared by the threads one after
// another, narrow ones are taken whole, one thread each.
// signed, shifted: closed form, two reads of x. squared: closed form through the d x d Gram matrix
// while that is smaller than the graph. abs, positive: tiles of the upper triangle, O(n) memory per
// thread, n^2 d / 2 FMAs; precision medium multiplies long rows in bfloat16.
// Twin: hubprune.reference.weighted_degree.
#include "cpu/closed_forms.h"
#include "cpu/level_kernels.h"
#include "cpu/medium_tiles.h"
#include "cpu/pair_sums.h"

namespace hubprune::cpu::HUBPRUNE_LEVEL {

static bool has_closed_form(Edge edge, int64_t n, int64_t d) {
  if (edge == Edge::kSigned || edge == Edge::kShifted) return true;
  return edge == Edge::kSquared && squared_closed_form_pays(n, d);
}

const char* weighted_degree_route(int64_t n, int64_t d, Edge edge, Precision precision,
                                  bool is_double) {
  if (has_closed_form(edge, n, d)) return edge == Edge::kSquared ? "gram" : "closed";
  if (d <= kShortRows) return "short";
  return !is_double && precision == Precision::kMedium && bfloat16_supported() ? "medium" : "long";
}

static double graph_operations(int64_t n, int64_t d, Edge edge) {
  const double rows = static_cast<double>(n);
  const double features = static_cast<double>(d);
  if (!has_closed_form(edge, n, d)) return 0.5 * rows * rows * (features + 2.0);
  return rows * features * (edge == Edge::kSquared ? features + 6.0 : 6.0);
}

// The memory of one graph in the hands of `threads` threads.
template <class T>
struct DegreeWork {
  ClosedForm<T> closed;
  Panels<T> panels;
  MediumPanels medium;
  int64_t* partial;  // (threads, padded rows)

  static DegreeWork take(Scratch& scratch, int64_t n, int64_t d, Edge edge, Precision precision,
                         int threads) {
    DegreeWork work{};
    if (has_closed_form(edge, n, d)) {
      work.closed = ClosedForm<T>::take(scratch, n, d, edge == Edge::kSquared);
      return work;
    }
    if (use_medium(d, precision)) {
      work.medium = MediumPanels::take(scratch, n, d);
    } else {
      work.panels = Panels<T>::take(scratch, n, d);
    }
    work.partial = scratch.take<int64_t>(padded_rows<T>(n) * threads);
    return work;
  }

  static bool use_medium(int64_t d, Precision precision) {
    return sizeof(T) == sizeof(float) && precision == Precision::kMedium && d > kShortRows &&
           bfloat16_supported();
  }

  static int64_t bytes(int64_t n, int64_t d, Edge edge, Precision precision, int threads) {
    Scratch scratch(nullptr);
    take(scratch, n, d, edge, precision, threads);
    return scratch.bytes();
  }
};

template <Edge kEdge, class T>
static void tiled_degree(const Team& team, const DegreeWork<T>& work, const T* x, int64_t n,
                         int64_t d, Precision precision, T* degree) {
  const int64_t padded = padded_rows<T>(n);
  const double scale = fixed_point_scale(n);
  int64_t* own = work.partial + team.thread * padded;
  for (int64_t i = 0; i < padded; ++i) own[i] = 0;
  bool finite = true;
  if (DegreeWork<T>::use_medium(d, precision)) {
    if constexpr (sizeof(T) == sizeof(float)) {
      work.medium.pack(team, x);
      finite = work.medium.finite();
      share_tiles(team, finite ? n : 0, [&](const TileShape& shape) {
        alignas(64) float tile[kTileMax * kTileMax];
        work.medium.multiply(shape, tile);
        add_tile<kEdge>(tile, shape, scale, own);
      });
    }
  } else {
    work.panels.pack(team, x);
    finite = work.panels.finite();
    const int64_t rows = finite ? n : 0;
    if (d <= kShortRows) {
      share_triangle(team, rows, kStripHeight, strip_width(d), [&](int64_t i0, int64_t j0) {
        add_short_tile<kEdge>(work.panels, i0, j0, scale, own);
      });
    } else {
      share_tiles(team, rows, [&](const TileShape& shape) {
        alignas(64) T tile[kTileMax * kTileMax];
        similarity_tile(work.panels, work.panels, shape, tile);
        add_tile<kEdge>(tile, shape, scale, own);
      });
    }
  }
  share_totals<T>(team, work.partial, n, [&](int64_t i, int64_t sum) {
    degree[i] =
        finite ? static_cast<T>(from_fixed_point(sum, scale)) : std::numeric_limits<T>::quiet_NaN();
  });
}

template <class T>
static void graph_degree(const Team& team, const T* x, int64_t n, int64_t d, Edge edge,
                         Precision precision, T* degree, void* memory) {
  if (n == 1) {
    team.once([&] { degree[0] = T(0); });  // no other filter, whatever this one holds
    return;
  }
  Scratch block(memory);
  const auto work = DegreeWork<T>::take(block, n, d, edge, precision, team.threads);
  if (has_closed_form(edge, n, d)) {
    if (edge == Edge::kSquared) {
      work.closed.squared_degree(team, x, degree);
    } else {
      work.closed.signed_degree(team, x, edge == Edge::kShifted, degree);
    }
  } else {
    with_tiled_edge(edge, [&](auto tag) {
      tiled_degree<decltype(tag)::value>(team, work, x, n, d, precision, degree);
    });
  }
}

// How a list of graphs is shared among threads, and the memory that takes.
struct DegreeSchedule {
  int threads;
  double wide;           // operations from which a graph is shared
  int64_t wide_bytes;    // one wide graph
  int64_t narrow_bytes;  // one narrow graph, per thread
  int64_t narrow_count;
};

template <class T>
static DegreeSchedule schedule_of(const GraphLayer* layers, int64_t count, Edge edge,
                                  Precision precision, int threads) {
  double total = 0.0;
  for (int64_t l = 0; l < count; ++l) {
    total +=
        static_cast<double>(layers[l].batch) * graph_operations(layers[l].n, layers[l].d, edge);
  }
  DegreeSchedule schedule{threads_for(total, threads), 0.0, 0, 0, 0};
  // A narrow graph may take a quarter of one thread's part: the last one then delays little.
  const double part = total / (4.0 * schedule.threads);
  schedule.wide = part > kSerialOperations ? part : kSerialOperations;
  for (int64_t l = 0; l < count; ++l) {
    const GraphLayer& layer = layers[l];
    const bool wide = graph_operations(layer.n, layer.d, edge) >= schedule.wide;
    const int64_t bytes =
        DegreeWork<T>::bytes(layer.n, layer.d, edge, precision, wide ? schedule.threads : 1);
    int64_t& most = wide ? schedule.wide_bytes : schedule.narrow_bytes;
    if (layer.n > 0 && layer.batch > 0 && bytes > most) most = bytes;
    if (!wide) schedule.narrow_count += layer.batch;
  }
  return schedule;
}

template <class T>
int64_t weighted_degree_scratch(const GraphLayer* layers, int64_t count, Edge edge,
                                Precision precision, int threads) {
  const DegreeSchedule schedule = schedule_of<T>(layers, count, edge, precision, threads);
  return Scratch::kAlignment + schedule.wide_bytes + schedule.threads * schedule.narrow_bytes;
}

template <class T>
void weighted_degree(const GraphLayer* layers, int64_t count, Edge edge, Precision precision,
                     void* scratch, int threads) {
  const DegreeSchedule schedule = schedule_of<T>(layers, count, edge, precision, threads);
  char* narrow_memory = static_cast<char*>(scratch) + schedule.wide_bytes;
  const auto degree_of = [&](const Team& team, const GraphLayer& layer, int64_t b, void* memory) {
    if (layer.n == 0) return;
    graph_degree<T>(team, static_cast<const T*>(layer.rows) + b * layer.n * layer.d, layer.n,
                    layer.d, edge, precision, static_cast<T*>(layer.degree) + b * layer.n, memory);
  };
  const auto is_wide = [&](const GraphLayer& layer) {
    return graph_operations(layer.n, layer.d, edge) >= schedule.wide;
  };
  parallel_region(schedule.threads, [&](const Team& team) {
    for (int64_t l = 0; l < count; ++l) {
      if (!is_wide(layers[l])) continue;
      for (int64_t b = 0; b < layers[l].batch; ++b) degree_of(team, layers[l], b, scratch);
    }
    void* own = narrow_memory + team.thread * schedule.narrow_bytes;
    team.share(schedule.narrow_count, [&](int64_t graph) {
      const GraphLayer* layer = layers;
      for (;; ++layer) {
        if (is_wide(*layer)) continue;
        if (graph < layer->batch) break;
        graph -= layer->batch;
      }
      degree_of(Team{0, 1}, *layer, graph, own);
    });
  });
}

#define HUBPRUNE_INSTANTIATE(T)                                                                  \
  template int64_t weighted_degree_scratch<T>(const GraphLayer*, int64_t, Edge, Precision, int); \
  template void weighted_degree<T>(const GraphLayer*, int64_t, Edge, Precision, void*, int);
HUBPRUNE_INSTANTIATE(float)
HUBPRUNE_INSTANTIATE(double)

}  // namespace hubprune::cpu::HUBPRUNE_LEVEL
