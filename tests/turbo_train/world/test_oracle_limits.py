"""How does the oracle read objects at its limits: cut by the frame, slow, unnamed, doubled, no clip at all?"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from turbo_train.world.oracle import read
from turbo_train.world.render import render
from turbo_train.world.scene import DIRECTION, LEAD, SHAPES, Scene, Thing

Clip = NDArray[np.uint8]


def bytes_of(frames: NDArray[np.floating]) -> Clip:
    return np.clip(np.round(frames * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
def test_object_half_out_of_the_frame_keeps_its_shape_and_path(shape: str, motion: str) -> None:
    thing = Thing(shape, "blue", motion, 16.0, 16.0, 7.0, 16.0)
    reading = read(bytes_of(render([Scene("white", (thing,))]).frames_BTHWC[0]))
    assert (reading.shape, reading.colour, reading.motion) == (shape, "blue", motion)
    seen = reading.things[0]
    assert np.hypot(*seen.shift_px) == pytest.approx(16.0, abs=1.5)
    assert seen.radius_px == pytest.approx(7.0, abs=0.3)
    half_way = np.array([16.0, 16.0]) + (0.5 - LEAD) * 16.0 * np.array(DIRECTION[motion])
    assert seen.centre_px == pytest.approx(tuple(half_way), abs=0.5)


@pytest.mark.parametrize(("travel", "motion"), [(0.0, "still"), (3.0, "still"), (5.0, "right"), (12.0, "right")])
def test_four_pixels_part_still_from_moving(travel: float, motion: str) -> None:
    thing = Thing("square", "green", "right", 16.0, 16.0, 7.0, travel)
    reading = read(bytes_of(render([Scene("black", (thing,))]).frames_BTHWC[0]))
    assert reading.motion == motion
    assert reading.things[0].shift_px[0] == pytest.approx(travel, abs=0.5)


def test_object_of_no_palette_colour_keeps_its_shape_and_loses_its_colour() -> None:
    thing = Thing("circle", "red", "left", 16.0, 16.0, 8.0, 12.0)
    cover = render([Scene("black", (thing,))]).mask_BOTHW[0, 0, ..., None]
    reading = read(bytes_of(np.broadcast_to(0.05 + 0.9 * cover, (8, 32, 32, 3))))
    assert (reading.shape, reading.motion, reading.count, reading.background) == ("circle", "left", 1, "black")
    assert (reading.colour, reading.confidence["colour"]) == (None, 0.0)


def test_two_objects_of_one_colour_are_counted() -> None:
    things = (Thing("circle", "red", "still", 8, 16, 5, 0), Thing("square", "red", "still", 24, 16, 5, 0))
    reading = read(bytes_of(render([Scene("white", things)]).frames_BTHWC[0]))
    assert (reading.count, reading.colour) == (2, "red")


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((8, 32, 32), np.uint8),
        np.zeros((8, 32, 32, 4), np.uint8),
        np.zeros((8, 4, 32, 3), np.uint8),
        np.zeros((8, 32, 32, 3), np.float32),
    ],
)
def test_what_is_not_a_clip_is_refused(clip: Clip) -> None:
    with pytest.raises(ValueError, match="a clip is uint8"):
        read(clip)
