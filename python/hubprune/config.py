# SPDX-License-Identifier: MIT
"""What this installation is and what it runs on."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from . import _native

__all__ = ["configuration", "show_config"]


def apply_environment() -> None:
    """Select the instruction-set level that HUBPRUNE_SIMD names, if it names one.

    Raises
    ------
    ImportError
        If this build or this processor does not have that level.
    """
    level = os.environ.get("HUBPRUNE_SIMD", "")
    if level and not _native.select_simd_level(level):
        usable = [name for name, supported in _native.simd_levels() if supported]
        raise ImportError(
            f"HUBPRUNE_SIMD must be one of {', '.join(usable)} on this machine; got {level!r}"
        )


def configuration() -> dict[str, Any]:
    """Return version, instruction-set level, CUDA build, devices and threads, JSON-able."""
    runtime = _native.cuda_runtime_version()
    return {
        "hubprune": _native.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "simd": {
            "in_use": _native.simd_level(),
            "built": [name for name, _ in _native.simd_levels()],
            "supported": [name for name, supported in _native.simd_levels() if supported],
        },
        "cuda": {
            "built": _native.cuda_built(),
            "runtime": f"{runtime // 1000}.{runtime % 1000 // 10}" if runtime else None,
            "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "threads": torch.get_num_threads(),
    }


def show_config() -> None:
    """Print `configuration`, a line each.

    Examples
    --------
    >>> import hubprune as hp
    >>> hp.show_config()  # doctest: +ELLIPSIS
    hubprune ...
    """
    config = configuration()
    simd, cuda = config["simd"], config["cuda"]
    kernels = f"built (runtime {cuda['runtime']})" if cuda["built"] else "not built"
    devices = ", ".join(cuda["devices"]) or "none"
    print(f"hubprune {config['hubprune']}")
    print(f"Python   {config['python']}, torch {config['torch']}")
    print(f"CPU      level {simd['in_use']} in use; built {', '.join(simd['built'])}")
    print(f"CUDA     kernels {kernels}; devices {devices}")
    print(f"Threads  {config['threads']}")
