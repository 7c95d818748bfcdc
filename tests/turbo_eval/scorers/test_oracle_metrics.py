"""Do the oracle's metrics say 1 for a clip that shows its prompt, 0 for one that does not, and nothing otherwise?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, score_clip
from turbo_eval.scorers.oracle import NO_ATTRIBUTES, ORACLE_METRICS, Oracle

ORACLES = [Oracle(metric) for metric in ORACLE_METRICS]


def values(clip: Clip) -> dict[str, float | str | None]:
    return {r.metric: r.unscored if r.value is None else r.value for r in score_clip(ORACLES, clip)}


def asking(clip: Clip, **attributes: str) -> Clip:
    return replace(clip, prompt=Prompt(prompt_id="p-000", prompt="a clip", attributes=attributes))


def test_a_true_clip_is_right_in_everything(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    assert values(clip) == {f"oracle_{name}": 1.0 for name in ("colour", "shape", "motion", "background", "all")}


@pytest.mark.parametrize(
    ("attribute", "wrong"), [("colour", "blue"), ("shape", "square"), ("motion", "up"), ("background", "white")]
)
def test_one_wrong_attribute_costs_itself_and_the_whole(attribute: str, wrong: str, world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    wanted = asking(clip, **dict(clip.prompt.attributes) | {attribute: wrong})
    assert {metric for metric, value in values(wanted).items() if value == 0.0} == {f"oracle_{attribute}", "oracle_all"}


def test_what_the_prompt_does_not_say_is_unscored(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    said = values(asking(clip, colour="red"))
    assert said["oracle_colour"] == said["oracle_all"] == 1.0
    assert said["oracle_motion"] == "the prompt names no motion"
    assert values(asking(clip))["oracle_all"] == NO_ATTRIBUTES


def test_an_empty_clip_is_a_miss(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    empty = replace(clip, frames_THWC=np.full_like(clip.frames_THWC, 128))
    assert values(empty)["oracle_colour"] == values(empty)["oracle_all"] == 0.0
    assert values(empty)["oracle_background"] == 1.0


def test_motion_of_one_frame_and_colours_from_elsewhere_are_unscored(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    one = values(replace(clip, frames_THWC=clip.frames_THWC[:1]))
    assert one["oracle_motion"] == one["oracle_all"] == TOO_SHORT
    assert one["oracle_colour"] == 1.0
    assert "colour 'orange'" in str(values(asking(clip, colour="orange"))["oracle_colour"])
    tiny = replace(clip, frames_THWC=clip.frames_THWC[:, :4, :4])
    assert "at least 8 px" in str(values(tiny)["oracle_shape"])


def test_the_clip_is_read_once(world_clip, monkeypatch):
    from turbo_train.world import oracle

    reads, read = [], oracle.read
    monkeypatch.setattr(oracle, "read", lambda frames: reads.append(1) or read(frames))
    values(world_clip("red", "circle", "left", "gray"))
    assert len(reads) == 1
