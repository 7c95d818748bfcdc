"""Is human_action VBench's verdict, and is what cannot be asked unscored?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score, score_clips
from turbo_eval.scorers.vbench.human_action import HumanAction, action_names, asked_action, seen_actions
from turbo_train.errors import UserError


class Sure:
    """A classifier that is sure of one action and counts the clips it is shown."""

    encoder_id = "test/sure@1"
    num_frames = 16

    def __init__(self, action: str) -> None:
        self.answer = np.zeros(400, np.float32)
        self.answer[action_names().index(action)] = 0.9
        self.shown: list[np.ndarray] = []

    def action_probabilities(self, clips):
        self.shown += clips
        return [self.answer for _ in clips]


def clip(prompt: str, frames: int = 4, number: int = 0) -> Clip:
    pixels = np.zeros((frames, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(frames)
    return Clip(("model", f"p-{number}", 0), Prompt(prompt_id=f"p-{number}", prompt=prompt), pixels, 8.0)


def test_the_400_names_are_distinct_and_lower_case():
    names = action_names()
    assert len(set(names)) == 400 and names[0] == "riding a bike" and names[399] == "playing badminton"
    assert all(name == name.strip().lower() and not set(name) & set("-_") for name in names)


def test_the_names_and_their_order_are_vbenchs():
    spec = importlib.util.find_spec("vbench")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the vbench package is not installed")
    table = Path(spec.submodule_search_locations[0]) / "third_party" / "umt" / "kinetics_400_categories.txt"
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    assert [(name.lower(), int(number)) for name, number in rows] == [(n, i) for i, n in enumerate(action_names())]


def test_only_the_five_best_count_and_only_from_85_hundredths():
    p = np.zeros(400, np.float32)
    p[[3, 7, 11, 13, 17, 19]] = [0.99, 0.98, 0.97, 0.96, 0.95, 0.94]
    assert seen_actions(p) == {action_names()[i] for i in (3, 7, 11, 13, 17)}
    p[:] = 0
    p[[3, 7, 11]] = [0.84996, 0.84994, 0.85]  # to four decimals 0.85, 0.8499, 0.85
    assert seen_actions(p) == {action_names()[i] for i in (3, 11)}


def test_the_asked_action_is_what_the_person_is():
    assert asked_action("A person is Surfing Water") == "surfing water"
    with pytest.raises(UserError, match="names no action"):
        asked_action("a red car")
    with pytest.raises(UserError, match="'surfing' is not one of the 400"):
        asked_action("a person is surfing")


def test_a_clip_succeeds_when_its_action_is_seen():
    scorer = HumanAction(Sure("surfing water"))
    for prompt, want in (("a person is surfing water", 1.0), ("a person is marching", 0.0)):
        one = clip(prompt)
        assert scorer.score(one, Features(one)) == Score.of(want)
    assert [len(shown) for shown in scorer.encoder.shown] == [16, 16]
    assert scorer.encoder.shown[0][:, 0, 0, 0].tolist() == [0, 1, 2] + [3] * 13


def test_what_cannot_be_asked_is_unscored_and_costs_nothing():
    scorer = HumanAction(Sure("marching"))
    prompts = ["a person is marching", "a red car", "a person is flying", "a person is dancing charleston"]
    clips = [clip(prompt, number=i) for i, prompt in enumerate(prompts)]
    clips.append(clip("a person is marching", frames=1, number=4))
    records = score_clips([scorer], clips)
    assert [record.value for record in records] == [1.0, None, None, 0.0, None]
    assert "names no action" in records[1].unscored and "'flying' is not one of the 400" in records[2].unscored
    assert records[4].unscored == TOO_SHORT
    assert len(scorer.encoder.shown) == 2
