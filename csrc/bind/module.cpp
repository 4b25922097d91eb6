// SPDX-License-Identifier: MIT
// The Python module hubprune._native: raw addresses, sizes, a thread count or a stream in; results
// in the caller's memory. No torch and no NumPy here: arguments are validated in hubprune.ops, and
// the bindings re-check only what would crash. The GIL is released around every kernel.
#include "bind/bindings.h"

PYBIND11_MODULE(_native, m) {
  m.doc() = "Kernels of hubprune on raw memory. Use the functions of the hubprune package instead.";
  m.attr("__version__") = HUBPRUNE_VERSION;
  hubprune::bind::bind_cpu(m);
  hubprune::bind::bind_cpu_nystrom(m);
  hubprune::bind::bind_cpu_centrality(m);
  hubprune::bind::bind_cpu_paths(m);
  hubprune::bind::bind_cuda(m);
}
