// SPDX-License-Identifier: MIT
// What the bindings do with their arguments: raw addresses, sizes and codes, checked as far as a
// kernel would crash. Everything else is validated in Python.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "core/edge.h"
#include "core/layers.h"
#include "core/status.h"
#include "cuda/launchers.h"

namespace hubprune::bind {

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

inline Edge checked_edge(int edge) {
  if (edge < 0 || edge >= kEdgeCount) throw std::invalid_argument("edge code out of range");
  return static_cast<Edge>(edge);
}

inline int checked_threads(int threads) {
  if (threads < 1) throw std::invalid_argument("threads must be at least 1");
  return threads;
}

template <class... Sizes>
void check_sizes(Sizes... sizes) {
  if (((sizes < 0) || ...)) throw std::invalid_argument("sizes must not be negative");
}

inline void check_memory(Address address, int64_t elements) {
  if (address == 0 && elements > 0) throw std::invalid_argument("null address");
}

inline void check_status(Status status) {
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

inline std::vector<WeightLayer> weight_layers(const WeightTuples& tuples, bool spectral = false) {
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

inline std::vector<GraphLayer> graph_layers(const GraphTuples& tuples) {
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

inline Precision checked_precision(int precision) {
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

}  // namespace hubprune::bind
