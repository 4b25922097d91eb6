# SPDX-License-Identifier: MIT
"""Nystroem factors of wide filters, and the memory of a factor of 100 000 rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import Nystroem
from sklearn.utils import check_random_state

import hubprune as hp
from hubprune.bench import OURS, Case, Timing, rows

Inputs = tuple[torch.Tensor, torch.Tensor]


def by_hubprune(inputs: Inputs) -> torch.Tensor:
    x, landmarks = inputs
    return hp.nystrom(x, len(landmarks), landmarks=landmarks).factor


def by_cholesky(inputs: Inputs) -> torch.Tensor:
    """Hand-written in torch: one product, scaled afterwards, and a triangular solve."""
    x, landmarks = inputs
    norms = torch.linalg.vector_norm(x, dim=1)
    columns = (x @ x[landmarks].T) / norms[:, None] / norms[landmarks]
    lower = torch.linalg.cholesky(columns[landmarks])
    return torch.linalg.solve_triangular(lower, columns.T, upper=False).T


def by_eigh(inputs: Inputs) -> torch.Tensor:
    """Hand-written in torch: unit rows, one product, and the eigenvectors of W."""
    x, landmarks = inputs
    unit = torch.nn.functional.normalize(x, dim=1)
    columns = unit @ unit[landmarks].T
    values, vectors = torch.linalg.eigh(columns[landmarks].double())
    return columns @ (vectors * values.clamp_min(1e-6).rsqrt()).float()


def by_sklearn(inputs: Inputs) -> torch.Tensor:
    """The same landmarks: its own draw of them is what the inputs hold."""
    x, landmarks = inputs
    model = Nystroem(kernel="cosine", n_components=len(landmarks), random_state=0)
    return torch.from_numpy(model.fit_transform(x.numpy()))


def exact_factor(inputs: Inputs) -> torch.Tensor:
    x, landmarks = inputs
    unit = torch.nn.functional.normalize(x.double(), dim=1)
    columns = unit @ unit[landmarks].T
    values, vectors = torch.linalg.eigh(columns[landmarks])
    return columns @ (vectors * values.rsqrt())


def errors(factor: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Return the errors of 64 columns of the approximated matrix: factors differ by a rotation."""
    at = torch.arange(0, len(exact), max(1, len(exact) // 64))
    got = factor.double() @ factor.double()[at].T
    return (got - exact @ exact[at].T).abs().flatten()


def nystrom_case(name: str, n: int, d: int, m: int) -> Case:
    def inputs() -> Inputs:
        chosen = check_random_state(0).permutation(n)[:m]
        return rows(n, d), torch.from_numpy(np.ascontiguousarray(chosen))

    return Case(
        name=name,
        inputs=inputs,
        routes={
            OURS: by_hubprune,
            "torch cholesky": by_cholesky,
            "torch eigh": by_eigh,
            "scikit-learn": by_sklearn,
        },
        exact=exact_factor,
        errors=errors,
        bound=1e-5,
        bytes=4.0 * n * (d + 2 * m),
        flops=2.0 * n * m * d,
        unit="GFLOP/s",
    )


CASES = [
    nystrom_case("nystrom m = 256 / CNN14 conv12 flattened, 2048 x 18432", 2048, 18432, 256),
    nystrom_case("nystrom m = 64 / VGGish conv6 flattened, 512 x 4608", 512, 4608, 64),
]


def test_nystrom(case: Case, route: str, replay: Callable[[Case, str], None]) -> None:
    replay(case, route)


# --- memory ---------------------------------------------------------------------------------------

WIDE, FEATURES, LANDMARKS = 100_000, 4608, 512
MEMORY_CASE = nystrom_case(f"nystrom m = {LANDMARKS} / {WIDE} x {FEATURES}, memory", 64, 8, 8)
# A process of its own: the highest resident set of this one is another case's. Rows in blocks: a
# random matrix of this size takes as long as the factor.
MEMORY_SCRIPT = """
import json, re, sys, time
from pathlib import Path
import torch
import hubprune as hp

def highest():  # bytes
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1))

n, d, m, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(0)
hp.nystrom(torch.randn(2000, 64, generator=generator), 32)
x = torch.randn(1000, d, generator=generator).repeat(n // 1000, 1)
x *= torch.linspace(0.5, 2.0, n)[:, None]
before, start = highest(), time.perf_counter()
factor = hp.nystrom(x, m, generator=0)
degree = factor.degree()
seconds, extra = time.perf_counter() - start, highest() - before
some = torch.arange(0, n, n // 64)
unit = torch.nn.functional.normalize(x[factor.indices].double(), dim=1)
rows = torch.nn.functional.normalize(x[some].double(), dim=1)
values, vectors = torch.linalg.eigh(unit @ unit.T)
kept = values > 1e-6
exact = (rows @ unit.T) @ (vectors[:, kept] / values[kept].sqrt())
got = factor.factor[some].double()
error = float((got @ got.T - exact @ exact.T).abs().max())
print(json.dumps({"seconds": seconds, "extra": extra, "error": error}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory(benchmark: Any, threads: int, report: Callable[[Case, Timing], None]) -> None:
    sizes = [str(size) for size in (WIDE, FEATURES, LANDMARKS, threads)]
    command = [sys.executable, "-c", MEMORY_SCRIPT, *sizes]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["error"] <= MEMORY_CASE.bound
    assert found["extra"] < 1e9  # the columns and their factor are 205 MB each; x is 1.8 GB
    benchmark.extra_info["extra_memory"] = found["extra"]
    report(MEMORY_CASE, Timing(OURS, (found["seconds"],), found["error"], found["error"]))
