// SPDX-License-Identifier: MIT
// Bindings of the CUDA kernels: the stream is the caller's, nothing waits.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bind/arguments.h"
#include "bind/bindings.h"

namespace py = pybind11;

namespace hubprune::bind {

void bind_cuda(py::module_& m) {
  m.def("cuda_built", [] { return cuda::built(); }, "Whether this build holds CUDA kernels.");
  m.def(
      "cuda_runtime_version", [] { return cuda::runtime_version(); },
      "The CUDA runtime linked in, as 1000 * major + 10 * minor; 0 without CUDA kernels.");
  m.def(
      "cuda_device_count", [] { return cuda::device_count(); },
      "Devices that the kernels could run on; 0 without a driver.");

  m.def(
      "filter_vectors_cuda_scratch",
      [](const WeightTuples& layers) {
        const auto checked = weight_layers(layers);
        return cuda::filter_vectors_scratch_bytes(checked.data(), count_of(checked));
      },
      py::arg("layers"), "layers: (weight, n, c, p, vectors, norms) each.");
  m.def(
      "filter_vectors_cuda",
      [](bool is_double, bool out_double, const WeightTuples& layers, Address scratch, int device,
         Address stream) {
        if (is_double && !out_double) throw std::invalid_argument("float64 weights give float64");
        const auto checked = weight_layers(layers);
        py::gil_scoped_release release;
        const auto run = is_double ? cuda::launch_filter_vectors<double, double>
                                   : (out_double ? cuda::launch_filter_vectors<float, double>
                                                 : cuda::launch_filter_vectors<float, float>);
        check_status(run(checked.data(), count_of(checked), pointer<void>(scratch), device,
                         pointer<void>(stream)));
      },
      py::arg("is_double"), py::arg("out_double"), py::arg("layers"), py::arg("scratch"),
      py::arg("device"), py::arg("stream"));

  m.def("row_norms_cuda_scratch", &cuda::row_norms_scratch_bytes, py::arg("rows"));
  m.def(
      "row_norms_cuda",
      [](bool is_double, Address x, int64_t rows, int64_t d, Address norms, Address scratch,
         int device, Address stream) {
        check_sizes(rows, d);
        check_memory(x, rows * d);
        check_memory(norms, rows);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_row_norms(pointer<const T>(x), rows, d, pointer<T>(norms),
                                        pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("rows"), py::arg("d"), py::arg("norms"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"));

  m.def("pairwise_cosine_cuda_scratch", &cuda::pairwise_cosine_scratch_bytes, py::arg("batch"),
        py::arg("n"), py::arg("m"), py::arg("d"), py::arg("symmetric"), py::arg("is_double"));
  m.def(
      "pairwise_cosine_cuda",
      [](bool is_double, Address x, Address y, int64_t batch, int64_t n, int64_t m_rows, int64_t d,
         int edge, bool zero_diagonal, bool nan_zero_rows, Address out, Address scratch, int device,
         Address stream) {
        check_sizes(batch, n, m_rows, d);
        check_memory(x, batch * n * d);
        check_memory(out, batch * n * m_rows);
        if (y == 0 && n != m_rows) throw std::invalid_argument("without y, m must equal n");
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_pairwise_cosine(pointer<const T>(x), pointer<const T>(y), batch, n,
                                              m_rows, d, kind, zero_diagonal, nan_zero_rows,
                                              pointer<T>(out), pointer<void>(scratch), device,
                                              pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("y"), py::arg("batch"), py::arg("n"),
      py::arg("m"), py::arg("d"), py::arg("edge"), py::arg("zero_diagonal"),
      py::arg("nan_zero_rows"), py::arg("out"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"));

  m.def(
      "weighted_degree_cuda_scratch",
      [](bool is_double, const GraphTuples& layers, int edge) {
        const auto checked = graph_layers(layers);
        const Edge kind = checked_edge(edge);
        return with_type(is_double, [&](auto zero) {
          return cuda::weighted_degree_scratch_bytes<decltype(zero)>(checked.data(),
                                                                     count_of(checked), kind);
        });
      },
      py::arg("is_double"), py::arg("layers"), py::arg("edge"),
      "layers: (rows, batch, n, d, degree) each.");
  m.def(
      "weighted_degree_cuda_route",
      [](int64_t n, int64_t d, int edge) {
        check_sizes(n, d);
        return std::string(cuda::weighted_degree_route(n, d, checked_edge(edge)));
      },
      py::arg("n"), py::arg("d"), py::arg("edge"), "closed, gram or tiles; empty without CUDA.");
  m.def(
      "weighted_degree_cuda",
      [](bool is_double, const GraphTuples& layers, int edge, Address scratch, int device,
         Address stream) {
        const auto checked = graph_layers(layers);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          return cuda::launch_weighted_degree<decltype(zero)>(checked.data(), count_of(checked),
                                                              kind, pointer<void>(scratch), device,
                                                              pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("layers"), py::arg("edge"), py::arg("scratch"),
      py::arg("device"), py::arg("stream"));

  m.def("split_rows_cuda_pitch", &cuda::split_rows_pitch, py::arg("d"));
  m.def(
      "split_rows_cuda",
      [](Address x, int64_t n, int64_t d, int planes, Address out, Address nonfinite, int device,
         Address stream) {
        check_sizes(n, d);
        check_memory(x, n * d);
        check_memory(out, n * d);
        check_memory(nonfinite, n);
        py::gil_scoped_release release;
        check_status(cuda::launch_split_rows(
            pointer<const float>(x), n, d, planes, pointer<uint16_t>(out),
            pointer<unsigned long long>(nonfinite), device, pointer<void>(stream)));
      },
      py::arg("x"), py::arg("n"), py::arg("d"), py::arg("planes"), py::arg("out"),
      py::arg("nonfinite"), py::arg("device"), py::arg("stream"));
  m.def(
      "add_panel_cuda",
      [](Address products, int64_t rows, int64_t stride, int64_t first, int64_t n, int edge,
         Address nonfinite, Address sums, int device, Address stream) {
        check_sizes(rows, stride, first, n);
        check_memory(products, rows);
        check_memory(nonfinite, n);
        check_memory(sums, n);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(cuda::launch_add_panel(pointer<const float>(products), rows, stride, first, n,
                                            kind, pointer<const unsigned long long>(nonfinite),
                                            pointer<unsigned long long>(sums), device,
                                            pointer<void>(stream)));
      },
      py::arg("products"), py::arg("rows"), py::arg("stride"), py::arg("first"), py::arg("n"),
      py::arg("edge"), py::arg("nonfinite"), py::arg("sums"), py::arg("device"), py::arg("stream"));
  m.def("sm90_available", &cuda::sm90_available, py::arg("device"),
        "Whether a device has Hopper's matrix units and this build the kernel for them.");
  m.def(
      "sm90_degree_cuda_scratch",
      [](int count, int64_t n, int64_t pitch, int device) {
        check_sizes(count, n, pitch);
        return cuda::sm90_degree_scratch_bytes(count, n, pitch, device);
      },
      py::arg("count"), py::arg("n"), py::arg("pitch"), py::arg("device"));
  m.def(
      "sm90_degree_cuda",
      [](Address planes, int count, int64_t n, int64_t pitch, int edge, Address nonfinite,
         Address sums, Address scratch, int device, Address stream) {
        check_sizes(count, n, pitch);
        check_memory(planes, count * n * pitch);
        check_memory(nonfinite, n);
        check_memory(sums, n);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(cuda::launch_sm90_degree(
            pointer<const uint16_t>(planes), count, n, pitch, kind,
            pointer<const unsigned long long>(nonfinite), pointer<unsigned long long>(sums),
            pointer<void>(scratch), device, pointer<void>(stream)));
      },
      py::arg("planes"), py::arg("count"), py::arg("n"), py::arg("pitch"), py::arg("edge"),
      py::arg("nonfinite"), py::arg("sums"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"));
  m.def(
      "mma_degree_cuda_scratch",
      [](int planes, int64_t n, int64_t d) {
        check_sizes(planes, n, d);
        return cuda::mma_degree_scratch_bytes(planes, n, d);
      },
      py::arg("planes"), py::arg("n"), py::arg("d"));
  m.def(
      "mma_degree_cuda",
      [](Address x, int planes, int64_t n, int64_t d, int edge, Address nonfinite, Address sums,
         Address scratch, int device, Address stream) {
        check_sizes(planes, n, d);
        check_memory(x, n * d);
        check_memory(nonfinite, n);
        check_memory(sums, n);
        check_memory(scratch, n);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(cuda::launch_mma_degree(
            pointer<const float>(x), planes, n, d, kind, pointer<unsigned long long>(nonfinite),
            pointer<unsigned long long>(sums), pointer<void>(scratch), device,
            pointer<void>(stream)));
      },
      py::arg("x"), py::arg("planes"), py::arg("n"), py::arg("d"), py::arg("edge"),
      py::arg("nonfinite"), py::arg("sums"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"), "At most 32 features; the sums are in fixed point.");
  m.def(
      "degree_finish_cuda",
      [](Address sums, Address nonfinite, int64_t n, Address degree, int device, Address stream) {
        check_sizes(n);
        check_memory(sums, n);
        check_memory(nonfinite, n);
        check_memory(degree, n);
        py::gil_scoped_release release;
        check_status(cuda::launch_degree_finish(
            pointer<unsigned long long>(sums), pointer<unsigned long long>(nonfinite), n,
            pointer<float>(degree), device, pointer<void>(stream)));
      },
      py::arg("sums"), py::arg("nonfinite"), py::arg("n"), py::arg("degree"), py::arg("device"),
      py::arg("stream"));

  m.def("distance_sum_cuda_scratch", &cuda::distance_sum_scratch_bytes, py::arg("n"), py::arg("d"),
        py::arg("is_double"));
  m.def(
      "distance_sum_cuda",
      [](bool is_double, Address x, int64_t n, int64_t d, Address sums, Address scratch, int device,
         Address stream) {
        check_sizes(n, d);
        check_memory(x, n * d);
        check_memory(sums, n);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_distance_sum(pointer<const T>(x), n, d, pointer<double>(sums),
                                           pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("n"), py::arg("d"), py::arg("sums"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"));

  m.def("betweenness_centrality_cuda_scratch", &cuda::betweenness_centrality_scratch_bytes,
        py::arg("n"), py::arg("count"));
  m.def(
      "betweenness_centrality_cuda",
      [](Address lengths, int64_t n, Address sources, int64_t count, Address sums, Address scratch,
         int device, Address stream) {
        check_sizes(n, count);
        check_memory(lengths, n * n);
        check_memory(sources, count);
        check_memory(sums, n);
        py::gil_scoped_release release;
        check_status(cuda::launch_betweenness_centrality(
            pointer<const double>(lengths), n, pointer<const int64_t>(sources), count,
            pointer<double>(sums), pointer<void>(scratch), device, pointer<void>(stream)));
      },
      py::arg("lengths"), py::arg("n"), py::arg("sources"), py::arg("count"), py::arg("sums"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"),
      "Sources, on the device, must be below n: they are not checked.");

  m.def("closeness_centrality_cuda_scratch", &cuda::closeness_centrality_scratch_bytes,
        py::arg("n"));
  m.def(
      "closeness_centrality_cuda",
      [](Address lengths, int64_t n, Address closeness, Address scratch, int device,
         Address stream) {
        check_sizes(n);
        check_memory(lengths, n * n);
        check_memory(closeness, n);
        py::gil_scoped_release release;
        check_status(cuda::launch_closeness_centrality(
            pointer<const double>(lengths), n, pointer<double>(closeness), pointer<void>(scratch),
            device, pointer<void>(stream)));
      },
      py::arg("lengths"), py::arg("n"), py::arg("closeness"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"));

  m.def("greedy_degree_cuda_scratch", &cuda::greedy_degree_scratch_bytes, py::arg("n"),
        py::arg("d"), py::arg("stored"), py::arg("is_double"));
  m.def(
      "greedy_degree_cuda",
      [](bool is_double, Address x, int64_t n, int64_t d, int edge, int64_t count, bool stored,
         Address order, Address degree, Address scratch, int device, Address stream) {
        check_sizes(n, d, count);
        check_memory(x, n * d);
        check_memory(order, n);
        check_memory(degree, n);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_greedy_degree(pointer<const T>(x), n, d, kind, count, stored,
                                            pointer<int64_t>(order), pointer<double>(degree),
                                            pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("n"), py::arg("d"), py::arg("edge"),
      py::arg("count"), py::arg("stored"), py::arg("order"), py::arg("degree"), py::arg("scratch"),
      py::arg("device"), py::arg("stream"),
      "stored: keep the n x n graph in the scratch, else compute a removed row's weights again.");

  m.def("pivoted_cholesky_cuda_scratch", &cuda::pivoted_cholesky_scratch_bytes, py::arg("n"));
  m.def(
      "pivoted_cholesky_cuda",
      [](Address a, int64_t n, double tolerance, Address order, Address residual, Address rank,
         Address scratch, int device, Address stream) {
        check_sizes(n);
        check_memory(a, n * n);
        check_memory(order, n);
        check_memory(residual, n);
        check_memory(rank, 1);
        py::gil_scoped_release release;
        check_status(cuda::launch_pivoted_cholesky(
            pointer<const double>(a), n, tolerance, pointer<int64_t>(order),
            pointer<double>(residual), pointer<int64_t>(rank), pointer<void>(scratch), device,
            pointer<void>(stream)));
      },
      py::arg("a"), py::arg("n"), py::arg("tolerance"), py::arg("order"), py::arg("residual"),
      py::arg("rank"), py::arg("scratch"), py::arg("device"), py::arg("stream"));

  m.def("nearest_cuda_scratch", &cuda::nearest_scratch_bytes, py::arg("batch"), py::arg("n"),
        py::arg("d"), py::arg("is_double"));
  m.def(
      "nearest_cuda",
      [](bool is_double, Address x, int64_t batch, int64_t n, int64_t d, Address similarity,
         Address index, Address scratch, int device, Address stream) {
        check_sizes(batch, n, d);
        check_memory(x, batch * n * d);
        check_memory(similarity, batch * n);
        check_memory(index, batch * n);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_nearest(pointer<const T>(x), batch, n, d, pointer<T>(similarity),
                                      pointer<int64_t>(index), pointer<void>(scratch), device,
                                      pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("batch"), py::arg("n"), py::arg("d"),
      py::arg("similarity"), py::arg("index"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"));

  m.def(
      "eigenvector_centrality_cuda_route",
      [](bool is_double, int64_t batch, int64_t n, int64_t d, int edge) {
        check_sizes(batch, n, d);
        return std::string(
            cuda::eigenvector_centrality_route(batch, n, d, checked_edge(edge), is_double));
      },
      py::arg("is_double"), py::arg("batch"), py::arg("n"), py::arg("d"), py::arg("edge"),
      "How the products with the graph would be computed: implicit, stored or tiles.");
  m.def(
      "eigenvector_centrality_cuda_scratch",
      [](bool is_double, int64_t batch, int64_t n, int64_t d, int edge, bool tiles) {
        check_sizes(batch, n, d);
        return cuda::eigenvector_centrality_scratch_bytes(batch, n, d, checked_edge(edge), tiles,
                                                          is_double);
      },
      py::arg("is_double"), py::arg("batch"), py::arg("n"), py::arg("d"), py::arg("edge"),
      py::arg("tiles"));
  m.def(
      "eigenvector_centrality_cuda",
      [](bool is_double, Address x, int64_t batch, int64_t n, int64_t d, int edge, bool tiles,
         Address start, double tol, double noise, int64_t max_iter, int64_t first, int64_t end,
         Address vector, Address converged, Address residual, Address scratch, int device,
         Address stream) {
        check_sizes(batch, n, d, max_iter);
        check_memory(x, batch * n * d);
        check_memory(vector, batch * n);
        check_memory(converged, batch);
        check_memory(residual, batch);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_eigenvector_centrality(
              pointer<const T>(x), batch, n, d, kind, tiles, pointer<const double>(start), tol,
              noise, max_iter, {first, end}, pointer<T>(vector), pointer<int64_t>(converged),
              pointer<double>(residual), pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("batch"), py::arg("n"), py::arg("d"),
      py::arg("edge"), py::arg("tiles"), py::arg("start"), py::arg("tol"), py::arg("noise"),
      py::arg("max_iter"), py::arg("first"), py::arg("end"), py::arg("vector"),
      py::arg("converged"), py::arg("residual"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"),
      "By tiles, or implicit where the edge and d allow it; start: float64 (batch, n), 0 for "
      "none; products first .. end - 1, in the scratch of those before.");

  m.def("graph_eigenvector_centrality_cuda_scratch",
        &cuda::graph_eigenvector_centrality_scratch_bytes, py::arg("batch"), py::arg("n"));
  m.def(
      "graph_eigenvector_centrality_cuda",
      [](bool is_double, Address weights, int64_t batch, int64_t n, Address start, double tol,
         double noise, int64_t max_iter, int64_t first, int64_t end, Address vector,
         Address converged, Address residual, Address scratch, int device, Address stream) {
        check_sizes(batch, n, max_iter);
        check_memory(weights, batch * n * n);
        check_memory(vector, batch * n);
        check_memory(converged, batch);
        check_memory(residual, batch);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_graph_eigenvector_centrality(
              pointer<const T>(weights), batch, n, pointer<const double>(start), tol, noise,
              max_iter, {first, end}, pointer<T>(vector), pointer<int64_t>(converged),
              pointer<double>(residual), pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("weights"), py::arg("batch"), py::arg("n"), py::arg("start"),
      py::arg("tol"), py::arg("noise"), py::arg("max_iter"), py::arg("first"), py::arg("end"),
      py::arg("vector"), py::arg("converged"), py::arg("residual"), py::arg("scratch"),
      py::arg("device"), py::arg("stream"),
      "Products first .. end - 1, in the scratch of those before.");
}

}  // namespace hubprune::bind
