# SPDX-License-Identifier: MIT
"""How the suite measures: every route of a case in turn, replayed into pytest-benchmark.

pytest-benchmark times one test after the other: what changes on the machine between two tests then
looks like a difference between two routes. Here the first test of a case runs all its routes
interleaved (`hubprune.bench.interleaved`), on one and on two threads, and checks every result; each
test then replays the durations of its route. The numbers in the JSON are those durations.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import pytest

from hubprune.bench import (
    Case,
    OtherPrograms,
    Timing,
    measured,
    reuse_large_blocks,
)
from hubprune.config import configuration

THREADS = (1, 2)
ROUNDS = 15
BUDGET = 3.0  # seconds for a case at one number of threads; a slower route runs once
PACKAGES = (
    "numpy",
    "scikit-learn",
    "scipy",
    "torchmetrics",
    "torch-pruning",
    "networkx",
    "igraph",
    "graphblas-algorithms",
    "python-graphblas",
)


class Replay:
    """A clock that stands still, except that `tick` moves it by the next duration."""

    def __init__(self) -> None:
        self.now = 0.0
        self.durations: list[float] = []

    def load(self, durations: Iterable[float]) -> None:
        self.now, self.durations = 0.0, list(durations)

    def tick(self) -> None:
        self.now += self.durations.pop(0)

    def read(self) -> float:
        return self.now


REPLAY = Replay()


def replayed() -> float:
    """Return the time of the replay: pytest-benchmark's timer, named so in the JSON's options."""
    return REPLAY.read()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every benchmark the replay's clock.

    The fixture has no call that takes durations, and its `stats` exist only after a run. The
    marker's `timer` is the documented way in: what the replay's clock shows becomes statistics,
    table and JSON like any other time.
    """
    for item in items:
        if item.path.name.startswith("bench_"):
            item.add_marker(pytest.mark.benchmark(timer=replayed))


# By number of threads and route; and the processors that other programs kept busy meanwhile.
Measured = tuple[dict[int, dict[str, Timing]], float | None]


@pytest.fixture(scope="session")
def measurements() -> dict[str, Measured | RuntimeError]:
    """Durations and errors of the cases measured so far by name, or what was wrong with a case."""
    reuse_large_blocks()
    return {}


@pytest.fixture(params=THREADS, ids=lambda count: f"{count}thread")
def threads(request: pytest.FixtureRequest) -> int:
    """Run on one and on two threads."""
    return int(request.param)


@pytest.fixture
def report(benchmark: Any, threads: int) -> Callable[..., None]:
    """Replay durations into pytest-benchmark, with what explains them beside."""

    def run(case: Case, timing: Timing, others: float | None = None) -> None:
        benchmark.group = case.name
        benchmark.extra_info.update(
            name=timing.route,
            threads=threads,
            rounds=len(timing.seconds),
            error=timing.error,
            checked_error=timing.checked_error,
            others=others,
            unchecked=timing.route in case.unchecked,
            bytes=case.bytes,
            flops=case.flops,
            pairs=case.pairs,
            unit=case.unit,
            left_out=dict(case.left_out),
            configuration={**configuration(), "threads": threads},
            versions=versions(),
        )
        REPLAY.load(timing.seconds)
        benchmark.pedantic(REPLAY.tick, rounds=len(timing.seconds))

    return run


@pytest.fixture
def replay(
    threads: int,
    report: Callable[..., None],
    measurements: dict[str, Measured | RuntimeError],
) -> Callable[[Case, str], None]:
    """Measure a case if this is its first test, and report one of its routes.

    An error of ours above the case's bound, or a peer's 99th percentile above its own, fails.
    """

    def run(case: Case, route: str) -> None:
        if case.name not in measurements:
            programs = OtherPrograms()
            try:
                timings = measured(case, THREADS, rounds=ROUNDS, budget=BUDGET)
                measurements[case.name] = timings, programs.processors()
            except RuntimeError as error:
                measurements[case.name] = error  # every test of the case fails, measured once
        found = measurements[case.name]
        if isinstance(found, RuntimeError):
            raise found
        timings, others = found
        report(case, timings[threads][route], others)

    return run


def versions() -> dict[str, str]:
    """Return the versions of the peers' packages that are installed."""
    found = {"libc": " ".join(platform.libc_ver())}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every route of the module's CASES."""
    if {"case", "route"} <= set(metafunc.fixturenames):
        cases: list[Case] = metafunc.module.CASES
        metafunc.parametrize(
            ("case", "route"),
            [
                pytest.param(case, route, id=f"{case.name} - {route}")
                for case in cases
                for route in case.routes
            ],
        )


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Keep what explains a time; the machine's own name does not."""
    for private in ("node", "release"):
        machine_info.pop(private, None)
