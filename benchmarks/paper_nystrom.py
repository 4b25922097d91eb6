# SPDX-License-Identifier: MIT
"""The experiments of the Nystroem paper (arXiv 2210.17416), with five landmark rules.

Usage: python benchmarks/paper_nystrom.py OUTPUT_FOLDER [--quick]

For the layers of the DCASE 2021 baseline, VGGish and CNN14 (Gaussian weights of their shapes: the
published weights are not at hand), for filters around few centres, and for the pretrained filters
of CREPE (tiny):

- error of the similarity matrix against the number of columns m, spectral norm as in the paper and
  relative Frobenius norm, for each rule (median over three seeds), with the estimate a user sees;
- how many of the filters that the closest-pair rule keeps are those of the exact matrix;
- seconds with and without the approximation, one thread.

Rank-1 vectors have rank p (9 for 3 x 3 filters): there everything is exact from m = p on, as in the
paper, and the exact route costs nothing. Whole filters (flattened) are where columns are saved.
Writes nystrom.json, nystrom-error.png and nystrom-agreement.png. --quick: small layers only, for
the tests.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.landmarks import LANDMARK_RULES
from hubprune.plots import figure_class
from hubprune.scorers import closest_pairs_walk
from layers import CNN14_SHAPES, DCASE21_SHAPES, VGGISH_SHAPES

SEEDS = 3
RANK1_COLUMNS = (1, 2, 4, 8, 9, 16)
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of n, for whole filters


def gaussian_layers(quick: bool) -> dict[str, torch.Tensor]:
    """Return name -> weight, of the published networks' shapes."""
    generator = torch.Generator().manual_seed(0)
    networks = {"DCASE": DCASE21_SHAPES, "VGGish": VGGISH_SHAPES, "CNN14": CNN14_SHAPES}
    return {
        f"{network} layer {at}": torch.randn(shape, generator=generator)
        for network, shapes in networks.items()
        for at, shape in enumerate(shapes, 1)
        if not quick or shape[0] <= 16
    }


def near_duplicates(quick: bool) -> dict[str, torch.Tensor]:
    """Return filters around sixty centres, most around a few: a decaying spectrum."""
    generator = torch.Generator().manual_seed(0)
    n, d = (64, 200) if quick else (1024, 512)
    centres = torch.randn(60, d, generator=generator)
    share = 0.85 ** torch.arange(60.0)
    which = torch.multinomial(share, n, replacement=True, generator=generator)
    return {"near-duplicates": centres[which] + 0.02 * torch.randn(n, d, generator=generator)}


def pretrained_layers(quick: bool) -> dict[str, torch.Tensor]:
    """Return name -> weight of CREPE (tiny)."""
    model = hp.models.load_crepe()
    found = {
        f"CREPE {name}": module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    }
    return dict(list(found.items())[:1]) if quick else found


def spectral_norm(error: torch.Tensor) -> float:
    """Return the largest |eigenvalue| of a symmetric matrix, by thirty products with its square."""
    v = torch.ones(len(error), dtype=error.dtype)
    v += torch.linspace(0, 1, len(error), dtype=error.dtype)
    length = 0.0
    for _ in range(30):
        v = error @ (error @ (v / v.norm().clamp_min(1e-300)))
        length = float(v.norm())
    return length**0.5


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def kept_by_pairs(similarity: torch.Tensor, index: torch.Tensor) -> set[int]:
    """Return what the published greedy rule keeps, from every filter's nearest other."""
    return set(range(len(index))) - closest_pairs_walk(1.0 - similarity.double(), index).keys()


