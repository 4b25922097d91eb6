# SPDX-License-Identifier: MIT
"""Fine-tuning: it learns, it repeats and resumes bit by bit, it refuses what is wrong."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hubprune as hp
from hubprune.checkpointing import read_file, write_file
from hubprune.finetuning import Mixup, SpecAugment
from training_cases import SHAPE, Masked, Pairs, classes, network, tags

HERE = Path(__file__).parent


pytestmark = pytest.mark.usefixtures("one_thread")


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def tune(model: nn.Module | None = None, **options: Any) -> hp.FineTuned:
    options = {"epochs": 4, "batch_size": 16, "lr": 0.01, **options}
    return hp.finetune(network() if model is None else model, classes(), classes(seed=1), **options)


# --- it learns ------------------------------------------------------------------------------------


def test_learns_classes_and_leaves_the_model_alone() -> None:
    model = network()
    model[0].eval()
    model[1].weight.requires_grad_(False)
    before = bits(model)
    result = tune(model, epochs=8, lr=0.03)
    assert bits(model) == before
    assert result.metric == "accuracy"
    assert result.best == max(r["valid"]["accuracy"] for r in result.history)
    assert result.best > result.history[0]["valid"]["accuracy"] + 0.3
    assert [r["epoch"] for r in result.history] == list(range(9))
    assert hp.evaluate(result.model, classes(seed=1))["accuracy"] == result.best
    assert [m.training for m in result.model.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in result.model.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert torch.equal(result.model[1].weight, model[1].weight)
    assert all(p.grad is None for p in result.model.parameters())


def test_learns_tags_of_a_dict_of_probabilities() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"clipwise_output": torch.sigmoid(self.body(x)), "embedding": x}

    result = hp.finetune(Tagger(), tags(), tags(seed=1), epochs=8, lr=0.03, batch_size=16)
    assert result.metric == "mean_average_precision"
    assert result.best is not None
    assert result.best > result.history[0]["valid"]["mean_average_precision"] + 0.2
    assert set(result.history[1]["valid"]) == {
        "mean_average_precision", "roc_auc", "d_prime", "log_loss"
    }  # fmt: skip
    # The same network for one class of many: each class against the rest.
    of_classes = hp.finetune(Tagger(), classes(), classes(seed=1), epochs=6, lr=0.03, batch_size=16)
    assert of_classes.best is not None
    assert of_classes.best > 0.6
    assert set(of_classes.history[1]["valid"]) == {"accuracy"}


def test_probabilities_and_logits_train_alike() -> None:
    logits = network()
    probabilities = nn.Sequential(logits, nn.Softmax(1))
    one = tune(logits, metric="log_loss", epochs=2)
    two = tune(probabilities, metric="log_loss", epochs=2)
    three = tune(probabilities, metric="log_loss", epochs=2, output="probabilities")
    assert one.best == pytest.approx(two.best, rel=1e-4)
    assert two.best == three.best
    assert one.best == min(r["valid"]["log_loss"] for r in one.history)


def test_known_models_say_what_they_return() -> None:
    assert hp.models.Dcase21Baseline.output_kind == "logits"
    assert hp.models.Crepe.output_kind == "probabilities"
    model = hp.models.Dcase21Baseline((2, 2, 2), hidden=4)
    data = torch.randn(4, 1, 40, 500), torch.arange(4)
    result = hp.finetune(model, data, data, epochs=1)
    assert set(result.history[1]["valid"]) == {"accuracy", "log_loss"}


def test_a_softmax_taken_for_logits_is_refused() -> None:
    class Hidden(nn.Module):
        def __init__(self, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__()
            self.body, self.last = network(), last

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.body(x))

    with pytest.raises(ValueError, match="outputs sum to 1, as after a softmax"):
        hp.evaluate(Hidden(lambda x: x.softmax(1)), classes())
    found = hp.evaluate(Hidden(lambda x: x.softmax(1)), classes(), output="probabilities")
    assert found["log_loss"] > 0
    with pytest.warns(UserWarning, match="as after a sigmoid"):
        hp.evaluate(Hidden(torch.sigmoid), tags())


def test_own_loss_and_metric() -> None:
    def squares(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (output - torch.nn.functional.one_hot(targets, 3)).square().mean()

    def margin(scores: torch.Tensor, targets: torch.Tensor) -> float:
        return float(scores[torch.arange(len(scores)), targets].mean())

    result = tune(loss=squares, metric=margin)
    assert "margin" in result.metric
    assert result.best == max(r["valid"][result.metric] for r in result.history)
    assert "squares" in str(result.configuration["loss"])
    assert "margin" in str(result.configuration["metric_function"])


def test_own_loss_and_metric_of_any_output() -> None:
    model = ReturnsList(lambda x: (x, {"twice": 2 * x, "total": x.sum()}, "words"))
    seen: list[Any] = []

    def loss(output: Any, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output[1]["twice"], targets)

    def metric(output: Any, targets: torch.Tensor) -> float:
        seen.append(output)
        assert output[0].shape == output[1]["twice"].shape == (64, 3)
        return float((output[0].argmax(1) == targets).float().mean())

    options: Any = {"epochs": 3, "batch_size": 16, "lr": 0.03, "loss": loss}
    result = hp.finetune(model, classes(), classes(seed=1), metric=metric, **options)
    assert set(result.history[-1]["valid"]) == {result.metric}
    assert result.best is not None
    assert result.best > 0.8
    assert torch.equal(seen[0][1]["twice"], 2 * seen[0][0])
    assert seen[0][1]["total"].shape == (4,)  # one of each batch
    assert hp.finetune(model, classes(), None, **options).best_epoch == 3
    with pytest.raises(TypeError, match=r"got tuple \(with a loss and a metric of your own it may"):
        hp.finetune(model, classes(), classes(seed=1), **options)


def test_own_loss_and_metric_of_tensors_that_are_no_scores() -> None:
    def mean_squares(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (output - targets).square().mean()

    def closeness(output: torch.Tensor, targets: torch.Tensor) -> float:
        return -float((output - targets).square().mean())

    own: Any = {"epochs": 2, "loss": mean_squares, "metric": closeness}
    values = classes()[0], torch.randn(64, 3)
    result = hp.finetune(network(), values, values, **own)
    assert list(result.history[0]["valid"]) == [result.metric]
    of_tags = hp.finetune(network(), tags(), tags(), **own).history[0]["valid"]
    assert {"mean_average_precision", "roc_auc"} < set(of_tags)

    def frames(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output.mean(2), targets)

    def hits(output: torch.Tensor, targets: torch.Tensor) -> float:
        return float((output.mean(2).argmax(1) == targets).float().mean())

    by_frame = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d((1, 5)), nn.Flatten(2))
    result = hp.finetune(by_frame, classes(), classes(), epochs=1, loss=frames, metric=hits)
    assert list(result.history[0]["valid"]) == [result.metric]


def test_without_validation_the_last_weights_count() -> None:
    result = hp.finetune(network(), classes(), None, epochs=2, batch_size=16)
    assert result.best is None
    assert result.best_epoch == 2
    assert result.history[2]["valid"] is None
    assert "epoch 2 of 2" in result.explain()
    assert str(result) == result.explain()
    assert repr(result) == "<FineTuned: epoch 2 of 2>"


def test_the_model_as_it_came_is_kept_when_nothing_is_better() -> None:
    model = tune(epochs=10, lr=0.03).model
    result = tune(model, lr=10.0, metric="log_loss", epochs=2)
    assert result.best_epoch == 0
    assert bits(result.model) == bits(model)


def test_patience_and_plateau() -> None:
    result = tune(metric="log_loss", lr=3.0, epochs=30, patience=2, schedule="constant")
    assert result.stopped == "patience"
    assert len(result.history) - 1 == result.best_epoch + 2 < 31
    result = tune(metric="log_loss", lr=3.0, epochs=10, schedule="plateau")
    best, still, rate = float("inf"), 0, 3.0
    for record in result.history:
        if record["lr"] is not None:
            assert record["lr"] == rate
        value = record["valid"]["log_loss"]
        best, still = (value, 0) if value < best else (best, still + 1)
        if still == 3:
            rate, still = rate / 2, 0
    assert rate < 3  # it did stand still


def test_cosine_with_warmup() -> None:
    result = tune(epochs=4, warmup=2, lr=0.1)  # four steps an epoch
    rates = [record["lr"] for record in result.history[1:]]
    cosine = [0.05 * (1 + np.cos(np.pi * step / 8)) for step in (3, 7)]
    assert rates == pytest.approx([0.05, 0.1, *cosine])


def test_freeze_keeps_parameters_and_statistics() -> None:
    model = network()
    result = tune(model, freeze=["0", "1"], lr=0.1)
    before, after = bits(model), bits(result.model)
    assert {name for name in before if before[name] == after[name]} >= {
        name for name in before if name.startswith(("0.", "1."))
    }
    assert after["3.weight"] != before["3.weight"]
    assert all(p.requires_grad for p in result.model.parameters())


def test_fraction_takes_its_part_of_each_class() -> None:
    inputs, _ = classes(60)
    targets = torch.tensor([0] * 40 + [1] * 18 + [2] * 2)
    seen: list[int] = []

    def spy(
        inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen.extend(targets.tolist())
        return inputs, targets

    options: Any = {"epochs": 1, "batch_size": 8, "augment": spy}
    hp.finetune(network(), (inputs, targets), None, fraction=0.25, **options)
    assert sorted(seen) == [0] * 10 + [1] * 4 + [2]
    seen.clear()
    hp.finetune(network(), Pairs(), None, fraction=0.5, **options)
    assert np.bincount(seen).tolist() == [11, 11, 10]
    result = hp.finetune(network(), tags(), None, fraction=0.25, epochs=1)
    assert result.configuration["examples"] == 16


def test_kinds_of_data_give_the_same() -> None:
    inputs, targets = classes()
    one = tune()
    options: Any = {"epochs": 4, "batch_size": 16, "lr": 0.01}
    read_only = inputs.numpy().copy()
    read_only.flags.writeable = False
    for train in (
        Pairs(),
        TensorDataset(inputs, targets),
        (read_only, targets.int().numpy()),
        [inputs, targets],
        list(zip(inputs, targets, strict=True)),
    ):
        two = hp.finetune(network(), train, classes(seed=1), **options)
        assert bits(two.model) == bits(one.model)


def test_boolean_marks_are_tags() -> None:
    inputs, targets = tags()
    expected = bits(hp.finetune(network(), tags(), tags(), epochs=1).model)
    for marks in (targets.bool(), targets.numpy().astype(bool)):
        data = (inputs, marks) if isinstance(marks, torch.Tensor) else (inputs.numpy(), marks)
        assert bits(hp.finetune(network(), data, data, epochs=1).model) == expected


def test_a_leftover_example_joins_the_last_batch() -> None:
    sizes: list[int] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.BatchNorm1d(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return self.body(x)

    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int, text: str) -> None:
        steps.append((done, total))

    hp.finetune(Spy(), classes(33), None, epochs=1, batch_size=16, progress=progress)
    assert sizes == [16, 17]
    assert steps == [(1, 2), (2, 2)]


def test_inputs_are_given_in_the_dtype_of_the_model() -> None:
    (inputs, targets), valid = classes(), classes(seed=1)
    one = tune()
    for dtype in (torch.float64, np.float64):
        wide = inputs.double() if dtype is torch.float64 else inputs.numpy().astype(np.float64)
        two = hp.finetune(network(), (wide, targets), valid, epochs=4, batch_size=16, lr=0.01)
        assert bits(two.model) == bits(one.model)
        assert hp.evaluate(network(), (wide, targets)) == hp.evaluate(network(), classes())
    half = (inputs.half(), targets)
    assert hp.evaluate(network().double(), half) == hp.evaluate(
        network().double(), (inputs.half().double(), targets)
    )
    # What takes integers gets them, beside what is in another dtype of its own.
    embedded = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    tokens = torch.arange(192).reshape(64, 3) % 9, targets
    assert hp.finetune(embedded, tokens, tokens, epochs=1).best is not None


class Normed(nn.Module):
    """Batch normalisation of features, which cannot learn from one example."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(30, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]


