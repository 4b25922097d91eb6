// SPDX-License-Identifier: MIT
// Weighted degree of every row, fused: no n x n matrix exists. All layers of a model share the
// launches: four for the tiles (up to two more where float32 layers have short rows), three for a
// closed form, whatever their number (layer_table.cuh).
//
//   degree_i = sum_{j != i} f(clamp(<y_i, y_j>)),   y = rows of unit length, f = the edge function
//
// Shapes: x (batch, n, d) -> degree (batch, n). signed and shifted never form a pair
// (closed_forms.cuh), squared none while 8 d <= n (gram_degree.cuh), and float32 rows of at most 32
// features have a kernel of their own (short_degree.cuh). What follows is the rest.
// Bound: n^2 d / 2 float multiply-adds (upper tiles only; every tile serves its rows and its
// columns). Below d ~ 64 the sums over the tile weigh as much as the products.
// Numerics: T -> T products (tile_product.cuh) -> sums of a tile (tile_sums.cuh) -> 64-bit fixed
// point. Integer addition has no order: the result has the same bits on every run and for every
// grid, and whatever other layers are computed with it.
// |error| <= (e + 3 u) n (short rows: 6 u) for an error e of a cosine, typically 1e-8 n in float32.
// A batch item with a NaN or an infinity has NaN degrees; n = 1 has degree 0.
// Twin: hubprune.reference.weighted_degree.
#include <cmath>
#include <type_traits>
#include <vector>

#include "core/edge.h"
#include "core/fixed_point.h"
#include "core/scratch.h"
#include "cuda/closed_forms.cuh"
#include "cuda/gram_degree.cuh"
#include "cuda/launch.cuh"
#include "cuda/launchers.h"
#include "cuda/layer_table.cuh"
#include "cuda/normalized_rows.cuh"
#include "cuda/short_degree.cuh"
#include "cuda/tile_product.cuh"
#include "cuda/tile_sums.cuh"
#include "cuda/triangular_index.h"

namespace hubprune::cuda {
namespace {

// Per multiprocessor: 80 registers a thread in float32, 128 in float64, no spills.
template <class T>
constexpr int kBlocks = sizeof(T) == sizeof(float) ? kDenseBlocks : 2;

template <class T>
__host__ __device__ int64_t upper_tiles(const GraphRows<T>& layer) {
  if (has_short_rows(layer)) return 0;
  return layer.batch * triangular_count(ceil_divide(layer.n, kPanel));
}

// Adds to sums (batch, n): fixed-point degrees, zeroed before. Work: upper_tiles.
template <Edge kEdge, class T>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    weighted_degree_kernel(const __grid_constant__ GraphTable<T> table) {
  TileSumMemory<T>& shared = block_memory<TileSumMemory<T>>();
  const int row = micro_row();
  const int column = micro_column();

  for (int64_t next = block_index(); next < table.total(); next += grid_blocks()) {
    const int at = table.find(next);
    const GraphRows<T>& layer = table.layers[at];
    const int64_t work = next - table.first[at];
    const int64_t side = ceil_divide(layer.n, kPanel);
    const int64_t tiles = triangular_count(side);
    const int64_t item = work / tiles;
    if (layer.nonfinite[item]) continue;  // its degrees are NaN whatever the sums hold
    const TileIndex tile = triangular_index(work % tiles);
    const bool diagonal = tile.row == tile.column;
    const int64_t first_row = tile.row * kPanel;
    const int64_t first_column = tile.column * kPanel;
    const int64_t panel_size = panel_depth<T>(layer.d) * kPanel;

    // Compute: the products, then their weights in place
    T weight[kMicro][kMicro];
    tile_product(layer.panels + (item * side + tile.row) * panel_size,
                 layer.panels + (item * side + tile.column) * panel_size, layer.d, shared.stages,
                 weight);
    const bool whole = !diagonal && first_column + kPanel <= layer.n;
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        weight[r][c] = edge_weight<kEdge>(clamp_cosine(weight[r][c]));
        if (!whole) {  // no self loops, and f(0) may not be 0 in the padding
          const int64_t i = first_row + row + r;
          const int64_t j = first_column + column + c;
          if (i == j || i >= layer.n || j >= layer.n) weight[r][c] = T(0);
        }
      }
    }

    // Store
    add_tile_sums(weight, diagonal, first_row, first_column, layer.n, layer.scale, shared,
                  layer.sums + item * layer.n);
  }
}

enum class Route { kClosed, kGram, kTiles };

Route route_of(int64_t n, int64_t d, Edge edge) {
  if (edge == Edge::kSigned || edge == Edge::kShifted) return Route::kClosed;
  return edge == Edge::kSquared && squared_closed_form_pays(n, d) ? Route::kGram : Route::kTiles;
}

