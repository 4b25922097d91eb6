# SPDX-License-Identifier: MIT
"""Part b: CREPE on tones of known pitch, as it is pruned and fine-tuned.

The pretrained network is one; a seed decides the tones to train on, those to test on, and their
order.
Nothing is chosen on tones: the weights after the last epoch count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.pitch import raw_pitch_accuracy, tones
from study_rows import COMPENSATIONS, Row, Rows, left, pruned

RATIOS = (0.25, 0.5)
SCORERS = ("degree", "pairs", "landmarks", "l1", "random")
FULL_SCORERS = ("landmarks",)  # not fine-tuned
FULL_TUNED = (("degree", 0.5), ("landmarks", 0.5), ("l1", 0.5), ("random", 0.5))
_EXAMPLE = torch.zeros(1, 1024)
# Of bin k: 20 k + 1997.379 cents above 10 Hz, as in CREPE's decoder.
_CENTS = torch.linspace(0.0, 7180.0, 360, dtype=torch.float64) + 1997.3794084376191
_BLUR = 25.0  # cents


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    train: int = 1000  # tones of a seed
    test: int = 500
    epochs: int = 2
    batch_size: int = 16
    lr: float = 1e-3  # better than 3e-4, on tones of another seed
    full_train: int = 500
    full_test: int = 100
    full_unlabelled: int = 64


QUICK = Settings(train=64, test=20, epochs=1, full_train=4, full_test=4, full_unlabelled=4)


def blurred(frequencies: torch.Tensor) -> torch.Tensor:
    """What CREPE is trained to return, ``exp(-(c_k - c)**2 / (2 * 25**2))``: (n, 360)."""
    cents = 1200.0 * torch.log2(frequencies.double() / 10.0)
    return torch.exp(-((_CENTS - cents[:, None]) ** 2) / (2.0 * _BLUR**2)).float()


def tuned_row(settings: Settings, size: str, scorer: str, ratio: float | None, seed: int) -> Row:
    """CREPE, pruned or not, before and after fine-tuning."""
    network = hp.models.load_crepe(None, size)
    model = network if ratio is None else pruned(network, _EXAMPLE, scorer, ratio, seed=seed)
    count, few = (
        (settings.train, settings.test)
        if size == "tiny"
        else (settings.full_train, settings.full_test)
    )
    # Not the same tones: other seeds.
    train, test = tones(count, seed=2000 + seed), tones(few, seed=1000 + seed)
    found = hp.finetune(
        model,
        (train.frames, blurred(train.frequencies)),
        None,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        seed=seed,
    )
    return {
        "network": size,
        "tuned": True,
        "scorer": scorer,
        "ratio": ratio,
        "compensate": "none",
        "seed": seed,
        "before": raw_pitch_accuracy(model, test, batch=50).value,
        "value": raw_pitch_accuracy(found.model, test, batch=50).value,
        **left(network, model, _EXAMPLE),
    }


def full_rows(settings: Settings, quick: bool, seeds: Sequence[int], store: Rows) -> list[Row]:
    """CREPE full, pruned and compensated, not fine-tuned."""
    network = hp.models.load_crepe(None, "full")
    unlabelled = tones(settings.full_unlabelled, seed=3000).frames

    @lru_cache(maxsize=1)
    def made(scorer: str, ratio: float, how: str, draw: int) -> tuple[torch.nn.Module, Row]:
        batches = [unlabelled] if how.endswith("recalibrate") else []
        model = pruned(network, _EXAMPLE, scorer, ratio, how, batches, seed=draw)
        return model, left(network, model, _EXAMPLE)

    def measured(scorer: str, ratio: float | None, how: str, seed: int) -> Row:
        model, sizes = network, {"parameters": 1.0, "macs": 1.0}
        if ratio is not None:
            model, sizes = made(scorer, ratio, how, seed if scorer == "random" else 0)
        test = tones(settings.full_test, seed=1000 + seed)
        return {
            "network": "full",
            "tuned": False,
            "scorer": scorer,
            "ratio": ratio,
            "compensate": how,
            "seed": seed,
            "value": raw_pitch_accuracy(model, test, batch=50).value,
            **sizes,
        }

    wanted: list[tuple[str, float | None, str]] = [("unpruned", None, "none")]
    for scorer in FULL_SCORERS[:1] if quick else FULL_SCORERS:
        wanted += [(scorer, ratio, how) for ratio in RATIOS for how in COMPENSATIONS]
    return [
        store.row(f"full {scorer} {ratio} {how} seed {seed}", partial(measured, *each, seed))
        for each in wanted
        for scorer, ratio, how in [each]
        for seed in seeds
    ]


def run(seeds: Sequence[int], quick: bool, folder: Path) -> dict[str, Any]:
    """Measure, or read what was measured."""
    settings = QUICK if quick else Settings()
    store = Rows(folder / "rows", asdict(settings))
    scorers = SCORERS[:1] if quick else SCORERS
    cuts = {
        "tiny": [(scorer, ratio) for scorer in scorers for ratio in RATIOS],
        "full": list(FULL_TUNED)[: 1 if quick else None],
    }
    rows = []
    for size, pruning in cuts.items():
        wanted: list[tuple[str, float | None]] = [("unpruned", None), *pruning]
        for seed in seeds:
            for scorer, ratio in wanted:
                make = partial(tuned_row, settings, size, scorer, ratio, seed)
                rows.append(store.row(f"{size} {scorer} {ratio} tuned seed {seed}", make))
    rows += full_rows(settings, quick, seeds, store)
    return {"settings": asdict(settings), "rows": rows}
