# SPDX-License-Identifier: MIT
"""Degrees of long rows under the emulator: row panels, and what is around the matrix units."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np
import pytest
import torch

from emulation import (
    EDGES,
    INVALID_VALUE,
    MOST_BLOCKS,
    OK,
    EmulatedDevice,
    assert_plane_degree_close,
    random_rows,
)
from hubprune import panel_route

# -------------------------------------------------------------------------------------------------
# Long rows: the kernels around the matrix products of row panels, and the route through them


class EmulatedPanels:
    """The steps of the route: our kernels emulated, the product of bfloat16 planes in float32."""

    def __init__(self, device: EmulatedDevice) -> None:
        self.device = device

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        split, nonfinite = self.device.split_rows(x.numpy(), planes)
        sums = torch.zeros(len(x) + 1, dtype=torch.int64)
        sums[-1] = nonfinite
        return torch.from_numpy(split.view(np.int16)).view(torch.bfloat16), sums

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        assert a.dtype == b.dtype == torch.bfloat16
        assert a.stride(1) == b.stride(1) == 1
        product = a.float() @ b.float().T
        out.copy_(out + product if accumulate else product)

    def add_panel(self, panel: torch.Tensor, first: int, edge: str, sums: torch.Tensor) -> None:
        rows, columns = panel.shape
        # The padding between the rows is nobody's: poison.
        whole = np.full((rows, panel.stride(0)), np.nan, np.float32)
        whole[:, :columns] = panel.numpy()
        status, added = self.device.add_panel(whole, columns, first, edge, sums.numpy())
        self.device.finish(status)
        sums.copy_(torch.from_numpy(added))

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.device.degree_finish(sums.numpy()))


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("edge", ["abs", "positive", "squared"])
@pytest.mark.parametrize(
    ("n", "d"), [(1, 9), (2, 1), (63, 64), (65, 65), (300, 130), (20, 4200), (5, 0)]
)
def test_degree_by_row_panels(
    device: EmulatedDevice,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
    d: int,
    edge: str,
    planes: int,
) -> None:
    monkeypatch.setattr(panel_route, "PANEL_ENTRIES", 1)  # 256 rows a panel, the fewest
    x = random_rows((n, d), seed=n)
    if n > 4:
        x[1] = 0
        x[3] = x[0]
        x[4] *= np.float32(1e-30)
    degree = panel_route.panel_degree(torch.from_numpy(x), edge, planes, EmulatedPanels(device))
    assert_plane_degree_close(degree.numpy(), x, edge, planes)


class TruncatingPanels(EmulatedPanels):
    """Products as Ampere's matrix unit adds them up: truncated to float32 after every 8."""

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        left, right = a.double().numpy(), b.double().numpy()
        sums = np.zeros((len(left), len(right)), np.float32)
        for k in range(0, left.shape[1], 8):
            exact = sums + left[:, k : k + 8] @ right[:, k : k + 8].T
            sums = exact.astype(np.float32)
            sums = np.where(np.abs(sums) > np.abs(exact), np.nextafter(sums, np.float32(0)), sums)
        product = torch.from_numpy(sums)
        out.copy_(out + product if accumulate else product)


# Cosines near 0, and all above it.
LONG_ROWS: Final = {
    "either sign": random_rows((70, 4300), seed=5),
    "one sign": np.abs(random_rows((70, 4300), seed=6)),
}


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("rows", LONG_ROWS)
def test_row_panels_bear_sums_that_are_truncated(
    device: EmulatedDevice, rows: str, planes: int
) -> None:
    x = LONG_ROWS[rows]
    for edge in ("abs", "squared"):  # whose relative error is that of a product, and twice that
        degree = panel_route.panel_degree(
            torch.from_numpy(x), edge, planes, TruncatingPanels(device)
        )
        assert_plane_degree_close(degree.numpy(), x, edge, planes)


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_row_panels_bear_rows_of_equal_entries(device: EmulatedDevice, planes: int) -> None:
    """Where every product of a block rounds alike, those of the smaller planes count as well."""
    x = np.ones((2, 61440), np.float32)
    degree = panel_route.panel_degree(
        torch.from_numpy(x), "squared", planes, TruncatingPanels(device)
    )
    assert_plane_degree_close(degree.numpy(), x, "squared", planes)