// The layers with their scratch; those without a row are left out. One piece, so that one memset
// clears all, holds the sums and a flag per item of every layer.
template <class T>
struct DegreeScratch {
  std::vector<GraphRows<T>> layers[3];  // by route
  unsigned long long* cleared;
  int64_t cleared_count = 0;
  int64_t bytes;

  DegreeScratch(void* memory, const GraphLayer* given, int64_t count, Edge edge) {
    const auto sums_of = [edge](const GraphLayer& layer) {
      const Route route = route_of(layer.n, layer.d, edge);
      if (route == Route::kTiles) return layer.batch * layer.n;
      return layer.batch * layer.d * (route == Route::kGram ? layer.d : 1);
    };
    for (int64_t l = 0; l < count; ++l) {
      if (given[l].n > 0) cleared_count += sums_of(given[l]) + given[l].batch;
    }
    Scratch pieces(memory);
    cleared = pieces.take<unsigned long long>(cleared_count);
    int64_t used = 0;
    for (int64_t l = 0; l < count; ++l) {
      const GraphLayer& layer = given[l];
      const int64_t rows = layer.batch * layer.n;
      if (rows == 0) continue;
      const Route route = route_of(layer.n, layer.d, edge);
      GraphRows<T> own = {};
      own.x = static_cast<const T*>(layer.rows);
      own.batch = layer.batch;
      own.n = layer.n;
      own.d = layer.d;
      own.scale = fixed_point_scale(layer.n);
      own.out = static_cast<T*>(layer.degree);
      own.norms = pieces.take<double>(rows);
      own.exponents = pieces.take<int>(rows);
      if (route == Route::kTiles) {
        own.panels = pieces.take<T>(panels_count<T>(layer.batch, layer.n, layer.d));
      }
      if (memory) {
        own.sums = cleared + used;
        own.nonfinite = own.sums + sums_of(layer);
      }
      used += sums_of(layer) + layer.batch;
      layers[static_cast<int>(route)].push_back(own);
    }
    bytes = pieces.bytes();
  }

  // Calls enqueue(table) for the layers of a route.
  template <class Enqueue>
  void each(Route route, const Enqueue& enqueue) const {
    const auto& own = layers[static_cast<int>(route)];
    each_table(own.data(), static_cast<int64_t>(own.size()), enqueue);
  }
};

template <Edge kEdge, class T>
void enqueue_tiles(Launches& launches, GraphTable<T>& table) {
  enqueue_normalized_panels(launches, table);
  if constexpr (std::is_same_v<T, float>) enqueue_short_degree<kEdge>(launches, table);
  const int64_t tiles = table.number([](const auto& layer) { return upper_tiles(layer); });
  launches.kernel(weighted_degree_kernel<kEdge, T>, tiles, kTileThreads, sizeof(TileSumMemory<T>),
                  table);
  enqueue_degree_finish(launches, table);
}

}  // namespace

const char* weighted_degree_route(int64_t n, int64_t d, Edge edge) {
  const Route route = route_of(n, d, edge);
  return route == Route::kClosed ? "closed" : (route == Route::kGram ? "gram" : "tiles");
}

template <class T>
int64_t weighted_degree_scratch_bytes(const GraphLayer* layers, int64_t count, Edge edge) {
  return DegreeScratch<T>(nullptr, layers, count, edge).bytes;
}

template <class T>
Status launch_weighted_degree(const GraphLayer* layers, int64_t count, Edge edge,
                              void* scratch_memory, int device, void* stream) {
  const int code = static_cast<int>(edge);
  if (code < 0 || code >= kEdgeCount) return Status::kInvalidValue;
  const DegreeScratch<T> scratch(scratch_memory, layers, count, edge);
  if (scratch.cleared_count == 0) return Status::kOk;
  Launches launches("weighted_degree", device, stream);
  launches.zero(scratch.cleared,
                scratch.cleared_count * static_cast<int64_t>(sizeof(unsigned long long)));
  scratch.each(Route::kClosed, [&](GraphTable<T>& table) {
    enqueue_closed_degree(launches, table, edge == Edge::kShifted);
  });
  scratch.each(Route::kGram, [&](GraphTable<T>& table) { enqueue_gram_degree(launches, table); });
  scratch.each(Route::kTiles, [&](GraphTable<T>& table) {
    with_tiled_edge(edge, [&](auto tag) { enqueue_tiles<decltype(tag)::value>(launches, table); });
  });
  return launches.status();
}

template int64_t weighted_degree_scratch_bytes<float>(const GraphLayer*, int64_t, Edge);
template int64_t weighted_degree_scratch_bytes<double>(const GraphLayer*, int64_t, Edge);
template Status launch_weighted_degree<float>(const GraphLayer*, int64_t, Edge, void*, int, void*);
template Status launch_weighted_degree<double>(const GraphLayer*, int64_t, Edge, void*, int, void*);

}  // namespace hubprune::cuda
