# SPDX-License-Identifier: MIT
"""What a comparison is asked for: every combination of scorer, ratio, compensation and seed."""

from __future__ import annotations

import numbers
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from .comparison_result import UNPRUNED
from .comparison_store import Job
from .scorers import Random, Scorer, make_scorer

__all__ = ["Grid"]


class Grid:
    """Every combination that is asked for, and the controls."""

    def __init__(
        self,
        scorers: Collection[str | Scorer] | Mapping[str, str | Scorer],
        ratios: Sequence[float],
        seeds: Sequence[int],
        compensate: Sequence[str],
    ) -> None:
        if isinstance(scorers, str | Scorer):
            raise TypeError("scorers must be a collection of names or scorers, or a mapping")
        if isinstance(scorers, Mapping):
            named = [(str(label), make_scorer(each)) for label, each in scorers.items()]
        else:
            named = [(rule.name, rule) for rule in map(make_scorer, scorers)]
        self.rules: dict[str, Scorer] = {}
        for label, rule in named:
            if not re.fullmatch(r"[\w.+-]+", label) or label == UNPRUNED:
                raise ValueError(
                    "the label of a scorer must be letters, digits and . + - _, and not "
                    f"{UNPRUNED!r}; got {label!r}"
                )
            if label in self.rules:
                raise ValueError(f"scorers must have different labels; {label!r} is there twice")
            if label == "random" and not isinstance(rule, Random):
                raise ValueError("the label 'random' is that of the control; choose another")
            self.rules[label] = rule
        self.rules.setdefault("random", Random())
        self.ratios = _distinct("ratios", ratios, float)
        for ratio in self.ratios:
            if not 0 < ratio < 1:
                raise ValueError(f"ratios must be in (0, 1); got {ratio}")
        self.seeds = _distinct("seeds", seeds, int)
        for seed in self.seeds:
            if not 0 <= seed < 2**63:
                raise ValueError(f"seeds must be integers from 0 to 2**63 - 1; got {seed}")
        self.compensate = _distinct("compensate", compensate, str)

    def jobs(self) -> list[Job]:
        """Seed by seed, so that each base network is made once."""
        found = []
        for seed in self.seeds:
            found.append(Job(UNPRUNED, None, None, "none", seed))
            for label, rule in self.rules.items():
                if isinstance(rule, Random):
                    rule = Random(seed=seed)
                ratios = [None] if _decides_the_count(rule) else self.ratios
                found += [
                    Job(label, rule, ratio, each, seed)
                    for ratio in ratios
                    for each in self.compensate
                ]
        return found

    def place(self, job: Job) -> tuple[int, ...]:
        return (
            -1 if job.rule is None else list(self.rules).index(job.scorer),
            -1 if job.ratio is None else self.ratios.index(job.ratio),
            self.compensate.index(job.compensate) if job.rule is not None else 0,
            self.seeds.index(job.seed),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "scorers": {label: repr(rule) for label, rule in self.rules.items()},
            "ratios": self.ratios,
            "seeds": self.seeds,
            "compensate": self.compensate,
        }


def _decides_the_count(rule: Scorer) -> bool:
    """Whether a scorer says itself how many filters to remove."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 2, 3, 3, generator=generator, device="cpu")
    return rule.score(weight).count is not None


def _distinct(name: str, values: Any, kind: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence; got {values!r}")
    found = list(values)
    if not found:
        raise ValueError(f"{name} must hold at least one; got none")
    fits = {int: numbers.Integral, float: numbers.Real, str: str}[kind]  # NumPy's numbers too
    for value in found:
        if not isinstance(value, fits) or isinstance(value, bool):
            raise TypeError(f"{name} holds {value!r}, a {type(value).__name__}")
    found = [kind(value) for value in found]
    if len(set(found)) != len(found):
        raise ValueError(f"{name} must not hold one twice; got {found}")
    return found
