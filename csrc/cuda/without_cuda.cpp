// SPDX-License-Identifier: MIT
// The symbols of launchers.h in a build that has no CUDA compiler.
#include "cuda/launchers.h"

namespace hubprune::cuda {

bool built() { return false; }
int device_count() { return 0; }
int runtime_version() { return 0; }
const char* last_error() { return ""; }

int64_t filter_vectors_scratch_bytes(const WeightLayer*, int64_t) { return 0; }
int64_t distance_sum_scratch_bytes(int64_t, int64_t, bool) { return 0; }
int64_t split_rows_pitch(int64_t) { return 0; }
Status launch_split_rows(const float*, int64_t, int64_t, int, uint16_t*, unsigned long long*, int,
                         void*) {
  return Status::kNoCuda;
}
Status launch_add_panel(const float*, int64_t, int64_t, int64_t, int64_t, Edge,
                        const unsigned long long*, unsigned long long*, int, void*) {
  return Status::kNoCuda;
}
bool sm90_available(int) { return false; }
int64_t sm90_degree_scratch_bytes(int, int64_t, int64_t, int) { return 0; }
Status launch_sm90_degree(const uint16_t*, int, int64_t, int64_t, Edge, const unsigned long long*,
                          unsigned long long*, void*, int, void*) {
  return Status::kNoCuda;
}
int64_t mma_degree_scratch_bytes(int, int64_t, int64_t) { return 0; }
Status launch_mma_degree(const float*, int, int64_t, int64_t, Edge, unsigned long long*,
                         unsigned long long*, void*, int, void*) {
  return Status::kNoCuda;
}
Status launch_degree_finish(unsigned long long*, unsigned long long*, int64_t, float*, int, void*) {
  return Status::kNoCuda;
}
int64_t betweenness_centrality_scratch_bytes(int64_t, int64_t) { return 0; }
Status launch_betweenness_centrality(const double*, int64_t, const int64_t*, int64_t, double*,
                                     void*, int, void*) {
  return Status::kNoCuda;
}
int64_t closeness_centrality_scratch_bytes(int64_t) { return 0; }
Status launch_closeness_centrality(const double*, int64_t, double*, void*, int, void*) {
  return Status::kNoCuda;
}
int64_t greedy_degree_scratch_bytes(int64_t, int64_t, bool, bool) { return 0; }
int64_t pivoted_cholesky_scratch_bytes(int64_t) { return 0; }
Status launch_pivoted_cholesky(const double*, int64_t, double, int64_t*, double*, int64_t*, void*,
                               int, void*) {
  return Status::kNoCuda;
}
const char* weighted_degree_route(int64_t, int64_t, Edge) { return ""; }
int64_t row_norms_scratch_bytes(int64_t) { return 0; }
int64_t graph_eigenvector_centrality_scratch_bytes(int64_t, int64_t) { return 0; }
const char* eigenvector_centrality_route(int64_t, int64_t, int64_t, Edge, bool) { return ""; }
int64_t eigenvector_centrality_scratch_bytes(int64_t, int64_t, int64_t, Edge, bool, bool) {
  return 0;
}
int64_t pairwise_cosine_scratch_bytes(int64_t, int64_t, int64_t, int64_t, bool, bool) { return 0; }
int64_t nearest_scratch_bytes(int64_t, int64_t, int64_t, bool) { return 0; }

template <class T, class Out>
Status launch_filter_vectors(const WeightLayer*, int64_t, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
int64_t weighted_degree_scratch_bytes(const GraphLayer*, int64_t, Edge) {
  return 0;
}

template <class T>
Status launch_weighted_degree(const GraphLayer*, int64_t, Edge, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_distance_sum(const T*, int64_t, int64_t, double*, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_nearest(const T*, int64_t, int64_t, int64_t, T*, int64_t*, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_graph_eigenvector_centrality(const T*, int64_t, int64_t, const double*, double,
                                           double, int64_t, const ProductRange&, T*, int64_t*,
                                           double*, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_greedy_degree(const T*, int64_t, int64_t, Edge, int64_t, bool, int64_t*, double*,
                            void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_eigenvector_centrality(const T*, int64_t, int64_t, int64_t, Edge, bool, const double*,
                                     double, double, int64_t, const ProductRange&, T*, int64_t*,
                                     double*, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_row_norms(const T*, int64_t, int64_t, T*, void*, int, void*) {
  return Status::kNoCuda;
}

template <class T>
Status launch_pairwise_cosine(const T*, const T*, int64_t, int64_t, int64_t, int64_t, Edge, bool,
                              bool, T*, void*, int, void*) {
  return Status::kNoCuda;
}

template Status launch_filter_vectors<float, float>(const WeightLayer*, int64_t, void*, int, void*);
template Status launch_filter_vectors<float, double>(const WeightLayer*, int64_t, void*, int,
                                                     void*);
template Status launch_filter_vectors<double, double>(const WeightLayer*, int64_t, void*, int,
                                                      void*);
template int64_t weighted_degree_scratch_bytes<float>(const GraphLayer*, int64_t, Edge);
template int64_t weighted_degree_scratch_bytes<double>(const GraphLayer*, int64_t, Edge);
template Status launch_weighted_degree<float>(const GraphLayer*, int64_t, Edge, void*, int, void*);
template Status launch_weighted_degree<double>(const GraphLayer*, int64_t, Edge, void*, int, void*);
template Status launch_distance_sum<float>(const float*, int64_t, int64_t, double*, void*, int,
                                           void*);
template Status launch_distance_sum<double>(const double*, int64_t, int64_t, double*, void*, int,
                                            void*);
template Status launch_nearest<float>(const float*, int64_t, int64_t, int64_t, float*, int64_t*,
                                      void*, int, void*);
template Status launch_nearest<double>(const double*, int64_t, int64_t, int64_t, double*, int64_t*,
                                       void*, int, void*);

template Status launch_row_norms<float>(const float*, int64_t, int64_t, float*, void*, int, void*);
template Status launch_row_norms<double>(const double*, int64_t, int64_t, double*, void*, int,
                                         void*);
template Status launch_pairwise_cosine<float>(const float*, const float*, int64_t, int64_t, int64_t,
                                              int64_t, Edge, bool, bool, float*, void*, int, void*);
template Status launch_pairwise_cosine<double>(const double*, const double*, int64_t, int64_t,
                                               int64_t, int64_t, Edge, bool, bool, double*, void*,
                                               int, void*);

template Status launch_graph_eigenvector_centrality<float>(const float*, int64_t, int64_t,
                                                           const double*, double, double, int64_t,
                                                           const ProductRange&, float*, int64_t*,
                                                           double*, void*, int, void*);
template Status launch_graph_eigenvector_centrality<double>(const double*, int64_t, int64_t,
                                                            const double*, double, double, int64_t,
                                                            const ProductRange&, double*, int64_t*,
                                                            double*, void*, int, void*);

template Status launch_greedy_degree<float>(const float*, int64_t, int64_t, Edge, int64_t, bool,
                                            int64_t*, double*, void*, int, void*);
template Status launch_greedy_degree<double>(const double*, int64_t, int64_t, Edge, int64_t, bool,
                                             int64_t*, double*, void*, int, void*);
template Status launch_eigenvector_centrality<float>(const float*, int64_t, int64_t, int64_t, Edge,
                                                     bool, const double*, double, double, int64_t,
                                                     const ProductRange&, float*, int64_t*, double*,
                                                     void*, int, void*);
template Status launch_eigenvector_centrality<double>(const double*, int64_t, int64_t, int64_t,
                                                      Edge, bool, const double*, double, double,
                                                      int64_t, const ProductRange&, double*,
                                                      int64_t*, double*, void*, int, void*);

}  // namespace hubprune::cuda
