# SPDX-License-Identifier: MIT
"""Degrees of short rows on a warp's matrix units, under the emulator."""

from __future__ import annotations

import numpy as np
import pytest

from emulation import (
    EDGES,
    INVALID_VALUE,
    MOST_BLOCKS,
    OK,
    Array,
    EmulatedDevice,
    assert_plane_degree_close,
    random_rows,
)

BANKS = 32
ROW_WORDS = 8
STEPS = [1, 2, 4, 8, 12]


@pytest.mark.parametrize(
    ("planes", "d", "steps"),
    [
        *[(1, 1, 1), (1, 16, 1), (1, 17, 2), (1, 32, 2), (1, 192, 12), (1, 193, 0)],
        *[(2, 5, 1), (2, 9, 2), (2, 11, 4), (2, 32, 8), (2, 64, 12), (2, 65, 0)],
        *[(3, 2, 1), (3, 9, 4), (3, 10, 4), (3, 11, 8), (3, 21, 8), (3, 32, 12), (3, 33, 0)],
    ],
)
def test_steps_of_a_row(device: EmulatedDevice, planes: int, d: int, steps: int) -> None:
    assert device.library.emulated_row_steps(planes, d) == steps


@pytest.mark.parametrize("steps", STEPS)
def test_every_word_has_a_place_of_its_own(device: EmulatedDevice, steps: int) -> None:
    """Both sides hold all entries of a row once, and no two words lie at the same place."""
    entries = [
        device.library.emulated_word_entry(lane, word) + i
        for lane in range(4)
        for word in range(2 * steps)
        for i in range(2)
    ]
    assert sorted(entries) == list(range(16 * steps))
    for place in (device.library.emulated_passing_place, device.library.emulated_kept_place):
        places = [
            place(steps, row, lane, word)
            for row in range(32)
            for lane in range(4)
            for word in range(2 * steps)
        ]
        assert sorted(places) == list(range(32 * ROW_WORDS * steps))


@pytest.mark.parametrize("steps", STEPS)
def test_lanes_that_read_together_meet_in_no_bank(device: EmulatedDevice, steps: int) -> None:
    size = device.library.emulated_words_at_once(steps)
    together = BANKS // size  # lanes, that read 128 bytes
    for first in range(0, 32, together):
        for word in range(0, 2 * steps, size):
            banks = []
            for lane in range(first, first + together):
                place = device.library.emulated_passing_place(steps, lane // 4, lane % 4, word)
                assert place % size == 0
                # Words that are loaded at once lie side by side.
                for i in range(size):
                    own = device.library.emulated_passing_place(
                        steps, lane // 4, lane % 4, word + i
                    )
                    assert own == place + i
                    banks.append(own % BANKS)
            assert sorted(banks) == list(range(BANKS))


# Tiles of 256 and of 128, in one and several, of every number of steps; any order and grid.
@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize(
    ("n", "d"),
    [(1, 9), (2, 1), (64, 16), (65, 9), (127, 32), (129, 21), (256, 9), (257, 9), (300, 25)],
)
def test_degree_of_short_rows(device: EmulatedDevice, n: int, d: int, planes: int) -> None:
    x = random_rows((n, d), seed=n + d)
    if n > 4:
        x[1] = 0
        x[3] = x[0]
        x[n - 1] = -x[0]
        x[4] *= np.float32(1e-30)
    for edge in ("abs", "positive", "squared") if n < 200 else ("abs",):
        degrees = []
        for seed, most_blocks in ((0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, 2)):
            device.reset(seed, most_blocks)
            degrees.append(device.mma_degree(x, edge, planes))
        assert len({degree.tobytes() for degree in degrees}) == 1
        assert_plane_degree_close(degrees[0], x, edge, planes)


@pytest.mark.parametrize("rows", ["one sign", "all equal", "two directions"])
def test_degree_of_cosines_near_one(device: EmulatedDevice, rows: str) -> None:
    """The unit truncates toward zero, and equal sums lose the same every time."""
    x: Array = {
        "one sign": np.abs(random_rows((300, 9))),
        "all equal": np.tile(random_rows((1, 9)), (300, 1)),
        "two directions": np.tile(np.array([[0.1, 1.0], [1.0, 0.4]], np.float32), (150, 1)),
    }[rows]
    for edge in ("abs", "squared"):
        assert_plane_degree_close(device.mma_degree(x, edge, 3), x, edge, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite(device: EmulatedDevice, value: float) -> None:
    x = random_rows((130, 9))
    x[129, 8] = value
    assert np.isnan(device.mma_degree(x, "abs", 2)).all()
    assert np.isnan(device.mma_degree(x[128:], "abs", 2)).all()


def test_rows_without_a_feature(device: EmulatedDevice) -> None:
    assert (device.mma_degree(np.empty((5, 0), np.float32), "abs", 3) == 0).all()


def test_refuses_what_it_cannot_do(device: EmulatedDevice) -> None:
    x, sums = device.upload(random_rows((4, 9))), device.upload(np.zeros(5, np.int64))

    def status(planes: int = 1, n: int = 4, d: int = 9, edge: str = "abs") -> int:
        code = EDGES.index(edge)
        return int(
            device.library.emulated_mma_degree(x, planes, n, d, code, sums + 32, sums, None, 0)
        )

    before = device.library.emulator_kernels()
    assert status(edge="signed") == status(edge="shifted") == INVALID_VALUE
    assert status(planes=0) == status(planes=4) == INVALID_VALUE
    assert status(planes=3, d=33) == status(n=2**31) == INVALID_VALUE
    assert status(n=0) == OK
    assert device.library.emulator_kernels() == before
    device.release()
