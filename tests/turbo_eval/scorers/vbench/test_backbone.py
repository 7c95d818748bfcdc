"""Is a clip's memory bounded whatever its length and size, does relief halve it, and does neither move a score?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import (
    DINO_SIZES,
    bytes_of,
    clip_state,
    random_state,
    saved,
    tiny_aesthetic,
    tiny_clip,
    tiny_dino,
    tiny_viclip,
)
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import ROWS, Backbone, rows_of
from turbo_eval.scorers.vbench.encoders.dino import new_dino

See = Callable[[Any, Sequence[ByteArray]], list[FloatArray]]
KINDS: list[tuple[Callable[[Path], Backbone], See]] = [
    (tiny_dino, lambda encoder, clips: encoder.image_features(clips)),
    (tiny_clip, lambda encoder, clips: encoder.image_features(clips)),
    (tiny_clip, lambda encoder, clips: encoder.picture_features(clips)),
    (tiny_aesthetic, lambda encoder, clips: encoder.frame_scores(clips)),
    (tiny_viclip, lambda encoder, clips: encoder.video_features(clips)),
]
NAMES = ["dino", "clip", "pictures", "aesthetic", "viclip"]


def batches_seen(encoder: Backbone) -> list[int]:
    """Grows by the number of frames (of ViCLIP: clips' frames) of each forward pass."""
    encoder.load()
    seen: list[int] = []
    assert encoder._net is not None
    first = next(module for module in encoder._net.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    first.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("see", KINDS, ids=NAMES)
def test_relief_halves_a_pass_until_it_is_one_and_changes_roundings_only(tmp_path: Path, see: tuple[Any, See]):
    make, look = see
    encoder = make(tmp_path)
    seen = batches_seen(encoder)
    clips = [bytes_of(8, 40, 61, 3, seed=number) for number in range(5)]
    before, largest = look(encoder, clips), [max(seen)]
    while done := encoder.relieve():
        assert done == f"{encoder.NAME} takes {encoder.rows} at a time"
        seen.clear()
        after = look(encoder, clips)
        largest.append(max(seen))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(other, one, rtol=2e-5, atol=2e-5)
    assert encoder.rows == 1 and encoder.relieve() == ""
    assert largest == [largest[0] // 2**step for step in range(len(largest))] and len(largest) > 1


class Looking(Backbone):
    """No network: what would be looked at."""

    NAME, FILES = "looking", ()

    def build(self, tensors: Any) -> nn.Module:
        return nn.Identity()


def test_no_more_than_a_pass_of_frames_is_ever_together_and_each_comes_to_its_clip():
    encoder = Looking({})
    encoder.rows = 4
    clips = [bytes_of(count, 3, 5, 3, seed=count) for count in (3, 6, 1, 11)]
    clips.insert(2, bytes_of(2, 5, 3, 3))
    seen: list[tuple[int, ...]] = []

    def look(frames_NHWC: Tensor) -> Tensor:
        seen.append(tuple(frames_NHWC.shape))
        return frames_NHWC.flatten(1).float()

    got = encoder.see(clips, look)
    assert seen == [(4, 3, 5, 3)] * 5 + [(1, 3, 5, 3), (2, 5, 3, 3)]
    for clip, features in zip(clips, got, strict=True):
        assert np.array_equal(features, clip.reshape(len(clip), -1))
    assert encoder.see([], look) == []


@pytest.mark.parametrize(
    ("size", "rows"),
    [((320, 512), 32), ((1080, 1920), 32), ((1920, 1080), 32), ((2160, 3840), 8), ((8, 1000), 1), ((1, 1), 32)],
)
def test_of_huge_and_very_long_frames_fewer_are_taken(size: tuple[int, int], rows: int):
    assert rows_of(ROWS, *size) == rows
    assert rows_of(ROWS // 2, *size) == max(1, rows // 2)  # relief is felt at once
    assert rows_of(1, *size) == 1


@pytest.mark.parametrize("see", KINDS, ids=NAMES)
def test_frames_of_any_shape_are_seen(tmp_path: Path, see: tuple[Any, See]):
    make, look = see
    clips = [bytes_of(8, *size, 3) for size in ((1, 1), (16, 16), (61, 33), (33, 61), (1000, 8), (8, 1000))]
    found = look(make(tmp_path), clips)
    assert len(found) == len(clips) and all(np.isfinite(features).all() for features in found)


def halves(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() for name, value in state.items()}


def encoders_of_halves(folder: Path) -> Iterator[Backbone]:
    yield type(tiny_dino(folder))(saved(folder, "dino/vitb16.pth", halves(random_state(new_dino(DINO_SIZES)))))
    tower = saved(folder, "clip/ViT-L-14.pt", halves(clip_state(1)))
    head = halves(random_state(nn.Linear(12, 1)))
    yield type(tiny_aesthetic(folder))(tower | saved(folder, "laion/sa_0_4_vit_l_14_linear.pth", head))


def test_weights_in_float16_are_widened(tmp_path: Path):
    for encoder in encoders_of_halves(tmp_path):
        encoder.load()
        assert encoder._net is not None
        assert {value.dtype for value in encoder._net.state_dict().values()} == {torch.float32}
