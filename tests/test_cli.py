# SPDX-License-Identifier: MIT
"""The command line, in process and as a program."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hubprune as hp
from command_line import Run, runner, user_module
from hubprune import cli, demo
from hubprune.commands import info
from hubprune.commands import models as command_models
from hubprune.commands import prune as command_prune
from hubprune.scorers import SCORER_NAMES

NETWORK = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(24, 3))


class Broken(nn.Module):
    def __init__(self):
        raise RuntimeError("no such data")


NUMBER = 3
MODULE = nn.Conv2d(1, 8, 3)


def other():
    return 7


def wants(size):
    return nn.Conv2d(size, 8, 3)


def key():
    return {}["nothing"]


def leaves():
    raise SystemExit(0)


def talks():
    print("building")
    return build()
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return f"{user_module(tmp_path, monkeypatch, NETWORK)}:build"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def document(text: str) -> Any:
    """Parse JSON strictly: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"JSON has no {constant}")

    return json.loads(text, parse_constant=refuse)


def test_score_prints_a_table(run: Run) -> None:
    status, out, err = run("score", "crepe-tiny")
    assert status == 0, err
    assert "pretrained weights of the installed package" in out
    lines = [line for line in out.splitlines() if line.startswith("conv")]
    assert len(lines) == 6
    assert "128x1x512x1" in lines[0]
    first = hp.score(hp.models.load_crepe().conv1).order[0]
    assert lines[0].split()[-1] == str(int(first))
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("scorer", SCORER_NAMES)
def test_score_as_json_is_what_python_gives(run: Run, factory: str, scorer: str) -> None:
    status, out, err = run("score", factory, "--scorer", scorer, "--json")
    assert status == 0, err
    result = document(out)
    module = __import__(factory.split(":")[0])
    expected = hp.score_model(module.build(), scorer)
    assert list(result["layers"]) == ["0", "2"]
    for name, scores in expected.items():
        assert result["layers"][name]["order"] == scores.order.tolist()
        assert result["layers"][name]["count"] == scores.count
        assert result["layers"][name]["redundancy"] == scores.values.tolist()
    times = [layer["seconds"] for layer in result["layers"].values()]
    assert min(times) > 0.0
    assert result["seconds"] == sum(times)