def test_a_lone_example_of_a_loader_is_left_out_of_batch_normalisation(tmp_path: Path) -> None:
    def run(**options: Any) -> hp.FineTuned:
        torch.manual_seed(0)
        train = DataLoader(TensorDataset(*classes(33)), batch_size=16)
        return hp.finetune(Normed(), train, classes(), epochs=2, **options)

    told = r"train has a batch of one example, \(1, 1, 6, 5\).*; 1 such batch is left out"
    with pytest.warns(UserWarning, match=told):
        whole = run()
    torch.manual_seed(0)
    dropped = DataLoader(TensorDataset(*classes(33)), batch_size=16, drop_last=True)
    expected = hp.finetune(Normed(), dropped, classes(), epochs=2, schedule="constant")
    with pytest.warns(UserWarning, match=told):
        assert bits(run(schedule="constant").model) == bits(expected.model)

    def stop(done: int, total: int, text: str) -> None:
        if done == 4:  # in the second epoch
            raise KeyboardInterrupt

    path = tmp_path / "run"
    with pytest.warns(UserWarning, match=told), pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=stop)
    assert bits(run(checkpoint=path).model) == bits(whole.model)


@pytest.mark.parametrize(("count", "size"), [(1, 8), (9, 1)])
def test_lone_examples_alone_are_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="train has a batch of one example"):
        hp.finetune(Normed(), classes(count), None, epochs=1, batch_size=size)


