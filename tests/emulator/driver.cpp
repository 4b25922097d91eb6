// SPDX-License-Identifier: MIT
// The launchers of csrc/cuda under C names, for ctypes. dtype codes: 0 = float32, 1 = float64.
#include <vector>

#include "cuda/launchers.h"
#include "cuda/short_planes.h"
#include "cuda/short_strips.h"
#include "cuda/sm90_layout.h"
#include "cuda/sm90_schedule.h"
#include "cuda/triangular_index.h"

using namespace hubprune;

namespace {

template <class T>
T* address(int64_t bits) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(bits));
}

std::vector<WeightLayer> weight_layers(const int64_t* words, int64_t count) {
  std::vector<WeightLayer> layers;
  for (; count > 0; --count, words += 6) {
    layers.push_back({address<void>(words[0]), words[1], words[2], words[3],
                      address<void>(words[4]), address<double>(words[5]), false});
  }
  return layers;
}

std::vector<GraphLayer> graph_layers(const int64_t* words, int64_t count) {
  std::vector<GraphLayer> layers;
  for (; count > 0; --count, words += 5) {
    layers.push_back(
        {address<void>(words[0]), words[1], words[2], words[3], address<void>(words[4])});
  }
  return layers;
}

}  // namespace

extern "C" {

int emulated_built() { return cuda::built() ? 1 : 0; }
int emulated_device_count() { return cuda::device_count(); }
int emulated_runtime_version() { return cuda::runtime_version(); }
const char* emulated_last_error() { return cuda::last_error(); }

void emulated_triangular_index(int64_t index, int64_t* row, int64_t* column) {
  const cuda::TileIndex tile = cuda::triangular_index(index);
  *row = tile.row;
  *column = tile.column;
}

int64_t emulated_strip_count(int64_t side) { return cuda::strip_count(side); }
void emulated_strip_at(int64_t index, int64_t side, int* strip) {
  const cuda::Strip found = cuda::strip_at(index, side);
  strip[0] = found.column;
  strip[1] = found.first;
  strip[2] = found.end;
}

// layers: `count` times (weight, n, c, p, vectors, norms), 64 bits each.
int64_t emulated_filter_vectors_scratch(const int64_t* layers, int64_t count) {
  return cuda::filter_vectors_scratch_bytes(weight_layers(layers, count).data(), count);
}

int emulated_filter_vectors(int in_double, int out_double, const int64_t* layers, int64_t count,
                            void* scratch, int device) {
  const auto given = weight_layers(layers, count);
  const auto run = in_double ? cuda::launch_filter_vectors<double, double>
                             : (out_double ? cuda::launch_filter_vectors<float, double>
                                           : cuda::launch_filter_vectors<float, float>);
  return static_cast<int>(run(given.data(), count, scratch, device, nullptr));
}

int64_t emulated_row_norms_scratch(int64_t rows) { return cuda::row_norms_scratch_bytes(rows); }

int emulated_row_norms(int is_double, const void* x, int64_t rows, int64_t d, void* out,
                       void* scratch, int device) {
  const Status status =
      is_double ? cuda::launch_row_norms(static_cast<const double*>(x), rows, d,
                                         static_cast<double*>(out), scratch, device, nullptr)
                : cuda::launch_row_norms(static_cast<const float*>(x), rows, d,
                                         static_cast<float*>(out), scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_pairwise_cosine_scratch(int64_t batch, int64_t n, int64_t m, int64_t d,
                                         int symmetric, int is_double) {
  return cuda::pairwise_cosine_scratch_bytes(batch, n, m, d, symmetric != 0, is_double != 0);
}

int emulated_pairwise_cosine(int is_double, const void* x, const void* y, int64_t batch, int64_t n,
                             int64_t m, int64_t d, int edge, int zero_diagonal, int nan_zero_rows,
                             void* out, void* scratch, int device) {
  const Edge kind = static_cast<Edge>(edge);
  const Status status =
      is_double ? cuda::launch_pairwise_cosine(static_cast<const double*>(x),
                                               static_cast<const double*>(y), batch, n, m, d, kind,
                                               zero_diagonal != 0, nan_zero_rows != 0,
                                               static_cast<double*>(out), scratch, device, nullptr)
                : cuda::launch_pairwise_cosine(static_cast<const float*>(x),
                                               static_cast<const float*>(y), batch, n, m, d, kind,
                                               zero_diagonal != 0, nan_zero_rows != 0,
                                               static_cast<float*>(out), scratch, device, nullptr);
  return static_cast<int>(status);
}

// layers: `count` times (rows, batch, n, d, degree), 64 bits each.
int64_t emulated_weighted_degree_scratch(int is_double, const int64_t* layers, int64_t count,
                                         int edge) {
  const auto given = graph_layers(layers, count);
  const Edge kind = static_cast<Edge>(edge);
  return is_double ? cuda::weighted_degree_scratch_bytes<double>(given.data(), count, kind)
                   : cuda::weighted_degree_scratch_bytes<float>(given.data(), count, kind);
}

int emulated_weighted_degree(int is_double, const int64_t* layers, int64_t count, int edge,
                             void* scratch, int device) {
  const auto given = graph_layers(layers, count);
  const auto run =
      is_double ? cuda::launch_weighted_degree<double> : cuda::launch_weighted_degree<float>;
  return static_cast<int>(
      run(given.data(), count, static_cast<Edge>(edge), scratch, device, nullptr));
}

const char* emulated_weighted_degree_route(int64_t n, int64_t d, int edge) {
  return cuda::weighted_degree_route(n, d, static_cast<Edge>(edge));
}

int64_t emulated_split_rows_pitch(int64_t d) { return cuda::split_rows_pitch(d); }

int emulated_split_rows(const float* x, int64_t n, int64_t d, int planes, uint16_t* out,
                        unsigned long long* nonfinite, int device) {
  return static_cast<int>(
      cuda::launch_split_rows(x, n, d, planes, out, nonfinite, device, nullptr));
}

int emulated_add_panel(const float* products, int64_t rows, int64_t stride, int64_t first,
                       int64_t n, int edge, const unsigned long long* nonfinite,
                       unsigned long long* sums, int device) {
  return static_cast<int>(cuda::launch_add_panel(
      products, rows, stride, first, n, static_cast<Edge>(edge), nonfinite, sums, device, nullptr));
}

int64_t emulated_sm90_degree_scratch(int count, int64_t n, int64_t pitch, int device) {
  return cuda::sm90_degree_scratch_bytes(count, n, pitch, device);
}

int emulated_sm90_degree(const uint16_t* planes, int count, int64_t n, int64_t pitch, int edge,
                         const unsigned long long* nonfinite, unsigned long long* sums,
                         void* scratch, int device) {
  return static_cast<int>(cuda::launch_sm90_degree(planes, count, n, pitch, static_cast<Edge>(edge),
                                                   nonfinite, sums, scratch, device, nullptr));
}

int64_t emulated_mma_degree_scratch(int planes, int64_t n, int64_t d) {
  return cuda::mma_degree_scratch_bytes(planes, n, d);
}

int emulated_mma_degree(const float* x, int planes, int64_t n, int64_t d, int edge,
                        unsigned long long* nonfinite, unsigned long long* sums, void* scratch,
                        int device) {
  return static_cast<int>(cuda::launch_mma_degree(x, planes, n, d, static_cast<Edge>(edge),
                                                  nonfinite, sums, scratch, device, nullptr));
}

int emulated_row_steps(int planes, int64_t d) { return cuda::row_steps(planes, d); }
int emulated_word_entry(int lane, int word) { return cuda::word_entry(lane, word); }
int emulated_words_at_once(int steps) { return cuda::words_at_once(steps); }
int64_t emulated_passing_place(int steps, int64_t row, int lane, int word) {
  return cuda::passing_place(steps, row, lane, word);
}
int64_t emulated_kept_place(int steps, int64_t row, int lane, int word) {
  return cuda::kept_place(steps, row, lane, word);
}

void emulated_banded_index(int64_t index, int64_t side, int64_t* row, int64_t* column) {
  const cuda::TileIndex tile = cuda::banded_index(index, side);
  *row = tile.row;
  *column = tile.column;
}

// First row and column of a block's tile.
int emulated_tile_origin(int64_t tile, int64_t side, int columns, int rank, int* column) {
  const cuda::TileOrigin origin = cuda::tile_origin(tile, side, columns, rank);
  *column = origin.column;
  return origin.row;
}
int emulated_tile_columns(int planes, int64_t features) {
  return cuda::tile_columns(planes, features);
}

// The pieces of all clusters, (cluster, tile, first, end, slot) each, up to `most`; their number.
int64_t emulated_pieces(int64_t tiles, int stages, int products, int clusters, int launched,
                        int64_t* pieces, int64_t most) {
  const cuda::TensorSchedule schedule = cuda::tensor_schedule(tiles, stages, products, clusters);
  int64_t count = 0;
  for (int cluster = 0; cluster < launched; ++cluster) {
    cuda::PieceWalk walk = cuda::first_piece(cluster, launched);
    for (cuda::TensorPiece piece; cuda::next_piece(schedule, walk, piece) && count < most;) {
      const int64_t words[] = {cluster, piece.tile, piece.first, piece.end, piece.slot};
      for (int64_t word : words) *pieces++ = word;
      ++count;
    }
  }
  return count;
}

int emulated_degree_finish(unsigned long long* sums, unsigned long long* nonfinite, int64_t n,
                           float* degree, int device) {
  return static_cast<int>(cuda::launch_degree_finish(sums, nonfinite, n, degree, device, nullptr));
}

int emulated_plane_pair(int planes, int index, int* right) {
  const cuda::PlanePair pair = cuda::plane_pair(planes, index);
  *right = pair.right;
  return pair.left;
}
int emulated_fragment_row(int thread, int value) { return cuda::fragment_row(thread, value); }
int emulated_fragment_column(int thread, int value) { return cuda::fragment_column(thread, value); }
uint64_t emulated_operand_descriptor(uint32_t address) { return cuda::operand_descriptor(address); }
int emulated_swizzled_offset(int row, int byte) { return cuda::swizzled_offset(row, byte); }

int64_t emulated_betweenness_centrality_scratch(int64_t n, int64_t count) {
  return cuda::betweenness_centrality_scratch_bytes(n, count);
}

int emulated_betweenness_centrality(const double* lengths, int64_t n, const int64_t* sources,
                                    int64_t count, double* sums, void* scratch, int device) {
  return static_cast<int>(cuda::launch_betweenness_centrality(lengths, n, sources, count, sums,
                                                              scratch, device, nullptr));
}

int64_t emulated_closeness_centrality_scratch(int64_t n) {
  return cuda::closeness_centrality_scratch_bytes(n);
}

int emulated_closeness_centrality(const double* lengths, int64_t n, double* closeness,
                                  void* scratch, int device) {
  return static_cast<int>(
      cuda::launch_closeness_centrality(lengths, n, closeness, scratch, device, nullptr));
}

int64_t emulated_greedy_degree_scratch(int64_t n, int64_t d, int stored, int is_double) {
  return cuda::greedy_degree_scratch_bytes(n, d, stored != 0, is_double != 0);
}

int emulated_greedy_degree(int is_double, const void* x, int64_t n, int64_t d, int edge,
                           int64_t count, int stored, int64_t* order, double* degree, void* scratch,
                           int device) {
  const Edge kind = static_cast<Edge>(edge);
  const Status status =
      is_double ? cuda::launch_greedy_degree(static_cast<const double*>(x), n, d, kind, count,
                                             stored != 0, order, degree, scratch, device, nullptr)
                : cuda::launch_greedy_degree(static_cast<const float*>(x), n, d, kind, count,
                                             stored != 0, order, degree, scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_pivoted_cholesky_scratch(int64_t n) {
  return cuda::pivoted_cholesky_scratch_bytes(n);
}

int emulated_pivoted_cholesky(const double* a, int64_t n, double tolerance, int64_t* order,
                              double* residual, int64_t* rank, void* scratch, int device) {
  return static_cast<int>(cuda::launch_pivoted_cholesky(a, n, tolerance, order, residual, rank,
                                                        scratch, device, nullptr));
}

int64_t emulated_distance_sum_scratch(int64_t n, int64_t d, int is_double) {
  return cuda::distance_sum_scratch_bytes(n, d, is_double != 0);
}

int emulated_distance_sum(int is_double, const void* x, int64_t n, int64_t d, double* sums,
                          void* scratch, int device) {
  const Status status = is_double ? cuda::launch_distance_sum(static_cast<const double*>(x), n, d,
                                                              sums, scratch, device, nullptr)
                                  : cuda::launch_distance_sum(static_cast<const float*>(x), n, d,
                                                              sums, scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_nearest_scratch(int64_t batch, int64_t n, int64_t d, int is_double) {
  return cuda::nearest_scratch_bytes(batch, n, d, is_double != 0);
}

int emulated_nearest(int is_double, const void* x, int64_t batch, int64_t n, int64_t d,
                     void* similarity, int64_t* index, void* scratch, int device) {
  const Status status =
      is_double
          ? cuda::launch_nearest(static_cast<const double*>(x), batch, n, d,
                                 static_cast<double*>(similarity), index, scratch, device, nullptr)
          : cuda::launch_nearest(static_cast<const float*>(x), batch, n, d,
                                 static_cast<float*>(similarity), index, scratch, device, nullptr);
  return static_cast<int>(status);
}

int64_t emulated_graph_eigenvector_centrality_scratch(int64_t batch, int64_t n) {
  return cuda::graph_eigenvector_centrality_scratch_bytes(batch, n);
}

int emulated_graph_eigenvector_centrality(int is_double, const void* weights, int64_t batch,
                                          int64_t n, const double* start, double tol, double noise,
                                          int64_t max_iter, int64_t first, int64_t end,
                                          void* vector, int64_t* converged, double* residual,
                                          void* scratch, int device) {
  const cuda::ProductRange products = {first, end};
  const Status status = is_double ? cuda::launch_graph_eigenvector_centrality(
                                        static_cast<const double*>(weights), batch, n, start, tol,
                                        noise, max_iter, products, static_cast<double*>(vector),
                                        converged, residual, scratch, device, nullptr)
                                  : cuda::launch_graph_eigenvector_centrality(
                                        static_cast<const float*>(weights), batch, n, start, tol,
                                        noise, max_iter, products, static_cast<float*>(vector),
                                        converged, residual, scratch, device, nullptr);
  return static_cast<int>(status);
}

const char* emulated_eigenvector_centrality_route(int is_double, int64_t batch, int64_t n,
                                                  int64_t d, int edge) {
  return cuda::eigenvector_centrality_route(batch, n, d, static_cast<Edge>(edge), is_double != 0);
}

int64_t emulated_eigenvector_centrality_scratch(int is_double, int64_t batch, int64_t n, int64_t d,
                                                int edge, int tiles) {
  return cuda::eigenvector_centrality_scratch_bytes(batch, n, d, static_cast<Edge>(edge),
                                                    tiles != 0, is_double != 0);
}

int emulated_eigenvector_centrality(int is_double, const void* x, int64_t batch, int64_t n,
                                    int64_t d, int edge, int tiles, const double* start, double tol,
                                    double noise, int64_t max_iter, int64_t first, int64_t end,
                                    void* vector, int64_t* converged, double* residual,
                                    void* scratch, int device) {
  const Edge kind = static_cast<Edge>(edge);
  const cuda::ProductRange products = {first, end};
  const Status status =
      is_double ? cuda::launch_eigenvector_centrality(static_cast<const double*>(x), batch, n, d,
                                                      kind, tiles != 0, start, tol, noise, max_iter,
                                                      products, static_cast<double*>(vector),
                                                      converged, residual, scratch, device, nullptr)
                : cuda::launch_eigenvector_centrality(
                      static_cast<const float*>(x), batch, n, d, kind, tiles != 0, start, tol,
                      noise, max_iter, products, static_cast<float*>(vector), converged, residual,
                      scratch, device, nullptr);
  return static_cast<int>(status);
}

}  // extern "C"
