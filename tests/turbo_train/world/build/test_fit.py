"""Does a stopped and resumed training end where an uninterrupted one ends?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from turbo_train.learning_rate import learning_rate
from turbo_train.world.build.fit import Fit, fit, generator_of

PLAN = Fit(steps=12, lr=0.05, seed=3, warmup=2, ema=0.9, save_every_s=0.0)


class Stopped(Exception):
    """Stands for the signal that ends a build."""


def train(folder: Path, stop_at: int | None = None) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Linear(4, 1)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if step == stop_at:
            raise Stopped
        x = torch.randn(8, 4, generator=generator)
        return {"loss": (module(x) - x.sum(1, keepdim=True)).square().mean()}

    return fit(PLAN, module, loss, folder)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    with pytest.raises(Stopped):
        train(tmp_path / "parts", stop_at=7)
    parts = train(tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name])


def test_a_finished_training_is_not_trained_further(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, stop_at=0)
    assert torch.equal(first.weight, again.weight)  # type: ignore[arg-type]


def test_the_rate_warms_up_and_decays_to_two_per_cent() -> None:
    rates = [learning_rate(PLAN.lr, step, PLAN.steps, PLAN.warmup, "cosine") for step in range(PLAN.steps + 1)]
    assert rates[0] == PLAN.lr / 2
    assert max(rates) == rates[2] == PLAN.lr
    assert rates[-1] == pytest.approx(0.02 * PLAN.lr)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_draws_depend_on_seed_and_step_only() -> None:
    def draw(seed: int, step: int) -> Tensor:
        return torch.randn(5, generator=generator_of(seed, step))

    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3))
    assert not torch.equal(draw(1, 2), draw(2, 2))
