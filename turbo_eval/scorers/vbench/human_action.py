"""Does the person do what was asked? 1 (yes) or 0.

Of UMT's five most probable actions of Kinetics-400, those whose probability, rounded to four decimals, is at least 0.85
are taken for seen; the clip succeeds when the action of its prompt, "a person is <action>", is among them
(arXiv 2311.17982, section 3.2; vbench 0.1.5). The network sees VBench's 16 `middle` frames.
Names of the actions, in the network's order: kinetics_400.txt, facts of Kinetics-400 (Kay et al., arXiv 1705.06950;
CC BY 4.0), as vbench 0.1.5 lists them.
Differs: VBench reads the action from the file's name (lower case, up to the first "-", after "person is ", up to "_");
here it is read from the prompt, so that no renamed file fails. A prompt without an action, or with one that is none of
the 400, fails always there; here it is unscored with its reason. A single frame is unscored too, for it is no video.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, OnEncoder, Score
from turbo_eval.scorers.vbench.encoders import ActionClassifier, FloatArray, middle_frames
from turbo_eval.scorers.vbench.spec import HUMAN_ACTION
from turbo_train.errors import UserError

FILE = Path(__file__).with_name("kinetics_400.txt")
BEFORE_ACTION = "person is "
TOP = 5
LEAST_PROBABILITY = 0.85
NOT_ASKED = np.empty(0, np.float32)


@cache
def action_names() -> tuple[str, ...]:
    """The 400 actions in lower case, in the network's order."""
    return tuple(FILE.read_text(encoding="utf-8").lower().splitlines())


def asked_action(prompt: str) -> str:
    """The action of a prompt. UserError, which makes the clip unscored: there is none, or none of the 400."""
    _, marker, action = prompt.lower().partition(BEFORE_ACTION)
    action = action.strip()
    if not marker:
        raise UserError(
            found="the prompt names no action",
            expected=f'"a {BEFORE_ACTION}<an action of Kinetics-400>"',
            run_next="leave it out of human_action",
        )
    if action not in action_names():
        raise UserError(
            found=f"{action!r} is not one of the {len(action_names())} actions of Kinetics-400",
            expected=f'"a {BEFORE_ACTION}surfing water" or another of them',
            run_next="leave it out of human_action",
        )
    return action


def seen_actions(probabilities: FloatArray) -> set[str]:
    """The names of those of the five most probable actions that are probable enough."""
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    # Rounded as Python rounds the float, like VBench: 0.84995 may go either way by its last bit.
    return {action_names()[i] for i in best if round(float(probabilities[i]), 4) >= LEAST_PROBABILITY}


class HumanAction(OnEncoder[ActionClassifier]):
    """The rule over any network that knows Kinetics-400."""

    metric = HUMAN_ACTION

    def score(self, clip: Clip, features: Features) -> Score:
        """1.0 where the action is seen, else 0.0; the dimension's mean is the share of such clips."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        asked = asked_action(clip.prompt.prompt)

        def compute(clips: Sequence[Clip]) -> list[FloatArray]:
            asking = [number for number, each in enumerate(clips) if _can_be_asked(each)]
            frames = [middle_frames(clips[number], self.encoder.num_frames) for number in asking]
            found = dict(zip(asking, self.encoder.action_probabilities(frames), strict=True))
            return [found.get(number, NOT_ASKED) for number in range(len(clips))]

        probabilities = features.together(("actions", self.encoder.encoder_id), compute)
        return Score.of(float(asked in seen_actions(probabilities)))


def _can_be_asked(clip: Clip) -> bool:
    """A clip that will be unscored anyway costs no forward pass."""
    with suppress(UserError):
        return len(clip.frames_THWC) > 1 and bool(asked_action(clip.prompt.prompt))
    return False
