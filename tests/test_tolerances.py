# SPDX-License-Identifier: MIT
"""How the tests compare: the bound that is written is the bound that decides."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from cases import assert_within

TESTS = Path(__file__).parent

# Their defaults: rtol 1e-5, atol 1e-8.
BOTH_BOUNDS = {"allclose", "isclose"}


def loose_comparisons(path: Path) -> list[int]:
    """The lines of calls that leave one of rtol and atol to its default while it matters."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        given = {keyword.arg for keyword in node.keywords}
        name = ast.unparse(node.func).rpartition(".")[2]
        both = {"atol", "rtol"} <= given
        if not both and ("atol" in given or name in BOTH_BOUNDS):
            lines.append(node.lineno)
    return lines


def test_no_default_decides() -> None:
    """A small atol alone says nothing: torch's rtol of 1e-5, NumPy's of 1e-7 are added to it."""
    found = {path.name: loose_comparisons(path) for path in sorted(TESTS.glob("*.py"))}
    found = {name: lines for name, lines in found.items() if lines}
    assert not found


def test_loose_comparisons_are_found(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "torch.allclose(a, b)\n"
        "np.allclose(a, b, rtol=1e-12)\n"
        "np.testing.assert_allclose(a, b, atol=1e-13)\n"
        "torch.testing.assert_close(a, b, atol=0)\n"
        "np.testing.assert_allclose(a, b, rtol=1e-12)\n"  # of NumPy's own test atol is 0
        "torch.allclose(a, b, rtol=0, atol=1e-13)\n"
        "assert_within(a, b, 1e-13)\n"
    )
    assert loose_comparisons(path) == [1, 2, 3, 4]


def test_within_is_absolute() -> None:
    x = np.array([[1e6, 1.0], [0.0, np.inf]])
    assert_within(x, x, 0.0)
    assert_within(torch.tensor(x), x.tolist(), 0.0)
    assert_within(x[0] + 1e-3, x[0], 2e-3)
    assert_within(np.zeros((0, 3)), np.zeros((0, 3)), 0.0)
    assert_within([0.5, 0.5], 0.5, 0.0)
    with pytest.raises(AssertionError, match=r"2 of 4 .* than 1e-13; the worst by 5, at \(0, 0\)"):
        assert_within(x + np.array([[5.0, 5e-6], [0.0, 0.0]]), x, 1e-13)
    with pytest.raises(AssertionError, match=r"1 of 2 entries .* the worst by inf"):
        assert_within([1.0, np.inf], [1.0, 2.0], 1e300)


def test_within_compares_not_a_number_only_when_told() -> None:
    x = torch.tensor([1.0, torch.nan])
    assert_within(x, x, 0.0, equal_nan=True)
    with pytest.raises(AssertionError, match=r"1 of 2 entries .* at \(1,\): .*nan"):
        assert_within(x, x, 1.0)
    with pytest.raises(AssertionError, match="the worst by inf"):
        assert_within(x, torch.ones(2), 1.0, equal_nan=True)


def test_within_compares_like_with_like() -> None:
    with pytest.raises(AssertionError, match=r"shape \(2,\) instead of \(2, 1\)"):
        assert_within(np.ones(2), np.ones((2, 1)), 1.0)
    with pytest.raises(AssertionError):
        assert_within(torch.ones(2), torch.ones(2).double(), 1.0)
