# SPDX-License-Identifier: MIT
"""``hubprune compare`` and ``hubprune finetune``."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hubprune as hp
from command_line import Run, runner, user_module
from hubprune import cli, comparison_bench
from hubprune.commands import compare as compare_command
from hubprune.commands import finetune as finetune_command
from training_cases import classes, network, tags

USERS = """
import torch
from torch.utils.data import TensorDataset
from training_cases import Pairs, classes, network, tags


def build():
    return network()


def per_seed(seed):
    return network(seed)


def train():
    return Pairs()


def valid():
    print("reading")
    return classes(seed=1)


def tagging():
    return TensorDataset(*tags())


def fails():
    raise RuntimeError("no such data")


def number():
    return 3
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return user_module(tmp_path, monkeypatch, USERS)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """A folder as the published scripts keep it: X and Y, one-hot, in three parts."""
    folder = tmp_path / "features"
    folder.mkdir()
    for seed, split in enumerate(("train", "valid", "test")):
        inputs, targets = classes(seed=seed)
        np.save(folder / f"X_{split}.npy", inputs.double().numpy())
        np.save(folder / f"Y_{split}.npy", np.eye(3)[targets.numpy()])
    return folder


QUICK = ["--epochs", 1, "--seeds", "0,1", "--ratios", "0.5", "--scorers", "l1", "--no-plot"]


def test_compare(run: Run, user: str, features: Path, tmp_path: Path) -> None:
    words = [
        "compare", f"{user}:per_seed", "--data", features, "--output", "study", "--seeds", "0,1",
        "--scorers", "degree,pairs", "--ratios", "0.5", "--epochs", 2, "--lr", 0.02,
        "--batch-size", 16,
    ]  # fmt: skip
    status, out, err = run(*words)
    assert status == 0, err
    assert "a network for each seed" in out
    assert "targets are one-hot: taken as classes" in out
    assert "accuracy on the test data" in out
    study = tmp_path / "study"
    assert sorted(os.listdir(study)) == [
        "comparison.json", "comparison.png", "rows.csv", "state", "table.md",
    ]  # fmt: skip
    found = hp.Comparison.from_json((study / "comparison.json").read_text())
    expected = hp.compare(
        network, classes(), classes(seed=1), classes(seed=2), example_inputs=classes()[0][:1],
        scorers=["degree", "pairs"], ratios=[0.5], seeds=[0, 1],
        finetune={"epochs": 2, "lr": 0.02, "batch_size": 16},
    )  # fmt: skip
    for one, two in zip(found.rows, expected.rows, strict=True):
        assert (one.group, one.seed, one.before, one.after) == (
            two.group, two.seed, two.before, two.after,
        )  # fmt: skip
    assert found.table() in out
    assert found.table() in (study / "table.md").read_text()
    for place in ("study", study / "comparison.json"):
        assert run("info", place) == (0, f"{found.table()}\n", "")
    assert hp.Comparison.from_json(run("info", "study", "--json")[1]) == found
    # Again: all is there already, and JSON is the same.
    status, again, err = run(*words, "--json")
    assert status == 0, err
    assert hp.Comparison.from_json(again) == found
    status, out, err = run(*words, "--scorers", "pairs", "--no-plot")
    assert status == 0, err
    assert "2 rows of study/state are not in these tables: this command did not ask" in out
    status, _, err = run(*words, "--lr", 0.03)
    assert status == 2
    assert err.endswith("holds another comparison: finetune.lr was 0.02 and is 0.03\n")
    (study / "comparison.json").write_text("{}")
    status, _, err = run("info", "study")
    assert status == 2
    assert "comparison.json: text must be the JSON of a comparison" in err


def test_a_missing_channel_axis_is_told_and_corrected(
    run: Run, user: str, features: Path, tmp_path: Path
) -> None:
    inputs = {split: np.load(features / f"X_{split}.npy") for split in ("train", "valid", "test")}
    for split, array in inputs.items():
        np.save(features / f"X_{split}.npy", array[:, 0])
    words = ["compare", f"{user}:build", "--data", features, "--output", tmp_path / "st", *QUICK]
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    told = (
        "the model fails on a batch of shape (1, 6, 5), float32, whose first convolution '0' takes"
    )
    assert f"--valid: {told} (examples, 1, ..., ...); add the channel axis" in error
    for split, array in inputs.items():
        np.save(features / f"X_{split}.npy", array)
    assert run(*words)[0] == 0


