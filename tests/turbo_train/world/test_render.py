"""Do pixels and ground truth obey the laws of the renderer?"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from turbo_train.world.render import Rendered, distance, render
from turbo_train.world.scene import (
    DIRECTION,
    FRAMES,
    LEAD,
    MOTIONS,
    RGB,
    SHAPES,
    SIZE_PX,
    Scene,
    Thing,
    sample_scene,
)

MIDDLE = SIZE_PX / 2


def one(
    shape: str = "circle", motion: str = "still", radius: float = 7.0, travel: float = 0.0, x: float = MIDDLE
) -> Scene:
    return Scene("gray", (Thing(shape, "red", motion, x, MIDDLE, radius, travel),))


@pytest.fixture(scope="module")
def many() -> tuple[list[Scene], Rendered]:
    rng = np.random.default_rng(7)
    scenes = [sample_scene(rng, pair_share=0.4) for _ in range(120)]
    return scenes, render(scenes)


def test_shapes_types_and_ranges(many: tuple[list[Scene], Rendered]) -> None:
    scenes, out = many
    batch = len(scenes)
    assert out.frames_BTHWC.shape == (batch, FRAMES, SIZE_PX, SIZE_PX, 3)
    assert out.mask_BOTHW.shape == (batch, 2, FRAMES, SIZE_PX, SIZE_PX)
    assert out.box_BOT4.shape == (batch, 2, FRAMES, 4)
    assert out.centre_BOT2.shape == (batch, 2, FRAMES, 2)
    assert out.flow_BTHW2.shape == (batch, FRAMES - 1, SIZE_PX, SIZE_PX, 2)
    assert out.frames_BTHWC.dtype == np.float32
    assert out.frames_BTHWC.min() >= 0
    assert out.frames_BTHWC.max() <= 1


def test_masks_part_the_frame(many: tuple[list[Scene], Rendered]) -> None:
    _, out = many
    assert out.mask_BOTHW.min() >= 0
    assert out.mask_BOTHW.sum(1).max() <= 1 + 1e-6


def test_frames_are_masks_times_colours(many: tuple[list[Scene], Rendered]) -> None:
    scenes, out = many
    for b, scene in enumerate(scenes):
        cover = out.mask_BOTHW[b, : scene.count]
        colours = np.array([RGB[t.colour] for t in scene.things], np.float32) / 255
        ground = np.array(RGB[scene.background], np.float32) / 255
        mixed = np.einsum("othw,oc->thwc", cover, colours) + (1 - cover.sum(0))[..., None] * ground
        assert np.allclose(out.frames_BTHWC[b], mixed, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [5.0, 7.0, 8.0])
def test_area_is_pi_r_squared_whatever_the_shape(shape: str, radius: float) -> None:
    out = render([one(shape, radius=radius)])
    assert out.mask_BOTHW.sum((3, 4)) == pytest.approx(np.full((1, 1, FRAMES), np.pi * radius**2), rel=0.015)


def test_distance_names_the_shapes_when_asked_for_another() -> None:
    zero = np.zeros(1, np.float32)
    with pytest.raises(ValueError, match=r"unknown shape 'star'; shapes are circle, square, triangle"):
        distance("star", zero, zero, zero)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("motion", [m for m in MOTIONS if m != "still"])
def test_flow_carries_each_mask_to_the_next(shape: str, motion: str) -> None:
    out = render([one(shape, motion, radius=4.0, travel=12.0)])
    mask, flow = out.mask_BOTHW[0, 0], out.flow_BTHW2[0]
    expected = np.multiply(DIRECTION[motion], 12.0 / (FRAMES - 1))
    for t in range(FRAMES - 1):
        step = flow[t][mask[t] > 0.5]
        assert np.allclose(step, expected, atol=1e-5)
        assert not flow[t][mask[t] == 0].any()
        move = np.array([[1, 0, step[0, 0]], [0, 1, step[0, 1]]], np.float64)
        moved = cv2.warpAffine(mask[t], move, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR)
        assert np.abs(moved - mask[t + 1]).sum() < 0.12 * mask[t].sum()
        assert np.abs(moved - mask[t + 1]).sum() < np.abs(mask[t] - mask[t + 1]).sum()


def test_still_scene_has_no_flow_and_equal_frames(many: tuple[list[Scene], Rendered]) -> None:
    scenes, out = many
    still = [b for b, s in enumerate(scenes) if all(t.motion == "still" for t in s.things)]
    assert still
    assert not out.flow_BTHW2[still].any()
    assert (out.frames_BTHWC[still] == out.frames_BTHWC[still][:, :1]).all()


def test_boxes_hold_the_masks_tightly(many: tuple[list[Scene], Rendered]) -> None:
    scenes, out = many
    for b, scene in enumerate(scenes):
        for o in range(scene.count):
            for on, box in zip(out.mask_BOTHW[b, o] > 0.5, out.box_BOT4[b, o], strict=True):
                x0, y0, x1, y1 = box.astype(int)
                assert on[y0:y1, x0:x1].sum() == on.sum()
                assert on[y0, x0:x1].any()
                assert on[y1 - 1, x0:x1].any()
                assert on[y0:y1, x0].any()
                assert on[y0:y1, x1 - 1].any()


def test_box_of_an_invisible_object_is_not_a_number() -> None:
    out = render([one(x=-40.0)])
    assert np.isnan(out.box_BOT4).all()
    assert not out.mask_BOTHW.any()


def test_later_things_lie_on_top() -> None:
    below = Thing("square", "red", "still", MIDDLE, MIDDLE, 9.0, 0.0)
    above = Thing("circle", "blue", "still", MIDDLE, MIDDLE, 4.0, 0.0)
    out = render([Scene("white", (below, above))])
    assert np.allclose(out.frames_BTHWC[0, 0, 16, 16], np.array(RGB["blue"]) / 255)
    assert out.mask_BOTHW[0, 0, 0, 16, 16] == 0
    assert out.mask_BOTHW[0].sum() == pytest.approx(FRAMES * np.pi * 81, rel=0.01)


def test_rendering_is_deterministic_and_independent_of_the_batch(many: tuple[list[Scene], Rendered]) -> None:
    scenes, out = many
    again = render(scenes)
    assert again.frames_BTHWC.tobytes() == out.frames_BTHWC.tobytes()
    for b in (0, 17, 80):
        alone = render([scenes[b]])
        assert np.array_equal(alone.frames_BTHWC[0], out.frames_BTHWC[b])


@pytest.mark.parametrize("shape", SHAPES)
def test_mirrored_scene_renders_the_mirrored_clip(shape: str) -> None:
    scene, mirrored = one(shape, "left", travel=12.0, x=14.5), one(shape, "right", travel=12.0, x=SIZE_PX - 14.5)
    frames = render([scene, mirrored]).frames_BTHWC
    assert np.allclose(frames[0][:, :, ::-1], frames[1], atol=1e-5)


def test_reversed_motion_is_the_reversed_clip() -> None:
    shift = (1 - 2 * LEAD) * 12.0  # between the places of two paths over the same line
    there, back = one("square", "left", travel=12.0), one("square", "right", travel=12.0, x=MIDDLE - shift)
    frames = render([there, back]).frames_BTHWC
    assert np.allclose(frames[0][::-1], frames[1], atol=1e-5)
