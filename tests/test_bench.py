# SPDX-License-Identifier: MIT
"""The benchmark: fair turns, checked results, right peers, and a summary that names losses."""

from __future__ import annotations

import importlib.util
import json
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import hubprune as hp
from cases import assert_within
from hubprune import bench, cli

pytestmark = pytest.mark.usefixtures("one_thread")


# --- turns ----------------------------------------------------------------------------------------


def test_routes_take_turns() -> None:
    calls: list[str] = []

    def call(name: str) -> None:
        calls.append(name)
        time.sleep(0.011)  # long enough to be called once a turn

    found = bench.interleaved({name: partial(call, name) for name in "abc"}, rounds=4)
    assert [len(each) for each in found.values()] == [4, 4, 4]
    assert min(min(each) for each in found.values()) >= 0.011
    assert calls[:3] == ["a", "b", "c"]  # untimed
    turns = [calls[at : at + 3] for at in range(3, 15, 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1  # in changing order


class Clock:
    """Time that passes only where somebody sleeps: a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_slow_route_runs_once_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(bench.timing, "time", clock)
    routes = {"slow": partial(clock.sleep, 1.2), "fast": partial(clock.sleep, 0.012)}
    found = bench.interleaved(routes, rounds=500, budget=2.0)
    assert found["slow"] == pytest.approx([1.2])
    # A share of 1 s, less the first call, in turns of 12 ms and 12 ms of rest.
    assert found["fast"] == pytest.approx([0.012] * 41)
    assert clock.now < 2.0 + 1.2


class SpinningClock(Clock):
    """A thread spins for 40 ms after every call; the system adds its time up every 10 ms."""

    end = 0.0

    def process_time(self) -> float:
        return min(self.now, self.end) // 0.01 * 0.01

    def call(self) -> None:
        assert self.now >= self.end, "called while another thread spins"
        self.sleep(0.013)
        self.end = self.now + 0.04


def test_threads_that_spin_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SpinningClock()
    monkeypatch.setattr(bench.timing, "time", clock)
    found = bench.interleaved({"a": clock.call, "b": clock.call}, rounds=20)
    assert [len(each) for each in found.values()] == [20, 20]


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": 0}])
def test_turns_must_be_positive(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rounds and warmup must be at least 1"):
        bench.interleaved({}, **options)


def test_other_programs_do_not_count_this_one() -> None:
    programs = bench.OtherPrograms()
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        pass
    others = programs.processors()
    assert others is None or 0.0 <= others <= 1024.0


def test_settings_are_put_back() -> None:
    with bench.blas_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1
    assert bench.reuse_large_blocks() == (platform.libc_ver()[0] == "glibc")


# --- peers ----------------------------------------------------------------------------------------


def small_cases() -> list[bench.Case]:
    return [
        bench.vectors_case("vectors", [(6, 5, 3, 3), (4, 7, 2, 5)]),
        bench.degree_case("abs", 40, 9),
        bench.degree_case("sampled abs", 300, 3, edge="abs"),
        bench.degree_case("medium", 40, 100, precision="medium"),
        bench.degree_case("signed", 40, 9, edge="signed"),
        bench.degree_case("squared", 40, 9, edge="squared"),
        bench.nearest_case("nearest", 40, 9),
        bench.cosine_case("cosine", 40, 9),
        bench.eigenvector_case("eigenvector", 40, 9),
        bench.eigenvector_case("eigenvector squared", 40, 9, edge="squared"),
        bench.network_case("network", [(6, 1, 3, 3), (8, 6, 3, 3)]),
        bench.network_case("signed network", [(6, 1, 3, 3), (8, 6, 3, 3)], edge="signed"),
    ]


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: case.name)
def test_every_route_computes_the_same(case: bench.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.exact, "_ALL_ROWS_WORK", 1e5)
    timings = bench.measured(case, [1], rounds=1)[1]
    assert set(timings) == set(case.routes)
    for name, timing in timings.items():
        assert timing.error is not None
        assert timing.error <= (1e-4 if case.name != "medium" else 1e-2), name
        assert timing.median > 0.0
    assert case.bytes > 0
    assert case.flops > 0


def test_the_oracles_are_the_reference() -> None:
    weight = bench.weights([(6, 5, 3, 3)])[0]
    x = bench.rows(40, 9)
    reference = hp.reference
    assert_within(
        bench.rank1_gram(weight.double()), reference.filter_vectors(weight.numpy(), "rank1"), 1e-14
    )
    for edge in ("abs", "signed", "squared"):
        some, degree = bench.exact.exact_degree(x, edge)
        assert some.tolist() == list(range(40))
        assert_within(degree, reference.weighted_degree(x.numpy(), edge), 1e-13)
    assert_within(bench.exact.exact_nearest(x)[1], reference.nearest(x.numpy())[0], 1e-15)
    for edge in ("abs", "squared"):
        exact = bench.eigenvector_case("", 40, 9, edge=edge).exact(x)
        assert_within(exact, reference.eigenvector_centrality(x.numpy(), edge), 1e-14)


def test_a_sample_has_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.exact, "_ALL_ROWS_WORK", 0.0)
    x = bench.rows(1000, 3)
    some, degree = bench.exact.exact_degree(x, "abs")
    assert len(some.unique()) == 256
    assert {0, 999} <= set(some.tolist())
    assert_within(degree, hp.reference.weighted_degree(x.numpy(), "abs")[some], 5e-13)


def test_a_wrong_result_is_an_error() -> None:
    case = bench.degree_case("signed", 40, 9, edge="signed")
    wrong = {**case.routes, bench.OURS: lambda x: torch.zeros(len(x))}
    broken = bench.Case(**{**vars(case), "routes": wrong})
    with pytest.raises(RuntimeError, match=r"signed: error .* of hubprune is above 1e-06"):
        bench.measured(broken, [1], rounds=1)
    nan = {**case.routes, bench.OURS: lambda x: torch.full((len(x),), torch.nan)}
    with pytest.raises(RuntimeError, match="error nan of hubprune"):
        bench.measured(bench.Case(**{**vars(case), "routes": nan}), [1], rounds=1)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name)
    )
    case = bench.degree_case("abs", 40, 9, left_out={"torch naive": "too large"})
    assert case.left_out == {
        "torch naive": "too large",
        "scikit-learn": "sklearn is not installed",
    }
    assert "scikit-learn" not in case.routes
    assert "torch chunked" in case.routes


# --- the short version ----------------------------------------------------------------------------


def comparison(name: str, ours: float, peer: float, threads: int = 1) -> bench.Comparison:
    return bench.Comparison(
        name=name,
        threads=threads,
        ours=bench.Timing(bench.OURS, (ours, ours), 1e-8, 1e-8),
        peers=(bench.Timing("torch", (peer,), 1e-6, 1e-6),),
        left_out={"scikit-learn": "sklearn is not installed"},
        rate=None,
        unit="",
    )


def test_the_summary_names_what_is_slower() -> None:
    comparisons = (
        comparison("one", 0.001, 0.016),
        comparison("two", 0.010, 0.013),
        comparison("three", 0.010, 0.0102),
        comparison("four", 0.010, 0.008),
        comparison("one", 0.001, 0.002, threads=2),
    )
    result = bench.BenchResult(comparisons, hp.config.configuration(), "a CPU", 2, False, 1.0)
    assert result.summary() == [
        "1 thread: faster in 2 of 4: 1.3x to 16.0x; even (within 5 %): three; "
        "slower: four (0.80x of torch)",
        "2 threads: faster in 1 of 1: 2.0x; slower: none",
    ]
    text = str(result)
    assert "a CPU, 2 cores; level" in text
    assert "disturbed" not in text
    busy = bench.BenchResult(comparisons, result.environment, "a CPU", 2, False, 1.0, others=1.5)
    assert "disturbed: other programs kept 1.5 processors busy" in str(busy)
    assert busy.to_dict()["others"] == 1.5
    assert "left out: scikit-learn: sklearn is not installed" in text
    assert text.index("1 thread:") < text.index("2 threads:")


def test_run_measures_and_reports(tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    result = bench.run(quick=True, only="SIGNED", progress=lambda *step: steps.append(step))
    names = [name for name in bench.case_names(quick=True) if "signed" in name]
    assert [each.name for each in result.comparisons] == names
    assert [step[2] for step in steps] == [*names, "done"]
    assert all(each.threads == 1 for each in result.comparisons)
    assert all(each.rate is not None and each.unit == "GB/s" for each in result.comparisons)
    result.save(tmp_path / "bench.json")
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert saved == json.loads(result.to_json())
    first = saved["comparisons"][0]
    assert first["times_faster"] == result.comparisons[0].times_faster
    assert 1 <= len(first["ours"]["seconds"]) <= 3  # as many as the budget lets through
    assert torch.get_num_threads() == 1


def test_mistakes_of_run() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1; got 0"):
        bench.run(threads=0)
    with pytest.raises(ValueError, match="fits no case; there are: rank-1 vectors"):
        bench.run(only="betweenness")


# --- the command line -----------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = cli.main(["bench", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    common = ("--quick", "--only", "signed", "--threads", 1)
    status, out, err = command(capsys, *common, "-o", output)
    assert status == 0, err
    assert "torch closed form" in out
    assert "1 thread: faster in" in out
    assert f"saved to {output}" in out
    assert err == ""
    saved = json.loads(output.read_text())
    assert saved["quick"] is True
    status, out, _ = command(capsys, *common, "--json")
    assert status == 0
    assert json.loads(out).keys() == saved.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "betweenness"), "--only 'betweenness' fits nothing; there are: rank-1 vectors"),
        (("-o", "no/such/file.json"), "--output: no/such/file.json must be a file in a folder"),
        (("-o", "."), "--output: . must be a file in a folder"),
    ],
)
def test_mistakes_are_told_before_the_long_part(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    def never(**_: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(bench, "run", never)
    status, out, err = command(capsys, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "-1", "two", "4096"])
def test_threads_are_a_count(capsys: pytest.CaptureFixture[str], count: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "--threads", count])
    assert "must be an integer from 1 to 1024" in capsys.readouterr().err
