# SPDX-License-Identifier: MIT
"""The device's benchmarks, rehearsed on the CPU: time on a device is too rare for a wrong line.

Every line is computed at a small size with the CPU's kernels in place of CUDA's; only the clock and
the graph capture are pretended.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from hubprune import reference

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in the source tree")
GPU_MODULES = tuple(sorted(path.stem for path in FOLDER.glob("gpu_*.py")))
MODULES = (*GPU_MODULES, "journal", "layers", "peers")

# A small call of every function that makes lines of the table.
SMALL: dict[str, Callable[[ModuleType], Any]] = {
    "cholesky_lines": lambda table: table.cholesky_lines(30),
    "degree_lines": lambda table: table.degree_lines(40, 9),
    "distance_lines": lambda table: table.distance_lines(40, 9),
    "eigenvector_lines": lambda table: table.eigenvector_lines(60, 9, "abs"),
    "greedy_lines": lambda table: table.greedy_lines(40, 9),
    "long_lines": lambda table: table.long_lines(40, 70, "high", "tiles", "panels"),
    "nearest_lines": lambda table: table.nearest_lines(40, 9),
    "network_lines": lambda table: [
        line for way in table.NETWORK_WAYS for line in table.network_lines(way, ((16, 3), (24, 16)))
    ],
    "other_lines": lambda table: table.other_lines(40, 9, "highest", "another"),
    "path_lines": lambda table: table.path_lines("betweenness_centrality", 30, 9),
    "short_lines": lambda table: table.short_lines(40, 9, "high"),
    "short_million_lines": lambda table: table.short_million_lines(50, 9),
    "signed_lines": lambda table: table.signed_lines(90, 9),
    "squares_lines": lambda table: table.squares_lines(90, 9),
    "vectors_lines": lambda table: table.vectors_lines("small", 8, 5, 3, 3),
}
LINES = {
    "network_lines": 3,
    "cholesky_lines": 2,
    "greedy_lines": 2,
    "long_lines": 4,
    "short_lines": 2,
    "short_million_lines": 3,
}


class HostEvent:
    """A device event of a machine that has finished when a call returns."""

    def __init__(self, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: HostEvent) -> float:
        return (end.at - self.at) * 1e3


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported and forgotten again, with the CPU as their device."""
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = {name: importlib.import_module(name) for name in MODULES}
    clock, peers = modules["gpu_clock"], modules["gpu_peers"]
    monkeypatch.setattr(clock, "DEVICE", "cpu")
    monkeypatch.setattr(clock, "FLUSH_VALUES", 2**8)
    monkeypatch.setattr(clock, "BUDGET_MS", 50.0)
    monkeypatch.setattr(clock, "WARM_SECONDS", 0.0)
    for name in ("gpu_routes", "gpu_table"):
        monkeypatch.setattr(modules[name], "routes_here", lambda: ["tiles", "panels"])
    again = peers.Peer("torch again", peers.eager_degree)
    monkeypatch.setattr(modules["gpu_degree"], "other_peer", lambda package, precision: again)
    monkeypatch.setattr(modules["gpu_table"], "other_packages", lambda precision: ["a", "b"])
    monkeypatch.setattr(torch.cuda, "Event", HostEvent)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 2**30))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    yield modules
    for name in MODULES:
        sys.modules.pop(name, None)


def test_every_line_is_rehearsed(scripts: dict[str, ModuleType]) -> None:
    table = scripts["gpu_table"]
    makers = {
        name
        for module in GPU_MODULES
        for name, made in inspect.getmembers(scripts[module], inspect.isfunction)
        if name.endswith("_lines") and inspect.signature(made).return_annotation == "list[Line]"
    } - {"measured_lines"}
    assert makers == set(SMALL)
    groups = table.groups(quick=False)
    assert tuple(groups) == table.GROUPS
    names = [task.name for tasks in groups.values() for task in tasks]
    assert len(set(names)) == len(names)
    assert {name.split("(")[0] for name in names} == makers
    assert "long_lines(65536, 4608, high, panels)" in names
    # Each package in a line of its own: one that fails takes no other along.
    others = [task.name for task in groups["peers"]]
    assert others[:2] == [f"other_lines(16384, 9, highest, {name})" for name in ("a", "b")]
    assert len(others) == 8
    assert groups["core"][-1].name == "vectors_lines(wide kernels, 64, 300, 17, 17)"
    long = {task.name for tasks in groups.values() for task in tasks if task.seconds > 40}
    million = {"degree_lines(1000000, 9)", "short_million_lines(1000000, 9)"}
    assert long == {*million, *others}
    quick = [task.name for tasks in table.groups(quick=True).values() for task in tasks]
    assert set(quick) - set(names) == {
        "long_lines(2048, 1024, highest, tiles, panels)",
        "long_lines(2048, 1024, high, panels)",
        "long_lines(2048, 1024, medium, panels)",
    }


