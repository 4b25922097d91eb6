# SPDX-License-Identifier: MIT
"""Rendered acoustic scenes: what they are made of, what is held out, the cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hubprune.datasets import (
    HELD_OUT,
    RENDERED_SCENES,
    Note,
    render_scene,
    rendered_scenes,
)
from hubprune.datasets import scenes as module
from hubprune.models import Dcase21Baseline

pytest.importorskip("librosa", reason="needs librosa, of hubprune[study]")


def scores(split: str, unseen: float = 0.5) -> Iterator[tuple[str, list[Note]]]:
    for scene in RENDERED_SCENES:
        for number in range(40):
            draw = np.random.default_rng((number, len(scene)))
            yield scene, module._score(scene, split, unseen, draw)


def sound(note: Note) -> tuple[str, int, int]:
    return note.font, note.bank, note.program


def test_no_split_shares_a_key_of_a_sound() -> None:
    heard = {
        split: {(sound(note), note.key) for _, notes in scores(split) for note in notes}
        for split in module.SPLITS
    }
    assert not heard["train"] & heard["valid"]
    assert not heard["train"] & heard["test"]
    assert not heard["valid"] & heard["test"]
    assert {key for _, key in heard["test"]} == {64, 65, 66, 67}
    assert {key for _, key in heard["valid"]} == {52, 53, 54, 55}
    assert all(heard.values())


def test_held_out_events() -> None:
    """No training clip plays what is held out; the test does, as often as asked to."""
    training = {sound(note) for _, notes in scores("train") for note in notes}
    held_out = [s for scene in module._RECIPES.values() for s in scene.held_out]
    held_out += module._DISTRACTORS.held_out
    for one in held_out:
        assert (one.font, one.bank, one.program) not in training
    share = {}
    for unseen in (0.0, 0.5, 1.0):
        events = [sound(n) for _, notes in scores("test", unseen) for n in notes if n.channel > 0]
        of_it = [one in {(s.font, s.bank, s.program) for s in held_out} for one in events]
        share[unseen] = np.mean(of_it)
    assert share[0.0] == 0.0
    assert 0.7 < share[1.0] < 0.9  # two scenes of ten have nothing to hold out
    assert 0.4 * share[1.0] < share[0.5] < 0.6 * share[1.0]
    distractors = {(s.font, s.bank, s.program) for s in module._DISTRACTORS.held_out}
    for scene, notes in scores("test", 1.0):
        own = module._RECIPES[scene].held_out or module._RECIPES[scene].events
        allowed = {(s.font, s.bank, s.program) for s in own} | distractors
        assert all(sound(note) in allowed for note in notes if note.channel > 0)


def test_held_out_is_stated_for_every_scene() -> None:
    stated = [name for names in HELD_OUT for name in names.split(", ")]
    assert [name for name in stated if name in RENDERED_SCENES] == sorted(
        RENDERED_SCENES, key=lambda scene: stated.index(scene)
    )
    for scene, recipe in module._RECIPES.items():
        (text,) = [text for names, text in HELD_OUT.items() if scene in names.split(", ")]
        assert ("no event" in text) == (not recipe.held_out)


def test_device_responses_are_disjoint() -> None:
    intervals = sorted(
        (low, high, split)
        for split, all_of in module._UPPER_CORNERS.items()
        for low, high in all_of
    )
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(intervals))
    assert {split for _, _, split in intervals} == set(module.SPLITS)


def test_score_fills_the_clip() -> None:
    for _, notes in scores("train"):
        background = [note for note in notes if note.channel == 0]
        assert background[0].start == 0
        assert all(note.end <= 441_000 for note in notes)
        channels = [note.channel for note in notes if note.channel > 0]
        assert channels == list(range(1, len(channels) + 1))
        assert 1 <= len(channels) <= 7


def test_recording_is_band_limited() -> None:
    """Above the device's upper corner little is left of white sound."""
    for split, highest in (("valid", 7500.0), ("test", 12_000.0)):
        for seed in range(3):
            draw = np.random.default_rng(seed)
            white = draw.standard_normal(88_200).astype("f4")
            heard = module._recorded(white, split, draw)
            assert heard.dtype == np.float32
            assert 0.1 <= np.abs(heard).max() <= 0.9
            power = np.abs(np.fft.rfft(heard)) ** 2
            hertz = np.fft.rfftfreq(len(heard), 1 / 44_100)
            below = power[(hertz > 1000) & (hertz < highest / 2)].mean()
            assert power[hertz > 1.6 * highest].mean() < 0.25 * below


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"scene must be one of seashore, .*; got 'moon'"):
        render_scene("moon")
    with pytest.raises(ValueError, match="split must be one of train, valid, test; got 'x'"):
        render_scene("farm", "x")
    with pytest.raises(ValueError, match="number must be at least 0; got -1"):
        render_scene("farm", number=-1)
    with pytest.raises(ValueError, match="valid must be at least 1; got 0"):
        rendered_scenes(1, 0, 1)
    with pytest.raises(TypeError, match="workers must be an int; got float"):
        rendered_scenes(1, 1, 1, workers=1.0)  # type: ignore[arg-type]
    for call in (lambda: render_scene("farm", unseen=1.5), lambda: rendered_scenes(unseen=1.5)):
        with pytest.raises(ValueError, match=r"unseen must be 0 to 1; got 1\.5"):
            call()
    with pytest.raises(ValueError, match="seed must be at least 0; got -1"):
        rendered_scenes(1, 1, 1, seed=-1)


