# SPDX-License-Identifier: MIT
"""The report page: parsed as a browser would, its numbers against the report and the kernels."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from torch import nn

import hubprune as hp
from hubprune.page import drawings, layer_graph
from hubprune.page.linkage import cluster_order
from hubprune.page.markup import Markup, element, number, table
from networks import build, recurrent

VOID = {"meta", "img", "br", "col"}


class Page(HTMLParser):
    """Tags with attributes and text, and whether everything is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        self.words.setdefault(inside, []).append(data)
        if "th" in self.open or "td" in self.open:
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def network(names: tuple[str, str] = ("first", "second")) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module(names[0], nn.Conv2d(1, 12, 3))
    model.add_module("relu", nn.ReLU())
    model.add_module(names[1], nn.Conv2d(12, 8, 3))
    model.add_module("flatten", nn.Flatten())
    model.add_module("dense", nn.Linear(8 * 4, 3))
    return model.eval(), torch.randn(1, 1, 6, 6)


class First(nn.Module):
    def forward(self, x: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return x[0]


def decided(
    model: nn.Module, x: torch.Tensor, **options: object
) -> tuple[hp.PruningPlan, hp.Report]:
    plan = hp.plan(model, x, **options)  # type: ignore[arg-type]
    return plan, hp.report(model, hp.prune(model, plan), x, plan=plan, latency=False)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    def write(model: nn.Module, x: torch.Tensor, **options: object) -> str:
        plan, report = decided(model, x)
        page = hp.write_page(tmp_path / "page.html", model, plan, report, **options)  # type: ignore[arg-type]
        return page.read_text(encoding="utf-8")

    return write


def test_every_layer_and_its_numbers(tmp_path: Path) -> None:
    model, x = network()
    with torch.no_grad():
        model.first.weight[3] = 0  # type: ignore[union-attr, index, operator]
    plan = hp.plan(model, x)
    report = hp.report(model, hp.prune(model, plan), x, latency=False)  # not told the dead
    path = hp.write_page(tmp_path / "page.html", model, plan, report)
    page = Page(path.read_text(encoding="utf-8"))
    totals, layers, alike, *pairs = page.tables
    assert [row[:3] for row in totals[1:]] == [
        ["parameters", f"{report.before.parameters:,}", f"{report.after.parameters:,}"],
        ["multiply-adds (MACs)", f"{report.before.macs:,}", f"{report.after.macs:,}"],
        ["bytes", f"{report.before.bytes:,}", f"{report.after.bytes:,}"],
    ]
    left = 100 * report.after.parameters / report.before.parameters
    assert totals[1][3:] == [f"{left:.1f} %", f"{100 - left:.1f} %"]
    assert [row[0] for row in layers[1:]] == ["first", "second", "dense"]
    for row, layer in zip(layers[1:], report.layers, strict=True):
        assert row[2:4] == [str(layer.filters_before), str(layer.filters_after)]
        assert row[5:7] == [f"{layer.macs_before:,}", f"{layer.macs_after:,}"]
        assert row[7:9] == [f"{layer.parameters_before:,}", f"{layer.parameters_after:,}"]
    assert layers[1][4] == "1"
    assert layers[3][9] == plan.kept["dense"]
    assert [row[0] for row in alike] == ["layer", "first", "second", "dense"]
    # The similarities, recounted with the plain formula.
    vectors = hp.reference.filter_vectors(model.second.weight.detach().numpy())  # type: ignore[union-attr, operator]
    s = hp.reference.pairwise_cosine(vectors)
    kept = list(plan.layers["second"])
    for chosen, columns in ((list(range(8)), (1, 3)), (kept, (2, 4))):
        square = s[np.ix_(chosen, chosen)]
        off = square[~np.eye(len(square), dtype=bool)]
        got = [float(alike[2][c].replace("\N{MINUS SIGN}", "-")) for c in columns]
        assert got == pytest.approx([off.mean(), off.max()], abs=6e-4)
    # What was cut for what, in the plan's order.
    removed = [row for row in plan.explain("second").rows if row.removed]
    assert [row[0] for row in pairs[1][1:]] == [str(row.index) for row in removed]
    for shown, row in zip(pairs[1][1:], removed, strict=True):
        assert shown[1].replace("\N{MINUS SIGN}", "-") == f"{row.score:.6g}"
        assert shown[3] == str(row.nearest)
        best = max(kept, key=lambda k: s[row.index, k])
        assert shown[5] == str(best)
        value = float(shown[6].replace("\N{MINUS SIGN}", "-"))
        assert value == pytest.approx(s[row.index, best], abs=6e-5)
    assert pairs[0][1][:3] == ["3", "dead", "yes"]
    assert len(page.all("details")) == 4  # a box and a table each


def test_layers_without_filters_and_the_rest_have_rows(tmp_path: Path) -> None:
    model, x = recurrent()
    plan, report = decided(model, x)
    text = hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8")
    page = Page(text)
    totals, (header, *rows), alike, *_ = page.tables
    assert [row[:2] for row in rows] == [
        ["conv", "Conv1d"],
        ["gru", "GRU"],
        ["attention", "MultiheadAttention"],
        ["head", "Linear"],
        ["everything else", ""],
    ]
    assert all(len(row) == len(header) for row in rows)
    none = "\N{EN DASH}"
    for row, layer in zip(rows[1:3], report.layers[1:3], strict=True):
        assert row[2:5] == [none, none, none]
        assert row[5:7] == [f"{layer.macs_before:,}", f"{layer.macs_after:,}"]
        assert row[7:9] == [f"{layer.parameters_before:,}", f"{layer.parameters_after:,}"]
        assert row[9] == "has no filters: at most its input is cut"
    assert rows[4][1:] == [*[""] * 4, "0", "0", "16", "8", ""]
    assert [row[0] for row in alike] == ["layer", "conv", "head"]
    for column, total in zip(range(5, 9), [*totals[2][1:3], *totals[1][1:3]], strict=True):
        assert f"{sum(int(row[column].replace(',', '')) for row in rows):,}" == total


@pytest.mark.filterwarnings("ignore:the plan changes nothing")
def test_a_model_without_filters_has_a_page(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.GRU(3, 2), First()), torch.randn(4, 3)
    plan, report = decided(model, x)
    page = Page(hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8"))
    assert [[row[0] for row in each] for each in page.tables[1:]] == [["layer", "0"]]


def test_nothing_is_loaded_from_elsewhere(written: Callable[..., str]) -> None:
    text = written(*network())
    page = Page(text)
    assert "//" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text).replace(
        "// SPDX-License-Identifier: MIT", ""
    )
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"@import|url\(", text)
    (script,) = page.words["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (
        str(each["content"]) for each in page.all("meta") if each.get("http-equiv") is not None
    )
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "http" not in policy


