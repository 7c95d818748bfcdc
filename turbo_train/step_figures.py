"""What does a step say, summed over its passes and processes? Means of losses and rewards, and who wants to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from turbo_train.step import StepResult

FLAGS = ("stop", "skipped")  # processes asked to stop, samples skipped; they travel with the sums: all processes agree


@dataclass(frozen=True)
class Figures:
    """Means over a step. rewards: unscaled, by name. A mean over nothing is left out. flags: counts, by FLAGS."""

    loss: float
    loss_cd: float | None
    rewards: dict[str, float]
    flags: dict[str, float]

    def wrong(self) -> list[str]:
        """Which of them are not finite."""
        named = {"loss": self.loss, "loss_cd": self.loss_cd} | self.rewards
        return [name for name, value in named.items() if value is not None and not math.isfinite(value)]


@dataclass
class Sums:
    """Sums and counts of the passes of one process, in one tensor."""

    rewards: Sequence[str]
    device: torch.device
    total: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros(4 + 2 * len(self.rewards) + len(FLAGS), dtype=torch.float64, device=self.device)

    def add(self, result: StepResult) -> None:
        """One pass."""
        self.total[0] += result.loss.detach()
        self.total[1] += 1
        if result.distillation is not None:
            self.total[2] += result.distillation.loss_cd.detach()
            self.total[3] += 1
        for place, name in enumerate(self.rewards):
            if name in result.rewards:
                self.total[4 + 2 * place] += result.rewards[name].sum()
                self.total[5 + 2 * place] += len(result.rewards[name])

    def flag(self, name: str, count: int = 1) -> None:
        """This process adds to one of FLAGS."""
        self.total[len(self.total) - len(FLAGS) + FLAGS.index(name)] += count


def figures_of(total: Tensor, rewards: Sequence[str]) -> Figures:
    """Of the sums over all processes."""
    numbers: list[float] = total.tolist()
    means = {name: (numbers[4 + 2 * i], numbers[5 + 2 * i]) for i, name in enumerate(rewards)}
    flags = dict(zip(FLAGS, numbers[-len(FLAGS) :], strict=True))
    return Figures(
        loss=numbers[0] / max(1, numbers[1]),
        loss_cd=numbers[2] / numbers[3] if numbers[3] else None,
        rewards={name: value / count for name, (value, count) in means.items() if count},
        flags=flags,
    )


@dataclass
class Window:
    """Means over the steps since the last line of the log."""

    seen: list[Figures] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)

    def add(self, figures: Figures, norm: float, times: dict[str, float]) -> None:
        """One step that was taken. times: seconds."""
        self.seen.append(figures)
        self.norms.append(norm)
        for name, value in times.items():
            self.times[name] = self.times.get(name, 0.0) + value

    def entry(self) -> dict[str, object]:
        """For the log."""
        count = len(self.seen)
        cds = [figures.loss_cd for figures in self.seen if figures.loss_cd is not None]
        names = dict.fromkeys(name for figures in self.seen for name in figures.rewards)
        rewards = {}
        for name in names:
            values = [figures.rewards[name] for figures in self.seen if name in figures.rewards]
            rewards[name] = sum(values) / len(values)
        return {
            "steps": count,
            "loss": sum(figures.loss for figures in self.seen) / count,
            "loss_cd": sum(cds) / len(cds) if cds else None,
            "rewards": rewards,
            "grad_norm": sum(self.norms) / count,
            **{name: value / count for name, value in self.times.items()},
        }
