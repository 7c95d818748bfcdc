"""What is known of a reward over a run? Its mean for each model, and the difference of two models: rewards.jsonl.

in_loop: whether the model was trained on this very reward; None: not known. Then a high score says little: what is
optimised stops being a measure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RewardMean:
    """Over the clips of one model. mean None: no clip has a number; low and high None: too few prompts.

    clips, prompts: with a number; unscored: clips without one. role: reward, or judge (nothing is trained on it).
    """

    model: str
    reward: str
    scorer: str
    role: str
    in_loop: bool | None
    mean: float | None
    low: float | None
    high: float | None
    clips: int
    prompts: int
    unscored: int

    def to_json(self) -> dict[str, Any]:
        """A line of rewards.jsonl."""
        return {"schema_version": SCHEMA_VERSION, "kind": "mean", **asdict(self)}


@dataclass(frozen=True)
class RewardDifference:
    """`model` minus `against`, paired by prompt and sample; fields as in RewardMean."""

    model: str
    against: str
    reward: str
    mean: float | None
    low: float | None
    high: float | None
    clips: int
    prompts: int
    in_loop: bool | None
    against_in_loop: bool | None

    def to_json(self) -> dict[str, Any]:
        """A line of rewards.jsonl."""
        return {"schema_version": SCHEMA_VERSION, "kind": "difference", **asdict(self)}

    def improved(self, model: str) -> bool:
        """Whether this model's scores are the higher ones, its interval free of 0."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 if model == self.model else self.high < 0

    def is_in_loop(self, model: str) -> bool | None:
        """Of one of the two."""
        return self.in_loop if model == self.model else self.against_in_loop
