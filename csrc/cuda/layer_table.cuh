// SPDX-License-Identifier: MIT
// All layers of a model in one launch: their addresses and sizes travel as one kernel parameter
// (__grid_constant__: read in place from constant memory), so that nothing is copied to the device
// and the launch can be captured in a graph. Blocks number the work of all layers through, and find
// the layer of a piece of work by bisection of the prefix sums.
#pragma once

#include <cstdint>

#include "cuda/launch.cuh"

namespace hubprune::cuda {

constexpr int kTableLayers = 32;              // more layers take more launches
constexpr size_t kParameterBytes = 4 * 1024;  // what a kernel's parameters may take everywhere

template <class Layer>
struct LayerTable {
  int64_t first[kTableLayers + 1];  // the work of layer l is first[l] .. first[l + 1] - 1
  int64_t count;
  Layer layers[kTableLayers];

  // Host: numbers the work through, work(layer) pieces each; returns how many there are.
  template <class Work>
  int64_t number(const Work& work) {
    first[0] = 0;
    for (int64_t l = 0; l < count; ++l) first[l + 1] = first[l] + work(layers[l]);
    return first[count];
  }

  __device__ __forceinline__ int64_t total() const { return first[count]; }

  // The layer of a piece of work below total(); layers without work are never found.
  __device__ __forceinline__ int find(int64_t work) const {
    int low = 0;
    int high = static_cast<int>(count) - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first[middle] <= work) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
};

// The graphs of one layer and what the kernels keep of them.
template <class T>
struct GraphRows {
  const T* x;  // (batch, n, d)
  int64_t batch;
  int64_t n;
  int64_t d;
  double scale;                   // of the fixed-point sums
  T* out;                         // (batch, n)
  double* norms;                  // (batch, n): |x_i| 2^-exponent, or its reciprocal (Norm)
  int* exponents;                 // (batch, n)
  unsigned long long* nonfinite;  // (batch), or null
  unsigned long long* sums;       // fixed-point sums: (batch, n), (batch, d) or (batch, d, d)
  T* panels;                      // packed unit rows
};

template <class T>
using GraphTable = LayerTable<GraphRows<T>>;
static_assert(sizeof(GraphTable<float>) <= kParameterBytes - 64, "room for other parameters");

// Calls enqueue(table) for the layers at [0, count), kTableLayers at a time.
template <class Layer, class Enqueue>
void each_table(const Layer* layers, int64_t count, const Enqueue& enqueue) {
  for (int64_t l = 0; l < count; l += kTableLayers) {
    LayerTable<Layer> table = {};
    table.count = count - l < kTableLayers ? count - l : kTableLayers;
    for (int64_t i = 0; i < table.count; ++i) table.layers[i] = layers[l + i];
    enqueue(table);
  }
}

template <class Layer>
LayerTable<Layer> table_of(const Layer& layer) {
  LayerTable<Layer> table = {};
  table.count = 1;
  table.layers[0] = layer;
  return table;
}

}  // namespace hubprune::cuda
