# SPDX-License-Identifier: MIT
"""The folder of a comparison: what was finished is never done again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .comparison_result import UNPRUNED, ComparisonRow, row_of
from .description import CONTENTS, differences
from .file_writing import remove_leftovers, replaced_file
from .json_numbers import all_writable
from .scorers import Scorer

__all__ = ["Job", "Store", "rule_text"]

_FORMAT = "comparison state 2"


@dataclass(frozen=True)
class Job:
    """What is to be done for one row."""

    scorer: str
    rule: Scorer | None
    ratio: float | None
    compensate: str
    seed: int

    @property
    def key(self) -> str:
        ratio = "" if self.ratio is None else f"-{float(self.ratio)!r}"
        compensate = "" if self.compensate == "none" else f"-{self.compensate}"
        return f"{self.scorer}{ratio}{compensate}-seed{self.seed}"


class Store:
    """A folder with a file per finished row, and the state of the row in work.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    ValueError
        If it holds another comparison, or a file is damaged.
    """

    def __init__(
        self, folder: Path, configuration: dict[str, Any], unknown: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "configuration.json"
        wanted = json.loads(json.dumps({"format": _FORMAT, **configuration}))  # tuples as lists
        if file.exists():
            saved = _read_json(file)
            self._check(saved if isinstance(saved, dict) else {}, wanted, unknown)
        else:
            others = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
            if others:
                raise FileExistsError(
                    f"{folder} holds other files ({', '.join(others[:3])}); choose a new folder"
                )
        if not file.exists() or not self._begun():
            _write_json(file, wanted)
        (folder / "rows").mkdir(exist_ok=True)

    def _begun(self) -> bool:
        """Whether anything was computed: rows, or the state of the first."""
        return any(self.folder.glob("rows/*.json")) or any(self.folder.glob("*.safetensors"))

    def _check(self, saved: dict[str, Any], wanted: dict[str, Any], unknown: Sequence[str]) -> None:
        """Refuse to go on with another comparison, unless that one never came to anything."""
        if not self._begun():
            return
        named = "format" not in saved
        contents = [name + CONTENTS for name in ("train", "valid", "test")]
        different = differences(saved, wanted, later=("format", "example_inputs", *contents))
        if different and named and _has_functions(wanted):
            raise ValueError(
                f"{self.folder} is of an earlier version of hubprune, which kept only the names of "
                "functions: whether they are the same cannot be known. Choose a new folder"
            )
        if different:
            rows = any(self.folder.glob("rows/*.json"))
            hint = "" if rows else "; it holds no finished row yet: delete it to start again"
            raise ValueError(
                f"{self.folder} holds another comparison: {'; '.join(different)}{hint}"
            )
        if unknown:
            warnings.warn(
                f"{self.folder} is gone on with, but whether {', '.join(unknown)} did not change "
                "since cannot be known: it is taken for the same",
                stacklevel=4,
            )

    def read(self, job: Job) -> ComparisonRow | None:
        """The row of a job, if it is finished."""
        file = self.folder / "rows" / f"{job.key}.json"
        if not file.exists():
            return None
        try:
            row = row_of(_read_json(file))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        if row.rule != rule_text(job):
            raise ValueError(
                f"{self.folder} holds another comparison: scorer {job.scorer!r} was {row.rule} and "
                f"is {rule_text(job)}"
            )
        return row

    def write(self, job: Job, row: ComparisonRow) -> None:
        _write_json(self.folder / "rows" / f"{job.key}.json", asdict(row))
        self.checkpoint(job).unlink(missing_ok=True)

    def checkpoint(self, job: Job) -> Path:
        """Where the state of a row in work is."""
        return self.folder / f"{job.key}.safetensors"


def _has_functions(configuration: dict[str, Any]) -> bool:
    """Whether a model function, loss or augmentation is described in it."""
    options = configuration["finetune"] or {}
    return configuration["model_per_seed"] or any(
        options.get(name) is not None for name in ("loss", "augment")
    )


def rule_text(job: Job) -> str:
    return UNPRUNED if job.rule is None else repr(job.rule)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def _write_json(file: Path, values: Any) -> None:
    remove_leftovers(file)
    with replaced_file(file) as part:
        text = json.dumps(all_writable(values), indent=1, allow_nan=False)
        part.write_text(f"{text}\n", encoding="utf-8")