def test_everyone_can_read_it(written: Callable[..., str]) -> None:
    page = Page(written(*network()))
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert len(page.words["h1"]) == 1
    pictures = page.all("svg")
    assert pictures
    assert all(("aria-hidden" in each) != (each.get("role") == "img") for each in pictures)
    described = sum(each.get("role") == "img" for each in pictures)
    assert sum("Histogram" in t or "Graph of" in t for t in page.words["title"]) == described
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(set(ids)) == len(ids)
    targets = {str(link["href"])[1:] for link in page.all("a")}
    assert targets == set(ids)


@pytest.mark.parametrize("color", ["light", "dark"])
def test_contrast(color: str) -> None:
    """Web Content Accessibility Guidelines 2.2: 4.5 for text, 3 for what a picture shows."""
    style = (Path(hp.__file__).parent / "page" / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[:2]
    )
    colors = light if color == "light" else dark
    assert set(light) == set(dark)

    def luminance(name: str) -> float:
        parts = [int(colors[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for paper in ("paper", "panel"):
        for text in ("ink", "quiet", "link"):
            assert contrast(text, paper) >= 4.5, (text, paper)
    for mark in ("kept", "cut", "dead"):
        assert contrast(mark, "paper") >= 3, mark
    assert contrast("note-ink", "note") >= 4.5


def test_text_is_text(written: Callable[..., str]) -> None:
    evil = "<script>alert(1)</script>"
    model, x = network(('a<b & "c" \'', evil))
    text = written(model, x, title=evil, notes=[evil], metrics={evil: {evil: 1.0}})
    page = Page(text)
    assert len(page.all("script")) == 1
    assert evil not in text
    assert page.words["h1"] == [evil]
    assert evil in page.words["strong"]
    assert page.tables[1][0][1:] == [evil]
    assert page.tables[2][1][0] == 'a<b & "c" \''
    assert element("p", evil, title='"x"') == (
        '<p title="&quot;x&quot;">&lt;script&gt;alert(1)&lt;/script&gt;</p>'
    )
    assert "<script" not in table(evil, [evil], [[evil]])


@pytest.mark.parametrize(
    "name", ["residual", "grouped", "depthwise", "transposed", "one_dimensional", "tagger"]
)
def test_every_structure_has_a_page(name: str, tmp_path: Path) -> None:
    model, x = build(name)
    plan, report = decided(model, x)
    page = Page(hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8"))
    boxes = [each for each in page.all("details") if each.get("class") == "layer"]
    assert len(boxes) == len(plan.layers)
    assert not page.words["p"] or not any("other weights" in each for each in page.words["p"])


def test_the_default_device_changes_no_page(tmp_path: Path) -> None:
    model, x = network()

    def page() -> str:
        plan, report = decided(model, x)
        path = hp.write_page(tmp_path / "page.html", model, plan, report)
        return re.sub(r"\d\d:\d\d", "", path.read_text(encoding="utf-8"))

    expected = page()
    with torch.device("meta"):
        assert page() == expected


def zeroed(weight: torch.Tensor) -> None:
    weight.zero_()


def all_equal(weight: torch.Tensor) -> None:
    weight.fill_(0.5)


def duplicates_and_dead(weight: torch.Tensor) -> None:
    weight[1::2] = weight[::2]
    weight[:3] = 0


def huge(weight: torch.Tensor) -> None:
    weight.mul_(1e15)


@pytest.mark.parametrize("change", [zeroed, all_equal, duplicates_and_dead, huge])
def test_strange_weights_have_a_page(
    change: Callable[[torch.Tensor], None], tmp_path: Path
) -> None:
    model, x = network()
    with torch.no_grad():
        for layer in (model.first, model.second):
            change(layer.weight)  # type: ignore[union-attr, arg-type]
            layer.bias.zero_()  # type: ignore[union-attr, operator]
    # Nearly everything goes: one kept filter has no pairs.
    plan, report = decided(model, x, ratio=0.99)
    text = hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8")
    _, layers, alike, *_ = Page(text).tables
    assert layers[1][2:4] == ["12", "1"]
    assert alike[1][2] == alike[1][4] == "\N{EN DASH}"
    if change is zeroed:
        assert alike[1][1] == "0.000"
    if change is all_equal:
        assert alike[1][1] == alike[1][3] == "1.000"
    assert not re.search(r"[^a-z](nan|inf)[^a-z]", re.sub(r"base64,[^\"]*|<script>.*", "", text))


def test_metrics_by_stage(written: Callable[..., str]) -> None:
    stages = {"unpruned": {"accuracy": 0.75, "log loss": -1.0}, "tuned": {"accuracy": 0.5}}
    rows = Page(written(*network(), metrics=stages)).tables[1]
    assert rows[0] == ["", "unpruned", "tuned"]
    assert rows[1] == ["accuracy", "0.7500", "0.5000"]
    assert rows[2] == ["log loss", "\N{MINUS SIGN}1.0000", "\N{EN DASH}"]
    stages = {
        "unpruned": {
            "error": Fraction(321456, 10**10),
            "large": 1e300,
            "none": -0.0,
            "flops": 2.5e8,
        }
    }
    rows = Page(written(*network(), metrics=stages)).tables[1]
    shown = [row[1] for row in rows[1:]]
    assert shown == ["3.215e\N{MINUS SIGN}05", "1e+300", "0.0000", "250000000.0000"]


def test_other_weights_are_said(tmp_path: Path) -> None:
    model, x = network()
    plan, report = decided(model, x)
    other, _ = network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter))
    page = Page(hp.write_page(tmp_path / "p.html", other, plan, report).read_text("utf-8"))
    notes = [each for each in page.words["p"] if "the plan was made for other weights" in each]
    assert len(notes) == 2
    flat, report = decided(model, x, scorer=hp.scorers.WeightedDegree(vectors="flatten"))
    # With one input channel, rank-1 vectors and whole filters have the same cosines.
    for kind, count in (("flatten", 0), ("auto", 1)):
        text = hp.write_page(tmp_path / "p.html", model, flat, report, kind=kind).read_text("utf-8")
        assert text.count("other weights, or compares other vectors") == count


def test_a_composed_plan_and_one_that_changes_nothing(tmp_path: Path) -> None:
    model, x = network()
    first, _ = decided(model, x, ratio=0.25)
    both = first.then(hp.plan(hp.prune(model, first), x, ratio=0.5, scorer="l2"))
    report = hp.report(model, hp.prune(model, both), x, plan=both, latency=False)
    page = Page(hp.write_page(tmp_path / "p.html", model, both, report).read_text("utf-8"))
    assert "step 2" in page.words["dt"]
    with pytest.warns(UserWarning, match="the plan changes nothing"):
        nothing = hp.plan(model, x, keep=["first", "second"])
    report = hp.report(model, model, x, plan=nothing)
    page = Page(hp.write_page(tmp_path / "p.html", model, nothing, report).read_text("utf-8"))
    assert "Nothing is pruned." in page.words["p"]
    assert report.before.seconds is not None
    assert page.tables[0][-2][:2] == ["time of one call", f"{report.before.seconds * 1e3:.2f} ms"]


def test_a_budget_is_told(tmp_path: Path) -> None:
    model, x = network()
    plan = hp.plan(model, x, budget={"parameters": 0.7}, global_=True)
    report = hp.report(model, hp.prune(model, plan), x, plan=plan, latency=False)
    page = hp.write_page(tmp_path / "page.html", model, plan, report).read_text(encoding="utf-8")
    assert "the budget decides how many; budget: at most 70 % of the parameters; " in page
    assert "one threshold for all layers" in page
    assert "the scorer decides how many" not in page


def test_mistakes(tmp_path: Path) -> None:
    model, x = network()
    plan, report = decided(model, x)
    path = tmp_path / "page.html"

    def refused(error: type[Exception], match: str, *arguments: object, **options: object) -> None:
        with pytest.raises(error, match=match):
            hp.write_page(*arguments, **options)  # type: ignore[arg-type]
        assert not path.exists()

    refused(TypeError, "plan must be a PruningPlan; got dict", path, model, {}, report)
    refused(TypeError, "report must be a Report; got str", path, model, plan, "report")
    refused(TypeError, "model must be a", path, None, plan, report)
    refused(ValueError, "the plan does not fit the model", path, build("tagger")[0], plan, report)
    refused(ValueError, "kind must be one of auto, flatten", path, model, plan, report, kind="x")
    refused(TypeError, "notes must be a sequence", path, model, plan, report, notes="a line")
    refused(TypeError, "notes must be a sequence", path, model, plan, report, notes=5)
    refused(TypeError, "notes must hold str; got int", path, model, plan, report, notes=[5])
    refused(TypeError, "title must be a str; got int", path, model, plan, report, title=5)
    refused(FileNotFoundError, "does not exist", tmp_path / "no" / "p.html", model, plan, report)
    _, other = decided(model, x, ratio=0.25)
    refused(ValueError, "'first' goes from 12 to 6 filters in the plan", path, model, plan, other)
    fewer = dataclasses.replace(report, layers=report.layers[1:])
    refused(ValueError, "it lacks the layer 'first'", path, model, plan, fewer)
    for metrics, error, match in (
        ({"a": 1.0}, TypeError, r"metrics\['a'\] must map names to numbers; got float"),
        ([1.0], TypeError, "metrics must map stages to values; got list"),
        ({1: {"a": 1.0}}, TypeError, "metrics must have names of str; got 1"),
        ({"a": {1: 1.0}}, TypeError, r"metrics\['a'\] must have names of str; got 1"),
        ({"a": {"b": "c"}}, TypeError, r"metrics\['a'\]\['b'\] must be a number; got str"),
        ({"a": {"b": float("nan")}}, ValueError, "must be finite; got nan"),
    ):
        refused(error, match, path, model, plan, report, metrics=metrics)
    for value in (torch.nan, torch.inf):
        broken, _ = network()
        with torch.no_grad():
            broken.second.weight[2, 1, 0, 0] = value  # type: ignore[union-attr, index, operator]
        refused(
            ValueError,
            "layer 'second': weight must be finite; filter 2",
            path,
            broken,
            plan,
            report,
        )


def test_progress_and_the_same_bytes(tmp_path: Path) -> None:
    model, x = network()
    plan, report = decided(model, x)
    steps: list[tuple[int, int, str]] = []
    one = hp.write_page(
        tmp_path / "1", model, plan, report, progress=lambda *step: steps.append(step)
    )
    assert steps == [(0, 3, "first"), (1, 3, "second"), (2, 3, "dense"), (3, 3, "")]
    two = hp.write_page(tmp_path / "2", model, plan, report)
    assert one.read_bytes() == two.read_bytes()


def test_wide_layers_are_thinned_out_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 600, 3), nn.ReLU(), nn.Conv1d(600, 2, 3)).eval()
    plan, report = decided(model, torch.randn(1, 1, 9))
    text = hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8")
    assert "Each of the 320 x 320 cells is the mean of a block of pairs." in text
    assert "256 of 600 filters are drawn" in text
    assert "evenly spaced." not in text
    page = Page(text)
    assert (
        len(page.all("circle"))
        + sum("x" in r and r.get("class") == "cut" for r in page.all("rect"))
        == 256
    )
    assert len(page.tables[-1]) == 301  # every cut filter is listed all the same
    assert len(text) < 400_000
    monkeypatch.setattr(layer_graph, "LARGEST", 100)
    text = hp.write_page(tmp_path / "p.html", model, plan, report).read_text("utf-8")
    assert text.count("Shown for 100 of 600 filters, evenly spaced.") == 2
    assert "100 of 600 filters are drawn" in text


