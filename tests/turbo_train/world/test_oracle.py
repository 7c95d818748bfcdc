"""Does the oracle see what was rendered, and does it know when there is nothing to see?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from turbo_train.world.captions import Said, truth
from turbo_train.world.oracle import ATTRIBUTES, read
from turbo_train.world.oracle_agree import agree
from turbo_train.world.render import render
from turbo_train.world.scene import (
    BACKGROUNDS,
    RELATIONS,
    RGB,
    Scene,
    sample_pair,
    sample_single,
    triples,
)

Clip = NDArray[np.uint8]
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up", "still": "still"}
TRANSPOSED = {"left": "up", "up": "left", "right": "down", "down": "right", "still": "still"}


def bytes_of(frames: NDArray[np.floating]) -> Clip:
    return np.clip(np.round(frames * 255), 0, 255).astype(np.uint8)


@cache
def singles() -> tuple[list[Scene], NDArray[np.float32]]:
    """360 clips: every triple of the world four times, with random backgrounds."""
    rng = np.random.default_rng(2024)
    scenes = [sample_single(rng, triple, BACKGROUNDS[rng.integers(3)]) for triple in triples() * 4]
    return scenes, render(scenes).frames_BTHWC


@cache
def pairs() -> tuple[list[Scene], NDArray[np.float32]]:
    rng = np.random.default_rng(2025)
    scenes = [sample_pair(rng, RELATIONS[i % 2], BACKGROUNDS[i % 3]) for i in range(300)]
    return scenes, render(scenes).frames_BTHWC


def clean(frames: NDArray[np.floating]) -> Clip:
    return bytes_of(frames)


def noised(frames: NDArray[np.floating]) -> Clip:
    return bytes_of(frames + np.random.default_rng(5).normal(0, 0.05, frames.shape))


def blurred(frames: NDArray[np.float32]) -> Clip:
    flat = frames.reshape(-1, *frames.shape[2:])
    return bytes_of(np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in flat]).reshape(frames.shape))


def tinted(frames: NDArray[np.float32]) -> Clip:
    """Weak contrast and a colour cast, as of a decoder that is slightly off."""
    return bytes_of(0.06 + 0.85 * frames + np.array([0.04, -0.03, 0.02]))


def accuracy(scenes: list[Scene], clips: Clip) -> dict[str, float]:
    results = [agree(read(clip), truth(scene)) for scene, clip in zip(scenes, clips, strict=True)]
    return {name: float(np.mean([r[name] is True for r in results])) for name in results[0]}


def confidence(clips: Clip) -> dict[str, float]:
    """Mean confidence of each attribute."""
    all_of_them = [read(clip).confidence for clip in clips]
    return {name: float(np.mean([c[name] for c in all_of_them])) for name in ATTRIBUTES}


@pytest.mark.parametrize("damage", [clean, noised, blurred, tinted])
def test_one_object_is_read_at_99_percent(damage: Callable[[NDArray[np.float32]], Clip]) -> None:
    scenes, frames = singles()
    result = accuracy(scenes, damage(frames))
    assert set(result) == {"shape", "colour", "motion", "background", "count"}
    assert min(result.values()) >= 0.99, result


@pytest.mark.parametrize("damage", [clean, noised, blurred, tinted])
def test_two_objects_are_read_at_99_percent_and_their_shapes_at_97(
    damage: Callable[[NDArray[np.float32]], Clip],
) -> None:
    scenes, frames = pairs()
    result = accuracy(scenes, damage(frames))
    assert set(result) == {"shape", "colour", "relation", "background", "count"}
    assert result.pop("shape") >= 0.97
    assert min(result.values()) >= 0.99, result


def test_damage_lowers_confidence_and_clean_clips_are_sure() -> None:
    frames = singles()[1][:30]
    sure, noisy, soft = (confidence(damage(frames)) for damage in (clean, noised, blurred))
    for name in ("shape", "colour", "motion", "background", "count"):
        assert noisy[name] < 0.95 < sure[name]
    assert soft["shape"] <= sure["shape"]


def test_confidence_is_0_exactly_where_nothing_was_read() -> None:
    rng = np.random.default_rng(1)
    odd = [rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), bytes_of(rng.normal(0.5, 0.1, (8, 32, 32, 3)))]
    for clip in [*odd, *noised(singles()[1][:20]), *noised(pairs()[1][:20]), np.zeros((1, 32, 32, 3), np.uint8)]:
        reading = read(clip)
        assert set(reading.confidence) == set(ATTRIBUTES)
        for name in ATTRIBUTES:
            assert 0 <= reading.confidence[name] <= 1
            assert (reading.confidence[name] == 0) == (reading.value(name) is None)


def test_reading_is_deterministic() -> None:
    clip = noised(pairs()[1][:1])[0]
    assert read(clip) == read(clip.copy())


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_empty_clip_has_a_background_and_nothing_on_it(background: str) -> None:
    empty = np.broadcast_to(np.array(RGB[background], np.uint8), (8, 32, 32, 3)) / np.float32(255)
    for clip in (clean(empty), noised(empty)):
        reading = read(clip)
        assert (reading.background, reading.count, reading.things) == (background, 0, ())
        assert reading.shape is reading.colour is reading.motion is reading.relation is None
        assert agree(reading, Said((("circle", "red"),), None, background, None)) == {
            "count": False,
            "colour": False,
            "shape": False,
            "background": True,
        }


def test_flat_clip_of_no_background_colour_is_not_named() -> None:
    reading = read(np.broadcast_to(np.array(RGB["red"], np.uint8), (8, 32, 32, 3)))
    assert (reading.background, reading.colour, reading.count) == (None, None, 0)


@pytest.mark.parametrize("still", [True, False])
def test_noise_alone_reads_as_nothing(still: bool) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    reading = read(np.repeat(noise[:1], 8, axis=0) if still else noise)
    assert all(reading.value(name) is None for name in ATTRIBUTES)
    assert set(agree(reading, Said((("circle", "red"),), "left", "gray", None)).values()) == {None}


def mixes() -> tuple[list[Clip], list[Clip]]:
    """Pairs of clips that differ in shape, colour, motion and background."""
    scenes, frames = singles()
    clips = clean(frames)
    order = [(i, (7 * i + 97) % len(scenes)) for i in range(0, 300, 3)]

    def differ(a: Scene, b: Scene) -> bool:
        return a.background != b.background and all(
            getattr(a.things[0], name) != getattr(b.things[0], name) for name in ("shape", "colour", "motion")
        )

    chosen = [(i, j) for i, j in order if differ(scenes[i], scenes[j])]
    assert len(chosen) > 20
    return [clips[i] for i, _ in chosen], [clips[j] for _, j in chosen]


def test_half_of_one_clip_and_half_of_another_is_half_sure_at_most() -> None:
    for a, b in zip(*mixes(), strict=True):
        reading = read(np.concatenate([a[:4], b[4:]]))
        for name in ("shape", "colour", "motion", "background"):
            assert reading.confidence[name] <= 0.55


def test_mostly_one_clip_reads_as_that_clip_but_less_surely() -> None:
    scenes = [s for s in singles()[0] if s.background == "gray"]
    frames = clean(render(scenes).frames_BTHWC)
    hits = []
    for i in range(40):
        thing, other = scenes[i].things[0], scenes[i + 41].things[0]
        if thing.colour == other.colour:
            continue
        reading = read(np.concatenate([frames[i][:6], frames[i + 41][6:]]))
        hits.append((reading.shape, reading.colour) == (thing.shape, thing.colour))
        assert reading.confidence["colour"] < 0.8
    assert np.mean(hits) >= 0.95


def test_cross_fade_is_less_sure_than_either_clip() -> None:
    weight = np.linspace(0, 1, 8, dtype=np.float32)[:, None, None, None]
    one, other = mixes()
    faded = np.stack([(a * (1 - weight) + b * weight).astype(np.uint8) for a, b in zip(one, other, strict=True)])
    mixed, whole = confidence(faded), confidence(np.stack(one))
    for name in ("shape", "colour", "motion", "background"):
        assert mixed[name] < 0.6 < 0.95 < whole[name]


def test_one_frame_has_everything_but_motion() -> None:
    scenes, frames = singles()
    clips = clean(frames[:, :1])
    for scene, clip in zip(scenes[:45], clips, strict=False):
        reading, thing = read(clip), scene.things[0]
        assert (reading.shape, reading.colour, reading.background) == (thing.shape, thing.colour, scene.background)
        assert reading.count == 1
        assert reading.motion is None
        assert reading.confidence["motion"] == 0
        assert agree(reading, truth(scene))["motion"] is None


def test_reversed_clip_moves_the_other_way() -> None:
    scenes, frames = singles()
    for scene, clip in zip(scenes[:45], clean(frames), strict=False):
        reading, back = read(clip), read(clip[::-1])
        assert back.motion == OPPOSITE[scene.things[0].motion]
        assert (back.shape, back.colour, back.background) == (reading.shape, reading.colour, reading.background)


def test_mirrored_clip_swaps_left_and_right_only() -> None:
    scenes, frames = singles()
    for scene, clip in zip(scenes[:45], clean(frames), strict=False):
        thing, reading = scene.things[0], read(clip[:, :, ::-1])
        sideways = thing.motion in ("left", "right")
        assert reading.motion == (OPPOSITE[thing.motion] if sideways else thing.motion)
        assert (reading.shape, reading.colour) == (thing.shape, thing.colour)


def test_transposed_clip_swaps_the_axes() -> None:
    scenes, frames = singles()
    for scene, clip in zip(scenes[:45], clean(frames), strict=False):
        thing, reading = scene.things[0], read(clip.transpose(0, 2, 1, 3))
        assert reading.motion == TRANSPOSED[thing.motion]
        assert reading.colour == thing.colour
        assert thing.shape == "triangle" or reading.shape == thing.shape


def test_red_and_blue_channels_swapped_swap_red_and_blue() -> None:
    scenes, frames = singles()
    for scene, clip in zip(scenes, clean(frames), strict=True):
        if scene.things[0].colour in ("red", "blue"):
            assert {read(clip[..., ::-1]).colour, scene.things[0].colour} == {"red", "blue"}


def test_pairs_mirrored_and_transposed_keep_the_relation_laws() -> None:
    scenes, frames = pairs()
    for scene, clip in zip(scenes[:60], clean(frames), strict=False):
        colours = [thing.colour for thing in scene.things]
        mirrored, transposed = read(clip[:, :, ::-1]), read(clip.transpose(0, 2, 1, 3))
        assert mirrored.relation == scene.relation
        order = colours[::-1] if scene.relation == "left" else colours
        assert [thing.colour for thing in mirrored.things] == order
        assert transposed.relation == {"left": "above", "above": "left"}[str(scene.relation)]
        assert [thing.colour for thing in transposed.things] == colours


@pytest.mark.parametrize("factor", [0.5, 2, 4])
def test_other_sizes_read_alike(factor: float) -> None:
    scenes, frames = singles()
    size = int(32 * factor)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    for scene, clip in zip(scenes[:45], clean(frames), strict=False):
        scaled = np.stack([cv2.resize(frame, (size, size), interpolation=way) for frame in clip])
        reading, thing = read(scaled), scene.things[0]
        assert (reading.colour, reading.motion, reading.count) == (thing.colour, thing.motion, 1)
        assert factor < 1 or reading.shape == thing.shape


def test_wide_frames_read_alike() -> None:
    scenes, frames = singles()
    for scene, clip in zip(scenes[:45], clean(frames), strict=False):
        ground = np.broadcast_to(np.array(RGB[scene.background], np.uint8), (8, 32, 16, 3))
        assert agree(read(np.concatenate([clip, ground], axis=2)), truth(scene))["colour"] is True