def test_metrics_that_are_not_finite_are_stored(tmp_path: Path) -> None:
    train = classes()[0], classes()[1].clamp(max=1)
    path = tmp_path / "run"
    options: Any = {"epochs": 2, "batch_size": 16, "checkpoint": path}
    result = hp.finetune(Masked(), train, classes(), **options)
    assert [record["valid"]["log_loss"] for record in result.history] == [float("inf")] * 3
    assert hp.finetune(Masked(), train, classes(), **options).history == result.history
    assert '"log_loss": "Infinity"' in json.dumps(read_file(path)[1])
    result.save(path)
    assert hp.FineTuned.load(Masked, path).history == result.history
    with pytest.raises(ValueError, match="valid: metric log_loss must be finite; got inf"):
        hp.finetune(Masked(), train, classes(), metric="log_loss")


def test_d_prime_may_be_infinite(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    nn.init.ones_(model[1].weight)
    data = torch.tensor([[-2.0], [-1], [3], [4]]), torch.tensor([[0.0], [0], [1], [1]])
    options: Any = {"metric": "d_prime", "epochs": 1, "lr": 1e-6, "checkpoint": tmp_path / "run"}
    result = hp.finetune(model, data, data, **options)
    assert result.best == float("inf")
    assert hp.finetune(model, data, data, **options).best == float("inf")
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["best"] == "Infinity"
    assert "inf" in result.explain()


# --- it repeats -----------------------------------------------------------------------------------


def test_is_a_function_of_the_seed_and_leaves_the_generators_alone() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    one = tune()
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert bits(tune().model) == bits(one.model)
    assert bits(tune(seed=1).model) != bits(one.model)


def loader(seed: int | None = None) -> DataLoader[Any]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(Pairs(noise=0.1), batch_size=16, shuffle=True, generator=generator)


@pytest.mark.parametrize("seed", [None, 3])
def test_loaders_repeat_and_keep_their_generator(seed: int | None) -> None:
    first, second = loader(seed), loader(seed)
    second_state = second.generator.get_state() if second.generator is not None else None
    one = hp.finetune(network(), first, classes(seed=1), epochs=2)
    torch.rand(3)  # what the caller draws must not matter
    two = hp.finetune(network(), second, classes(seed=1), epochs=2)
    assert bits(one.model) == bits(two.model)
    if second_state is not None and second.generator is not None:
        assert torch.equal(second.generator.get_state(), second_state)


OPTIONS = {"epochs": 5, "batch_size": 16, "lr": 0.03, "schedule": "plateau", "metric": "log_loss"}

KILLED = """
import os, signal, sys
import torch
from pathlib import Path
sys.path.insert(0, {here!r})
import hubprune as hp
from hubprune import checkpointing
from hubprune.finetuning import Mixup
from training_cases import Pairs, classes, network

torch.set_num_threads(1)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(done, total, text):
    if {where!r} == "batch" and done == 14:  # the second step of the fourth epoch
        kill()

replace = os.replace
count = 0

def replaced(*args):
    global count
    count += 1
    if {where!r} == "write" and count == 3:
        kill()
    replace(*args)

os.replace = replaced
save_file = checkpointing.save_file
saves = 0

def saved(tensors, file, **options):
    global saves
    saves += 1
    if {where!r} == "tensors" and saves == 3:  # as safetensors does: under a name of its own
        save_file(tensors, str(Path(file).with_name(".tmpAbCdEf")), **options)
        kill()
    save_file(tensors, file, **options)

checkpointing.save_file = saved
torch.rand(7)
hp.finetune(
    network(), Pairs(noise=0.1), classes(seed=1), checkpoint={path!r},
    augment=Mixup(0.4, classes=3), progress=progress, **{options!r},
)
"""


def test_a_killed_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    def run(path: Path | None, model: nn.Module | None = None) -> hp.FineTuned:
        return hp.finetune(
            model or network(),
            Pairs(noise=0.1),
            classes(seed=1),
            checkpoint=path,
            augment=Mixup(0.4, classes=3),
            **OPTIONS,  # type: ignore[arg-type]
        )

    processes = {}
    for where in ("batch", "write", "tensors"):
        code = KILLED.format(
            here=str(HERE), where=where, path=str(tmp_path / where), options=OPTIONS
        )
        processes[where] = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    whole = run(None)
    for where, process in processes.items():
        assert process.wait() == -signal.SIGKILL
        epochs = len(read_file(tmp_path / where)[1]["history"]) - 1
        assert epochs == {"batch": 3, "write": 2, "tensors": 2}[where]
        if where != "batch":
            assert list(tmp_path.glob(f".{where}.*.part"))  # it was in the middle of it
        resumed = run(tmp_path / where)
        assert bits(resumed.model) == bits(whole.model)
        assert [
            {key: value for key, value in record.items() if key != "seconds"}
            for record in resumed.history
        ] == [
            {key: value for key, value in record.items() if key != "seconds"}
            for record in whole.history
        ]
        assert not list(tmp_path.glob(f".{where}.*.part"))
        again = run(tmp_path / where)  # finished: nothing is trained
        assert bits(again.model) == bits(whole.model)
        assert again.seconds == resumed.seconds
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(processes)


def test_an_interrupted_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        if done == 6:
            raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(checkpoint=path, progress=stop)
    assert bits(tune(checkpoint=path).model) == bits(tune().model)
    assert os.listdir(tmp_path) == ["run.safetensors"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.02}, "lr was 0.01 and is 0.02"),
        ({"seed": 3, "epochs": 5}, "epochs was 4 and is 5; seed was 0 and is 3"),
        ({"model": network(1)}, "the model or its weights are others"),
        ({"freeze": "1"}, "freeze was [] and is ['1']"),
        ({"augment": Mixup(0.3, classes=3)}, "augment was None and is 'Mixup(alpha=0.3"),
        ({"fraction": 0.5}, "fraction was 1.0 and is 0.5; examples was 64 and is 32"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run"
    tune(checkpoint=path, epochs=4)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=re.escape(message)):
        tune(checkpoint=path, **change)
    assert path.read_bytes() == before
    tune(checkpoint=path, resume=False, **change)
    assert path.read_bytes() != before