class CountingPanels:
    """The products alone: which features of which planes were multiplied, in which order."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.blocks: list[tuple[tuple[int, int], int, int, bool]] = []

    def split_rows(self, x: torch.Tensor, planes: int) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(x)
        return torch.zeros(n, planes, self.features, dtype=torch.bfloat16), torch.zeros(n + 1)

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        assert a.shape == b.shape
        (left, first), (right, other) = (
            divmod(side.storage_offset(), self.features) for side in (a, b)
        )
        assert first == other
        self.blocks.append(((left, right), first, a.shape[1], accumulate))

    def add_panel(self, panel: torch.Tensor, first: int, edge: str, sums: torch.Tensor) -> None:
        pass

    def finish(self, sums: torch.Tensor) -> torch.Tensor:
        return sums[:-1]


@pytest.mark.parametrize(
    ("features", "planes", "products"),
    [
        *[(4608, 1, 1), (4608, 2, 5 + 2), (4608, 3, 36 + 2 * 2 + 3)],
        *[(18432, 1, 1), (18432, 2, 18 + 2), (18432, 3, 144 + 2 * 5 + 3)],
        *[(2**16 + 64, 1, 2), (2**16 + 64, 2, 65 + 2 * 3), (64, 3, 6)],
    ],
)
def test_panels_are_written_no_more_often_than_needed(
    features: int, planes: int, products: int
) -> None:
    """Every feature of every pair once, the smallest pairs first, the first block without a sum."""
    counting = CountingPanels(features)
    panel_route.panel_degree(torch.zeros(3, 1), "abs", planes, counting)
    blocks = counting.blocks
    assert len(blocks) == products
    assert [accumulate for *_, accumulate in blocks] == [False] + [True] * (products - 1)
    assert list(dict.fromkeys(pair for pair, *_ in blocks)) == panel_route.plane_products(planes)
    for pair in panel_route.plane_products(planes):
        ends = [(first, first + size) for which, first, size, _ in blocks if which == pair]
        assert [first for first, _ in ends] == [0] + [end for _, end in ends[:-1]]
        assert ends[-1][1] == features


def test_panels_cover_the_upper_triangle() -> None:
    for n in (0, 1, 255, 256, 257, 8192, 8193, 65537, 2_000_000):
        end = 0
        for first, rows in panel_route.panels(n):
            assert first == end
            end = first + rows
            assert rows % 256 == 0 or end == n
            assert rows * (n - first) <= panel_route.PANEL_ENTRIES or rows == 256
        assert end == n


def test_row_panels_of_a_row_that_is_not_finite(device: EmulatedDevice) -> None:
    x = random_rows((70, 20))
    x[69, 3] = np.inf
    degree = panel_route.panel_degree(torch.from_numpy(x), "abs", 3, EmulatedPanels(device))
    assert np.isnan(degree.numpy()).all()
    alone = torch.full((1, 3), float("nan"))
    assert panel_route.panel_degree(alone, "abs", 3, EmulatedPanels(device)).tolist() == [0.0]


def test_planes_add_up_to_the_unit_rows(device: EmulatedDevice) -> None:
    x = random_rows((40, 70))
    x[2] = 0
    norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    unit = x / np.where(norms > 0, norms, 1)
    for planes in (1, 2, 3):
        split, nonfinite = device.split_rows(x, planes)
        assert nonfinite == 0
        assert split.shape == (40, planes, 128)
        values = (split.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        np.testing.assert_allclose(
            values.sum(axis=1)[:, :70], unit, rtol=0, atol=float(2.0 ** (-8 * planes))
        )
        assert not values[:, :, 70:].any()
        # To nearest: the first plane is torch's bfloat16.
        expected = torch.from_numpy(unit).float().bfloat16().float().numpy()
        np.testing.assert_array_equal(values[:, 0, :70], expected)


@pytest.mark.parametrize("d", [4, 68, 2052])
def test_planes_are_the_same_wherever_and_however_large_the_rows_are(
    device: EmulatedDevice, d: int
) -> None:
    x = random_rows((3, d))
    split, _ = device.split_rows(x, 2)
    for shift in (4, 8, 16):
        np.testing.assert_array_equal(device.split_rows(x, 2, shift)[0], split)
    for scale in (2.0**-100, 2.0**100):
        scaled, nonfinite = device.split_rows(x * np.float32(scale), 2)
        assert nonfinite == 0
        np.testing.assert_array_equal(scaled, split)


def test_panels_that_would_be_summed_wrongly_are_refused(device: EmulatedDevice) -> None:
    sums = np.zeros(131, np.int64)
    for rows, stride, first, edge in (
        (65, 132, 0, "abs"),  # a tile would hold rows of this panel and of the next
        (64, 130, 0, "abs"),  # rows that do not start at 16 bytes
        (64, 64, 0, "abs"),  # rows that overlap
        (64, 132, 100, "abs"),  # more rows than are left
        (64, 132, 0, "signed"),
    ):
        panel = np.zeros((rows, stride), np.float32)
        status, unchanged = device.add_panel(panel, 130 - first, first, edge, sums)
        assert status == INVALID_VALUE
        assert not unchanged.any()


def test_row_panels_keep_every_bit(device: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(random_rows((600, 20)))
    results = []
    for seed, most_blocks, entries in ((0, MOST_BLOCKS, 2**26), (1, 3, 1), (2, 1, 1)):
        device.reset(seed, most_blocks)
        monkeypatch.setattr(panel_route, "PANEL_ENTRIES", entries)
        degree = panel_route.panel_degree(x, "abs", 3, ExactPanels(device))
        results.append(degree.numpy().tobytes())
    assert len(set(results)) == 1


class ExactPanels(EmulatedPanels):
    """Products rounded once: the panel's shape cannot change them, as it may BLAS's."""

    def multiply(
        self, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, accumulate: bool
    ) -> None:
        product = (a.double()[:, None, :] * b.double()).sum(-1).float()
        out.copy_(out + product if accumulate else product)


# -------------------------------------------------------------------------------------------------
# Around Hopper's matrix units: index arithmetic, and what becomes of the products


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_plane_pairs_are_those_of_the_panels(device: EmulatedDevice, planes: int) -> None:
    pairs = []
    right = ctypes.c_int()
    for index in range(planes * (planes + 1) // 2):
        left = device.library.emulated_plane_pair(planes, index, ctypes.byref(right))
        pairs.append((left, right.value))
    assert pairs == panel_route.plane_products(planes)


def test_fragments_cover_the_tile_as_documented(device: EmulatedDevice) -> None:
    entry = np.empty((128, 64, 2), int)
    for thread in range(128):
        for value in range(64):
            entry[thread, value] = (
                device.library.emulated_fragment_row(thread, value),
                device.library.emulated_fragment_column(thread, value),
            )
    flat = entry[..., 0] * 128 + entry[..., 1]
    np.testing.assert_array_equal(np.sort(flat.ravel()), np.arange(64 * 128))
    # The table of the PTX manual: d0 and d1 side by side, d2 and d3 eight rows below, d4 eight
    # columns on; a quad of lanes to eight columns, eight quads to eight rows, a warp to 16 rows.
    for thread, value, place in (
        (0, 0, (0, 0)),
        (0, 1, (0, 1)),
        (0, 2, (8, 0)),
        (0, 3, (8, 1)),
        (0, 4, (0, 8)),
        (0, 63, (8, 121)),
        (1, 0, (0, 2)),
        (3, 1, (0, 7)),
        (4, 0, (1, 0)),
        (31, 0, (7, 6)),
        (32, 0, (16, 0)),
        (127, 63, (63, 127)),
    ):
        assert tuple(entry[thread, value]) == place


def test_operands_are_read_where_the_copy_engine_put_them(device: EmulatedDevice) -> None:
    """The matrix unit adds rows and groups of 8 rows to the start, then swaps address bits."""
    base = 3 * 1024
    for first_row in (0, 64):  # of the two warpgroups
        for feature in (0, 16, 32, 48):  # of the four instructions of a stage
            start = base + first_row * 128 + feature * 2
            descriptor = device.library.emulated_operand_descriptor(start)
            assert descriptor >> 62 == 1  # swizzle of 128 bytes
            assert descriptor >> 49 & 0x1FFF == 0  # fixed and base-offset bits
            address = (descriptor & 0x3FFF) << 4
            group = (descriptor >> 32 & 0x3FFF) << 4
            for row in range(64):
                for byte in range(0, 32, 2):
                    logical = address + row // 8 * group + row % 8 * 128 + byte
                    physical = logical ^ (logical >> 7 & 7) << 4
                    offset = device.library.emulated_swizzled_offset(
                        first_row + row, feature * 2 + byte
                    )
                    assert physical == base + offset


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 63, 64, 65, 127, 128, 129, 300])
def test_degree_on_matrix_units(device: EmulatedDevice, n: int, planes: int) -> None:
    """The whole kernel, copies and products too; blocks for every tile and two for all."""
    x = random_rows((n, 70), seed=n)
    if n > 4:
        x[1] = 0
        x[3] = x[0]
    for edge in ("abs", "positive", "squared") if n < 200 else ("abs",):
        degrees = []
        for seed, most_blocks in ((0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, 2)):
            device.reset(seed, most_blocks)
            split, flag = device.split_rows(x, planes)
            degrees.append(device.sm90_degree(split, edge, flag))
        assert len({degree.tobytes() for degree in degrees}) == 1
        assert_plane_degree_close(degrees[0], x, edge, planes)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("processors", [1, 2, 4, 9])
def test_tiles_in_pieces(device: EmulatedDevice, processors: int, planes: int) -> None:
    """Whole tiles and cut ones, in waves of several widths; the last piece to end adds them up."""
    x = random_rows((270, 530), seed=processors)  # 3 wide tiles or 6 narrow ones of 9 stages
    degrees = []
    for seed, most_blocks in ((0, MOST_BLOCKS), (1, MOST_BLOCKS), (2, 3)):
        device.reset(seed, most_blocks)
        device.pretend(processors=processors)
        split, flag = device.split_rows(x, planes)
        degrees.append(device.sm90_degree(split, "abs", flag))
    assert len({degree.tobytes() for degree in degrees}) == 1
    assert_plane_degree_close(degrees[0], x, "abs", planes)


@pytest.mark.parametrize("launched", [1, 3, 66])
@pytest.mark.parametrize("clusters", [1, 4, 66])
@pytest.mark.parametrize(
    ("tiles", "stages", "products"),
    [
        *[(1, 1, 1), (1, 1, 6), (1, 100, 1), (10, 4, 1), (10, 2, 3), (66, 5, 1), (72, 1, 1)],
        *[(72, 7, 1), (72, 8, 1), (36, 288, 1), (72, 2, 6), (132, 3, 3), (272, 64, 6)],
    ],
)
def test_pieces_are_all_stages_once(
    device: EmulatedDevice, tiles: int, stages: int, products: int, clusters: int, launched: int
) -> None:
    words = np.zeros((4 * (tiles + clusters), 5), np.int64)
    count = device.library.emulated_pieces(
        tiles, stages, products, clusters, launched, words.ctypes.data, len(words)
    )
    assert count < len(words)
    pieces = words[:count]
    done = np.zeros((tiles, stages), int)
    load = np.zeros(max(launched, clusters), int)
    for cluster, tile, first, end, slot in pieces:
        assert 0 <= first < end <= stages
        assert (slot == -1) == (end - first == stages)
        done[tile, first:end] += 1
        load[cluster] += end - first
    assert (done == 1).all()
    slots = pieces[pieces[:, 4] >= 0, 4]
    assert len(set(slots)) == len(slots)
    assert (slots < 2 * clusters).all()
    if launched == clusters:  # as on the device: nobody does more than the mean
        least = -(-8 // products)
        if stages >= least:
            assert load.max() <= max(tiles * stages // clusters + 1, least)
        else:  # too short to be cut: nobody has a tile more than another
            assert (pieces[:, 4] == -1).all()
            assert load.max() == -(-tiles // clusters) * stages


@pytest.mark.parametrize("side", [1, 2, 7, 8, 9, 16, 17, 40, 61])
def test_banded_index_enumerates_the_upper_triangle(device: EmulatedDevice, side: int) -> None:
    row, column = ctypes.c_int64(), ctypes.c_int64()
    walked = []
    for index in range(side * (side + 1) // 2):
        device.library.emulated_banded_index(index, side, ctypes.byref(row), ctypes.byref(column))
        walked.append((row.value, column.value))
    assert sorted(walked) == [(i, j) for i in range(side) for j in range(i, side)]


@pytest.mark.parametrize("columns", [128, 256])
@pytest.mark.parametrize("side", [1, 2, 9])
def test_tiles_of_both_blocks_hold_every_pair_once(
    device: EmulatedDevice, side: int, columns: int
) -> None:
    """By 128 x 128 entries; what is left of the diagonal (a square's corner) is not summed."""
    column = ctypes.c_int()
    held = np.zeros((2 * side, 2 * side), int)
    for tile in range(side * (side + 1) // 2 * (256 // columns)):
        for rank in (0, 1):
            row = device.library.emulated_tile_origin(
                tile, side, columns, rank, ctypes.byref(column)
            )
            assert row % 128 == column.value % 128 == 0
            first = column.value // 128
            held[row // 128, first : first + columns // 128] += 1
    left = np.tril(held, -1)
    np.testing.assert_array_equal(held - left, np.triu(np.ones_like(held)))
    corners = np.zeros_like(held)
    corners[np.arange(1, 2 * side, 2), np.arange(0, 2 * side, 2)] = 1
    np.testing.assert_array_equal(left, corners)


def test_wide_tiles_are_for_one_plane_of_rows_that_are_not_too_long(
    device: EmulatedDevice,
) -> None:
    columns = device.library.emulated_tile_columns
    assert [columns(planes, 128) for planes in (1, 2, 3)] == [256, 128, 128]
    assert [columns(1, features) for features in (65_536, 65_600)] == [256, 128]


def test_banded_tiles_share_their_panels(device: EmulatedDevice) -> None:
    """Of 66 squares in a row, rows and columns are few; the last of a very large side is right."""
    row, column = ctypes.c_int64(), ctypes.c_int64()
    side = 512
    panels = set()
    for index in range(30_000, 30_066):
        device.library.emulated_banded_index(index, side, ctypes.byref(row), ctypes.byref(column))
        panels |= {("row", row.value), ("column", column.value)}
    assert len(panels) <= 18
    side = 2**24
    device.library.emulated_banded_index(
        side * (side + 1) // 2 - 1, side, ctypes.byref(row), ctypes.byref(column)
    )
    assert (row.value, column.value) == (side - 1, side - 1)


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize(("rows", "edge"), [("either sign", "abs"), ("one sign", "squared")])
def test_matrix_units_of_long_rows(
    device: EmulatedDevice, rows: str, edge: str, planes: int
) -> None:
    """More stages than the ring holds, and than are added up inside the unit, which truncates.

    One processor: a tile that is cut is added up more often than one that is not.
    """
    x = LONG_ROWS[rows]
    device.pretend(processors=1)
    split, flag = device.split_rows(x, planes)
    assert split.shape[2] // 64 > 64
    assert_plane_degree_close(device.sm90_degree(split, edge, flag), x, edge, planes)


def test_matrix_units_of_one_plane_of_very_long_rows(device: EmulatedDevice) -> None:
    """Too many features for the matrix unit to add up: in narrow tiles."""
    x = random_rows((3, 65_600))
    x[2] = x[0] + x[1]
    split, flag = device.split_rows(x, 1)
    assert_plane_degree_close(device.sm90_degree(split, "abs", flag), x, "abs", 1)


def test_matrix_units_of_a_row_that_is_not_finite(device: EmulatedDevice) -> None:
    x = random_rows((130, 9))
    x[129, 8] = np.inf
    split, flag = device.split_rows(x, 2)
    assert np.isnan(device.sm90_degree(split, "abs", flag)).all()


def test_matrix_units_refuse_what_they_cannot_do(device: EmulatedDevice) -> None:
    split, _ = device.split_rows(random_rows((4, 64)), 1)
    planes, sums = device.upload(split), device.upload(np.zeros(5, np.int64))

    def status(count: int = 1, n: int = 4, pitch: int = 64, edge: str = "abs") -> int:
        code = EDGES.index(edge)
        return int(
            device.library.emulated_sm90_degree(
                planes, count, n, pitch, code, sums + 32, sums, None, 0
            )
        )

    before = device.library.emulator_kernels()
    assert status(edge="signed") == status(edge="shifted") == INVALID_VALUE
    assert status(count=0) == status(count=4) == status(pitch=70) == INVALID_VALUE
    assert status(n=2**31 - 1) == INVALID_VALUE
    assert status(n=0) == status(n=1) == status(pitch=0) == OK
    device.pretend(capability=80)
    assert status() == INVALID_VALUE
    assert device.library.emulator_kernels() == before