def test_dead_filters_have_no_value_in_json(
    run: Run, factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(factory.split(":")[0])
    model = module.build()
    with torch.no_grad():
        model[0].weight[3] = 0
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    status, out, err = run("score", factory, "--checkpoint", "weights.pth", "--json")
    assert status == 0, err
    layer = document(out)["layers"]["0"]
    assert layer["dead"] == [3]
    assert layer["redundancy"][3] is None
    status, out, _ = run("score", factory, "--checkpoint", tmp_path / "weights.pth", "--layer", "4")
    assert status == 0
    assert "weights of" in out
    assert [line.split()[0] for line in out.splitlines() if "3x24" in line] == ["4"]


def test_random_weights_are_said_and_seeded(run: Run) -> None:
    assert "random weights: no --checkpoint was given" in run("score", "dcase21")[1]

    def redundancy(*words: object) -> list[list[float]]:
        layers = document(run("score", "dcase21", "--json", *words)[1])["layers"]
        return [layer["redundancy"] for layer in layers.values()]

    assert redundancy() == redundancy()
    assert redundancy() != redundancy("--seed", 1)


def test_prune_info_and_load(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "half"
    status, out, err = run("prune", "dcase21", "--output", output, "--ratio", "0.5")
    assert status == 0, err
    assert "16 -> 8" in out
    assert "32 -> 16" in out
    assert "produces the model's output" in out
    assert f"saved to {output}" in out
    assert {each.name for each in output.iterdir()} >= {"model.safetensors", "plan.json"}
    # The line that is printed loads it.
    line = out.split("load it with\n  ")[1].strip()
    loaded = eval(line, {"hubprune": hp})
    assert loaded(torch.zeros(1, 1, 40, 500)).shape == (1, 10)
    assert loaded.conv1.out_channels == 8
    status, out, _ = run("info", output)
    assert status == 0
    assert "32 of 64 filters stay" in out
    assert run("info", output / "plan.json")[1] == out
    assert document(run("info", output, "--json")[1])["scorer"] == "degree"


def test_a_network_that_was_pruned_before_loads_by_the_line_that_is_printed(
    run: Run, tmp_path: Path
) -> None:
    weights, output = tmp_path / "narrow.pth", tmp_path / "out"
    torch.save(hp.models.MttVgg((4, 6, 4, 8, 4)).state_dict(), weights)
    words = ("mtt-vgg", "--checkpoint", weights, "--ratio", "conv2=0.5", "--output", output)
    status, out, err = run("prune", *words)
    assert status == 0, err
    loaded = eval(out.split("load it with\n  ")[1].strip(), {"hubprune": hp})
    assert [loaded.conv1.out_channels, loaded.conv2.out_channels] == [4, 3]
    assert loaded(torch.zeros(1, 187, 96)).shape == (1, 50)


def test_prune_json_and_an_existing_plan(run: Run, factory: str, tmp_path: Path) -> None:
    common = ("--input-shape", "1,1,6,6", "--json")
    status, out, err = run("prune", factory, "--output", "a", "--ratio", "0=0.5", *common)
    assert status == 0, err
    first = document(out)
    assert list(first["plan"]["layers"]) == ["0"]
    assert first["report"]["after"]["parameters"] < first["report"]["before"]["parameters"]
    status, out, err = run("prune", factory, "--output", "b", "--plan", "a", *common)
    assert status == 0, err
    assert document(out)["plan"]["cuts"] == first["plan"]["cuts"]
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == two


def test_prune_options_reach_the_plan(run: Run, factory: str) -> None:
    shape = ("--input-shape", "2,1,6,6", "--json")
    _, out, _ = run("prune", factory, "-o", "a", "--keep", "2", "--round-to", 3, *shape)
    plan = document(out)["plan"]
    assert len(plan["layers"]["0"]) == 6
    assert plan["kept"]["2"] == "is named in keep"
    _, out, _ = run("prune", factory, "-o", "b", "--global", "--scorer", "l2", *shape)
    assert document(out)["plan"]["steps"][0]["global"] is True
    _, out, _ = run("prune", factory, "-o", "c", "--scorer", "pairs", *shape)
    assert document(out)["plan"]["scorer"] == "pairs"


def test_report_shows_what_prune_would_do(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    status, out, err = run("report", "dcase21", "--ratio", "0.25", "--html", page)
    assert status == 0, err
    assert "16 -> 12" in out
    assert "measured as cut, not fine-tuned" in out
    assert out.endswith(f"page: {page}\n")
    text = page.read_text(encoding="utf-8")
    assert "<h1>Pruning of dcase21</h1>" in text
    assert "random weights: no --checkpoint was given" in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]  # nothing else is saved
    result = document(run("report", "dcase21", "--ratio", "0.25", "--json")[1])
    assert result["html"] is None
    assert len(result["plan"]["layers"]["conv1"]) == 12
    parameters = result["report"]["after"]["parameters"]
    assert f"<td>{parameters:,}</td>" in text
    # The same table without a page.
    assert "16 -> 12" in run("report", "dcase21", "--ratio", "0.25")[1]


def test_report_of_a_saved_network(run: Run, factory: str, tmp_path: Path) -> None:
    shape = ("--input-shape", "1,1,6,6")
    assert run("prune", factory, "-o", "half", "--scorer", "l2", *shape)[0] == 0
    status, out, err = run("report", factory, "--plan", "half", "--html", "p.html", *shape)
    assert status == 0, err
    assert "pruned by l2; measured as saved in half" in out
    assert "other weights" not in (tmp_path / "p.html").read_text(encoding="utf-8")
    # A plan alone is applied to the weights at hand; those it was not made for are told apart.
    model = __import__(factory.split(":")[0]).build()
    torch.manual_seed(1)
    torch.save({k: torch.randn_like(v) for k, v in model.state_dict().items()}, "other.pth")
    words = ("report", factory, "--plan", "half/plan.json", "--checkpoint", "other.pth")
    status, out, err = run(*words, "--html", "p.html", *shape)
    assert status == 0, err
    assert "measured as cut" in out
    assert "the plan was made for other weights" in (tmp_path / "p.html").read_text("utf-8")


def test_prune_to_a_budget(run: Run, factory: str) -> None:
    words = ("prune", factory, "--input-shape", "2,1,6,6", "--json")
    budget = ("--budget-parameters", 0.7, "--budget-macs", 0.6)
    status, out, err = run(*words, "-o", "a", *budget)
    assert status == 0, err
    found = document(out)
    (step,) = found["plan"]["steps"]
    assert step["budget"] == {"parameters": 0.7, "macs": 0.6}
    before, after = found["report"]["before"], found["report"]["after"]
    assert step["remaining"] == {key: after[key] / before[key] for key in ("parameters", "macs")}
    assert all(step["remaining"][key] <= share for key, share in step["budget"].items())
    status, _, err = run(*words, "-o", "b", "--ratio", 0.5, *budget)
    assert (status, "--ratio cannot go with --budget-parameters" in err) == (2, True)
    status, _, err = run(*words, "-o", "b", "--plan", "a", "--budget-macs", 0.5)
    assert (status, "it cannot go with --budget-macs" in err) == (2, True)
    status, _, err = run(*words, "-o", "b", "--budget-macs", 0.0001)
    assert (status, "the least that pruning can reach is" in err) == (2, True)


def test_prune_compensates(run: Run, factory: str, tmp_path: Path) -> None:
    words = ("prune", factory, "--input-shape", "2,1,6,6", "--ratio", 0.5)
    sounds = np.random.default_rng(0).normal(size=(9, 1, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "sounds.npz", X_train=sounds, Y_train=np.arange(9) % 3)
    calibration = ("--unlabelled", "sounds.npz", "--calibration", 8)
    states = []
    for number, options in enumerate(
        [
            (),
            ("--compensate", "interpolate"),
            ("--compensate", "interpolate+recalibrate", *calibration),
        ]
    ):
        status, out, err = run(*words, "-o", f"c{number}", *options)
        assert status == 0, err
        assert ("compensated by interpolate" in out) == bool(options)
        assert ("on 8 inputs" in out) == (len(options) > 2)
        states.append((tmp_path / f"c{number}" / "model.safetensors").read_bytes())
    assert len(set(states)) == 3
    status, _, err = run(*words, "-o", "x", "--compensate", "recalibrate")
    assert (status, "needs --unlabelled: a few unlabelled" in err) == (2, True)
    status, _, err = run(*words, "-o", "x", *calibration)
    assert (status, "--unlabelled is only used to compensate" in err) == (2, True)
    status, _, err = run(*words, "-o", "x", "--compensate", "magic")
    assert (status, "compensate must be one of" in err) == (2, True)


def test_overwriting_needs_to_be_asked_for(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("prune", "dcase21", "-o", output)[0] == 0
    before = (output / "plan.json").read_bytes()
    status, _, err = run("prune", "dcase21", "-o", output, "--ratio", "0.25")
    assert status == 2
    assert "exists; choose another or add --overwrite" in err
    assert (output / "plan.json").read_bytes() == before
    assert run("prune", "dcase21", "-o", output, "--ratio", "0.25", "--overwrite")[0] == 0
    assert (output / "plan.json").read_bytes() != before


def test_info_of_the_installation(run: Run) -> None:
    status, out, _ = run("info")
    assert status == 0
    assert hp.__version__ in out
    assert "crepe-tiny" in out
    assert "eigenvector" in out
    result = document(run("info", "--json")[1])
    assert set(result["scorers"]) == set(SCORER_NAMES)


def test_every_scorer_is_explained() -> None:
    assert set(command_models.SCORER_HELP) == set(SCORER_NAMES)


class Runs:
    """A pickle that would leave a mark if it ever ran."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_never_runs(run: Run, factory: str, tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Runs(mark)))
    torch.save({"weight": Runs(mark)}, tmp_path / "bad2.pth")
    for name in ("bad.pth", "bad2.pth"):
        for model in (factory, "cnn6"):
            status, out, err = run("score", model, "--checkpoint", name)
            assert status == 2
            assert "hubprune: error:" in err
            assert "PyTorch checkpoint" in err
            assert out == ""
    assert not mark.exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("score", "cnn15"), 2, "MODEL must be one of cnn14, cnn10"),
        (("score", "cnn15"), 2, "did you mean cnn1"),
        (("score", "dcase21", "--scorer", "hub"), 2, "scorer must be one of degree"),
        (("score", "dcase21", "--layer", "conv9"), 2, "no layer 'conv9'; did you mean 'conv"),
        (("score", "cnn6", "--layer", "conv_block1"), 2, "which holds conv_block1.conv1"),
        (("score", "dcase21", "--scorer", "Degre"), 2, "got 'Degre'; did you mean degree?"),
        (("score", "dcase21", "--checkpoint", "none.h5"), 2, "--checkpoint: none.h5 is not a file"),
        (("score", "no_such_module_x:f"), 2, "module 'no_such_module_x' cannot be imported"),
        (("score", ":f"), 2, "MODEL must be package.module:factory; got ':f'"),
        (("score", "torch:no_such"), 2, "'torch' has no 'no_such'"),
        (("score", "math:pi"), 2, "must be a function or class that builds the model"),
        (("score", "os:getcwd"), 2, "must return a torch.nn.Module; got str"),
        (("prune", "dcase21", "-o", "x/y/z"), 2, "y does not exist as a folder"),
        (("prune", "dcase21", "-o", "x", "--ratio", "1.5"), 2, "ratio must be in [0, 1); got 1.5"),
        (("prune", "dcase21", "-o", "x", "--ratio", "nan"), 2, "ratio must be in [0, 1); got nan"),
        (
            ("prune", "dcase21", "-o", "x", "--ratio", "half"),
            2,
            "--ratio must be a number in [0, 1)",
        ),
        (("prune", "dcase21", "-o", "x", "--ratio", "conv9=0.5"), 2, "no layer 'conv9'"),
        (
            ("prune", "dcase21", "-o", "x", "--ratio", "0.5", "--ratio", "0.2"),
            2,
            "--ratio takes one number for all layers",
        ),
        (
            ("prune", "dcase21", "-o", "x", "--ratio", "conv1=0.5", "--ratio", "conv1=0.2"),
            2,
            "--ratio names conv1 twice",
        ),
        (("prune", "dcase21", "-o", "x", "--keep", "conv9"), 2, "no layer 'conv9'"),
        (("prune", "dcase21", "-o", "x", "--round-to", "0"), 2, "round_to must be"),
        (("prune", "dcase21", "-o", "x", "--plan", "none"), 2, "is neither a saved network nor"),
        (
            ("prune", "dcase21", "-o", "x", "--plan", "none", "--ratio", "0.5"),
            2,
            "--plan decides what is cut; it cannot go with --ratio",
        ),
        (
            ("prune", "dcase21", "-o", "x", "--plan", "y", "--scorer", "l1", "--round-to", "2"),
            2,
            "it cannot go with --scorer, --round-to",
        ),
        (("score", "torch:"), 2, "MODEL must be package.module:factory; got 'torch:'"),
        (("score", ".torch:f"), 2, "MODEL must be package.module:factory; got '.torch:f'"),
        (("score", "a:b:c"), 2, "MODEL must be package.module:factory; got 'a:b:c'"),
        (("score", "torch.nn:Flatten"), 2, "torch.nn:Flatten has no convolution"),
        (
            ("prune", "dcase21", "-o", "x", "--input-shape", "1,1,-4"),
            2,
            "--input-shape must be positive",
        ),
        (("prune", "dcase21", "-o", "x", "--input-shape", "1,1,4,4"), 2, "example_inputs"),
        (("report", "dcase21", "--html", "x/y/z"), 2, "--html: x/y/z must be a file in a folder"),
        (("report", "dcase21", "--html", "."), 2, "--html: . must be a file in a folder"),
        (("report", "dcase21", "--plan", "none"), 2, "is neither a saved network nor"),
        (
            ("report", "dcase21", "--plan", "y", "--ratio", "0.5"),
            2,
            "--plan decides what is cut; it cannot go with --ratio",
        ),
        (("info", sys.executable), 2, "is not a plan.json: it is not text"),
        (("info", "nowhere"), 2, "nowhere is neither a saved network nor a plan.json"),
    ],
)
def test_mistakes_are_one_readable_line(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*words)
    assert got == status
    assert message in err
    assert err.startswith("hubprune: error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "x").exists()


def test_mistakes_of_a_factory(run: Run, factory: str) -> None:
    module = factory.split(":")[0]
    assert "--input-shape is needed" in run("prune", factory, "-o", "x")[2]
    assert "must be a function or class" in run("score", f"{module}:MODULE")[2]
    assert "must be a function or class" in run("score", f"{module}:NUMBER")[2]
    assert "must return a torch.nn.Module; got int" in run("score", f"{module}:other")[2]
    status, _, err = run("score", f"{module}:Broken")
    failed = f"hubprune: error: MODEL: {module}:Broken failed: RuntimeError: no such data\n"
    assert (status, err) == (1, failed)
    for factory_, status_, message in (
        ("wants", 2, "must be callable without arguments"),
        ("key", 1, "key failed: KeyError: 'nothing'"),
        ("leaves", 1, "leaves failed: SystemExit: 0"),
    ):
        status, out, err = run("score", f"{module}:{factory_}")
        assert status == status_
        assert message in err
        assert err.startswith("hubprune: error: MODEL: ")
        assert err.count("\n") == 1
        assert out == ""


def test_a_module_that_does_not_compile(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("def build(:\n")
    monkeypatch.chdir(tmp_path)
    status, _, err = run("score", f"{name}:build")
    assert status == 2
    assert f"module '{name}' cannot be imported: SyntaxError" in err
    assert err.count("\n") == 1


def test_what_a_factory_prints_stays_out_of_the_result(run: Run, factory: str) -> None:
    module = factory.split(":")[0]
    status, out, err = run("score", f"{module}:talks", "--json")
    assert status == 0
    assert list(document(out)["layers"]) == ["0", "2"]
    assert err == "building\n"
    status, out, err = run(
        "prune", f"{module}:talks", "-o", "x", "--input-shape", "1,1,6,6", "--json"
    )
    assert status == 0
    assert document(out)["output"] == "x"
    assert err == "building\n"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_for_a_person(run: Run, factory: str) -> None:
    shape = ("--input-shape", "1,1,6,6", "--json")
    status, out, err = run("prune", factory, "-o", "x", "--keep", "0", "--keep", "2", *shape)
    assert status == 0
    assert document(out)["plan"]["layers"] == {}
    assert err.startswith("hubprune: warning: the plan changes nothing")
    assert ".py" not in err


@pytest.mark.parametrize(("value", "name"), [(torch.nan, "NaN"), (torch.inf, "infinity")])
def test_a_plan_that_meets_broken_weights_saves_nothing(
    run: Run, factory: str, tmp_path: Path, value: float, name: str
) -> None:
    shape = ("--input-shape", "1,1,6,6")
    assert run("prune", factory, "-o", "good", *shape)[0] == 0
    model = __import__(factory.split(":")[0]).build()
    with torch.no_grad():
        model[4].bias[1] = value
    torch.save(model.state_dict(), "broken.pth")
    broken = ("prune", factory, "--checkpoint", "broken.pth", "--plan", "good", *shape)
    status, out, err = run(*broken, "-o", "out")
    if name == "NaN":
        message = "the pruned network computes NaN on the example input; nothing was saved"
        assert (status, out, err) == (1, "", f"hubprune: error: {message}\n")
        assert not (tmp_path / "out").exists()
    else:  # the whole network computes infinity too: pruning is not to blame
        assert status == 0, err


def test_a_network_that_breaks_when_pruned_is_not_saved(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflows(model: torch.nn.Module, plan: hp.PruningPlan, **options: Any) -> torch.nn.Module:
        pruned: Any = hp.prune(model, plan, **options)
        with torch.no_grad():
            pruned.fc2.bias.fill_(torch.inf)
        return pruned

    monkeypatch.setattr(command_prune, "prune", overflows)
    status, out, err = run("prune", "dcase21", "-o", tmp_path / "out")
    assert (status, out) == (1, "")
    assert "the pruned network computes infinity" in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "out"))

    monkeypatch.setattr(command_prune, "save_pruned", denied)
    status, out, err = run("prune", "dcase21", "-o", tmp_path / "out")
    assert (status, out) == (1, "")
    assert err == f"hubprune: error: {tmp_path / 'out'}: Permission denied\n"


def test_a_terminal_without_the_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    cli._print("0.5 ± 0.1")
    assert raw.getvalue() == b"0.5 ? 0.1\n"
    monkeypatch.setattr(sys, "stdout", None)  # closed, as in `hubprune info >&-`
    cli._print("0.5")


def test_an_error_in_a_loaders_worker_is_its_last_line() -> None:
    text = "Caught OSError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
    error = OSError(f"{text}last):\n  File ...\nOSError: clip 13 is damaged\n")
    assert cli._one_line(error) == "OSError: clip 13 is damaged"


def test_an_unexpected_error_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise KeyError("no such key")

    monkeypatch.setattr(info, "show_config", bug)
    message = "unexpected KeyError: 'no such key'; --debug shows where it comes from"
    assert run("info") == (1, "", f"hubprune: error: {message}\n")
    with pytest.raises(KeyError):
        cli.main(["info", "--debug"])


def test_a_plan_of_another_model(run: Run, tmp_path: Path) -> None:
    assert run("prune", "dcase21", "-o", tmp_path / "a")[0] == 0
    status, _, err = run("prune", "cnn6", "-o", tmp_path / "b", "--plan", tmp_path / "a")
    assert status == 2
    assert "the plan does not fit the model" in err
    (tmp_path / "bad.json").write_text("{")
    status, _, err = run("info", tmp_path / "bad.json")
    assert status == 2
    assert "the plan is not JSON" in err


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(ValueError, match="MODEL must be one of"):
        cli.main(["score", "cnn15", "--debug"])


def test_interruption_and_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(info, "show_config", interrupt)
    assert run("info")[0::2] == (130, "hubprune: interrupted\n")
    monkeypatch.setattr(info, "show_config", full)
    assert run("info")[0::2] == (1, "hubprune: error: No space left on device\n")


@pytest.mark.parametrize(
    "words", [["--help"], ["score", "--help"], ["prune", "--help"], ["report", "--help"]]
)
def test_help_teaches(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "hubprune" in out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["cut"],
        ["prune", "dcase21"],
        ["score"],
        ["score", "dcase21", "--seed", "-1"],
        ["score", "dcase21", "--seed", str(2**63)],
        ["demo", "--seed", "one"],
    ],
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(words)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"hubprune {hp.__version__}\n"


def test_demo_gets_its_arguments(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Result:
        def to_dict(self) -> dict[str, int]:
            return {"rows": 3}

        def __str__(self) -> str:
            return "the table"

    def stand_in(output: Path, **options: Any) -> Result:
        seen.update(options, output=output)
        options["progress"](1, 2, "step")
        return Result()

    monkeypatch.setattr(demo, "run_demo", stand_in)
    assert run("demo", "-o", tmp_path, "--quick", "--seed", 5)[1] == "the table\n"
    assert (seen["output"], seen["quick"], seen["seed"]) == (tmp_path, True, 5)
    assert document(run("demo", "--json")[1]) == {"rows": 3}


def test_as_a_program() -> None:
    def program(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hubprune.cli", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment, **options
        )

    result = program("score", "dcase21", "--json", check=False)
    assert result.returncode == 0, result.stderr
    assert document(result.stdout)["model"] == "dcase21"
    assert result.stderr == ""
    assert program("score", "cnn15", check=False).returncode == 2
    package = subprocess.run(
        [sys.executable, "-m", "hubprune", "--version"], capture_output=True, text=True, check=True
    )
    assert package.stdout == f"hubprune {hp.__version__}\n"
    pipe = f"{sys.executable} -m hubprune.cli info | head -1"
    piped = subprocess.run(pipe, shell=True, capture_output=True, text=True, check=False)
    assert piped.stdout.startswith("hubprune ")
    assert "Traceback" not in piped.stderr


@pytest.mark.parametrize("scorer", ["degree", "pairs"])
def test_the_widest_table_fits_a_narrow_terminal(run: Run, scorer: str) -> None:
    status, out, _ = run("score", "cnn14", "--scorer", scorer)
    assert status == 0
    assert "2048x2048x3x3" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_bar_is_for_terminals_only(tmp_path: Path) -> None:
    import pty

    command = [sys.executable, "-m", "hubprune.cli", "prune", "dcase21", "-o", str(tmp_path / "a")]
    controller, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(controller)
    assert process.returncode == 0
    assert document(out.decode())["model"] == "dcase21"
    assert b"measuring before and after" in shown
    quiet = subprocess.run(
        [*command, "--overwrite"], capture_output=True, check=True, timeout=120, env=environment
    )
    assert quiet.stderr == b""


# Of these the default is found later: the file of a decision may say otherwise, or the data.
SETTLED_LATER = {
    *("--metric", "--returns", "--round-to", "--scorer"),
    *("--split", "--task", "--threads"),
}


def options(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, Any]]:
    """Every option of the sub-commands, with the name of its command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, commands in action.choices.items():
                yield from options(commands, f"{command} {name}".strip())
        else:
            yield command, action


def test_the_help_names_the_real_defaults() -> None:
    wrong, checked = [], 0
    for command, action in options(cli._parser()):
        found = re.search(r"(\S+) \(default\)|\bdefault:? ([^);]+)", action.help or "")
        if found is None:
            continue
        said = found[1] or found[2]
        if action.default is None:
            assert action.option_strings[-1] in SETTLED_LATER, (command, action.help)
        else:
            checked += 1
            number = isinstance(action.default, (int, float))
            default = action.default if number else str(action.default)  # also of a path
            if (float(said) if number else said) != default:
                wrong.append((command, action.option_strings, said, action.default))
    assert wrong == []
    assert checked >= 20