def test_compare_goes_on_after_an_interruption(
    run: Run, user: str, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", f"{user}:build", "--data", features, "--output", "study", *QUICK]
    calls: list[int] = []
    tune = comparison_bench.fine_tune

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tune(*args, **options)

    monkeypatch.setattr(comparison_bench, "fine_tune", interrupted)
    status, out, err = run(*words)
    assert (status, out) == (130, "")
    assert err.endswith("interrupted; the same command goes on from study/state\n")
    status, out, err = run("info", "study")
    assert (status, err) == (0, "")
    assert "study: a comparison that is not finished, 2 rows so far" in out
    assert json.loads(run("info", "study", "--json")[1]) == {"unfinished": True, "rows": 2}
    status, out, err = run(*words)
    assert status == 0, err
    assert "the weights that the factory gives" in out
    assert len(calls) == 6 + 1


def test_compare_data_of_functions_and_compensation(
    run: Run, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def stand_in(*args: Any, **options: Any) -> Any:
        seen.update(options, data=args[1:])
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_command, "compare", stand_in)
    words = [
        "compare", f"{user}:build", "--train", f"{user}:train", "--valid", f"{user}:valid",
        "--output", "study", "--no-plot", "--compensate", "none,bias", "--calibration", 40,
        "--layer", "0", "--keep", "3", "--metric", "log_loss", "--returns", "logits",
        "--amp", "off", "--energy", "GBR", "--freeze", "1", "--patience", 3,
    ]  # fmt: skip
    status, out, err = run(*words)
    assert status == 130
    assert out == ""
    assert "reading" in err
    assert seen["data"][2] is None
    assert [len(batch) for batch in seen["batches"]] == [32, 8]
    assert seen["compensate"] == ["none", "bias"]
    assert (seen["layers"], seen["keep"]) == (["0"], ["3"])
    assert (seen["metric"], seen["output"]) == ("log_loss", "logits")
    options = seen["finetune"]
    assert (options["amp"], options["energy"], options["freeze"], options["patience"]) == (
        False, "GBR", ["1"], 3,
    )  # fmt: skip
    assert run(*words, "--epochs", 0)[0] == 130
    assert seen["finetune"] is None


def test_tags_of_an_archive(run: Run, user: str, tmp_path: Path) -> None:
    arrays = {}
    for seed, split in enumerate(("train", "valid")):
        inputs, targets = tags(seed=seed)
        arrays |= {f"X_{split}": inputs.numpy(), f"Y_{split}": targets.numpy().astype(bool)}
    np.savez(tmp_path / "tags.npz", **arrays)
    words = ["compare", f"{user}:build", "--data", "tags.npz", "--output", "study", *QUICK]
    status, out, err = run(*words)
    assert status == 0, err
    assert "mean_average_precision on the valid data" in out
    status, _, err = run(*words, "--task", "classes")
    assert status == 2
    assert "--train has targets of tags; --task is classes" in err


def test_data_sets_by_name_and_plain_archives(run: Run, user: str, tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "valid")):
        inputs, targets = classes(seed=seed)
        np.savez(tmp_path / f"{split}.npz", X=inputs.numpy(), Y=targets.numpy())
    words = ["compare", f"{user}:build", "--output", "study", *QUICK]
    status, out, err = run(*words, "--train", "train.npz", "--valid", "valid.npz")
    assert status == 0, err
    assert "accuracy on the valid data" in out


def test_one_hot_can_be_tags(run: Run, user: str, features: Path) -> None:
    words = ["compare", f"{user}:build", "--data", features, "--output", "study", *QUICK]
    status, out, err = run(*words, "--task", "tags", "--epochs", 0)
    assert status == 0, err
    assert "mean_average_precision on the test data" in out


