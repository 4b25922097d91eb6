// SPDX-License-Identifier: MIT
// The Python module hubprune._native: raw addresses, sizes, a thread count or a stream in; results
// in the caller's memory. No torch and no NumPy here: arguments are validated in hubprune.ops, and
// this file re-checks only what would crash. The GIL is released around every kernel.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/edge.h"
#include "core/layers.h"
#include "core/scratch.h"
#include "core/status.h"
#include "cpu/kernels.h"
#include "cuda/launchers.h"

namespace py = pybind11;

namespace hubprune {
namespace {

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

Edge checked_edge(int edge) {
  if (edge < 0 || edge >= kEdgeCount) throw std::invalid_argument("edge code out of range");
  return static_cast<Edge>(edge);
}

int checked_threads(int threads) {
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  return threads;
}

template <class... Sizes>
void check_sizes(Sizes... sizes) {
  if (((sizes < 0) || ...)) throw std::invalid_argument("sizes must not be negative");
}

void check_memory(Address address, int64_t elements) {
  if (address == 0 && elements > 0) throw std::invalid_argument("null address");
}

void check_status(Status status) {
  switch (status) {
    case Status::kOk:
    case Status::kNotConverged:
      return;
    case Status::kNoCuda:
      throw std::runtime_error(
          "this build of hubprune has no CUDA kernels; reinstall it where nvcc is found, "
          "or with -C cmake.define.HUBPRUNE_CUDA=ON to see why it is not");
    case Status::kCudaError:
      throw std::runtime_error(std::string("CUDA error: ") + cuda::last_error());
    case Status::kInvalidValue:
      throw std::invalid_argument("a size or an option is outside what the kernel supports");
  }
}

using WeightTuples = std::vector<std::tuple<Address, int64_t, int64_t, int64_t, Address, Address>>;
using GraphTuples = std::vector<std::tuple<Address, int64_t, int64_t, int64_t, Address>>;

std::vector<WeightLayer> weight_layers(const WeightTuples& tuples, bool spectral = false) {
  std::vector<WeightLayer> layers;
  for (const auto& [weight, n, c, p, vectors, norms] : tuples) {
    check_sizes(n, c, p);
    check_memory(weight, n * c * p);
    check_memory(vectors, n * p);
    check_memory(norms, n);
    layers.push_back(
        {pointer<void>(weight), n, c, p, pointer<void>(vectors), pointer<double>(norms), spectral});
  }
  return layers;
}

std::vector<GraphLayer> graph_layers(const GraphTuples& tuples) {
  std::vector<GraphLayer> layers;
  for (const auto& [rows, batch, n, d, degree] : tuples) {
    check_sizes(batch, n, d);
    check_memory(rows, batch * n * d);
    check_memory(degree, batch * n);
    layers.push_back({pointer<void>(rows), batch, n, d, pointer<void>(degree)});
  }
  return layers;
}

template <class Layers>
int64_t count_of(const Layers& layers) {
  return static_cast<int64_t>(layers.size());
}

Precision checked_precision(int precision) {
  if (precision < 0 || precision >= kPrecisionCount) {
    throw std::invalid_argument("precision code out of range");
  }
  return static_cast<Precision>(precision);
}

// Calls function(T()) with T = float or double.
template <class Function>
auto with_type(bool is_double, const Function& function) {
  return is_double ? function(double()) : function(float());
}

void bind_cpu(py::module_& m) {
  m.def(
      "simd_levels",
      [] {
        std::vector<std::pair<std::string, bool>> levels;
        for (int i = 0; i < cpu::level_count(); ++i) {
          levels.emplace_back(cpu::level_table(i).level, cpu::level_supported(i));
        }
        return levels;
      },
      "The instruction-set levels of this build, oldest first, and whether this processor has "
      "them.");
  m.def(
      "simd_level", [] { return std::string(cpu::kernel_table().level); },
      "The instruction-set level in use.");
  m.def(
      "select_simd_level",
      [](const std::string& level) { return cpu::select_level(level.c_str()); }, py::arg("level"),
      "Use another level; False if it is not in this build or not supported here.");

  m.def(
      "request_large_pages",
      [](Address memory, int64_t bytes) {
        check_sizes(bytes);
        check_memory(memory, bytes);
        request_large_pages(memory, bytes);
      },
      py::arg("memory"), py::arg("bytes"),
      "Ask the system for large pages behind this memory, before it is touched.");
  m.def(
      "read_memory_cpu",
      [](Address data, int64_t count, int threads) {
        check_sizes(count);
        check_memory(data, count);
        checked_threads(threads);
        py::gil_scoped_release release;
        double sum = 0.0;
        cpu::kernel_table().read_memory(pointer<float>(data), count, &sum, threads);
        return sum;
      },
      py::arg("data"), py::arg("count"), py::arg("threads"),
      "Read float32 memory once and return its sum: to time what reading costs here.");
  m.def(
      "multiply_add_cpu",
      [](int64_t rounds, int threads) {
        check_sizes(rounds);
        checked_threads(threads);
        py::gil_scoped_release release;
        double sum = 0.0;
        return cpu::kernel_table().multiply_add(rounds, &sum, threads);
      },
      py::arg("rounds"), py::arg("threads"),
      "Multiply and add in registers on every thread, and return the scalar multiply-adds of one: "
      "to time what the processor can do.");

  m.def(
      "row_norms_cpu",
      [](bool is_double, Address x, int64_t rows, int64_t d, Address norms, int threads) {
        check_sizes(rows, d);
        check_memory(x, rows * d);
        check_memory(norms, rows);
        checked_threads(threads);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().row_norms(pointer<T>(x), rows, d, pointer<T>(norms), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("rows"), py::arg("d"), py::arg("norms"),
      py::arg("threads"));

  m.def(
      "filter_vectors_cpu_scratch",
      [](bool is_double, const WeightTuples& layers, int threads) {
        checked_threads(threads);
        const auto checked = weight_layers(layers);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().filter_vectors_scratch(
              checked.data(), count_of(checked), threads);
        });
      },
      py::arg("is_double"), py::arg("layers"), py::arg("threads"),
      "layers: (weight, n, c, p, vectors, norms) each.");
  m.def(
      "filter_vectors_cpu",
      [](bool is_double, bool out_double, const WeightTuples& layers, Address scratch, int threads,
         bool spectral) {
        checked_threads(threads);
        check_memory(scratch, count_of(layers));
        if (is_double && !out_double) throw std::invalid_argument("float64 weights give float64");
        const auto checked = weight_layers(layers, spectral);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          const auto& kernels = cpu::kernel_table().of<decltype(zero)>();
          const auto run = out_double ? kernels.filter_vectors_f64 : kernels.filter_vectors_f32;
          run(checked.data(), count_of(checked), pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("out_double"), py::arg("layers"), py::arg("scratch"),
      py::arg("threads"), py::arg("spectral") = false,
      "layers: (weight, n, c, p, vectors, norms) each; spectral: operator norms, not Euclidean.");

  m.def(
      "pairwise_cosine_cpu_scratch",
      [](bool is_double, int64_t n, int64_t m_rows, int64_t d, bool symmetric, int threads) {
        check_sizes(n, m_rows, d);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().pairwise_cosine_scratch(
              n, m_rows, d, symmetric, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("m"), py::arg("d"), py::arg("symmetric"),
      py::arg("threads"));
  m.def(
      "pairwise_cosine_cpu",
      [](bool is_double, Address x, Address y, int64_t batch, int64_t n, int64_t m_rows, int64_t d,
         int edge, bool zero_diagonal, Address out, Address scratch, int threads) {
        check_sizes(batch, n, m_rows, d);
        check_memory(x, batch * n * d);
        check_memory(out, batch * n * m_rows);
        check_memory(scratch, batch * n * m_rows);
        checked_threads(threads);
        if (y == 0 && n != m_rows) throw std::invalid_argument("without y, m must equal n");
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().pairwise_cosine(
              pointer<T>(x), pointer<T>(y), batch, n, m_rows, d, kind, zero_diagonal,
              pointer<T>(out), pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("y"), py::arg("batch"), py::arg("n"),
      py::arg("m"), py::arg("d"), py::arg("edge"), py::arg("zero_diagonal"), py::arg("out"),
      py::arg("scratch"), py::arg("threads"));

  m.def(
      "weighted_degree_cpu_scratch",
      [](bool is_double, const GraphTuples& layers, int edge, int precision, int threads) {
        checked_threads(threads);
        const auto checked = graph_layers(layers);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().weighted_degree_scratch(
              checked.data(), count_of(checked), checked_edge(edge), checked_precision(precision),
              threads);
        });
      },
      py::arg("is_double"), py::arg("layers"), py::arg("edge"), py::arg("precision"),
      py::arg("threads"), "layers: (rows, batch, n, d, degree) each.");
  m.def(
      "weighted_degree_cpu",
      [](bool is_double, const GraphTuples& layers, int edge, int precision, Address scratch,
         int threads) {
        checked_threads(threads);
        check_memory(scratch, count_of(layers));
        const auto checked = graph_layers(layers);
        const Edge kind = checked_edge(edge);
        const Precision least = checked_precision(precision);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          cpu::kernel_table().of<decltype(zero)>().weighted_degree(
              checked.data(), count_of(checked), kind, least, pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("layers"), py::arg("edge"), py::arg("precision"),
      py::arg("scratch"), py::arg("threads"), "layers: (rows, batch, n, d, degree) each.");
  m.def(
      "weighted_degree_cpu_route",
      [](bool is_double, int64_t n, int64_t d, int edge, int precision) {
        check_sizes(n, d);
        return std::string(cpu::kernel_table().weighted_degree_route(
            n, d, checked_edge(edge), checked_precision(precision), is_double));
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("edge"), py::arg("precision"),
      "How one graph would be computed: closed, gram, short, long or medium.");

  m.def(
      "distance_sum_cpu_scratch",
      [](bool is_double, int64_t n, int64_t d, int threads) {
        check_sizes(n, d);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().distance_sum_scratch(n, d, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("threads"));
  m.def(
      "distance_sum_cpu",
      [](bool is_double, Address x, int64_t n, int64_t d, Address sums, Address scratch,
         int threads) {
        check_sizes(n, d);
        check_memory(x, n * d);
        check_memory(sums, n);
        check_memory(scratch, n);
        checked_threads(threads);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().distance_sum(pointer<T>(x), n, d, pointer<double>(sums),
                                                   pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("n"), py::arg("d"), py::arg("sums"),
      py::arg("scratch"), py::arg("threads"));

  m.def(
      "greedy_degree_cpu_scratch",
      [](bool is_double, int64_t n, int64_t d, int threads) {
        check_sizes(n, d);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().greedy_degree_scratch(n, d, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("threads"));
  m.def(
      "greedy_degree_cpu",
      [](bool is_double, Address x, int64_t n, int64_t d, int edge, int64_t count, Address order,
         Address degree, Address scratch, int threads) {
        check_sizes(n, d, count);
        check_memory(x, n * d);
        check_memory(order, n);
        check_memory(degree, n);
        check_memory(scratch, n);
        checked_threads(threads);
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().greedy_degree(
              pointer<T>(x), n, d, kind, count, pointer<int64_t>(order), pointer<double>(degree),
              pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("n"), py::arg("d"), py::arg("edge"),
      py::arg("count"), py::arg("order"), py::arg("degree"), py::arg("scratch"),
      py::arg("threads"));

  m.def(
      "nearest_cpu_scratch",
      [](bool is_double, int64_t n, int64_t d, int threads) {
        check_sizes(n, d);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().nearest_scratch(n, d, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("threads"));
  m.def(
      "nearest_cpu",
      [](bool is_double, Address x, int64_t batch, int64_t n, int64_t d, Address similarity,
         Address index, Address scratch, int threads) {
        check_sizes(batch, n, d);
        check_memory(x, batch * n * d);
        check_memory(similarity, batch * n);
        check_memory(index, batch * n);
        check_memory(scratch, batch * n);
        checked_threads(threads);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().nearest(pointer<T>(x), batch, n, d, pointer<T>(similarity),
                                              pointer<int64_t>(index), pointer<void>(scratch),
                                              threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("batch"), py::arg("n"), py::arg("d"),
      py::arg("similarity"), py::arg("index"), py::arg("scratch"), py::arg("threads"));
}

void bind_cpu_nystrom(py::module_& m) {
  m.def(
      "nystrom_columns_cpu_scratch",
      [](bool is_double, int64_t columns, int64_t d, int threads) {
        check_sizes(columns, d);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().nystrom_columns_scratch(columns, d,
                                                                                  threads);
        });
      },
      py::arg("is_double"), py::arg("m"), py::arg("d"), py::arg("threads"));
  m.def(
      "nystrom_columns_cpu",
      [](bool is_double, Address x, Address landmarks, int64_t batch, int64_t n, int64_t columns,
         int64_t d, int edge, Address out, Address scratch, int threads) {
        check_sizes(batch, n, columns, d);
        check_memory(x, batch * n * d);
        check_memory(landmarks, batch * columns);
        check_memory(out, batch * n * columns);
        check_memory(scratch, batch * n * columns);
        for (int64_t j = 0; j < batch * columns; ++j) {
          const int64_t row = pointer<int64_t>(landmarks)[j];
          if (row < 0 || row >= n) throw std::invalid_argument("landmark out of range");
        }
        const Edge weight = checked_edge(edge);
        checked_threads(threads);
        py::gil_scoped_release release;
        with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          cpu::kernel_table().of<T>().nystrom_columns(pointer<T>(x), pointer<int64_t>(landmarks),
                                                      batch, n, columns, d, weight, pointer<T>(out),
                                                      pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("landmarks"), py::arg("batch"), py::arg("n"),
      py::arg("m"), py::arg("d"), py::arg("edge"), py::arg("out"), py::arg("scratch"),
      py::arg("threads"));
  m.def(
      "pivoted_cholesky_cpu_scratch",
      [](int64_t n) {
        check_sizes(n);
        return cpu::kernel_table().pivoted_cholesky_scratch(n);
      },
      py::arg("n"));
  m.def(
      "pivoted_cholesky_cpu",
      [](Address a, int64_t n, double tolerance, Address order, Address residual, Address scratch,
         int threads) {
        check_sizes(n);
        check_memory(a, n * n);
        check_memory(order, n);
        check_memory(residual, n);
        check_memory(scratch, n);
        checked_threads(threads);
        py::gil_scoped_release release;
        return cpu::kernel_table().pivoted_cholesky(
            pointer<double>(a), n, tolerance, pointer<int64_t>(order), pointer<double>(residual),
            pointer<void>(scratch), threads);
      },
      py::arg("a"), py::arg("n"), py::arg("tolerance"), py::arg("order"), py::arg("residual"),
      py::arg("scratch"), py::arg("threads"));
  m.def(
      "rejection_cholesky_cpu",
      [](Address h, Address draws, int64_t count, double tolerance, Address accepted) {
        check_sizes(count);
        check_memory(h, count * count);
        check_memory(draws, count);
        check_memory(accepted, count);
        py::gil_scoped_release release;
        return cpu::kernel_table().rejection_cholesky(pointer<double>(h), pointer<double>(draws),
                                                      count, tolerance, pointer<int64_t>(accepted));
      },
      py::arg("h"), py::arg("draws"), py::arg("count"), py::arg("tolerance"), py::arg("accepted"));
}

void bind_cpu_centrality(py::module_& m) {
  m.def(
      "eigenvector_centrality_cpu_route",
      [](bool is_double, int64_t n, int64_t d, int edge) {
        check_sizes(n, d);
        return with_type(is_double, [&](auto zero) {
          return std::string(cpu::kernel_table().of<decltype(zero)>().eigenvector_centrality_route(
              n, d, checked_edge(edge)));
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("edge"),
      "How the products with the graph would be computed: implicit, stored or tiles.");
  m.def(
      "eigenvector_centrality_cpu_scratch",
      [](bool is_double, int64_t n, int64_t d, int edge, int64_t max_iter, int threads) {
        check_sizes(n, d, max_iter);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().eigenvector_centrality_scratch(
              n, d, checked_edge(edge), max_iter, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("d"), py::arg("edge"), py::arg("max_iter"),
      py::arg("threads"));
  m.def(
      "eigenvector_centrality_cpu",
      [](bool is_double, Address x, int64_t batch, int64_t n, int64_t d, int edge, Address start,
         double tol, int64_t max_iter, Address vector, Address scratch, int threads) {
        check_sizes(batch, n, d, max_iter);
        check_memory(x, batch * n * d);
        check_memory(vector, batch * n);
        check_memory(scratch, batch * n);
        checked_threads(threads);
        const Edge kind = checked_edge(edge);
        double residual = 0.0;
        Status status = Status::kOk;
        {
          py::gil_scoped_release release;
          status = with_type(is_double, [&](auto zero) {
            using T = decltype(zero);
            return cpu::kernel_table().of<T>().eigenvector_centrality(
                pointer<T>(x), batch, n, d, kind, pointer<const double>(start), tol, max_iter,
                pointer<T>(vector), &residual, pointer<void>(scratch), threads);
          });
        }
        check_status(status);
        return std::make_tuple(status == Status::kOk, residual);
      },
      py::arg("is_double"), py::arg("x"), py::arg("batch"), py::arg("n"), py::arg("d"),
      py::arg("edge"), py::arg("start"), py::arg("tol"), py::arg("max_iter"), py::arg("vector"),
      py::arg("scratch"), py::arg("threads"),
      "start: float64 (batch, n), 0 for none. Returns (converged, relative residual).");

  m.def(
      "graph_eigenvector_centrality_cpu_scratch",
      [](bool is_double, int64_t n, int64_t max_iter, int threads) {
        check_sizes(n, max_iter);
        checked_threads(threads);
        return with_type(is_double, [&](auto zero) {
          return cpu::kernel_table().of<decltype(zero)>().graph_eigenvector_centrality_scratch(
              n, max_iter, threads);
        });
      },
      py::arg("is_double"), py::arg("n"), py::arg("max_iter"), py::arg("threads"));
  m.def(
      "graph_eigenvector_centrality_cpu",
      [](bool is_double, Address weights, int64_t batch, int64_t n, Address start, double tol,
         int64_t max_iter, Address vector, Address scratch, int threads) {
        check_sizes(batch, n, max_iter);
        check_memory(weights, batch * n * n);
        check_memory(vector, batch * n);
        check_memory(scratch, batch * n);
        checked_threads(threads);
        double residual = 0.0;
        Status status = Status::kOk;
        {
          py::gil_scoped_release release;
          status = with_type(is_double, [&](auto zero) {
            using T = decltype(zero);
            return cpu::kernel_table().of<T>().graph_eigenvector_centrality(
                pointer<T>(weights), batch, n, pointer<const double>(start), tol, max_iter,
                pointer<T>(vector), &residual, pointer<void>(scratch), threads);
          });
        }
        check_status(status);
        return std::make_tuple(status == Status::kOk, residual);
      },
      py::arg("is_double"), py::arg("weights"), py::arg("batch"), py::arg("n"), py::arg("start"),
      py::arg("tol"), py::arg("max_iter"), py::arg("vector"), py::arg("scratch"),
      py::arg("threads"),
      "start: float64 (batch, n), 0 for none. Returns (converged, relative residual).");
}

void check_range(int64_t first, int64_t last, int64_t count) {
  if (first < 0 || last < first || last > count) throw std::invalid_argument("range outside n");
}

void bind_cpu_paths(py::module_& m) {
  m.def(
      "path_graph_cpu_scratch",
      [](int64_t n) {
        check_sizes(n);
        return cpu::kernel_table().path_graph_scratch(n);
      },
      py::arg("n"), "Bytes of the packed graph.");
  m.def(
      "path_graph_cpu",
      [](Address lengths, int64_t n, Address graph, int threads) {
        check_sizes(n);
        check_memory(lengths, n);
        check_memory(graph, 1);
        checked_threads(threads);
        py::gil_scoped_release release;
        cpu::kernel_table().path_graph(pointer<double>(lengths), n, pointer<void>(graph), threads);
      },
      py::arg("lengths"), py::arg("n"), py::arg("graph"), py::arg("threads"),
      "Pack symmetric float64 lengths (n, n) for the searches.");

  m.def(
      "betweenness_centrality_cpu_scratch",
      [](int64_t n, int64_t sources, int threads) {
        check_sizes(n, sources);
        checked_threads(threads);
        return cpu::kernel_table().betweenness_centrality_scratch(n, sources, threads);
      },
      py::arg("n"), py::arg("sources"), py::arg("threads"));
  m.def(
      "betweenness_centrality_cpu",
      [](Address graph, int64_t n, const std::vector<int64_t>& sources, int64_t first, int64_t last,
         Address sum, Address scratch, int threads) {
        check_sizes(n);
        check_range(first, last, count_of(sources));
        for (const int64_t source : sources) check_range(source, source + 1, n);
        check_memory(graph, 1);
        check_memory(sum, n);
        check_memory(scratch, 1);
        checked_threads(threads);
        py::gil_scoped_release release;
        cpu::kernel_table().betweenness_centrality(pointer<void>(graph), n, sources.data(), first,
                                                   last, pointer<double>(sum),
                                                   pointer<void>(scratch), threads);
      },
      py::arg("graph"), py::arg("n"), py::arg("sources"), py::arg("first"), py::arg("last"),
      py::arg("sum"), py::arg("scratch"), py::arg("threads"),
      "Add the dependencies on sources[first:last] to sum; first is a multiple of 4.");

  m.def(
      "closeness_centrality_cpu_scratch",
      [](int64_t n, int threads) {
        check_sizes(n);
        checked_threads(threads);
        return cpu::kernel_table().closeness_centrality_scratch(n, threads);
      },
      py::arg("n"), py::arg("threads"));
  m.def(
      "closeness_centrality_cpu",
      [](Address graph, int64_t n, int64_t first, int64_t last, Address closeness, Address scratch,
         int threads) {
        check_sizes(n);
        check_range(first, last, n);
        check_memory(graph, 1);
        check_memory(closeness, n);
        check_memory(scratch, 1);
        checked_threads(threads);
        py::gil_scoped_release release;
        cpu::kernel_table().closeness_centrality(pointer<void>(graph), n, first, last,
                                                 pointer<double>(closeness), pointer<void>(scratch),
                                                 threads);
      },
      py::arg("graph"), py::arg("n"), py::arg("first"), py::arg("last"), py::arg("closeness"),
      py::arg("scratch"), py::arg("threads"), "Write the closeness of nodes [first, last).");
}

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
         int edge, bool zero_diagonal, Address out, Address scratch, int device, Address stream) {
        check_sizes(batch, n, m_rows, d);
        check_memory(x, batch * n * d);
        check_memory(out, batch * n * m_rows);
        if (y == 0 && n != m_rows) throw std::invalid_argument("without y, m must equal n");
        const Edge kind = checked_edge(edge);
        py::gil_scoped_release release;
        check_status(with_type(is_double, [&](auto zero) {
          using T = decltype(zero);
          return cuda::launch_pairwise_cosine(
              pointer<const T>(x), pointer<const T>(y), batch, n, m_rows, d, kind, zero_diagonal,
              pointer<T>(out), pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("y"), py::arg("batch"), py::arg("n"),
      py::arg("m"), py::arg("d"), py::arg("edge"), py::arg("zero_diagonal"), py::arg("out"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"));

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
         Address start, double tol, double noise, int64_t max_iter, Address vector,
         Address converged, Address residual, Address scratch, int device, Address stream) {
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
              noise, max_iter, pointer<T>(vector), pointer<int64_t>(converged),
              pointer<double>(residual), pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("x"), py::arg("batch"), py::arg("n"), py::arg("d"),
      py::arg("edge"), py::arg("tiles"), py::arg("start"), py::arg("tol"), py::arg("noise"),
      py::arg("max_iter"), py::arg("vector"), py::arg("converged"), py::arg("residual"),
      py::arg("scratch"), py::arg("device"), py::arg("stream"),
      "By tiles, or implicit where the edge and d allow it; start: float64 (batch, n), 0 for "
      "none.");

  m.def("graph_eigenvector_centrality_cuda_scratch",
        &cuda::graph_eigenvector_centrality_scratch_bytes, py::arg("batch"), py::arg("n"));
  m.def(
      "graph_eigenvector_centrality_cuda",
      [](bool is_double, Address weights, int64_t batch, int64_t n, Address start, double tol,
         double noise, int64_t max_iter, Address vector, Address converged, Address residual,
         Address scratch, int device, Address stream) {
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
              max_iter, pointer<T>(vector), pointer<int64_t>(converged), pointer<double>(residual),
              pointer<void>(scratch), device, pointer<void>(stream));
        }));
      },
      py::arg("is_double"), py::arg("weights"), py::arg("batch"), py::arg("n"), py::arg("start"),
      py::arg("tol"), py::arg("noise"), py::arg("max_iter"), py::arg("vector"),
      py::arg("converged"), py::arg("residual"), py::arg("scratch"), py::arg("device"),
      py::arg("stream"));
}

}  // namespace
}  // namespace hubprune

PYBIND11_MODULE(_native, m) {
  m.doc() = "Kernels of hubprune on raw memory. Use the functions of the hubprune package instead.";
  m.attr("__version__") = HUBPRUNE_VERSION;
  hubprune::bind_cpu(m);
  hubprune::bind_cpu_nystrom(m);
  hubprune::bind_cpu_centrality(m);
  hubprune::bind_cpu_paths(m);
  hubprune::bind_cuda(m);
}
