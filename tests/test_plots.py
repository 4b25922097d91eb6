# SPDX-License-Identifier: MIT
"""The accuracy plot, and files that are replaced whole."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubprune.file_writing import replaced_file
from hubprune.plots import AccuracyPoint, ComparisonPoint, accuracy_plot, comparison_plot

ROWS = [
    AccuracyPoint("degree", 0.9, 0.9, 0.9, 0.01, 0.8, 0.85),
    AccuracyPoint("degree", 0.5, 0.5, 0.5, 0.02, 0.4, 0.45),
    AccuracyPoint("pairs", 0.7, 0.7, 0.7, 0.03, 0.6, 0.65),
    AccuracyPoint("random", 0.8, 0.7, 0.9, 0.01, 0.8, 0.85),
    AccuracyPoint("random", 0.4, 0.1, 0.6, 0.02, 0.4, 0.45),
    AccuracyPoint("a scorer of one's own", 0.2, 0.2, 0.2, 0.04, 0.4, 0.45),
]


def png_size(path: Path) -> tuple[int, int]:
    """Width and height from the PNG header, by the PNG specification."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[12:16] == b"IHDR"
    assert data[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[3:4]], ids=["all", "one", "one band"])
def test_the_plot_is_a_png_of_sane_size(tmp_path: Path, rows: list[AccuracyPoint]) -> None:
    path = accuracy_plot(rows, tmp_path / "plot.png", baseline=0.97, title="a title")
    assert path == tmp_path / "plot.png"
    width, height = png_size(path)
    assert 1000 <= width <= 2000
    assert 400 <= height <= 1200
    assert path.stat().st_size > 10_000
    assert os.listdir(tmp_path) == ["plot.png"]


def test_the_plot_shows_the_numbers(tmp_path: Path, saved_figures: list[Any]) -> None:
    from matplotlib.collections import LineCollection

    accuracy_plot(ROWS, tmp_path / "plot.png", baseline=0.97)
    (figure,) = saved_figures
    parameters, macs = figure.axes
    for axes, first in ((parameters, 40.0), (macs, 45.0)):
        lines = {
            line.get_label(): line
            for line in axes.get_lines()
            if not str(line.get_label()).startswith("_")  # the caps of the error bars
        }
        names = ["degree", "pairs", "random (mean, range)", "a scorer of one's own", "unpruned"]
        assert list(lines) == names
        assert list(lines["degree"].get_xdata()) == [first, first + 40.0]  # ascending
        assert list(lines["degree"].get_ydata()) == [50.0, 90.0]
        assert list(lines["unpruned"].get_ydata()) == [97.0, 97.0]
        (band,) = (each for each in axes.collections if not isinstance(each, LineCollection))
        assert band.get_datalim(axes.transData).intervaly.tolist() == pytest.approx([10.0, 90.0])
        bars = [each for each in axes.collections if isinstance(each, LineCollection)]
        ends = [[segment[:, 1].tolist() for segment in each.get_segments()] for each in bars]
        # In the order of the lines, ascending in size: one standard error on either side.
        expected = [[[48.0, 52.0], [89.0, 91.0]], [[67.0, 73.0]], [[38.0, 42.0], [79.0, 81.0]]]
        assert [pytest.approx(np.array(each)) for each in expected] == [*map(np.array, ends[:3])]
        assert np.array(ends[3]) == pytest.approx(np.array([[16.0, 24.0]]))
        shown = [lines[name] for name in names[:3]]
        assert len({line.get_color() for line in shown}) == 3
        assert len({line.get_marker() for line in shown}) == 3


def test_names_are_shown_as_they_are(tmp_path: Path, saved_figures: list[Any]) -> None:
    strange = "$\\bad_$"  # as mathematics an error
    points = [ComparisonPoint(name, "", 0.5, 0.1, 0.5, 0.4) for name in ("_mine", strange)]
    baselines = {"$a$": (0.6, 0.1)}
    path = tmp_path / "plot.png"
    comparison_plot(points, path, label=strange, baselines=baselines, title=strange)
    (figure,) = saved_figures
    texts = figure.legends[0].get_texts()
    assert [text.get_text().strip() for text in texts] == ["$a$", "_mine", strange]
    title, label = figure._suptitle, figure.axes[0].yaxis.label
    assert title.get_text() == label.get_text() == strange
    assert not any(text.get_parse_math() for text in (*texts, title, label))


def test_many_lines_make_the_picture_taller(tmp_path: Path, saved_figures: list[Any]) -> None:
    for count in (3, 33, 80):
        names = [f"scorer {number} with a longer name" for number in range(count)]
        points = [ComparisonPoint(name, "", 0.5, 0.1, 0.5, 0.4) for name in names]
        comparison_plot(points, tmp_path / "plot.png", label="accuracy", baselines={})
    few, many, most = saved_figures
    assert few.get_figheight() == pytest.approx(5.4)
    heights = [
        figure.axes[0].get_position().height * figure.get_figheight() for figure in saved_figures
    ]
    assert min(heights) > 0.85 * heights[0]
    assert most.get_figheight() > many.get_figheight() > few.get_figheight()


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows must hold at least one point; got none"):
        accuracy_plot([], tmp_path / "plot.png", baseline=0.5)


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "hubprune\[demo\]"'):
        accuracy_plot(ROWS, tmp_path / "plot.png", baseline=0.5)
    assert not (tmp_path / "plot.png").exists()


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def interrupted() -> None:
        with replaced_file(target) as file:
            file.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]
    with replaced_file(target) as file:
        file.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    for text in ("one", "two"):
        with replaced_file(tmp_path / "link") as file:
            file.write_text(text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "far" / "file").read_text() == text
    assert os.listdir(tmp_path / "far") == ["file"]


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replaced_file(tmp_path / "file.txt") as file:
            file.write_text("new")
    finally:
        os.umask(before)
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o640