def layer_report(name: str, kind: str, x: torch.Tensor) -> dict[str, Any]:
    """Measure every rule at every number of columns on the vectors x (n, d) of one layer."""
    n = len(x)
    whole = hp.pairwise_cosine(x)
    size = float(whole.double().norm())
    exact_kept = kept_by_pairs(*hp.nearest(x))
    counts = RANK1_COLUMNS if kind == "rank1" else [max(1, round(share * n)) for share in SHARES]
    rows = []
    for m in sorted({m for m in counts if m <= n}):
        for rule in LANDMARK_RULES:
            spectral, frobenius, estimated, trace, agreement = [], [], [], [], []
            for seed in range(1 if rule == "first" else SEEDS):
                factor = hp.nystrom(x, m, landmarks=rule, generator=seed)
                error = whole - factor.dense()
                spectral.append(spectral_norm(error.double()))
                frobenius.append(float(error.double().norm()) / size)
                trace.append(float(error.diagonal().sum()) / n)
                estimated.append(factor.error_estimate(32, generator=seed).relative_frobenius)
                kept = kept_by_pairs(*factor.nearest())
                agreement.append(len(kept & exact_kept) / len(kept | exact_kept))
            rows.append(
                {
                    "m": m,
                    "rule": rule,
                    "spectral": median(spectral),
                    "frobenius": median(frobenius),
                    "estimated": median(estimated),
                    "trace": median(trace),
                    "agreement": median(agreement),
                    "seconds": seconds_of(
                        lambda m=m, rule=rule: hp.nystrom(
                            x, m, landmarks=rule, generator=0
                        ).nearest()
                    ),
                }
            )
    return {
        "layer": name,
        "vectors": kind,
        "n": n,
        "d": x.shape[1],
        "exact_seconds": seconds_of(lambda: hp.nearest(x)),
        "rows": rows,
    }


def draw(reports: list[dict[str, Any]], measure: str, label: str, path: Path) -> None:
    """Draw a measure against m / n: one panel a layer, of the trained and the redundant ones."""
    trained = [report for report in reports if report["layer"].startswith("CREPE")]
    chosen = [report for report in reports if report["layer"] == "near-duplicates"]
    chosen += [report for report in trained if report["vectors"] == "rank1"][:5]
    columns = max(1, min(3, len(chosen)))
    lines = -(-len(chosen) // columns)
    figure = figure_class()(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, report in zip(axes.flat, chosen, strict=False):
        for rule in LANDMARK_RULES:
            rows = [row for row in report["rows"] if row["rule"] == rule]
            axis.plot(
                [row["m"] / report["n"] for row in rows],
                [row[measure] for row in rows],
                marker="o",
                markersize=3,
                label=rule,
            )
        vectors = "rank-1, " if report["vectors"] == "rank1" else ""
        title = f"{report['layer']}, {vectors}{report['n']} x {report['d']}"
        axis.set_title(title, fontsize=9)
        axis.set_xscale("log", base=2)
        axis.set_ylim(bottom=0.0)
        axis.set_xlabel("columns / filters")
        axis.set_ylabel(label)
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, draw, write, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for nystrom.json and the plots")
    parser.add_argument("--quick", action="store_true", help="small layers only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reports = []
    pretrained = pretrained_layers(arguments.quick)
    layers = {
        **gaussian_layers(arguments.quick),
        **near_duplicates(arguments.quick),
        **pretrained,
    }
    for name, weight in layers.items():
        kinds = ["rank1"] if weight[0, 0].numel() > 1 and weight.shape[1] > 1 else []
        if name in pretrained or weight.shape[0] * weight[0].numel() <= 512 * 4608:
            kinds.append("flatten")
        for kind in kinds:
            reports.append(layer_report(name, kind, hp.filter_vectors(weight, kind)))
            print(summary(reports[-1]), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "nystrom.json").write_text(json.dumps(reports, indent=1) + "\n")
    draw(reports, "frobenius", "relative Frobenius error", arguments.output / "nystrom-error.png")
    draw(reports, "agreement", "kept filters in common", arguments.output / "nystrom-agreement.png")


def summary(report: dict[str, Any]) -> str:
    """Return one line: the errors of the rules at the middle number of columns, and the times."""
    counts = sorted({row["m"] for row in report["rows"]})
    m = counts[len(counts) // 2]
    rows = {row["rule"]: row for row in report["rows"] if row["m"] == m}
    errors = ", ".join(f"{rule} {row['frobenius']:.2g}" for rule, row in rows.items())
    size = f"{report['n']} x {report['d']}"
    return (
        f"{report['layer']}, {report['vectors']}, {size}, m = {m}: {errors}; "
        f"{rows['uniform']['seconds'] * 1e3:.2g} ms, exact {report['exact_seconds'] * 1e3:.2g} ms"
    )


if __name__ == "__main__":
    main()
