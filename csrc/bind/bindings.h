// SPDX-License-Identifier: MIT
// The parts of the module, each in a file of its own.
#pragma once

#include <pybind11/pybind11.h>

namespace hubprune::bind {

void bind_cpu(pybind11::module_& m);             // cpu_kernels.cpp
void bind_cpu_nystrom(pybind11::module_& m);     // cpu_graphs.cpp
void bind_cpu_centrality(pybind11::module_& m);  // cpu_graphs.cpp
void bind_cpu_paths(pybind11::module_& m);       // cpu_graphs.cpp
void bind_cuda(pybind11::module_& m);            // cuda_kernels.cpp

}  // namespace hubprune::bind