def test_finetune(run: Run, user: str, features: Path, tmp_path: Path) -> None:
    words = ["prune", f"{user}:build", "--input-shape", "1,1,6,5", "--output", "half"]
    assert run(*words)[0] == 0
    words = [
        "finetune", "half", "--model", f"{user}:build", "--data", features, "--output", "tuned",
        "--epochs", 3, "--lr", 0.02, "--batch-size", 16,
    ]  # fmt: skip
    status, out, err = run(*words)
    assert status == 0, err
    assert f"hubprune.load_pruned({user}.build, 'tuned')" in out
    assert "test data" in out
    expected = hp.finetune(
        hp.load_pruned(network, tmp_path / "half"), classes(), classes(seed=1), epochs=3, lr=0.02,
        batch_size=16,
    )  # fmt: skip
    loaded = hp.load_pruned(network, tmp_path / "tuned")
    for name, value in expected.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert expected.explain().splitlines()[-1] in out
    assert not list(tmp_path.glob("*.training.safetensors"))
    status, out, err = run(*words)
    assert status == 2
    assert "tuned exists; choose another or add --overwrite" in err
    status, out, err = run(*words, "--overwrite", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["finetuning"]["best"] == expected.best
    assert set(found["test"]) == {"before", "after"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "none"], "--data: none is not a folder or an .npz file; for other data use"),
        (["--data", "USER:train"], "is not a folder or an .npz file; for other data use --train"),
        (["--data", "plain.npz"], "--data: plain.npz cannot be used: it has no X_train"),
        (["--train", "none"], "--train: none is not a folder, a file or a data set by name"),
        (["--train", "esc51:folder"], "--train: data: module 'esc51' cannot be imported"),
        ([], "--data or --train is needed"),
        (["--data", "features", "--valid", "USER:fails"],
         "--valid: data: USER:fails failed: RuntimeError: no such data"),
        (["--data", "features", "--valid", "USER:nothing"], "'USER' has no 'nothing'"),
        (["--data", "features", "--valid", "USER:number"], "must return a data set of"),
        (["--data", "features", "--valid", "nowhere:f"], "module 'nowhere' cannot be imported"),
        (["--data", "features", "--valid", "USER:a-b"], "--valid: data"),
        (["--data", "empty"], "--data: empty has no X_train.npy"),
        (["--data", "text.npz"], "--data: text.npz cannot be used"),
        (["--data", "pickle.npz"], "--data: pickle.npz cannot be used"),
        (["--data", "features", "--scorers", "l3"], "scorer must be one of"),
        (["--data", "features", "--ratios", "a"], "--ratios must be numbers with commas; got 'a'"),
        (["--data", "features", "--seeds", "0.5"], "--seeds must be integers with commas"),
        (["--data", "features", "--calibration", "0"], "--calibration must be at least 1"),
        (["--data", "features", "--device", "gpu"], "--device 'gpu' cannot be used"),
        (["--data", "features", "--epochs", "-1"], "epochs must be at least 1; got -1"),
        (["--data", "features", "--metric", "mAP"], "metric must be one of accuracy, log_loss"),
        (["--data", "features", "--output", "a/b"], "does not exist"),
    ],
)  # fmt: skip
def test_mistakes_are_one_readable_line(
    run: Run, user: str, features: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "plain.npz", X=np.zeros((4, 1, 6, 5)), Y=np.zeros(4, int))
    np.savez(tmp_path / "pickle.npz", X=np.array([{}], dtype=object), Y=np.zeros(1))
    words = [word.replace("USER", user) for word in words]
    output = [] if "--output" in words else ["--output", "study"]
    status, out, err = run("compare", f"{user}:build", *words, *output, "--no-plot")
    assert status in (1, 2)
    assert out == ""
    assert message.replace("USER", user) in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_a_pickle_never_runs(run: Run, user: str, features: Path) -> None:
    (features / "Y_train.npy").write_bytes(pickle.dumps(Bomb()))
    status, _, err = run("compare", f"{user}:build", "--data", features, "-o", "study", *QUICK)
    assert status == 2
    assert "cannot be used" in err
    np.save(features / "Y_train.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    status, _, err = run("compare", f"{user}:build", "--data", features, "-o", "study", *QUICK)
    assert status == 2
    assert "cannot be used" in err


def test_finetune_mistakes(run: Run, user: str, features: Path) -> None:
    assert run("prune", f"{user}:build", "--input-shape", "1,1,6,5", "--output", "half")[0] == 0
    rest = ["--data", features, "--output", "tuned"]
    status, _, err = run("finetune", "features", "--model", f"{user}:build", *rest)
    assert (status, "features holds no pruned network" in err) == (2, True)
    status, _, err = run("finetune", "half", "--model", "dcase", *rest)
    assert (status, "--model must be one of cnn14" in err) == (2, True)
    status, _, err = run("finetune", "half", "--model", "dcase21", *rest)
    assert status == 2
    assert "layer" in err or "fit" in err
    for name, expected, message in (
        ("per_seed", 2, f"--model: {user}:per_seed must be callable without arguments"),
        ("number", 2, f"--model: {user}:number must return a torch.nn.Module; got int"),
        ("fails", 1, f"--model: {user}:fails failed: RuntimeError: no such data"),
    ):
        status, _, err = run("finetune", "half", "--model", f"{user}:{name}", *rest)
        assert (status, message in err) == (expected, True)


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_finetune_says_how_to_go_on(
    run: Run, user: str, features: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("prune", f"{user}:build", "--input-shape", "1,1,6,5", "--output", "half")[0] == 0
    words = ["finetune", "half", "--model", f"{user}:build", "--data", features, "--epochs", 3]
    words += ["--output", "tuned"]
    tune = finetune_command.finetune

    def interrupted(*args: Any, **options: Any) -> Any:
        if at == 2:
            tune(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune_command, "finetune", interrupted)
    status, _, err = run(*words)
    goes_on = "; the same command goes on from tuned.training.safetensors" if at == 2 else ""
    assert (status, err.splitlines()[-1]) == (130, f"hubprune: interrupted{goes_on}")


@pytest.mark.parametrize("command", ["compare", "finetune"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "X_train.npy" in out
    assert "goes on" in out


def test_without_matplotlib_nothing_is_begun(
    run: Run, user: str, features: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run("compare", f"{user}:build", "--data", features, "--output", "study")
    assert status == 2
    assert 'pip install "hubprune[demo]"' in err
    assert not (tmp_path / "study").exists()