def test_other_packages_are_those_that_are_installed(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = scripts["gpu_peers"]
    installed = {"triton", "cupy"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in installed or None)
    assert peers.other_packages("highest") == ["torch.compile", "CuPy"]
    assert peers.other_packages("medium") == ["torch.compile"]
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    peer = peers.other_peer("torch.compile", "medium")
    x = torch.randn(40, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(peer.run(x), peers.eager_degree(x), rtol=1e-2, atol=0)
    assert peer.name == "torch.compile of X X', abs, sum in bfloat16"
    installed.clear()
    assert peers.other_packages("highest") == []


def test_long_lines_of_a_device_with_all_routes(scripts: dict[str, ModuleType]) -> None:
    table = scripts["gpu_table"]
    names = [task.name for task in table.long_tasks(["sm90"], quick=True)]
    assert names == [f"long_lines(2048, 1024, {name}, sm90)" for name in table.PRECISIONS]
    assert table.long_tasks([], quick=False) == []


@pytest.mark.parametrize("name", SMALL)
def test_lines(scripts: dict[str, ModuleType], name: str) -> None:
    table = scripts["gpu_table"]
    made = SMALL[name](table)
    ceilings = dict.fromkeys(("copy", "float64", "float32", "tf32", "bfloat16"), 1e9)
    assert len(made) == LINES.get(name, 1)
    for line in made:
        assert line.error <= line.bound
        assert line.ms > 0
        assert line.peer_ms > 0
        assert line.rate > 0
        assert line.repetitions >= 3
        assert (line.reached(ceilings) is None) == (not line.work)
        assert line.reached({}) is None
        journal = journal_of(scripts, {name: [asdict(line)]}, {"ceilings": ceilings})
        assert line.operation in table.markdown(journal)


def test_peers_in_their_better_forms(scripts: dict[str, ModuleType]) -> None:
    """Panels that stay in the cache; the Gram matrices of fewer channels than positions."""
    peers, lines = scripts["gpu_peers"], scripts["gpu_lines"]
    assert peers.panel_rows(16384, peers.CACHED_ENTRIES) == 512
    assert 65536 * peers.panel_rows(65536, peers.CACHED_ENTRIES) == peers.CACHED_ENTRIES
    x = lines.gaussian(300, 9)
    torch.testing.assert_close(peers.eager_degree(x, entries=1), peers.eager_degree(x))
    for shape in ((8, 5, 3, 3), (8, 9, 3, 3), (8, 20, 3, 3), (8, 1, 3, 3)):
        weight = lines.gaussian(*shape)
        exact = torch.from_numpy(reference.filter_vectors(weight.double().numpy(), "rank1"))
        torch.testing.assert_close(peers.eager_vectors(weight.double()), exact)


def test_signed_degrees_are_wrong_beside_their_magnitudes(scripts: dict[str, ModuleType]) -> None:
    """Cosines 1, 0 and -1: a degree of nothing is no divisor."""
    error = scripts["gpu_exact"].signed_error(torch.tensor([[2.0, 0.0], [3.0, 0.0], [-1.0, 0.0]]))
    assert error(torch.tensor([0.0, 0.0, -2.0])) == 0
    assert error(torch.tensor([0.0, 0.5, -2.0])) == 0.25


def test_peers_that_are_captured_wait_for_nothing(scripts: dict[str, ModuleType]) -> None:
    """Nor do they elsewhere: a wait in a loop of launches is most of its time."""
    peers = scripts["gpu_peers"]
    routes = {
        "eager_cholesky": lambda x: peers.eager_cholesky(x @ x.T),
        "eager_degree": peers.eager_degree,
        "eager_degree in bfloat16": lambda x: peers.eager_degree(x, torch.bfloat16),
        "eager_distance_sum": peers.eager_distance_sum,
        "eager_greedy_degree": peers.eager_greedy_degree,
        "eager_nearest": peers.eager_nearest,
        "closed_form_signed": peers.closed_form_signed,
        "closed_form_squares": peers.closed_form_squares,
    }
    with FakeTensorMode():
        x = torch.empty(40, 9)
        for route in routes.values():
            route(x)
        with pytest.raises(DataDependentOutputException):
            x[x.argmax()]


def test_a_model_is_not_made_in_the_time_of_its_scores(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    network = scripts["gpu_network"]
    model_of = network.model_of
    monkeypatch.setattr(network, "model_of", lambda weights: made.append(1) or model_of(weights))
    network.network_lines("score_model, degree abs", ((16, 3), (24, 16)))
    assert len(made) == 1


def test_a_network_is_wrong_where_one_of_its_layers_is(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one too, and a NaN."""
    network = scripts["gpu_network"]
    way, sizes = "vectors and degree, grouped", ((16, 3),) * 8
    (line,) = network.network_lines(way, sizes)
    assert line.error <= line.bound
    for wrong in (2.0, float("nan")):

        def broken(weights: list[torch.Tensor], wrong: float = wrong) -> list[torch.Tensor]:
            *others, last = network.grouped(weights)
            return [*others, last * wrong]

        monkeypatch.setitem(network.NETWORK_WAYS, way, lambda _, run=broken: run)
        (line,) = network.network_lines(way, sizes)
        assert not line.error <= line.bound


def test_the_cpu_is_timed_warm_where_that_takes_no_second(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = scripts["gpu_lines"]
    for takes, calls, ms in (
        ([0.7, 0.01, 0.05, 0.02, 0.03, 0.04], 6, 30.0),
        ([0.9, 0.2], 2, 200.0),
        ([7.0], 1, 7000.0),
    ):
        now = iter([end for each in takes for end in (0.0, each)])
        monkeypatch.setattr(lines, "time", SimpleNamespace(perf_counter=now.__next__))
        made: list[str] = []
        result, median = lines.host_call(lambda x, made=made: made.append(x) or "result", "x")
        assert (result, len(made)) == ("result", calls)
        assert median == pytest.approx(ms)


def test_the_ceiling_is_that_which_limits_the_work(scripts: dict[str, ModuleType]) -> None:
    table, lines = scripts["gpu_table"], scripts["gpu_lines"]
    (line,) = table.squares_lines(90, 9)
    h200 = {"copy": 4.3e9, "float32": 50e9}
    few, many = ({"copy": 4e3 * (d + 1), "float32": 1e3 * d * (3 * d + 2)} for d in (9, 128))
    assert line.work == {name: 0.09 * size for name, size in few.items()}
    short = replace(line, ms=2.0, graph_ms=1e-5, work=few).reached(h200)
    assert short == (pytest.approx(100 * 4e4 / 4.3e9 / 1e-5), "copy")
    long = replace(line, ms=2.0, graph_ms=None, work=many).reached(h200)
    assert long == (pytest.approx(100 * 1e3 * 128 * 386 / 50e9 / 2), "float32")
    assert lines.pair_work(3, 2) == {"float32": 12.0, "copy": 36.0}  # three pairs of two products


MACHINE: dict[str, Any] = {
    "device": "none",
    "driver": "none",
    "commit": "none",
    "torch_cuda": "none",
    "matmul_precision": "highest",
    "configuration": {"hubprune": "0", "torch": "0", "cuda": {"runtime": 0}},
}


def journal_of(
    scripts: dict[str, ModuleType], results: dict[str, Any], machine: dict[str, Any]
) -> Any:
    journal = scripts["journal"].Journal(Path("none"), False, lambda _: "")
    journal.machine = MACHINE | machine
    journal.results = results
    return journal


def test_a_call_begins_on_an_idle_device(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launching is not hidden behind the write that empties the cache; of a replay it is."""
    steps: list[str] = []

    class Event(HostEvent):
        def record(self) -> None:
            steps.append("event")

    buffer = SimpleNamespace(zero_=lambda: steps.append("write"))
    monkeypatch.setattr(scripts["gpu_clock"], "flush_buffer", lambda: buffer)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: steps.append("wait"))
    scripts["gpu_clock"].once(lambda _: steps.append("call"), None)
    assert steps == ["write", "wait", "event", "call", "event"]
    steps.clear()
    scripts["gpu_clock"].once(lambda _: steps.append("replay"), None, queued=True)
    assert steps == ["write", "event", "replay", "event"]


def test_slow_calls_are_repeated_less(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first calls count for nothing, the second ones say how often."""
    calls = iter([9e9, 9e9, 50.0, 900.0, 3.0, 901.0, 2.0, 902.0, 1.0, 903.0])
    monkeypatch.setattr(scripts["gpu_clock"], "once", lambda route, value: (next(calls), None))
    timings, repetitions = scripts["gpu_clock"].interleaved([len, len], ())
    assert repetitions == 3
    assert [each.ms for each in timings] == [2.0, 902.0]
    assert timings[0].quartiles == {"ms": (1.5, 2.5)}


def test_what_warms_the_device_counts_for_nothing(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of before and replays too; the first ones after a capture whatever the clock says."""
    clock = scripts["gpu_clock"]
    now = iter([0.0, 10.0, 10.0, 10.0 + 0.9 * 0.03, 11.0])
    monkeypatch.setattr(clock, "WARM_SECONDS", 0.03)
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    monkeypatch.setattr(clock, "captured", lambda route, value: (str, "replayed"))
    calls = iter([9e9, 8.0])
    replays = iter([9e9, 9e9, 9e9])

    def once(route: Any, value: Any, queued: bool = False) -> tuple[float, Any]:
        return next(replays, 1.0) if queued else next(calls, 2.0), "first"

    monkeypatch.setattr(clock, "once", once)
    (timing,), repetitions = clock.interleaved([len], (), 160.0, capturable=[True])
    quartiles = {"ms": (2.0, 2.0), "graph_ms": (1.0, 1.0)}
    assert timing == clock.Timing("first", 2.0, 1.0, "replayed", quartiles)
    assert repetitions == 10  # 8 ms were estimated, and as much for a replay
    assert next(now, None) is None


def test_what_cannot_be_captured_is_timed_without(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    (with_graph,), _ = scripts["gpu_clock"].interleaved([len], (), capturable=[True])
    assert with_graph.graph_ms is not None
    monkeypatch.setattr(torch.cuda, "graph", refused)
    (without,), _ = scripts["gpu_clock"].interleaved([len], (), capturable=[True])
    assert without.graph_ms is None
    assert scripts["gpu_clock"].capture_refused() == (
        "operation not permitted when stream is capturing"
    )


def test_a_capture_that_fails_leaves_its_stream_and_is_the_last(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch has it: neither its allocator nor its current stream is as before."""
    current = ["before"]
    begun = []

    @contextmanager
    def stream(name: str) -> Iterator[None]:
        before = current[0]
        current[0] = name
        try:
            yield
        finally:
            current[0] = before

    @contextmanager
    def graph(_: Any) -> Iterator[None]:
        begun.append(current[0])
        current[0] = "of the capture"
        yield
        raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    timings, _ = scripts["gpu_clock"].interleaved([len, len], (), capturable=[True, True])
    assert [each.graph_ms for each in timings] == [None, None]
    assert current == ["before"]
    assert begun == ["before"]


def test_ceilings_are_measured(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts["gpu_clock"], "CEILING_ROWS", 64)
    monkeypatch.setattr(scripts["gpu_clock"], "CEILING_VALUES", 2**12)
    found = scripts["gpu_clock"].ceilings()
    assert set(found) == {"copy", "float64", "float32", "tf32", "bfloat16"}
    assert all(rate > 0 for rate in found.values())


@pytest.mark.parametrize(
    ("said", "driver"),
    [("580.159.04\n580.159.04\n", "580.159.04"), ("", "unknown"), (None, "unknown")],
)
def test_the_driver(
    scripts: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
    driver: str,
) -> None:
    def run(*_: Any, **__: Any) -> Any:
        if said is None:
            raise FileNotFoundError("nvidia-smi")
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(subprocess, "run", run)
    assert scripts["gpu_report"].asked_of_driver("driver_version") == driver


# --- what a fault leaves --------------------------------------------------------------------------
def run_table(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, out: Path, *options: str
) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_table.py", str(out), *options])
    try:
        return int(scripts["gpu_table"].main())
    except SystemExit as end:
        return int(end.code or 0)


def test_a_fault_costs_one_line(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An error is listed; a broken device ends the process; the next one goes on behind it."""
    table, journal = scripts["gpu_table"], scripts["journal"]
    made = {"count": 0}

    def good(number: int) -> list[Any]:
        made["count"] += 1
        return [replace(line, operation=f"good {number}")]

    def wrong() -> list[Any]:
        raise ValueError("a shape that is refused")

    def broken() -> list[Any]:
        monkeypatch.setattr(torch.cuda, "synchronize", refused)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def refused() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    (line,) = table.degree_lines(40, 9)
    tasks = {
        "core": [
            table.Task("a", lambda: good(1)),
            table.Task("b", broken),
            table.Task("c", lambda: good(2)),
        ],
        "paths": [
            table.Task("d", wrong),
            table.Task("e", lambda: [replace(line, error=1.0)]),
        ],
    }
    monkeypatch.setattr(table, "groups", lambda quick: tasks)
    monkeypatch.setattr(table, "ceilings", lambda: {"float32": 1.0})
    monkeypatch.setattr(table, "environment", lambda commit: MACHINE)
    monkeypatch.setattr(table, "device_state", lambda: "1980 MHz")

    assert run_table(scripts, monkeypatch, tmp_path) == journal.RUN_AGAIN
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    report = json.loads((tmp_path / "gpu_table.json").read_text())
    assert list(report["results"]) == ["ceilings", "a"]
    assert "illegal memory access" in report["failed"]["b"]

    assert (
        run_table(scripts, monkeypatch, tmp_path, "--resume", "--group", "core")
        == journal.SOME_FAILED
    )
    assert made["count"] == 2  # the first line was not measured again
    assert (
        run_table(scripts, monkeypatch, tmp_path, "--resume", "--group", "paths")
        == journal.SOME_FAILED
    )
    machine = json.loads((tmp_path / "gpu_table.json").read_text())["machine"]
    assert machine["state"] == {"core": "1980 MHz", "paths": "1980 MHz"}
    text = (tmp_path / "gpu_table.md").read_text()
    for part in ("good 1", "good 2", "- b: RuntimeError: CUDA error", "- d: ValueError: a shape"):
        assert part in text
    assert "error 1.00e+00 above 1.0e-06" in text
    assert "float32 1e-09 TFLOP/s" in text

    tasks["paths"].pop(0)
    assert run_table(scripts, monkeypatch, tmp_path, "--group", "paths") == journal.BOUND_MISSED
    tasks["paths"].pop(0)
    assert run_table(scripts, monkeypatch, tmp_path, "--group", "paths") == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_table(scripts, monkeypatch, tmp_path) == journal.NO_DEVICE


def test_where_captures_ended_is_recorded(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = scripts["gpu_report"]
    reasons = iter([None, None, None, "a reason", "a reason", "a reason"])
    monkeypatch.setattr(report, "capture_refused", reasons.__next__)
    book = scripts["journal"].Journal(tmp_path / "captures.json", False, lambda _: "")
    for name in ("before", "refused", "behind"):
        report.run_noting_captures(book, name, list, 60.0)
    assert book.machine["not_captured"] == {"refused": "a reason"}
    assert report.not_captured(book) == [
        "refused: not captured in a graph, nor what came after it: a reason"
    ]


def test_a_hang_ends_the_process_and_is_recorded(tmp_path: Path) -> None:
    """The call holds Python's lock, as one that waits for a device may."""
    code = f"""
import ctypes, sys
from pathlib import Path
sys.path.insert(0, {str(FOLDER)!r})
import journal
from journal import Journal
journal.device_answers = lambda: True
book = Journal(Path({str(tmp_path / "hang.json")!r}), True, lambda _: "text")
book.run("before", lambda: [{{"ms": 1.0}}], 60)
book.run("hangs", lambda: ctypes.PyDLL(None).sleep(100), 0.5)
book.run("behind", lambda: [{{"ms": 2.0}}], 60)
sys.exit(book.exit_code(["before", "hangs", "behind"], []))
"""
    began = time.monotonic()
    codes = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        for _ in range(2)
    ]
    assert time.monotonic() - began < 60
    assert codes == [1, 15]
    report = json.loads((tmp_path / "hang.json").read_text())
    assert list(report["results"]) == ["before", "behind"]
    assert report["failed"] == {"hangs": "did not finish: it hung, or ended the process"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hang.json", "hang.md"]


# --- routes ---------------------------------------------------------------------------------------
def test_routes_are_compared(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    routes = scripts["gpu_routes"]
    monkeypatch.setattr(routes, "ROWS", (40,))
    monkeypatch.setattr(routes, "FEATURES", (60, 70))
    monkeypatch.setattr(routes, "SHORT_ROWS", (50,))
    monkeypatch.setattr(routes, "SHORT_FEATURES", (9,))
    monkeypatch.setattr(routes, "SHIFTED", (30, 50))
    monkeypatch.setattr(routes, "BUDGET_MS", 5.0)
    monkeypatch.setattr(routes.network_cells, "__defaults__", (((16, 3), (24, 16)),))
    monkeypatch.setattr(routes, "environment", lambda commit: MACHINE | {"commit": commit})
    monkeypatch.setattr(sys, "argv", ["gpu_routes.py", str(tmp_path), "--commit", "abc"])
    assert routes.main() == 0
    report = json.loads((tmp_path / "gpu_routes.json").read_text())
    cells = [routes.Cell(**each) for found in report["results"].values() for each in found]
    shapes = ["CNN14's raw filters, 2 layers", "30 x 50, mean 0.5", "50 x 9", "40 x 60", "40 x 70"]
    assert [(cell.shape, cell.precision) for cell in cells] == [
        (shape, precision) for shape in shapes for precision in ("highest", "high", "medium")
    ]
    assert [cell.n for cell in cells] == [0] * 6 + [50] * 3 + [40] * 6
    for cell in cells:
        ours = {"tiles", "mma"} if cell.d == 9 else {"tiles", "panels"}
        assert set(cell.ms) == set(cell.graph_ms) == {*ours, "torch"}
    text = (tmp_path / "gpu_routes.md").read_text()
    assert text.count("**") == 2 * len(cells)
    assert "high: panels beside tiles:" in text
    assert "high: panels beside tiles, replayed:" in text
    assert "Measured on none at abc" in text
    assert "high: mma beside tiles:" in text
    assert "sm90" not in text
    assert set(report["machine"]["thresholds"]) == {"highest", "high", "medium"}


def test_thresholds(scripts: dict[str, ModuleType]) -> None:
    """From the least width on at which a route is as fast, to noise, at that size and all above."""
    routes = scripts["gpu_routes"]

    def cell(n: int, d: int, tiles: float, panels: float, error: float = 1e-6) -> Any:
        times = {"tiles": tiles, "panels": panels, "torch": 0.1}
        errors = {"tiles": 1e-7, "panels": error, "torch": 1e-4}
        return routes.Cell(f"{n} x {d}", n, d, "high", times, errors)

    cells = [
        *(cell(1024, 64, 1, 2), cell(1024, 512, 2, 1), cell(1024, 1024, 1, 1.02)),
        *(cell(4096, 64, 2, 1), cell(4096, 512, 1, 2), cell(4096, 1024, 2, 1)),
        *(cell(128, 64, 1, 2), cell(128, 1024, 1, 2)),
        cell(2048, 64, 2, 1, error=1e-3),
        routes.Cell("a network", 0, 0, "high", {"tiles": 9, "panels": 1}, {}),
    ]
    rivals = routes.Rivals
    assert routes.thresholds(cells, rivals("panels", ("tiles",))) == {1024: 512, 4096: 1024}
    assert routes.thresholds(cells, rivals("tiles", ("panels",))) == {128: 64, 2048: 64, 1024: 1024}
    assert routes.thresholds(cells, rivals("sm90", ("tiles", "panels"))) == {}
    assert routes.thresholds(cells, rivals("panels", ("tiles",), "d")) == {64: 4096, 1024: 1024}
    assert routes.all_thresholds(cells)["high"] == {"panels beside tiles": {1024: 512, 4096: 1024}}
    replayed = [replace(each, graph_ms={"tiles": 2.0, "panels": 1.0}) for each in cells[:3]]
    assert routes.all_thresholds(replayed)["high"] == {
        "panels beside tiles": {1024: 512},
        "panels beside tiles, replayed": {1024: 64},
    }
    assert replayed[1].shown("panels") == "**1** / 1 (1e-06)"
    assert [cells[0].fastest, cells[1].fastest, cells[-2].fastest] == ["tiles", "panels", "tiles"]
    assert cells[-2].wrong == ["high 2048 x 64 by panels: error 1.00e-03 above 1.5e-05"]
    assert cells[-1].fastest == "none"
