# SPDX-License-Identifier: MIT
"""Pruning in steps: sizes, the composed plan, and resuming bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune import iterative
from hubprune.iterative import stepwise_count
from networks import Residual, lively
from training_cases import SHAPE, Pairs, classes, network

OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.01}
EXAMPLE = torch.zeros(1, *SHAPE)


def run(model: nn.Module | None = None, **options: Any) -> hp.IterativeResult:
    settings = {"ratio": 0.5, "steps": 2, "finetune": OPTIONS, **options}
    model = network() if model is None else model
    train = settings.pop("train", classes())
    return hp.prune_iteratively(model, EXAMPLE, train, classes(32, 1), **settings)


def sizes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def untimed(result: hp.IterativeResult) -> list[dict[str, Any]]:
    return [{**record, "seconds": None} for record in result.history]


@pytest.mark.parametrize(
    ("whole", "target", "steps", "expected"),
    [
        (64, 8, 3, [64, 32, 16, 8]),
        (1000, 1, 3, [1000, 100, 10, 1]),
        (10, 5, 2, [10, 8, 5]),
        (7, 7, 2, [7, 7, 7]),
        (3, 2, 4, [3, 3, 3, 3, 2]),
        (1, 1, 1, [1, 1]),
    ],
)
def test_counts_fall_geometrically(
    whole: int, target: int, steps: int, expected: list[int]
) -> None:
    assert [stepwise_count(whole, target, s, steps) for s in range(steps + 1)] == expected


def test_steps_end_at_the_size_of_one_cut() -> None:
    model = network()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = run(model, ratio=0.7, steps=3)
    one = hp.plan(model, EXAMPLE, ratio=0.7)
    assert sizes(result.model) == sizes(hp.prune(model, result.plan)) == sizes(hp.prune(model, one))
    first = [record["filters"]["0"] for record in result.history]
    assert first == [stepwise_count(8, 3, step, 3) for step in range(4)]
    assert [record["step"] for record in result.history] == [0, 1, 2, 3]
    assert len(result.plan.steps) == 3
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    report = hp.report(model, result.model, EXAMPLE, latency=False)
    last = result.history[-1]
    assert (last["parameters"], last["macs"]) == (report.after.parameters, report.after.macs)
    assert last["after"] == pytest.approx(hp.evaluate(result.model, classes(32, 1)))
    start = result.history[0]
    assert start["before"] == start["after"] == hp.evaluate(model, classes(32, 1))
    json.dumps(result.to_dict(), allow_nan=False)
    assert hp.PruningPlan.from_json(result.plan.to_json()) == result.plan
    assert "accuracy tuned" in result.explain()


def test_each_step_is_scored_by_its_own_weights() -> None:
    model = network()
    result = run(model, scorer="l2", steps=2)
    by_hand = model
    composed = None
    for step, kept in ((1, {"0": 6, "3": 5}), (2, {"0": 4, "3": 3})):
        now = dict(by_hand.named_modules())
        ratio = {name: 1 - count / now[name].out_channels for name, count in kept.items()}  # type: ignore[operator]
        plan = hp.plan(by_hand, EXAMPLE, scorer="l2", ratio=ratio)
        cut = hp.prune(by_hand, plan)
        data = classes(), classes(32, 1)
        by_hand = hp.finetune(cut, *data, **OPTIONS, seed=step - 1).model
        composed = plan if composed is None else composed.then(plan)
    assert same(result.model, by_hand)
    assert composed is not None
    assert result.plan.layers == composed.layers
    assert result.plan.cuts == composed.cuts


@pytest.mark.parametrize(
    "target",
    [
        {"ratio": None, "budget": {"parameters": 0.4}},
        {"ratio": None, "budget": {"macs": 0.5}, "global_": True, "scorer": "landmarks"},
        {"ratio": 0.5, "global_": True, "scorer": "l2"},
        {"ratio": {"3": 0.5}},
        {"ratio": None, "scorer": "pairs"},
        {"round_to": 2, "ratio": 0.7},
        {"keep": ["0"]},
    ],
)
def test_every_target(target: dict[str, Any]) -> None:
    model = network()
    result = run(model, **{**target, "finetune": {**OPTIONS, "epochs": 1}})
    options = {"ratio": 0.5, **target}
    one = hp.plan(model, EXAMPLE, **options)
    assert sizes(result.model) == sizes(hp.prune(model, one)) == sizes(hp.prune(model, result.plan))


def test_coupled_layers_fall_together() -> None:
    torch.manual_seed(0)
    model = lively(Residual()).float()
    data = torch.randn(16, 1, 6, 6), torch.arange(16) % 4
    result = hp.prune_iteratively(
        model, data[0][:1], data, None, ratio=0.75, steps=3, finetune={"epochs": 1}
    )
    falls = [record["filters"]["stem.0"] for record in result.history]
    assert falls == [8, 6, 4, 2] == [record["filters"]["two.3"] for record in result.history]
    assert sizes(result.model) == sizes(hp.prune(model, result.plan))
    assert result.history[-1]["after"] is None
    assert not model.training
    assert not result.model.training


# --- interruptions --------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the signal."""


