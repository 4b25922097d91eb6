# SPDX-License-Identifier: MIT
"""Labelled examples in batches, whatever they come as, and random numbers that a seed decides."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from .arguments import array_tensor, shape_text

__all__ = ["Batch", "Examples", "preserved_rng", "seed_everything", "stream_seed"]

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]

#: Streams of random numbers that must not depend on each other.
SHUFFLE, GLOBAL, AUGMENT, SUBSET, VALID = range(5)

_DIGEST_EXAMPLES = 16


def stream_seed(seed: int, epoch: int, stream: int) -> int:
    """A seed for one purpose in one epoch; neighbouring seeds and epochs share nothing."""
    high, low = np.random.SeedSequence([seed, epoch, stream]).generate_state(2)
    return (int(high) << 31) ^ int(low)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Put the global generators of Python, NumPy and torch (every device) back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if cuda else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class Examples:
    """Labelled examples: a data set, a pair of arrays, or a loader.

    Parameters
    ----------
    data : Dataset, (inputs, targets) or DataLoader
        A map-style data set of (input, target) pairs, also a list of them; two tensors or NumPy
        arrays of equal length; or a loader of such batches, which then decides order and batch
        size itself.
    name : str
        The argument's name, for the messages.

    Attributes
    ----------
    task : {"classes", "tags"}
        Integer targets are classes, floating-point and boolean ones of shape (k,) are tags.
    count : int or None
        How many examples, where that is known.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or empty, or the targets fit no task.
    """

    def __init__(self, data: Any, name: str) -> None:
        self.name = name
        self.loader: DataLoader[Any] | None = None
        self._arrays: Batch | None = None
        self._dataset: Any = None
        self.count: int | None
        if isinstance(data, DataLoader):
            self.loader = data
            try:
                self.count = len(data.dataset)  # type: ignore[arg-type]
            except TypeError:
                self.count = None
        elif isinstance(data, tuple | list) and not _lists_pairs(data):
            self._arrays = _pair(data, name)
            self.count = len(self._arrays[0])
        elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            self._dataset = data
            self.count = len(data)
        else:
            raise TypeError(
                f"{name} must be a data set of (input, target) pairs, a pair of tensors or a "
                f"DataLoader; got {type(data).__name__}"
            )
        if self.count == 0:
            raise ValueError(f"{name} must hold at least one example; got none")
        inputs, targets = self._first()
        self.input_shape = tuple(inputs.shape[1:])
        if not targets.is_floating_point() and targets.ndim == 1:
            self.task = "classes"
        elif targets.is_floating_point() and targets.ndim == 2:
            self.task = "tags"
        else:
            raise ValueError(
                f"{name} must have integer targets (one class each) or floating-point targets of "
                f"shape (k,) (tags); got {str(targets.dtype).removeprefix('torch.')} of shape "
                f"{shape_text(targets.shape[1:])}"
            )

    def _first(self) -> Batch:
        if self._arrays is not None:
            return self._arrays
        if self.loader is not None:
            with self._loader_seeded(0), preserved_rng():
                for batch in self.loader:
                    return _checked(batch, self.name)
            raise ValueError(f"{self.name} must hold at least one example; the loader gave none")
        return self._collate([0])

    def _collate(self, indices: Sequence[int]) -> Batch:
        pairs = []
        for index in indices:
            pair = self._dataset[index]
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(
                    f"{self.name}[{index}] must be an (input, target) pair; got "
                    f"{type(pair).__name__}"
                )
            pairs.append(tuple(pair))
        try:
            batch = default_collate(pairs)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"{self.name}: examples {indices[0]} to {indices[-1]} do not make a batch: {error}"
            ) from error
        return _checked(batch, self.name)

    def digest(self) -> str | None:
        """Hash what tells one data set from another: some inputs, and the targets that are at hand.

        None where that cannot be known: of a loader, and where examples read twice after the same
        seed are not the same.
        """
        if self.loader is not None or self.count is None:
            return None
        last = min(self.count, _DIGEST_EXAMPLES) - 1
        rows = sorted({round(k * (self.count - 1) / max(last, 1)) for k in range(last + 1)})
        if self._arrays is not None:
            inputs, targets = self._arrays
            return _hash(inputs[torch.as_tensor(rows, device=inputs.device)], targets)
        found = set()
        with preserved_rng():
            for _ in range(2):
                seed_everything(0)
                found.add(_hash(*self._collate(rows)))
        return found.pop() if len(found) == 1 else None

    def batch_count(self, size: int, examples: int | None = None) -> int | None:
        """How many batches `batches` gives, where that is known."""
        if self.loader is not None:
            try:
                return len(self.loader)
            except TypeError:
                return None
        total = (self.count or 0) if examples is None else examples
        return max(1, -(-(total - 1) // size))  # a last batch of one joins the one before

    def batches(
        self, size: int, order: Sequence[int] | None = None, loader_seed: int = 0
    ) -> Iterator[Batch]:
        """Give batches on the CPU (or where the arrays are), in `order`, by default as they stand.

        The last batch takes a single example that would be left over: batch normalisation cannot
        learn from one.
        """
        if self.loader is not None:
            with self._loader_seeded(loader_seed):
                for batch in self.loader:
                    yield _checked(batch, self.name)
            return
        indices = range(self.count or 0) if order is None else order
        total = len(indices)
        start = 0
        while start < total:
            end = start + size
            if end >= total - 1:
                end = total
            chosen = indices[start:end]
            if self._arrays is None:
                yield self._collate(chosen)
            elif isinstance(chosen, range):
                inputs, targets = self._arrays
                yield inputs[start:end], targets[start:end]
            else:
                rows = torch.as_tensor(chosen, device=self._arrays[0].device)
                yield self._arrays[0][rows], self._arrays[1][rows.to(self._arrays[1].device)]
            start = end

    @contextmanager
    def _loader_seeded(self, seed: int) -> Iterator[None]:
        """Seed the generators that a loader owns, and put them back afterwards."""
        loader = self.loader
        holders = [loader, getattr(loader, "sampler", None)]
        holders.append(getattr(getattr(loader, "batch_sampler", None), "sampler", None))
        generators = {
            id(found): found
            for holder in holders
            if isinstance(found := getattr(holder, "generator", None), torch.Generator)
        }
        states = [(each, each.get_state()) for each in generators.values()]
        try:
            for generator, _ in states:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in states:
                generator.set_state(state)

    def subset(self, fraction: float, seed: int) -> list[int] | None:
        """Indices of a seeded part, ascending; None: all.

        Of class targets, of each class its part (largest remainders), at least one example.
        """
        if fraction == 1:
            return None
        if self.loader is not None:
            raise ValueError(
                f"fraction must be 1 where {self.name} is a DataLoader, which decides itself what "
                "it gives; pass its data set"
            )
        count = self.count or 0
        generator = torch.Generator().manual_seed(stream_seed(seed, 0, SUBSET))
        order = torch.randperm(count, generator=generator, device="cpu").tolist()
        wanted = max(1, round(fraction * count))
        if self.task == "tags":
            return sorted(order[:wanted])
        targets = self._all_targets()
        members: dict[int, list[int]] = {}
        for index in order:
            members.setdefault(targets[index], []).append(index)
        shares = {label: fraction * len(rows) for label, rows in sorted(members.items())}
        taken = {label: max(1, int(share)) for label, share in shares.items()}
        by_remainder = sorted(shares, key=lambda label: (taken[label] - shares[label], label))
        for label in by_remainder[: max(0, wanted - sum(taken.values()))]:
            taken[label] += 1
        return sorted(index for label, rows in members.items() for index in rows[: taken[label]])

    def _all_targets(self) -> list[int]:
        if self._arrays is not None:
            return [int(label) for label in self._arrays[1].tolist()]
        known = getattr(self._dataset, "targets", None)  # torchvision's convention: spares reading
        if known is not None and len(known) == self.count:
            return [int(label) for label in known]
        return [int(self._dataset[index][1]) for index in range(self.count or 0)]


def _hash(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _lists_pairs(data: Sequence[Any]) -> bool:
    """Whether a list is a data set of (input, target) pairs, not one pair of arrays."""
    return bool(data) and all(isinstance(each, tuple | list) and len(each) == 2 for each in data)


def _pair(data: Sequence[Any], name: str) -> Batch:
    if len(data) != 2 or isinstance(data[0], dict):
        first = f", the first of them a {type(data[0]).__name__}" if data else ""
        raise ValueError(
            f"{name} must be (inputs, targets), or a data set of (input, target) pairs; got a "
            f"{type(data).__name__} of {len(data)}{first}"
        )
    return _checked([_tensor(each, name) for each in data], name)


def _tensor(array: Any, name: str) -> torch.Tensor:
    if isinstance(array, torch.Tensor):
        return array.detach()
    if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
        return array_tensor(array)
    kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
    raise TypeError(f"{name} must be a pair of tensors or arrays of numbers; one is {kind}")


def _checked(batch: Any, name: str) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(f"{name} must give (inputs, targets); got {type(batch).__name__}")
    inputs, targets = batch
    for each, text in ((inputs, "inputs"), (targets, "targets")):
        if not isinstance(each, torch.Tensor) or each.ndim == 0:
            raise TypeError(f"{name}: {text} must be a tensor; got {type(each).__name__}")
    if len(inputs) != len(targets):
        raise ValueError(
            f"{name}: inputs and targets must have the same length; got {len(inputs)} and "
            f"{len(targets)}"
        )
    marks = targets.dtype == torch.bool and targets.ndim == 2
    targets = targets.float() if marks or targets.is_floating_point() else targets.long()
    return inputs, targets
