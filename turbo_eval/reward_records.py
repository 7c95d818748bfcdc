"""What is known of a reward over a run? Its mean for each model, and the difference of two models: rewards.jsonl.

in_loop: whether the model was trained on this very reward; None: not known. Then a high score says little: what is
optimised stops being a measure.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RewardMean:
    """Over the clips of one model. mean None: no clip has a number; low and high None: too few prompts.

    clips, prompts: with a number; unscored: clips without one. role: reward, or judge (nothing is trained on it).
    suite_sha256, scorer: only records that agree in both may be compared.
    """

    suite_sha256: str
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

    suite_sha256: str
    model: str
    against: str
    reward: str
    scorer: str
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


Records = tuple[tuple[RewardMean, ...], tuple[RewardDifference, ...]]


def read_rewards(path: Path) -> Records:
    """The means and the differences of a rewards.jsonl, in its order. UserError: another schema, or no such records."""
    means: list[RewardMean] = []
    differences: list[RewardDifference] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            fields = json.loads(line)
            version, kind = fields.pop("schema_version"), fields.pop("kind")
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema_version {version}, this version reads {SCHEMA_VERSION}")
            if kind == "mean":
                means.append(RewardMean(**fields))
            elif kind == "difference":
                differences.append(RewardDifference(**fields))
            else:
                raise ValueError(f"kind {kind!r}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            found = f"line {number} of {path}: {error}"
            raise UserError(found=found, expected="a record of turbo-eval rewards (rewards.jsonl)") from error
    return tuple(means), tuple(differences)
