# SPDX-License-Identifier: MIT
"""The full suite's parts that a wrong table could come from: its cases, and the table itself."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="only in the source tree")
MODULES = ("layers", "peers", "table", *sorted(path.stem for path in FOLDER.glob("bench_*.py")))


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The suite's modules, imported and forgotten again: their names are short."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def test_cases_are_named_once_and_have_figures(suite: dict[str, ModuleType]) -> None:
    cases = [case for name in MODULES if name.startswith("bench_") for case in suite[name].CASES]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names) > 30
    for case in cases:
        assert next(iter(case.routes)) == "hubprune"
        assert case.name.startswith(tuple(name[6:] for name in MODULES))
        assert case.bytes > 0
        assert case.flops > 0
        assert len(case.routes) > 1
        assert not set(case.left_out) & set(case.routes)


def entry(
    group: str, name: str, threads: int, median: float, error: float | None = 1e-7, **info: Any
) -> dict[str, Any]:
    configuration = {"simd": {"in_use": "v3"}, "torch": "2.13.0"}
    extra = {"name": name, "threads": threads, "error": error, "configuration": configuration}
    return {"group": group, "stats": {"median": median}, "extra_info": {**extra, **info}}


def test_the_table_shows_every_group_and_names_losses(suite: dict[str, ModuleType]) -> None:
    benchmarks = [
        entry("a / fast", "hubprune", 1, 0.001),
        entry("a / fast", "torch", 1, 0.004, 2e-7),
        entry("a / fast", "numpy", 1, 0.003, 3e-7),
        entry("a / fast", "another", 1, 0.0001, None, unchecked=True),
        entry("a / fast", "hubprune", 2, 0.0005),
        entry("a / fast", "torch", 2, 0.001, 2e-7),
        entry("a / fast", "numpy", 2, 0.002, 3e-7),
        entry("a / fast", "another", 2, 0.0001, None, unchecked=True),
        entry("b / slow", "hubprune", 1, 0.002, others=0.8),
        entry("b / slow", "torch", 1, 0.001),
        entry("b / slow", "hubprune", 2, 0.002),
        entry("b / slow", "torch", 2, 0.001),
        entry("c / alone", "hubprune", 1, 1.0, extra_memory=9e6),
        entry("c / alone", "hubprune", 2, 1.0, extra_memory=9e6),
    ]
    machine = {"cpu": {"count": 2}}
    lines = suite["table"].benchmark_table({"benchmarks": benchmarks, "machine_info": machine})
    rows = [line for line in lines.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| a / fast | 1.00 / 0.500 | numpy: 3.00 / torch: 1.00 | 3.0 / 2.0 | 1e-07 | 3e-07 |",
        "| b / slow | 2.00 / 2.00 | torch: 1.00 / 1.00 | 0.5 / 0.5 | 1e-07 | 1e-07 |",
        "| c / alone | 1000 / 1000 | none can run | - / - | 1e-07 | - |",
    ]
    assert "1 thread: faster in 1 of 2, 3.0 to 3.0 times; slower: b / slow (0.50)." in lines
    assert "2 threads: faster in 1 of 2, 2.0 to 2.0 times; slower: b / slow (0.50)." in lines
    assert "c / alone, 1 thread: 9.0 MB of memory above the input." in lines
    disturbed = "Disturbed by other programs, processors they kept busy: b / slow (0.8)."
    assert disturbed in lines
    assert "Beside a / fast: another, 0.100 / 0.100 ms." in lines


def test_the_nystrom_experiments_fill_their_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    script, table = map(importlib.import_module, ("paper_nystrom", "table"))
    try:
        monkeypatch.setattr(script, "pretrained_layers", lambda quick: {})
        monkeypatch.setattr(sys, "argv", ["paper_nystrom.py", str(tmp_path), "--quick"])
        threads = script.torch.get_num_threads()
        script.main()
        script.torch.set_num_threads(threads)
        assert "DCASE layer 2, rank1, 16 x 49" in capsys.readouterr().out
        reports = json.loads((tmp_path / "nystrom.json").read_text())
        for report in reports:
            for row in report["rows"]:
                assert 0 <= row["agreement"] <= 1
                assert abs(row["frobenius"] - row["estimated"]) < 0.2
        assert "near-duplicates" in {report["layer"] for report in reports}
        text = table.tables(reports)["nystrom table"]
        assert "| DCASE layer 1 | flatten | 16 x 49 | 4 |" in text
        assert {path.name for path in tmp_path.iterdir()} == {
            "nystrom.json",
            "nystrom-error.png",
            "nystrom-agreement.png",
        }
    finally:
        for name in ("paper_nystrom", "layers", "table"):
            sys.modules.pop(name, None)


@pytest.mark.usefixtures("scene_fonts")
def test_the_study_fills_its_tables_and_goes_on_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("study", "study_rows", "study_scenes", "study_tables", "table")
    study, _, _, plots, table = map(importlib.import_module, names)
    threads = study.torch.get_num_threads()
    output, work = tmp_path / "study.json", tmp_path / "work"
    arguments = ["study.py", str(output), "--parts", "c", "--seeds", "0,", "--quick"]
    try:
        monkeypatch.setattr(sys, "argv", [*arguments, "--work", str(work)])
        study.main()
        assert "unpruned nothing 1.0 none seed 0: " in capsys.readouterr().err
        report = json.loads(output.read_text())
        rows = report["scenes"]["rows"]
        assert [(row["scorer"], row["fraction"]) for row in rows] == [
            ("unpruned", 1.0),
            ("random", 1.0),
            ("degree", 1.0),
        ]
        assert all(0 <= row["value"] <= 1 for row in rows)
        assert rows[1]["parameters"] < 0.5
        assert rows[1]["macs"] < 0.3
        lines = table.tables(report)["study scenes table"].splitlines()
        assert len(lines) == 2 + len(rows)
        assert lines[4].startswith("| degree | 50 %, 50 %, 6 % | none | 100% | 51 % | 72 % |")
        plots.plots(report, tmp_path)
        assert (tmp_path / "study-scenes.png").stat().st_size > 1000
        output.unlink()
        study.main()
        assert "seed 0: " not in capsys.readouterr().err
        assert json.loads(output.read_text())["scenes"]["rows"] == rows
    finally:
        study.torch.set_num_threads(threads)
        study.torch.set_flush_denormal(False)
        for name in names:
            sys.modules.pop(name, None)
