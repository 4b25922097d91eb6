// SPDX-License-Identifier: MIT
// Bindings of the CPU kernels on rows and weights, and of the instruction-set levels.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bind/arguments.h"
#include "bind/bindings.h"
#include "core/scratch.h"
#include "core/stored_graph.h"
#include "cpu/kernels.h"

namespace py = pybind11;

namespace hubprune::bind {

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
      "Use another level, while no kernel runs: scratch is sized for the level in use. False if it "
      "is not in this build or not supported here.");

  m.attr("STORED_GRAPH_BYTES") = kStoredGraphBytes;
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
         int edge, bool zero_diagonal, bool nan_zero_rows, Address out, Address scratch,
         int threads) {
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
              pointer<T>(x), pointer<T>(y), batch, n, m_rows, d, kind, zero_diagonal, nan_zero_rows,
              pointer<T>(out), pointer<void>(scratch), threads);
        });
      },
      py::arg("is_double"), py::arg("x"), py::arg("y"), py::arg("batch"), py::arg("n"),
      py::arg("m"), py::arg("d"), py::arg("edge"), py::arg("zero_diagonal"),
      py::arg("nan_zero_rows"), py::arg("out"), py::arg("scratch"), py::arg("threads"));

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

}  // namespace hubprune::bind
