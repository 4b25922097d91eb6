// SPDX-License-Identifier: MIT
// Bindings of the CPU kernels on graphs: Nystroem, eigenvector centrality, shortest paths.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "cpu/kernels.h"

namespace py = pybind11;

namespace hubprune::bind {

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

static void check_range(int64_t first, int64_t last, int64_t count) {
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

}  // namespace hubprune::bind