@pytest.mark.parametrize("n", [1, 2, 3, 31, 64])
def test_clusters_are_those_of_average_linkage(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((n, 5))
    s = hp.reference.pairwise_cosine(x)
    order = cluster_order(s)
    assert sorted(order.tolist()) == list(range(n))
    if n < 2:
        return
    position = np.argsort(order)
    members = [[i] for i in range(n)]
    for a, b, *_ in linkage(squareform(1 - s, checks=False), "average"):
        members.append(members[int(a)] + members[int(b)])
        places = position[members[-1]]
        assert places.max() - places.min() + 1 == len(members[-1])


def test_clusters_of_equals_and_of_none() -> None:
    assert cluster_order(np.zeros((0, 0))).tolist() == []
    for s in (np.ones((9, 9)), np.zeros((9, 9)), np.kron(np.eye(3), np.ones((3, 3)))):
        before = s.copy()
        order = cluster_order(s).tolist()
        assert sorted(order) == list(range(9))
        assert np.array_equal(s, before)
    assert all(len({i // 3 for i in order[k : k + 3]}) == 1 for k in (0, 3, 6))


def decoded(image: bytes) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Read the PNG subset that `drawings.png` writes: indexed, no filter, some colours clear."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(image):
        (size,) = struct.unpack(">I", image[at : at + 4])
        kind, data = image[at + 4 : at + 8], image[at + 8 : at + 8 + size]
        assert struct.unpack(">I", image[at + 8 + size : at + 12 + size]) == (
            zlib.crc32(kind + data),
        )
        chunks[kind] = data
        at += 12 + size
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    clear = [i for i, alpha in enumerate(chunks.get(b"tRNS", b"")) if alpha != 255]
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3), clear


def test_the_heat_map_is_the_matrix() -> None:
    x = np.random.default_rng(0).standard_normal((40, 4))
    s = hp.reference.pairwise_cosine(x)
    order = cluster_order(s)
    cut = np.arange(40) % 3 == 0
    source = drawings.heat_map(s, order, cut)
    pixels, palette, clear = decoded(
        base64.b64decode(source.removeprefix("data:image/png;base64,"))
    )
    assert pixels.shape[1] == 40
    assert np.abs(pixels[:40] / 120.0 - 1 - s[np.ix_(order, order)]).max() < 0.005
    assert (pixels[-1] == np.where(cut[order], 250, 242)).all()
    assert (pixels[40] == clear).all()  # the page's colour, light or dark
    assert not np.isin(pixels[:40], clear).any()
    assert palette[120].tolist() == [247, 247, 247]  # cosine 0
    assert palette[0][2] > palette[0][0]  # -1 is blue
    assert palette[240][0] > palette[240][2]  # 1 is red
    assert drawings.colour_bar().count("<rect") == 61


@pytest.mark.parametrize("n", [1, 2, 5, 23, 24])
def test_the_heat_map_of_few_filters_has_a_thin_strip(n: int) -> None:
    s = hp.reference.pairwise_cosine(np.random.default_rng(n).standard_normal((n, 3)))
    source = drawings.heat_map(s, np.arange(n), np.arange(n) == 0)
    pixels = decoded(base64.b64decode(source.removeprefix("data:image/png;base64,")))[0]
    wide = pixels.shape[1]
    assert wide >= 24
    assert wide % n == 0
    assert len(pixels) <= 1.13 * wide
    cell = wide // n
    assert (pixels[-1] == np.repeat([250] + [242] * (n - 1), cell)).all()
    middles = np.arange(n) * cell + cell // 2
    assert np.abs(pixels[np.ix_(middles, middles)] / 120.0 - 1 - s).max() < 0.005


def test_blocks_are_averaged() -> None:
    matrix = np.arange(49.0).reshape(7, 7)
    got = drawings.block_means(matrix, 3)
    edges = [0, 2, 4, 7]
    for i in range(3):
        for j in range(3):
            block = matrix[edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
            assert got[i, j] == pytest.approx(block.mean())


def test_the_layout_separates_clusters_and_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(6)[:3]
    x = np.repeat(centres, 10, axis=0) + 0.05 * rng.standard_normal((30, 6))
    s = hp.reference.pairwise_cosine(x)
    edges = [(i, j) for i in range(30) for j in range(i) if s[i, j] > 0.5]
    place = drawings.spring_layout(s, edges)
    assert place.min() >= 0
    assert place.max() <= 1
    assert np.array_equal(place, drawings.spring_layout(s, edges))
    distance = np.sqrt(((place[:, None] - place[None]) ** 2).sum(2))
    same = np.equal.outer(np.arange(30) // 10, np.arange(30) // 10)
    assert distance[same].mean() < 0.5 * distance[~same].mean()
    for m in (1, 2):  # one node, and two equal ones
        alone = drawings.spring_layout(np.ones((m, m)), [])
        assert np.isfinite(alone).all()
        assert len(np.unique(alone, axis=0)) == m


def test_the_leading_axes_are_those_of_all_eigenvectors() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, 6)) * [5, 3, 1, 1, 0.5, 0.1]
    gram = points @ points.T
    values, vectors = np.linalg.eigh(gram)
    axes = drawings._leading_axes(gram, 2)
    for axis, value, vector in zip(axes.T, values[::-1], vectors.T[::-1], strict=False):
        assert abs(vector @ axis) == pytest.approx(np.sqrt(value), rel=1e-9)
        assert axis @ axis == pytest.approx(value, rel=1e-9)
    assert drawings._leading_axes(np.ones((2, 2)), 2).shape == (2, 2)


def test_a_histogram_holds_every_value() -> None:
    svg = drawings.histogram(
        [0.0, 1.0, 2.0],
        [drawings.Bars([1, 0], "kept"), drawings.Bars([2, 3], "cut")],
        label="x",
        unit="y",
        description="a < b",
    )
    assert svg.count("M") == 3  # empty bins have no bar
    assert "<title>a &lt; b</title>" in svg
    assert isinstance(svg, Markup)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (1023.1, 1024.05, ["1023.2", "1023.4", "1023.6", "1023.8", "1024"]),
        (-3e-30, 2e-30, ["-3e-30", "-2e-30", "-1e-30", "0", "1e-30", "2e-30"]),
        (63.0, 63.0000012, ["63", "63.0000002", "63.0000004", "63.0000006", "63.0000008"]),
        (2e30, 7e30, [f"{i}e+30" for i in range(2, 8)]),
    ],
)
def test_ticks_are_told_apart(low: float, high: float, expected: list[str]) -> None:
    texts = drawings._tick_texts(drawings._ticks(low, high, 6))
    expected = [text.replace("-", "\N{MINUS SIGN}") for text in expected]
    assert texts[: len(expected)] == expected
    assert len(set(texts)) == len(texts)


def test_numbers_for_tables() -> None:
    assert number(float("nan")) == "\N{EN DASH}"
    assert number(-0.5, 1) == "\N{MINUS SIGN}0.5"
