# SPDX-License-Identifier: MIT
"""What every benchmark notes beside its time: error, threads, versions, instruction-set level."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from hubprune.config import configuration


@pytest.fixture(params=[1, 2], ids=lambda count: f"{count}thread")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run on one and on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def measure(benchmark: Any, threads: int) -> Callable[..., Any]:
    """Time a call; note who computed what, its largest error and the machine's settings.

    Every error of ours must be within the bound; of a peer's, 99 in 100 (a float32 Gram matrix
    cannot always tell the sign of a rank-1 vector, and that is noted, not hidden).
    """

    def run(
        name: str,
        call: Callable[[], Any],
        error: Callable[[Any], torch.Tensor],
        bound: float,
    ) -> Any:
        result = benchmark.pedantic(call, rounds=7, warmup_rounds=2)
        errors = error(result).double()
        largest = float(errors.max())
        checked = largest if name == "hubprune" else float(errors.quantile(0.99))
        assert checked <= bound, f"{name}: error {checked} above {bound}"
        benchmark.extra_info.update(
            name=name, threads=threads, error=largest, configuration=configuration()
        )
        return result

    return run


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Keep what explains a time; the machine's own name does not."""
    for private in ("node", "release"):
        machine_info.pop(private, None)
