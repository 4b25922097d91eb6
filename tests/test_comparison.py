# SPDX-License-Identifier: MIT
"""Comparisons: the grid and its controls, resuming, tables, files and plots."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hubprune as hp
from hubprune import comparison_bench, plots
from hubprune.plots import ComparisonPoint, comparison_plot
from training_cases import Masked, classes, network, tags

EXAMPLE = classes()[0][:1]


pytestmark = pytest.mark.usefixtures("one_thread")


def compare(model: Any = None, test: Any = None, **options: Any) -> hp.Comparison:
    options = {
        "scorers": ("degree", "pairs"),
        "seeds": (0, 1),
        "finetune": {"epochs": 2, "lr": 0.02, "batch_size": 16},
        "example_inputs": EXAMPLE,
        **options,
    }
    model = network() if model is None else model
    valid = options.pop("valid", classes(seed=1))
    return hp.compare(model, classes(), valid, test, **options)


@pytest.fixture(scope="module")
def found() -> hp.Comparison:
    return compare(network, classes(32, seed=2))


def without_seconds(comparison: hp.Comparison) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.endswith("seconds")}
        for row in comparison.to_dict()["rows"]
    ]


def test_the_grid_and_the_controls(found: hp.Comparison) -> None:
    assert [(row.scorer, row.ratio, row.seed) for row in found.rows] == [
        ("unpruned", None, 0),
        ("unpruned", None, 1),
        *(("degree", ratio, seed) for ratio in (0.25, 0.5) for seed in (0, 1)),
        ("pairs", None, 0),
        ("pairs", None, 1),
        *(("random", ratio, seed) for ratio in (0.25, 0.5) for seed in (0, 1)),
    ]
    assert found.finetuned
    assert found.data == "test"
    assert (found.metric, found.lower_is_better) == ("accuracy", False)


def test_a_row_is_what_the_functions_give_one_by_one(found: hp.Comparison) -> None:
    row = next(row for row in found.rows if row.group == ("degree", 0.5, "none") and row.seed == 1)
    base = network(1)
    plan = hp.plan(base, EXAMPLE, scorer="degree", ratio=0.5)
    pruned = hp.prune(base, plan)
    assert row.before == {
        "valid": hp.evaluate(pruned, classes(seed=1)),
        "test": hp.evaluate(pruned, classes(32, seed=2)),
    }
    tuned = hp.finetune(
        pruned, classes(), classes(seed=1), epochs=2, lr=0.02, batch_size=16, seed=1
    )
    assert row.after == {
        "valid": hp.evaluate(tuned.model, classes(seed=1)),
        "test": hp.evaluate(tuned.model, classes(32, seed=2)),
    }
    assert row.best_epoch == tuned.best_epoch
    sizes = hp.report(base, pruned, EXAMPLE, latency=False)
    assert (row.parameters, row.macs) == (sizes.after.parameters, sizes.after.macs)
    assert (row.parameters_before, row.macs_before) == (sizes.before.parameters, sizes.before.macs)
    assert row.filters == {"0": 4, "3": 3}
    control = found.rows[0]
    assert control.parameters == control.parameters_before
    assert control.after is not None
    assert control.before["test"] == hp.evaluate(network(0), classes(32, seed=2))


def test_random_draws_anew_for_each_seed() -> None:
    rows = compare(scorers=["l1"], ratios=[0.5], seeds=[0, 1, 2], finetune=None).rows
    assert [row.rule for row in rows[-3:]] == [repr(hp.scorers.Random(seed=s)) for s in (0, 1, 2)]
    assert len({json.dumps(row.before) for row in rows[-3:]}) > 1
    assert len({json.dumps(row.before) for row in rows if row.scorer == "l1"}) == 1
    assert all(row.after is None and row.best_epoch is None for row in rows)


def test_the_default_device_changes_nothing() -> None:
    model, train, valid = network(), classes(), classes(seed=1)

    def rows() -> list[dict[str, Any]]:
        return without_seconds(
            hp.compare(
                model,
                train,
                valid,
                example_inputs=EXAMPLE,
                scorers=("pairs",),
                seeds=(0,),
                compensate=("interpolate",),
                finetune=None,
            )
        )

    expected = rows()
    with torch.device("meta"):
        assert rows() == expected


def test_layers_keep_and_labels() -> None:
    scorers = {"plain": "degree", "squared": hp.scorers.WeightedDegree(edge="squared")}
    rows = compare(scorers=scorers, layers=["0"], seeds=[0], ratios=[0.5], finetune=None).rows
    assert [row.scorer for row in rows] == ["unpruned", "plain", "squared", "random"]
    assert [row.filters for row in rows] == [{}, *[{"0": 4}] * 3]
    rows = compare(keep=["0"], scorers=[], seeds=[0], ratios=[0.5], finetune=None).rows
    assert [row.filters for row in rows] == [{}, {"3": 3}]


def test_compensation_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def prune(model: nn.Module, plan: hp.PruningPlan, **options: Any) -> nn.Module:
        calls.append(options)
        return hp.prune(model, plan)

    monkeypatch.setattr(comparison_bench, "prune", prune)
    batches = iter([EXAMPLE, EXAMPLE])
    result = compare(
        compensate=["none", "bias+recalibrate"], batches=batches, scorers=["l1"], ratios=[0.5],
        seeds=[0], finetune=None, directory=tmp_path,
    )  # fmt: skip
    both = ["none", "bias+recalibrate"]
    assert [row.compensate for row in result.rows] == ["none", *both, *both]
    asked = [options for options in calls if options]
    assert [options["compensate"] for options in asked] == ["bias+recalibrate"] * 2
    assert all(len(options["batches"]) == 2 for options in asked)  # not used up by the first
    assert re.search(r"\| +bias\+recalibrate \|", result.table())


def test_tags_and_another_metric() -> None:
    result = hp.compare(
        network(), None, tags(), example_inputs=EXAMPLE, scorers=["l1"], ratios=[0.5], seeds=[0],
        metric="log_loss",
    )  # fmt: skip
    assert result.lower_is_better
    assert result.data == "valid"
    assert not result.finetuned
    with pytest.raises(ValueError, match="not fine-tuned"):
        result.value(result.rows[0])


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [0, 5, 9])
def test_an_interrupted_comparison_resumes(
    tmp_path: Path, found: hp.Comparison, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    folder = tmp_path / "state"
    tuned: list[int] = []
    tune = comparison_bench.fine_tune

    def interrupted(*args: Any, **options: Any) -> Any:
        if len(tuned) == when:

            def stop(done: int, total: int, text: str) -> None:
                if done == 6:  # the second step of the second epoch
                    raise KeyboardInterrupt

            options["progress"] = stop
        tuned.append(0)
        return tune(*args, **options)

    monkeypatch.setattr(comparison_bench, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare(network, classes(32, seed=2), directory=folder)
    assert len(list(folder.glob("rows/*.json"))) == when
    (state,) = folder.glob("*.safetensors")  # of the row in work
    assert len(tuned) == when + 1
    resumed = compare(network, classes(32, seed=2), directory=folder)
    assert len(tuned) == 12 + 1
    assert not state.exists()
    assert without_seconds(resumed) == without_seconds(found)
    again = compare(network, classes(32, seed=2), directory=folder)
    assert len(tuned) == 12 + 1
    assert again.rows == resumed.rows


def test_a_comparison_can_be_widened(tmp_path: Path) -> None:
    options: Any = {"finetune": None, "ratios": [0.5], "directory": tmp_path}
    first = compare(scorers=["l1"], seeds=[0], **options)
    steps: list[str] = []

    def progress(done: int, total: int, text: str) -> None:
        steps.append(text)

    second = compare(scorers=["l1", "l2"], seeds=[0, 1], progress=progress, **options)
    assert [row for row in second.rows if row in first.rows] == list(first.rows)
    assert len(second.rows) == 8
    assert len(steps) == 8 - 3 + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": network(1)}, "the model or its weights are others"),
        ({"finetune": {"epochs": 2}}, "finetune was None and is {'epochs': 2}"),
        ({"keep": ["0"]}, "keep was [] and is ['0']"),
        ({"test": classes(8)}, "examples.test was None and is 8"),
        ({"valid": classes(seed=5)}, "the examples of valid are others"),
        ({"metric": "log_loss"}, "metric was 'accuracy' and is 'log_loss'"),
        (
            {"example_inputs": torch.randn(1, 1, 12, 5)},
            "example_inputs was [[1, 1, 6, 5]] and is [[1, 1, 12, 5]]",
        ),
        ({"scorers": {"l1": "l2"}}, "scorer 'l1' was L1Norm(dead='first') and is L2Norm"),
    ],
)
def test_another_comparison_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "seeds": [0], "finetune": None}
    compare(directory=tmp_path, **options)
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(directory=tmp_path, **(options | change))


def test_the_folder_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "seeds": [0], "finetune": None}
    found = compare(directory=tmp_path, **options)
    file = tmp_path / "configuration.json"
    saved = json.loads(file.read_text())
    del saved["example_inputs"]
    file.write_text(json.dumps(saved))
    assert compare(directory=tmp_path, **options).rows == found.rows


def build_with(bias: float) -> Callable[[int], nn.Module]:
    def build(seed: int) -> nn.Module:
        model = network(seed)
        nn.init.constant_(model[8].bias, bias)
        return model

    return build


def test_another_model_function_or_loss_is_refused(tmp_path: Path) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "seeds": [0], "finetune": None}
    one = compare(build_with(0.0), directory=tmp_path / "a", **options)
    assert compare(build_with(0.0), directory=tmp_path / "a", **options).rows == one.rows
    with pytest.raises(ValueError, match=r"model.bias was '0.0' and is '50.0'"):
        compare(build_with(50.0), directory=tmp_path / "a", **options)
    # What an earlier version has stored: the function's name.
    file = tmp_path / "a" / "configuration.json"
    stored = json.loads(file.read_text())
    del stored["format"]
    stored["model"] = "test_comparison.build_with.<locals>.build"
    file.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="kept only the names of functions"):
        compare(build_with(0.0), directory=tmp_path / "a", **options)

    def tuned(weight: float) -> Any:
        loss = nn.CrossEntropyLoss(weight=torch.tensor([weight, 1, 1]))
        return options | {"finetune": {"epochs": 1, "loss": loss}, "directory": tmp_path / "b"}

    compare(**tuned(1.0))
    with pytest.raises(ValueError, match=r"finetune.loss.weight is another tensor"):
        compare(**tuned(9.0))


def test_what_failed_before_its_first_row_can_be_corrected(tmp_path: Path) -> None:
    model, (inputs, targets) = network(), classes()
    options: Any = {
        "example_inputs": inputs[:1], "scorers": ["l1"], "ratios": [0.5], "seeds": [0],
        "directory": tmp_path,
    }  # fmt: skip
    with pytest.raises(ValueError, match="valid: the model fails on a batch of shape"):
        hp.compare(model, None, (inputs.repeat(1, 2, 1, 1), targets), **options)
    message = r"example_inputs, which are \(1, 6, 5\) for an example; got \(6, 5\)"
    with pytest.raises(ValueError, match=f"valid must have inputs of as many axes as {message}"):
        hp.compare(model, None, (inputs[:, 0], targets), **options)
    assert hp.compare(model, None, (inputs, targets), **options).rows
    with pytest.raises(ValueError, match=r"keep was \[\] and is \['3'\]$"):
        hp.compare(model, None, (inputs, targets), keep=["3"], **options)


def test_the_state_of_a_first_row_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "seeds": [0], "directory": tmp_path}
    tune = comparison_bench.fine_tune

    def stopped(*args: Any, **options: Any) -> Any:
        def stop(done: int, total: int, text: str) -> None:
            if done == total - 1:
                raise KeyboardInterrupt

        return tune(*args, **options, progress=stop)

    monkeypatch.setattr(comparison_bench, "fine_tune", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(finetune={"epochs": 2}, **options)
    with pytest.raises(ValueError, match=r"epochs was 2 and is 3; it holds no finished row yet:"):
        compare(finetune={"epochs": 3}, **options)


def test_metrics_that_are_not_finite(tmp_path: Path) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "finetune": None, "directory": tmp_path}
    found = compare(Masked(), **options)
    assert found.rows[0].before["valid"]["log_loss"] == float("inf")
    assert compare(Masked(), **options).rows == found.rows
    text = found.to_json()
    assert '"log_loss": "Infinity"' in text
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert hp.Comparison.from_json(text).rows == found.rows
    # d' is infinite where everything is told apart, and compared all the same.
    data = classes()[0], torch.nn.functional.one_hot(classes()[1]).float()
    sure = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, (1, 5)), nn.Flatten(2), Rows())
    perfect = hp.compare(
        sure, None, data, example_inputs=data[0][:1], scorers=["l1"], ratios=[0.5],
        seeds=[0, 1], metric="d_prime",
    )  # fmt: skip
    infinite = dataclasses.replace(
        perfect,
        rows=tuple(
            dataclasses.replace(row, before={"valid": {"d_prime": float("inf")}})
            for row in perfect.rows
        ),
    )
    assert "inf ± nan" in infinite.table()
    infinite.plot(tmp_path / "plot.png")


class Rows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(2)


def test_a_model_that_is_no_function_of_its_seed_is_refused(tmp_path: Path) -> None:
    options: Any = {"scorers": ["l1"], "seeds": [0], "finetune": None, "directory": tmp_path}

    class Counter:
        made = threading.local()  # what cannot be described: the rows' own hashes tell

    counter = Counter()
    counter.made.count = 0

    def build(seed: int) -> nn.Module:
        counter.made.count += 1
        return network(counter.made.count)

    compare(build, ratios=[0.5], **options)
    with (
        pytest.warns(UserWarning, match=r"whether model.counter.made \(_local\) did not change"),
        pytest.raises(ValueError, match="must be a function of its seed"),
    ):
        compare(build, ratios=[0.25], **options)


def test_damaged_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    options: Any = {"scorers": ["l1"], "ratios": [0.5], "seeds": [0], "finetune": None}
    folder = tmp_path / "a"
    compare(directory=folder, **options)
    row = folder / "rows" / "l1-0.5-seed0.json"
    for content, message in (("{", "is damaged"), ("{}", "missing or unknown: after, before")):
        row.write_text(content)
        with pytest.raises(ValueError, match=message):
            compare(directory=folder, **options)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("")
    with pytest.raises(FileExistsError, match=r"holds other files \(mine.txt\)"):
        compare(directory=tmp_path / "b", **options)


# --- what comes out -------------------------------------------------------------------------------


def test_summaries_are_paired_by_seed(found: hp.Comparison) -> None:
    control = {row.seed: found.value(row) for row in found.rows[:2]}
    group = ("degree", 0.5, "none")
    rows = found.groups()[group]
    values = [found.value(row) for row in rows]
    value, difference = found.summary(group)
    assert value.mean == statistics.fmean(values)
    assert value.spread == statistics.stdev(values)
    paired = [found.value(row) - control[row.seed] for row in rows]
    assert difference.mean == pytest.approx(statistics.fmean(paired))
    assert difference.spread == pytest.approx(statistics.stdev(paired))
    before, _ = found.summary(group, "before")
    assert before.mean == statistics.fmean(found.value(row, "before") for row in rows)


def test_the_table(found: hp.Comparison) -> None:
    lines = found.table().splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header == [
        "scorer", "ratio", "parameters, %", "MACs, %", "before fine-tuning", "after fine-tuning",
        "minus unpruned", "minus random",
    ]  # fmt: skip
    assert len({len(line) for line in lines[:8]}) == 1
    value, difference = found.summary(("degree", 0.5, "none"))
    (row,) = (line for line in lines if line.startswith("| degree ") and " 0.5 " in line)
    assert f" {value.mean:.4f} ± {value.spread:.4f} |" in row
    to_random = found.difference(("degree", 0.5, "none"), ("random", 0.5, "none"))
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == [
        f"{each.mean:+.4f} ± {each.spread:.4f}" for each in (difference, to_random)
    ]
    (row,) = (line for line in lines if line.startswith("| pairs "))
    assert row.split("|")[-2].strip() == ""  # no random removal of as many
    assert "accuracy on the test data (higher is better)" in lines[-1]
    assert "sample standard deviation over 2 seeds" in lines[-1]
    single = compare(scorers=[], ratios=[0.5], seeds=[0], finetune=None).table()
    assert "±" not in single
    assert "one seed" in single
    assert str(found) == found.table()


def test_json_and_csv(found: hp.Comparison) -> None:
    again = hp.Comparison.from_json(found.to_json())
    assert again == found
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == len(found.rows)
    for read, row in zip(rows, found.rows, strict=True):
        assert read["scorer"] == row.scorer
        assert read["ratio"] == ("" if row.ratio is None else str(row.ratio))
        assert float(read["test_after_accuracy"]) == found.value(row)
        assert float(read["valid_before_log_loss"]) == row.before["valid"]["log_loss"]
    for text in ("", "[]", "{}", '{"format": "comparison 1"}'):
        with pytest.raises(ValueError, match="comparison"):
            hp.Comparison.from_json(text)


def test_the_plot(tmp_path: Path, found: hp.Comparison, saved_figures: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"path must end in \.png; got '.*plot\.svg'"):
        found.plot(tmp_path / "plot.svg")
    path = found.plot(tmp_path / "plot.png", title="a title")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (figure,) = saved_figures
    parameters, macs = figure.axes
    handles, labels = parameters.get_legend_handles_labels()
    assert set(labels) == {
        "degree", "pairs", "random", "unpruned, as it came", "unpruned, fine-tuned",
    }  # fmt: skip
    degree = handles[labels.index("degree")][0]
    expected = [found.summary(("degree", ratio, "none"))[0].mean for ratio in (0.5, 0.25)]
    assert list(degree.get_ydata()) == expected  # the smaller network first
    assert len(macs.get_lines()) == len(parameters.get_lines())
    low, high = parameters.get_ylim()
    for group in found.groups():
        value = found.summary(group)[0]
        assert low <= value.mean - (value.spread or 0)
        assert value.mean + (value.spread or 0) <= high


def test_every_scorer_has_a_style_of_its_own() -> None:
    styles = [plots._STYLES[name] for name in hp.scorers.SCORER_NAMES]
    assert len(set(styles)) == len(styles)
    assert len({color for color, _ in styles}) == len({marker for _, marker in styles}) == 11
    assert plots._OTHERS not in styles


def test_labels_of_the_callers_own_have_styles_of_their_own() -> None:
    for known in ([], ["degree", "random"], list(hp.scorers.SCORER_NAMES)):
        names = [*(f"own {number}" for number in range(20)), *known]
        styles = plots._styles(names)
        assert list(styles) == names
        assert len(set(styles.values())) == len(names)
        assert all(styles[name] == plots._STYLES[name] for name in known)


@pytest.mark.parametrize("length", [5, 30, 60])
def test_the_legend_is_within_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    widths = []

    class Figure(plots.figure_class()):  # type: ignore[misc]
        def savefig(self, *args: Any, **options: Any) -> None:
            super().savefig(*args, **options)
            (legend,) = self.legends
            assert len(legend.get_texts()) == 12
            widths.append(legend.get_window_extent().width / self.bbox.width)

    monkeypatch.setattr(plots, "figure_class", lambda: Figure)
    points = [ComparisonPoint(f"{i:0{length}d}", "", 0.5, 0.1, 0.5, 0.5) for i in range(12)]
    comparison_plot(points, tmp_path / "a.png", label="accuracy", baselines={})
    assert widths[0] <= 1


def test_a_plot_with_variants_and_without_points(tmp_path: Path) -> None:
    points = [
        ComparisonPoint("l1", variant, 0.5, 0.0, left, left)
        for variant in ("", "bias")
        for left in (0.5, 0.7)
    ]
    comparison_plot(points, tmp_path / "a.png", label="accuracy", baselines={})
    assert (tmp_path / "a.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="at least one point"):
        comparison_plot([], tmp_path / "b.png", label="", baselines={})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": 3}, TypeError, "a function of a seed that gives one; got int"),
        ({"model": lambda seed: 3}, TypeError, "model(seed) must be a torch.nn.Module; got int"),
        ({"model": network().to("meta")}, ValueError, "model must hold values"),
        ({"model": lambda seed: network().to("meta")}, ValueError, "model(seed) must hold values"),
        ({"scorers": "l1"}, TypeError, "scorers must be a collection"),
        ({"scorers": ["l3"]}, ValueError, "scorer must be one of"),
        ({"scorers": ["l1", "l1"]}, ValueError, "'l1' is there twice"),
        ({"scorers": {"a/b": "l1"}}, ValueError, "the label of a scorer must be letters"),
        ({"scorers": {"unpruned": "l1"}}, ValueError, "not 'unpruned'"),
        ({"scorers": {"random": "l1"}}, ValueError, "'random' is that of the control"),
        ({"ratios": []}, ValueError, "ratios must hold at least one"),
        ({"ratios": [0]}, ValueError, "ratios must be in (0, 1); got 0"),
        ({"ratios": 0.5}, TypeError, "ratios must be a sequence; got 0.5"),
        ({"seeds": [0, 0]}, ValueError, "seeds must not hold one twice"),
        ({"seeds": [-1]}, ValueError, "seeds must be integers from 0"),
        ({"seeds": [0.5]}, TypeError, "seeds holds 0.5, a float"),
        ({"compensate": "bias"}, TypeError, "compensate must be a sequence"),
        ({"compensate": ["../x"]}, ValueError, "compensate must be one of 'none', 'bias'"),
        ({"compensate": ["recalibrate"]}, ValueError, "'recalibrate' needs batches"),
        ({"finetune": {"epoch": 3}}, ValueError, "must hold options of epochs, batch_size"),
        ({"finetune": {"seed": 3}}, ValueError, "must not hold 'seed': compare sets it"),
        ({"finetune": 3}, TypeError, "finetune must be a mapping"),
        ({"layers": "0"}, TypeError, "collections of names"),
        ({"layers": ["conv"]}, ValueError, "layers: 'conv' is no convolution and holds none"),
        ({"keep": ["conv"]}, ValueError, "keep: the model has no layer 'conv'"),
        ({"metric": "roc_auc"}, ValueError, "metric must be one of accuracy, log_loss"),
        ({"test": tags()}, ValueError, "targets of one kind"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ],
)  # fmt: skip
def test_errors_come_before_any_training(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison_bench, "fine_tune", None)
    with pytest.raises(error, match=re.escape(message)):
        compare(**options)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = Path(__file__).parents[1] / "docs" / "studies.md"
    if not guide.is_file():
        pytest.skip("needs the source tree")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)
    assert len(names["found"].rows) == 2 * 5  # two controls, three scorers, two seeds
    assert (tmp_path / "run.safetensors").is_file()