@pytest.mark.usefixtures("scene_fonts")
def test_a_clip() -> None:
    first = render_scene("storm", "test", 1, seed=3)
    assert first.shape == (441_000,)
    assert first.dtype == torch.float32
    assert 0.1 <= first.abs().max() <= 0.9
    assert torch.equal(render_scene("storm", "test", 1, seed=3), first)
    assert not torch.equal(render_scene("storm", "test", 2, seed=3), first)
    assert not torch.equal(render_scene("storm", "valid", 1, seed=3), first)


@pytest.mark.usefixtures("scene_fonts")
def test_sets_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENDERED_SCENES", RENDERED_SCENES[:2])  # two scenes will do
    sets = rendered_scenes(1, 1, 1, cache=tmp_path, workers=2)
    assert sets.train.inputs.shape == (2, 1, 40, 500)
    assert sets.train.labels.tolist() == [0, 1]
    assert (len(sets.train), len(sets.valid), len(sets.test)) == (2, 2, 2)
    x, target = sets.test[1]
    assert target == 1
    assert torch.equal(x, sets.test.inputs[1])
    values = sets.train.inputs.double().movedim(2, 0).flatten(1)
    torch.testing.assert_close(values.mean(1), torch.zeros(40).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(1), torch.ones(40).double(), atol=1e-5, rtol=0)
    assert Dcase21Baseline()(sets.valid.inputs).shape == (2, 10)

    # The features of a clip do not depend on the threads.
    raw = module._render("train", 1, 0, 0.5, 1)
    again = sets.standardisation(torch.from_numpy(raw))
    torch.testing.assert_close(again, sets.train.inputs, atol=1e-4, rtol=1e-4)

    files = sorted(tmp_path.iterdir())
    assert len(files) == 3

    def no_rendering(*arguments: object) -> None:
        raise RuntimeError(f"rendered {arguments}")

    monkeypatch.setattr(module, "_render", no_rendering)
    cached = rendered_scenes(1, 1, 1, cache=tmp_path)
    assert torch.equal(cached.train.inputs, sets.train.inputs)
    with pytest.raises(RuntimeError, match="rendered"):
        rendered_scenes(1, 1, 1, cache=tmp_path, seed=1)
    monkeypatch.setattr(module, "_VERSION", -1)
    with pytest.raises(RuntimeError, match="rendered"):
        rendered_scenes(1, 1, 1, cache=tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(module, "RENDERED_SCENES", RENDERED_SCENES[:2])
    content = files[0].read_bytes()
    for damaged in (b"", content[: len(content) // 2]):
        files[0].write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is not a file of rendered scenes.*delete it"):
            rendered_scenes(1, 1, 1, cache=tmp_path)
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(ValueError, match="holds other scenes; delete it"):
        rendered_scenes(1, 1, 1, cache=tmp_path)
