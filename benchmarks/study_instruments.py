# SPDX-License-Identifier: MIT
"""Part a: musicnn's tagger on rendered instruments, pruned and not fine-tuned.

The pretrained network is one; a seed decides the clips to test on, and the draw of the scorer
"random". The kept counts of `COUNTS` were chosen on the font TimGM6mb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import torch

import hubprune as hp
from hubprune.datasets import InstrumentClips, instrument_clips, tag_auc
from study_rows import Row, Rows, left, pruned

FONTS = ("TimGM6mb", "FluidR3Mono")
SCORERS = ("landmarks", "degree", "l1", "random", "eigenvector", "l2", "gm")
MAIN = SCORERS[:4]  # the others: half of the filters only, and data-free
QUARTER = ("landmarks", "random")
KEPT = (48, 64, 72, 72, 64)  # of 128 each: half of all 640
_EXAMPLE = torch.zeros(1, 187, 96)
_UNLABELLED_SEED = 1000


@dataclass(frozen=True)
class Settings:
    """Sizes."""

    test: int = 10  # clips of each of the twelve instruments, of a seed
    unlabelled: int = 8  # 96 clips


QUICK = Settings(test=1, unlabelled=1)


class FewAtATime(torch.nn.Module):
    """The same network in the order and in the batches that a processor's cache likes."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(part) for part in x.split(2)])


@dataclass(frozen=True, eq=False)
class Cut:
    """What is removed, and what is done about it."""

    scorer: str
    name: str  # of the ratio
    ratio: float | Mapping[str, float]
    compensate: str
    unlabelled: str = ""  # the font of the clips; none: data-free
    global_: bool = False


def cuts(quick: bool) -> list[tuple[Cut, str]]:
    """Every cut, and the font that it is tested on."""
    network = hp.models.load_musicnn()
    layers = [name for name, each in network.named_modules() if isinstance(each, torch.nn.Conv2d)]
    counts = {layer: 1 - kept / 128 for layer, kept in zip(layers, KEPT, strict=True)}
    sizes: list[tuple[str, str, float | Mapping[str, float], bool]] = [
        ("landmarks", "50 %, by layer", counts, False),
        ("landmarks", "50 %, global", 0.5, True),
        *((scorer, "50 %", 0.5, False) for scorer in MAIN),
        *((scorer, "25 %", 0.25, False) for scorer in QUARTER),
        *((scorer, "50 %", 0.5, False) for scorer in SCORERS[4:]),
    ]
    fonts = FONTS[:1] if quick else FONTS
    found = []
    for scorer, name, ratio, global_ in sizes[:1] if quick else sizes:
        for how in ("none", "interpolate"):
            cut = Cut(scorer, name, ratio, how, global_=global_)
            found += [(cut, font) for font in fonts]
        if name == "25 %" or scorer not in MAIN:
            continue
        for font in fonts:
            cut = Cut(scorer, name, ratio, "interpolate+recalibrate", font, global_)
            found += [(cut, other) for other in fonts if other == font or scorer == "landmarks"]
    return found


def run(seeds: Sequence[int], quick: bool, folder: Path) -> dict[str, Any]:
    """Measure, or read what was measured."""
    settings = QUICK if quick else Settings()
    store = Rows(folder / "rows", asdict(settings))
    network = hp.models.load_musicnn().to(memory_format=torch.channels_last)
    whole = FewAtATime(network)

    @cache
    def clips(font: str, seed: int) -> InstrumentClips:
        return instrument_clips(settings.test, seed, font=font)

    @cache
    def unlabelled(font: str) -> torch.Tensor:
        return instrument_clips(settings.unlabelled, _UNLABELLED_SEED, font=font).inputs

    @lru_cache(maxsize=1)
    def made(cut: Cut, draw: int) -> tuple[torch.nn.Module, Row]:
        batches = unlabelled(cut.unlabelled).split(8) if cut.unlabelled else ()
        model = pruned(
            network,
            _EXAMPLE,
            cut.scorer,
            cut.ratio,
            cut.compensate,
            batches,
            seed=draw,
            global_=cut.global_,
        )
        return FewAtATime(model), left(network, model, _EXAMPLE)

    def unpruned(font: str, seed: int) -> Row:
        value = tag_auc(whole, clips(font, seed))
        facts: Row = {"scorer": "unpruned", "cut": "", "compensate": "none", "unlabelled": ""}
        return {**facts, "font": font, "seed": seed, "value": value, "parameters": 1.0, "macs": 1.0}

    def measured(cut: Cut, font: str, seed: int) -> Row:
        model, sizes = made(cut, seed if cut.scorer == "random" else 0)
        return {
            "scorer": cut.scorer,
            "cut": cut.name,
            "compensate": cut.compensate,
            "unlabelled": cut.unlabelled,
            "font": font,
            "seed": seed,
            "value": tag_auc(model, clips(font, seed)),
            **sizes,
        }

    rows = [
        store.row(f"unpruned {font} seed {seed}", partial(unpruned, font, seed))
        for font in (FONTS[:1] if quick else FONTS)
        for seed in seeds
    ]
    for cut, font in cuts(quick):
        for seed in seeds:
            key = f"{cut.scorer} {cut.name} {cut.compensate} {cut.unlabelled} {font} seed {seed}"
            rows.append(store.row(key, partial(measured, cut, font, seed)))
    return {"settings": asdict(settings), "kept": list(KEPT), "rows": rows}