class Restless(Pairs):
    """Its noise comes from a generator that nobody seeds again."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        inputs, label = super().__getitem__(index)
        return inputs + torch.randn(SHAPE, generator=self.generator), label


def test_a_checkpoint_notices_other_examples(tmp_path: Path) -> None:
    path = tmp_path / "run"
    valid = classes(seed=1)

    def again(train: Any, valid: Any = valid) -> None:
        hp.finetune(network(), train, valid, epochs=1, checkpoint=path)

    inputs, targets = classes()
    again((inputs, targets))
    again((inputs.numpy(), targets))
    for other in (classes(seed=3), (inputs, targets.roll(1))):
        with pytest.raises(ValueError, match="of another run: the examples of train are others"):
            again(other)
    with pytest.raises(ValueError, match="of another run: the examples of valid are others"):
        again((inputs, targets), classes(seed=2))
    path.unlink()
    again(Pairs(noise=0.1))  # from the global generators: what they give is part of the run
    again(Pairs(noise=0.1))
    with pytest.raises(ValueError, match="the examples of train are others"):
        again(Pairs(noise=0.2))
    path.unlink()
    unlike = Restless()
    again(unlike)
    again(unlike)
    again(Pairs())  # what cannot be known is taken for the same


def own_loss(gamma: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = nn.functional.cross_entropy(output, targets, reduction="none")
        return (losses**gamma).mean()

    return loss


class Louder:
    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs * float(self.by), targets


def own_metric(weight: float) -> Callable[[torch.Tensor, torch.Tensor], float]:
    return lambda scores, targets: weight * float((scores.argmax(1) == targets).float().mean())


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1, 1]))},
            {"loss": nn.CrossEntropyLoss(weight=torch.tensor([9.0, 1, 1]))},
            "loss.weight is another tensor",
        ),
        ({"loss": own_loss(1.0)}, {"loss": own_loss(2.0)}, "loss.gamma was '1.0' and is '2.0'"),
        ({"loss": own_loss(1.0)}, {}, "loss was "),
        ({"augment": Louder(1.0)}, {"augment": Louder(0.5)}, "augment.by was '1.0' and is '0.5'"),
        (
            {"metric": own_metric(1.0)},
            {"metric": own_metric(2.0)},
            "metric_function.weight was '1.0' and is '2.0'",
        ),
    ],
)
def test_a_checkpoint_of_another_function_is_refused(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    path = tmp_path / "run"
    first = tune(checkpoint=path, **before)
    assert bits(tune(checkpoint=path, **before).model) == bits(first.model)
    with pytest.raises(ValueError, match=re.escape(message)):
        tune(checkpoint=path, **after)


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    class Loud(Louder):
        def __float__(self) -> float:
            return 1.0

    augment = Louder(Loud(threading.Lock()))
    tune(checkpoint=tmp_path / "run", augment=augment)
    with pytest.warns(UserWarning, match=r"whether augment.by.by \(lock\) did not change"):
        tune(checkpoint=tmp_path / "run", augment=augment)


def test_checkpoints_of_the_first_format(tmp_path: Path) -> None:
    path = tmp_path / "run"

    def age(**entries: Any) -> None:
        tensors, values = read_file(path)
        del values["configuration"]["metric_function"]
        values["configuration"] |= entries
        write_file(path, tensors, {**values, "format": "fine-tuning 1"})

    augment = Mixup(0.3, classes=3)
    first = tune(checkpoint=path, augment=augment)
    age()  # a data class of the library was told in full before, too
    assert bits(tune(checkpoint=path, augment=augment).model) == bits(first.model)
    options: Any = {"checkpoint": path, "resume": False}
    for name, value in {"loss": own_loss(1.0), "metric": own_metric(1.0)}.items():
        tune(**{name: value}, **options)
        age(**({"loss": "test_finetuning.own_loss.<locals>.loss"} if name == "loss" else {}))
        message = f"of an earlier version of hubprune, which kept only the name of {name}: whether"
        with pytest.raises(ValueError, match=message):
            tune(checkpoint=path, **{name: value})


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run"
    tune(checkpoint=path)
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match="resumed where threads was 1 and is 2"):
        tune(checkpoint=path)


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    tune(checkpoint=path)
    whole = path.read_bytes()
    for content in (b"", b"abc", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"run is no checkpoint that can be read"):
            tune(checkpoint=path)
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="no checkpoint"):
        tune(checkpoint=path)
    tune().save(path)
    with pytest.raises(ValueError, match="holds no fine-tuning"):
        tune(checkpoint=path)
    with pytest.raises(FileNotFoundError, match="a file in a folder that exists"):
        tune(checkpoint=tmp_path / "none" / "run")


# --- the result -----------------------------------------------------------------------------------


def test_saves_and_loads(tmp_path: Path) -> None:
    result = tune()
    result.save(tmp_path / "tuned")
    loaded = hp.FineTuned.load(network, tmp_path / "tuned")
    assert bits(loaded.model) == bits(result.model)
    assert loaded.to_dict() == result.to_dict() == json.loads(json.dumps(result.to_dict()))
    with pytest.raises(ValueError, match="does not fit the model"):
        hp.FineTuned.load(lambda: network(classes=4), tmp_path / "tuned")
    with pytest.raises(FileNotFoundError):
        hp.FineTuned.load(network, tmp_path / "none")


def test_a_loaded_model_keeps_its_dtypes(tmp_path: Path) -> None:
    inputs, targets = classes()
    data = inputs.double(), targets
    result = hp.finetune(network().double(), data, data, epochs=1, batch_size=16)
    result.save(tmp_path / "tuned")
    loaded = hp.FineTuned.load(network, tmp_path / "tuned").model
    assert bits(loaded) == bits(result.model)
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    assert torch.equal(loaded.eval()(data[0]), result.model.eval()(data[0]))


def test_explain_of_a_loader() -> None:
    loader = DataLoader(Pairs(), batch_size=8)
    text = hp.finetune(network(), loader, None, epochs=1).explain()
    assert "batches of the loader, 64 training examples" in text


def test_a_loader_in_the_place_of_arrays_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    options: Any = {"epochs": 1, "batch_size": 8, "checkpoint": path}
    hp.finetune(network(), Pairs(), None, **options)
    loader = DataLoader(Pairs(), batch_size=8)
    with pytest.raises(ValueError, match="loader was False and is True"):
        hp.finetune(network(), loader, None, **options)
    tensors, values = read_file(path)
    del values["configuration"]["loader"]  # as before it was kept
    write_file(path, tensors, values)
    hp.finetune(network(), Pairs(), None, **options)


def test_explain_tells_the_story() -> None:
    result = tune()
    text = result.explain()
    assert f"best weights: epoch {result.best_epoch} of 4" in text
    assert "lr 0.01 cosine" in text
    assert text.count("\n") == 7


def test_works_on_a_pruned_network_and_under_no_grad() -> None:
    model = network().eval()
    plan = hp.plan(model, classes()[0][:1])
    with torch.no_grad():
        result = tune(hp.prune(model, plan))
    assert result.model[0].out_channels == 4
    assert not result.model.training


def test_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    pytest.importorskip("codecarbon")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # codecarbon's own
        result = tune(epochs=1, energy="FRA")
    assert result.energy is not None
    assert result.energy["country"] == "FRA"
    assert 0 < result.energy["kwh"] < 1e-2
    assert 0 < result.energy["kg_co2"] < result.energy["kwh"]
    assert "kg CO2 (FRA" in result.explain()
    with pytest.raises(ValueError, match="ISO code of a country"):
        tune(energy="XYZ")


def test_energy_without_codecarbon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with pytest.raises(ImportError, match=re.escape('pip install "hubprune[energy]"')):
        tune(energy=True)


def test_mixed_precision_on_request() -> None:
    result = tune(amp=True)
    assert result.configuration["amp"] == "bfloat16"
    assert result.model[0].weight.dtype == torch.float32
    assert bits(result.model) != bits(tune().model)


def test_an_autocast_of_the_callers_changes_nothing() -> None:
    expected, whole = hp.evaluate(network(), classes()), tune()
    with torch.autocast("cpu", torch.bfloat16):
        assert hp.evaluate(network(), classes()) == expected
        assert bits(tune().model) == bits(whole.model)


def test_the_default_device_changes_nothing() -> None:
    train, valid, model = classes(), classes(seed=1), network()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "fraction": 0.5}

    def bits_of(**more: Any) -> dict[str, bytes]:
        return bits(hp.finetune(model, train, valid, **options, **more).model)

    for augment in (None, Mixup(classes=3), SpecAugment(2, 2, 1)):
        expected = bits_of(augment=augment)
        with torch.device("meta"):
            assert bits_of(augment=augment) == expected


# --- augmentation ---------------------------------------------------------------------------------


def test_mixup_and_specaugment() -> None:
    inputs, targets = classes(8)
    generator = torch.Generator().manual_seed(0)
    mixed, soft = Mixup(1.0, classes=3)(inputs, targets, generator)
    assert soft.shape == (8, 3)
    torch.testing.assert_close(soft.sum(1), torch.ones(8))
    for row, weights in zip(mixed, soft, strict=True):  # each is a blend of two of the inputs
        parts = inputs.flatten(1).T
        blend = torch.linalg.lstsq(parts, row.flatten()[:, None]).solution.flatten()
        torch.testing.assert_close(blend.sum(), torch.tensor(1.0), rtol=1e-4, atol=1e-4)
        of_classes = torch.zeros(3).index_add(0, targets, blend)
        torch.testing.assert_close(of_classes, weights, rtol=1e-3, atol=1e-4)
    ones = torch.ones(8, 1, 20, 10)
    masked, same = SpecAugment(5, 3, 2)(ones, targets, generator)
    assert same is targets
    assert torch.equal(ones, torch.ones_like(ones))
    rows = (masked == 0).all(3).sum(2).flatten()
    assert int(rows.max()) <= 10
    assert int((masked == 0).sum()) > 0
    result = tune(augment=SpecAugment(2, 2, 1))
    assert result.configuration["augment"].startswith("SpecAugment(time=2")
    with pytest.raises(ValueError, match="pass classes"):
        Mixup()(inputs, targets, generator)
    with pytest.raises(ValueError, match="targets must be below Mixup's classes, 2; got 2"):
        Mixup(classes=2)(inputs, targets, generator)
    for axis in (0, -4, 4):
        with pytest.raises(ValueError, match=rf"behind the first of .*; got {axis}"):
            SpecAugment(time_axis=axis)(ones, targets, generator)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        Mixup(0)
    with pytest.raises(ValueError, match="time must be at least 0"):
        SpecAugment(-1)
    with pytest.raises(ValueError, match=r"got shape \(8, 2\)"):
        SpecAugment()(torch.ones(8, 2), targets, generator)


# --- errors ---------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_epoch_and_batch() -> None:
    inputs, targets = classes()
    inputs[20, 0, 0, 0] = float("nan")

    def in_order(
        inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs, targets

    with pytest.raises(RuntimeError, match=r"the loss is nan in epoch 1, batch [1-4] of 4: try"):
        hp.finetune(network(), (inputs, targets), None, batch_size=16, augment=in_order)
    with pytest.raises(
        RuntimeError,
        match="after epoch 0: the model computes NaN on example 20 of valid, which is not finite",
    ):
        hp.finetune(network(), classes(), (inputs, targets))


def test_weights_that_the_last_step_breaks_are_not_returned() -> None:
    def breaks(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.sqrt((output * 0).sum())  # 0, with an infinite slope: NaN weights

    with pytest.raises(RuntimeError, match=r"'0.weight' is not finite after epoch 1"):
        hp.finetune(network(), classes(16), None, epochs=1, loss=breaks)
    with pytest.raises(RuntimeError, match="after epoch 1: the model computes NaN"):
        hp.finetune(network(), classes(16), classes(), epochs=1, loss=breaks)


def test_noisy_validation_data_do_not_depend_on_the_caller() -> None:
    def run() -> hp.FineTuned:
        return hp.finetune(network(), classes(), Pairs(noise=0.5), epochs=2, metric="log_loss")

    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    two = run()
    assert [r["valid"] for r in one.history] == [r["valid"] for r in two.history]


class ReturnsList(nn.Module):
    def __init__(self, value: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.value = nn.Linear(30, 3), value

    def forward(self, x: torch.Tensor) -> Any:
        return self.value(self.linear(x.flatten(1)))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.ao is deprecated
    QUANTISED = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": 3}, TypeError, "model must be a torch.nn.Module; got int"),
        ({"model": nn.ReLU()}, ValueError, "parameters to train"),
        ({"model": network().half()}, ValueError, "'0.weight' is torch.float16"),
        ({"model": QUANTISED}, ValueError,
         "model must have ordinary layers; '8' is a quantised Linear: prune and fine-tune first"),
        ({"train": 3}, TypeError, "train must be a data set of (input, target) pairs"),
        ({"train": (torch.ones(2, 1),)}, ValueError,
         "train must be (inputs, targets), or a data set of (input, target) pairs; got a tuple of "
         "1, the first of them a Tensor"),
        ({"train": [{"x": 1, "y": 2}] * 20}, ValueError,
         "got a list of 20, the first of them a dict"),
        ({"train": ("a", "b")}, TypeError, "train must be a pair of tensors or arrays of numbers"),
        ({"train": (torch.ones(2, 1), torch.ones(3))}, ValueError, "got 2 and 3"),
        ({"train": (torch.ones(0, 1), torch.ones(0))}, ValueError, "train must hold at least one"),
        ({"train": (torch.ones(2, 1), torch.ones(2))}, ValueError, "got float32 of shape ()"),
        ({"valid": tags()}, ValueError, "targets of classes and valid of tags"),
        ({"train": (classes()[0], classes()[1] + 7)}, ValueError,
         "train: targets must be classes in [0, 3), as the model has outputs; got values from 7"),
        ({"valid": (classes()[0], classes()[1] - 1)}, ValueError,
         "valid: targets must be classes in [0, 3), as the model has outputs; got values from -1"),
        ({"train": tags(), "valid": (tags()[0], 0.9 * tags()[1])}, ValueError,
         "valid: targets must be zeros and ones"),
        ({"train": (tags()[0], 255 * tags()[1]), "valid": None}, ValueError,
         "train: targets must be probabilities in [0, 1]; got values from 0 to 255"),
        ({"train": ((classes()[0] * 99).to(torch.int16), classes()[1])}, TypeError,
         "train must have floating-point inputs for this model; got int16, with which it fails"),
        ({"valid": (classes()[0][:, 0], classes()[1])}, ValueError,
         "valid: the model fails on a batch of shape (32, 6, 5), float32, whose first convolution "
         "'0' takes (examples, 1, ..., ...); add the channel axis: inputs[:, None] (Run"),
        ({"valid": (classes()[0].movedim(1, -1), classes()[1])}, ValueError,
         "'0' takes (examples, 1, ..., ...); put the channels there: inputs.movedim(-1, 1) (Run"),
        ({"valid": (classes()[0].repeat(1, 2, 1, 1), classes()[1])}, ValueError,
         "valid: the model fails on a batch of shape (32, 2, 6, 5), float32 (RuntimeError: "),
        ({"model": network(classes=2), "train": tags(), "valid": tags()}, ValueError,
         "targets have shape (32, 3), the model's scores (32, 2)"),
        ({"model": ReturnsList(lambda x: [x])}, TypeError, "dict of tensors; got list"),
        ({"model": ReturnsList(lambda x: {"y": x})}, TypeError, "got a dict with 'y'"),
        ({"model": ReturnsList(lambda x: x[:, 0])}, ValueError, "got shape (32,)"),
        ({"model": network().to("meta")}, ValueError, "model must hold values; '0.weight' is on"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1; got 0"),
        ({"epochs": 2.0}, TypeError, "epochs must be an int; got float"),
        ({"batch_size": True}, TypeError, "batch_size must be an int; got bool"),
        ({"lr": 0.0}, ValueError, "lr must be above 0; got 0.0"),
        ({"lr": float("nan")}, ValueError, "lr must be above 0; got nan"),
        ({"weight_decay": -1}, ValueError, "weight_decay must be at least 0; got -1"),
        ({"fraction": 1.5}, ValueError, "fraction must be above 0 and at most 1; got 1.5"),
        ({"fraction": 0.5, "train": DataLoader(Pairs())}, ValueError, "pass its data set"),
        ({"schedule": "step"}, ValueError, "schedule must be one of cosine, plateau, constant"),
        ({"warmup": 3, "epochs": 3}, ValueError, "warmup must be less than epochs (3); got 3"),
        ({"patience": 0}, ValueError, "patience must be at least 1"),
        ({"patience": 2, "valid": None}, ValueError, "valid must not be None"),
        ({"metric": "mAP"}, ValueError, "metric must be one of accuracy, log_loss; got 'mAP'"),
        ({"metric": 3}, TypeError, "metric must be a name or callable"),
        ({"loss": "mse"}, TypeError, "loss must be callable"),
        ({"loss": lambda a, b: a}, TypeError, "a tensor with one value"),
        ({"loss": lambda a, b: a.detach().mean()}, ValueError, "it has no gradient"),
        ({"output": "softmax"}, ValueError, "output must be one of logits, probabilities"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0"),
        ({"amp": "float16"}, ValueError, "amp must be 'bfloat16' or a bool on cpu"),
        ({"amp": "fp8"}, ValueError, "amp must be one of bfloat16, float16"),
        ({"freeze": ["conv*"]}, ValueError, "no module of the model is called 'conv*'"),
        ({"freeze": "*"}, ValueError, "parameters to train"),
        ({"augment": 3}, TypeError, "augment must be callable"),
        ({"augment": lambda x, y, g: None}, TypeError, "augment must return two tensors"),
        ({"augment": lambda x, y, g: (x, y[1:])}, TypeError, "augment must return two tensors"),
        ({"energy": 3}, TypeError, "energy must be a bool or a country's code"),
    ],
)  # fmt: skip
def test_errors(options: dict[str, Any], error: type[Exception], message: str) -> None:
    options = {"model": network(), "train": classes(), "valid": classes(seed=1)} | options
    with pytest.raises(error, match=re.escape(message)):
        hp.finetune(**options)


def test_quantised_models_are_evaluated_but_not_pruned() -> None:
    with pytest.raises(ValueError, match=r"'8' is a quantised Linear"):
        hp.plan(QUANTISED, classes()[0][:1])
    assert hp.evaluate(QUANTISED, classes())["accuracy"] >= 0


def test_evaluate_errors() -> None:
    with pytest.raises(ValueError, match="model must hold values"):
        hp.evaluate(network().to("meta"), classes())
    with pytest.raises(ValueError, match="data has targets of tags; task is 'classes'"):
        hp.evaluate(network(), tags(), task="classes")
    with pytest.raises(ValueError, match="task must be one of classes, tags; got 'pitch'"):
        hp.evaluate(network(), tags(), task="pitch")
    with pytest.raises(ValueError, match="data: metric mean_average_precision is not defined"):
        hp.evaluate(network(), (tags()[0], torch.zeros(64, 3)))
    found = hp.evaluate(network(), (tags()[0], torch.ones(64, 3)))
    assert set(found) == {"mean_average_precision", "log_loss"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", [None, "float16", False])
def test_on_cuda_repeats_and_resumes(tmp_path: Path, amp: bool | str | None) -> None:
    model = network().cuda()
    whole = tune(model, amp=amp)
    assert whole.configuration["amp"] == {None: "bfloat16", "float16": "float16", False: None}[amp]

    def stop(done: int, total: int, text: str) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(model, amp=amp, checkpoint=tmp_path / "run", progress=stop)
    resumed = tune(model, amp=amp, checkpoint=tmp_path / "run")
    assert bits(resumed.model.cpu()) == bits(whole.model.cpu())