@pytest.mark.parametrize("at", [6, 9])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, at: int) -> None:
    options: dict[str, Any] = {"scorer": "l2", "directory": tmp_path / "run"}
    whole = run(scorer="l2")
    calls = 0

    def progress(done: int, total: int, text: str) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed

    with pytest.raises(Killed):  # two steps of two epochs of four batches
        run(**options, progress=progress)
    resumed = run(**options)
    assert same(resumed.model, whole.model)
    assert resumed.plan == whole.plan
    assert untimed(resumed) == untimed(whole)
    again = run(**options, progress=lambda *_: pytest.fail("it was finished"))
    assert same(again.model, whole.model)
    assert again.history == resumed.history


def test_killed_between_the_cut_and_its_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run()

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    for name in ("_finetune", "save_pruned"):
        with monkeypatch.context() as patch:
            patch.setattr(iterative, name, killed)
            with pytest.raises(Killed):
                run(directory=tmp_path / name)
        resumed = run(directory=tmp_path / name)
        assert same(resumed.model, whole.model)
        assert resumed.plan == whole.plan


def test_the_folder_holds_each_step(tmp_path: Path) -> None:
    result = run(directory=tmp_path / "run")
    files = sorted(entry.name for entry in (tmp_path / "run").iterdir())
    assert files == ["step-1", "step-1.safetensors", "step-2", "step-2.safetensors", "steps.json"]
    cut = hp.load_pruned(network, tmp_path / "run" / "step-2")
    assert sizes(cut) == sizes(result.model)
    text = (tmp_path / "run" / "step-2" / "plan.json").read_text()
    assert hp.PruningPlan.from_json(text) == result.plan


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(directory=folder)
    with pytest.raises(ValueError, match=r"holds another run: steps was 2 and is 3"):
        run(directory=folder, steps=3)
    with pytest.raises(ValueError, match="the model or its weights are others"):
        run(network(1), directory=folder)
    with pytest.raises(ValueError, match=r"holds another run: finetune\.lr was"):
        run(directory=folder, finetune={**OPTIONS, "lr": 0.5})
    with pytest.raises(ValueError, match=r"holds another run: the examples of train are others$"):
        run(directory=folder, train=classes(64, 5))
    with pytest.raises(ValueError, match=r"finetune must hold options of epochs, .*; got 'foo'"):
        run(directory=folder, finetune={"foo": 1})
    saved = json.loads((folder / "steps.json").read_text())
    (folder / "steps.json").write_text(json.dumps(saved | {"example_inputs": [[1, 2]]}))
    with pytest.raises(ValueError, match=r"example_inputs was \[\[1, 2\]\] and is"):
        run(directory=folder)
    del saved["example_inputs"]  # as before it was kept
    (folder / "steps.json").write_text(json.dumps(saved))
    run(directory=folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="holds other files"):
        run(directory=tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run(directory=tmp_path / "no" / "run")
    with pytest.raises(FileExistsError, match="is not a folder"):
        run(directory=tmp_path / "other" / "thesis.tex")
    (folder / "steps.json").write_text("{")
    with pytest.raises(ValueError, match=r"steps.json is damaged"):
        run(directory=folder)
    (folder / "steps.json").write_text("[]")
    with pytest.raises(ValueError, match="was not written by prune_iteratively"):
        run(directory=folder)


def test_a_run_that_was_killed_at_its_very_start_begins_again(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".steps.json.{dead.pid}-abc.part").mkdir()
    run(directory=tmp_path, steps=1)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["step-1", "step-1.safetensors", "steps.json"]


# --- arguments ------------------------------------------------------------------------------------


def test_compensation_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def recording(model: nn.Module, plan: hp.PruningPlan, **options: Any) -> nn.Module:
        calls.append(options)
        return hp.prune(model, plan)

    monkeypatch.setattr(iterative, "prune", recording)
    batches = [EXAMPLE, EXAMPLE]
    run(compensate="recalibrate", batches=iter(batches))
    assert calls == [{"compensate": "recalibrate", "batches": batches}] * 2
    calls.clear()
    run(batches=batches)
    assert calls == [{}, {}]


def test_the_default_device_changes_nothing() -> None:
    data, model = classes(), network()

    def pruned() -> hp.IterativeResult:
        options: dict[str, Any] = {"ratio": 0.5, "steps": 2, "finetune": OPTIONS}
        return hp.prune_iteratively(model, EXAMPLE, data, data, compensate="interpolate", **options)

    expected = pruned()
    with torch.device("meta"):
        found = pruned()
    assert untimed(found) == untimed(expected)
    assert same(found.model, expected.model)


def test_steps_compensate() -> None:
    plain = run(finetune={"epochs": 1})
    batches = classes()[0]
    compensated = run(compensate="bias", batches=batches, finetune={"epochs": 1})
    assert sizes(compensated.model) == sizes(plain.model)
    assert compensated.history[1]["before"] != plain.history[1]["before"]


def test_progress_names_the_step() -> None:
    texts: list[str] = []
    run(progress=lambda done, total, text: texts.append(f"{done}/{total} {text}"))
    assert texts[0] == "1/8 step 1 of 2, epoch 1"
    assert texts[-1] == "8/8 step 2 of 2, epoch 2"


def test_data_sets_are_taken() -> None:
    options = {"finetune": {"epochs": 1}}
    result = hp.prune_iteratively(network(), EXAMPLE, Pairs(32), Pairs(16), steps=1, **options)  # type: ignore[arg-type]
    assert result.history[-1]["after"] is not None


def test_a_target_of_nothing_warns_once() -> None:
    with pytest.warns(UserWarning, match="the plan changes nothing") as caught:
        result = run(ratio=0.0, finetune={"epochs": 1})
    assert len(caught) == 1
    assert result.plan.layers == {}
    assert sizes(result.model) == sizes(network())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1; got 0"),
        ({"steps": 1.5}, TypeError, "steps must be an int; got float"),
        ({"steps": True}, TypeError, "steps must be an int; got bool"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0"),
        ({"compensate": None}, TypeError, "compensate must be a str; got NoneType"),
        ({"finetune": 5}, TypeError, "finetune must be a mapping such as"),
        ({"finetune": {"seed": 1}}, ValueError, "finetune must not hold 'seed'"),
        ({"finetune": {"epochs": 0}}, ValueError, "epochs"),
        ({"ratio": 2.0}, ValueError, r"ratio must be in \[0, 1\)"),
        ({"budget": {"macs": 0.5}}, ValueError, "give ratio or budget, not both"),
        ({"scorer": "magic"}, ValueError, "scorer"),
        ({"keep": "0"}, TypeError, "keep must be a collection"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(**options)
