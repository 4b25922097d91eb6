# SPDX-License-Identifier: MIT
"""Part c: rendered scenes, the DCASE 2021 baseline trained from scratch, pruned and fine-tuned.

Base networks, one a seed, are trained on the same clips. Everything is chosen on the validation
clips (which epoch) or in advance (all else); the test clips are only measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.datasets import rendered_scenes
from study_rows import Row, Rows, left, pruned, say

HALF = 0.5  # 31 % of the parameters and 26 % of the multiply-adds are left
# The closest-pair rule's own count leaves 62 % of the parameters; this ratio leaves 77 %, the
# nearest to three quarters that one ratio for all layers gives.
QUARTER = 0.18
SCORERS = ("degree", "landmarks", "l1", "pairs")
_FOLD = "interpolate+recalibrate"
# Scorer, ratio, fraction of the training clips and compensation, beside the comparison.
MORE = (
    ("degree", HALF, 0.75, "none"),
    ("pairs", QUARTER, 1.0, "none"),
    ("pairs", QUARTER, 0.75, "none"),
    ("degree", HALF, 1.0, _FOLD),
)


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    train: int = 40  # clips of each of the ten scenes
    valid: int = 10
    test: int = 20
    base_epochs: int = 24
    base_lr: float = 6e-3  # of 1e-3, 3e-3 and 6e-3 the best on the validation clips, seed 0
    epochs: int = 8  # of fine-tuning
    batch_size: int = 16
    lr: float = 3e-3
    amp: str = "bfloat16"  # twice as fast on the processor it was run on


QUICK = Settings(train=1, valid=1, test=1, base_epochs=1, epochs=1)


def run(seeds: Sequence[int], quick: bool, folder: Path) -> dict[str, Any]:
    """Measure, or read what was measured."""
    settings = QUICK if quick else Settings()
    say("scenes: clips")
    data = rendered_scenes(
        settings.train, settings.valid, settings.test, cache=folder / "clips", workers=2
    )
    example = torch.zeros(1, 1, 40, 500)
    tuning: dict[str, Any] = {
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "amp": settings.amp,
    }
    scorers = SCORERS[:1] if quick else SCORERS
    bases: dict[int, torch.nn.Module] = {}

    def base(seed: int) -> torch.nn.Module:
        """Train a network; a finished one is read from its checkpoint."""
        if seed not in bases:
            bases.clear()
            torch.manual_seed(seed)
            # Channels last: the same network, a third faster on a CPU.
            new = hp.models.Dcase21Baseline().to(memory_format=torch.channels_last)
            bases[seed] = hp.finetune(
                new,
                data.train,
                data.valid,
                epochs=settings.base_epochs,
                batch_size=settings.batch_size,
                lr=settings.base_lr,
                amp=settings.amp,
                seed=seed,
                checkpoint=folder / f"base-{seed}.safetensors",
            ).model
        return bases[seed]

    def tuned(seed: int, scorer: str, ratio: float, fraction: float, compensate: str) -> Row:
        network = base(seed)
        unlabelled = () if compensate == "none" else data.train.inputs[:96].split(32)
        cut = pruned(network, example, scorer, ratio, compensate, unlabelled, seed=seed)
        found = hp.finetune(cut, data.train, data.valid, **tuning, seed=seed, fraction=fraction)
        return {
            "scorer": scorer,
            "ratio": ratio,
            "fraction": fraction,
            "compensate": compensate,
            "seed": seed,
            "before": hp.evaluate(cut, data.test)["accuracy"],
            "value": hp.evaluate(found.model, data.test)["accuracy"],
            "best_epoch": found.best_epoch,
            **left(network, cut, example),
        }

    rows: list[Row] = []
    for seed in seeds:
        compared = hp.compare(
            base,
            data.train,
            data.valid,
            data.test,
            example_inputs=example,
            scorers=scorers,
            ratios=[HALF],
            seeds=[seed],
            finetune=tuning,
            directory=folder / "compare",
            progress=lambda done, total, text: say(f"scenes: {done} of {total}, {text}"),
        )
        rows += [
            {
                "scorer": row.scorer,
                "ratio": row.ratio,
                "fraction": 1.0,
                "compensate": "none",
                "seed": row.seed,
                "before": compared.value(row, "before"),
                "value": compared.value(row),
                "best_epoch": row.best_epoch,
                "parameters": row.parameters / row.parameters_before,
                "macs": row.macs / row.macs_before,
            }
            for row in compared.rows
        ]
    more = Rows(folder / "more", {**asdict(settings), "half": HALF, "quarter": QUARTER})
    for each in MORE[:1] if quick else MORE:
        scorer, ratio, fraction, compensate = each
        for seed in seeds:
            key = f"{scorer} {ratio} fraction {fraction} seed {seed}"
            key = key if compensate == "none" else f"{compensate} {key}"
            rows.append(more.row(key, partial(tuned, seed, *each)))
    return {"settings": asdict(settings), "rows": rows}
