# SPDX-License-Identifier: MIT
"""The folder of a comparison: what was finished is never done again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .checkpointing import differences, remove_leftovers
from .comparison_result import UNPRUNED, ComparisonRow, row_of
from .file_writing import replaced_file
from .scorers import Scorer

__all__ = ["Job", "Store", "rule_text"]


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

    def __init__(self, folder: Path, configuration: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "configuration.json"
        wanted = json.loads(json.dumps(configuration))  # tuples as lists
        if file.exists():
            saved = _read_json(file)
            different = differences(saved, wanted)
            if different:
                raise ValueError(f"{folder} holds another comparison: {'; '.join(different)}")
        else:
            others = sorted(entry.name for entry in folder.iterdir() if entry.name[0] != ".")
            if others:
                raise FileExistsError(
                    f"{folder} holds other files ({', '.join(others[:3])}); choose a new folder"
                )
            _write_json(file, wanted)
        (folder / "rows").mkdir(exist_ok=True)

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
        part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
