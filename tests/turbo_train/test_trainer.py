"""Is a step the same however its samples are cut into passes and processes, and not taken when it is no number?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_training import IMAGE, VIDEO, recipe
from torch import Tensor
from torch.testing import assert_close

from turbo_train.config import TrainConfig
from turbo_train.data.sample import Sample
from turbo_train.data.world_stream import WorldStream
from turbo_train.draws import draw
from turbo_train.errors import UserError
from turbo_train.step import Part, RewardTerm, train_step
from turbo_train.step_figures import Figures
from turbo_train.trainer import Trainer, new_accelerator, new_optimizer, parts_of

PLAIN: dict[str, Any] = {"ema_decay": 0.0, "dropout": 0.0}


def samples(count: int) -> dict[int, Sample]:
    """The first scene of each lane, cut down to the tiny teacher's 8 px."""
    found = {}
    for place in range(count):
        sample = next(WorldStream(3).lane(place, count, None)).sample
        assert sample is not None and sample.frames_TCHW is not None
        found[place] = replace(sample, frames_TCHW=sample.frames_TCHW[..., ::4, ::4])
    return found


def first_moments(trainer: Trainer) -> Tensor:
    """(1 - beta1) x the clipped gradient of the first step."""
    state = trainer.optimizer.state_dict()["state"]
    return torch.cat([moments["exp_avg"].flatten() for moments in state.values()])


def places_of(config: TrainConfig, processes: int) -> list[list[list[int]]]:
    """Of every process."""
    places = Trainer.places.fget  # type: ignore[attr-defined]
    ranks = [SimpleNamespace(num_processes=processes, process_index=rank) for rank in range(processes)]
    return [places(SimpleNamespace(config=config, accelerator=rank)) for rank in ranks]


@pytest.mark.parametrize("size", [1, 2])
def test_processes_share_the_passes_and_change_none(size: int) -> None:
    config = recipe(Path("teacher"), batch_size=8, micro_batch_size=size)
    alone = places_of(config, 1)[0]
    assert [place for places in alone for place in places] == list(range(8))
    for processes in (2, 4):
        shared = places_of(config, processes)
        assert sorted(places for rank in shared for places in rank) == alone
        assert {len(rank) for rank in shared} == {len(alone) // processes}
    # a pass's place in the released code's split follows the pass, not the process
    parts = [parts_of(replace(config, loss_placement="split"), places[0]) for places in alone]
    assert parts == [("cd", "img")] * min(6, len(alone)) + [("vid",)] * max(0, len(alone) - 6)


def test_passes_of_one_and_two_samples_are_the_same_step(loop_teacher: Path) -> None:
    found = {}
    for size in (1, 2):
        trainer = Trainer(recipe(loop_teacher, IMAGE, VIDEO, micro_batch_size=size, **PLAIN))
        step = trainer.step(samples(2))
        assert step.taken and trainer.done == 1
        found[size] = (first_moments(trainer), step.figures, step.grad_norm)
    (one, figures, norm), (two, others, other_norm) = found[1], found[2]
    assert one.abs().max() > 1e-4
    assert_close(one, two, atol=2e-6, rtol=2e-3)
    assert norm == pytest.approx(other_norm, rel=1e-4)
    assert figures.loss == pytest.approx(others.loss, rel=1e-4)
    assert figures.rewards == pytest.approx(others.rewards, rel=1e-3, abs=1e-6)
    image, video = (figures.rewards[f"world-{kind}-reward"] for kind in ("image", "video"))
    assert figures.loss_cd is not None
    assert figures.loss == pytest.approx(figures.loss_cd - image - 2 * video, abs=1e-5)


@pytest.mark.slow
def test_the_released_codes_split_is_a_third_of_the_video_reward(loop_teacher: Path) -> None:
    config = recipe(loop_teacher, IMAGE, "world-video-reward:2:8", batch_size=8, loss_placement="split", **PLAIN)
    config = replace(config, max_grad_norm=1e9)
    assert config.effective_betas() == {"world-image-reward": 1.0, "world-video-reward": pytest.approx(2 / 3)}
    trainer, given = Trainer(config), samples(8)
    expected = torch.zeros(sum(weight.numel() for weight in trainer.weights.values()))
    for place in range(8):
        parts: tuple[Part, ...] = ("cd", "img") if place < 6 else ("vid",)
        expected += slope(trainer, given[place], place, parts) * (6 / 8 / 6 if place < 6 else 2 / 8 / 2)
    step = trainer.step(given)
    assert_close(first_moments(trainer), expected * (1 - config.adam_beta1), atol=1e-7, rtol=1e-4)
    assert step.figures.rewards.keys() == {"world-image-reward", "world-video-reward"}


def slope(trainer: Trainer, sample: Sample, place: int, parts: tuple[Part, ...]) -> Tensor:
    """The gradient of these parts of the loss for one sample, by the step's own function."""
    config, own = trainer.config, trainer.parts
    span = (config.guidance_min, config.guidance_max)
    draws = draw(config.seed, 0, [place], own.teacher.latent_shape, num_ddim_steps=50, guidance_range=span)
    batch = trainer._batch([sample])
    result = train_step(own.student, own.teacher, own.solver, batch, draws, replace(own.objective, parts=parts))
    return torch.cat([g.flatten() for g in torch.autograd.grad(result.loss, list(trainer.weights.values()))])


class Reward:
    """A stand-in for a reward model: the mean of the pixels, or no number at all."""

    broken = False

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: Any = None) -> Tensor:
        return clips_BTCHW.mean((1, 2, 3, 4)) * (float("nan") if self.broken else 1.0)


def with_reward(trainer: Trainer) -> Reward:
    """The trainer has this reward from now on."""
    reward = Reward()
    term = RewardTerm("stand-in", reward, "img", 1.0, 2)
    trainer.parts = replace(trainer.parts, objective=replace(trainer.parts.objective, rewards=(term,)))
    trainer.rewards = ["stand-in"]
    return reward


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def test_a_step_that_is_no_number_changes_nothing(loop_teacher: Path) -> None:
    trainer = Trainer(recipe(loop_teacher, dropout=0.0, ema_target=True))
    assert trainer.average is not None
    reward, given = with_reward(trainer), samples(2)
    reward.broken = True
    before, averages = copied(trainer.weights), copied(trainer.average.values)
    step = trainer.step(given)
    assert (step.taken, step.figures.wrong(), trainer.done) == (False, ["loss", "stand-in"], 1)
    assert all(weight.equal(before[name]) and weight.grad is None for name, weight in trainer.weights.items())
    assert all(value.equal(averages[name]) for name, value in trainer.average.values.items())
    assert trainer.optimizer.state_dict()["state"] == {}
    reward.broken = False
    answers: list[Tensor] = []
    handle = trainer.average.register_forward_hook(lambda net, inputs, out: answers.append(out))
    assert trainer.step(given).taken and len(answers) == 2  # one for each pass: the average is the target
    handle.remove()
    check_average(trainer)


def check_average(trainer: Trainer) -> None:
    """The average answers otherwise than the student, and alike in its place."""
    assert trainer.average is not None
    shape = trainer.parts.teacher.latent_shape
    generator = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, *shape, generator=generator), trainer.parts.empty_1LD.expand(2, -1, -1)
    cond = torch.randn(2, 256, generator=generator)
    inputs = {"x_BCTHW": x, "t_B": torch.tensor([20, 700]), "context_BLD": context}
    with torch.no_grad():
        own = trainer.denoiser(*inputs.values(), timestep_cond_BE=cond)
        averaged = trainer.average(*inputs.values(), timestep_cond_BE=cond)
        with trainer.average.in_place():
            placed = trainer.denoiser(*inputs.values(), timestep_cond_BE=cond)
        again = trainer.denoiser(*inputs.values(), timestep_cond_BE=cond)
    # not to the last bit: matmul sums in another order where a weight has requires_grad, which averages do not have
    assert_close(averaged, placed, atol=1e-5, rtol=1e-5)
    assert torch.equal(own, again) and not torch.allclose(own, averaged, atol=1e-4)


def test_the_average_follows_each_step_and_each_pass_drops_out_otherwise(
    loop_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, given = Trainer(recipe(loop_teacher)), samples(2)
    assert trainer.average is not None
    seeds, real = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed) or real(seed))
    for step in range(2):
        before = copied(trainer.average.values)
        assert trainer.step(given).taken
        for name, value in trainer.average.values.items():
            rate = 1 - (1 + step) / (10 + step)
            assert_close(value, before[name] + rate * (trainer.weights[name].detach() - before[name]))
    assert len(seeds) == len(set(seeds)) == 4


def test_black_and_white_reach_the_vae_as_minus_one_and_one(loop_teacher: Path) -> None:
    trainer, like = Trainer(recipe(loop_teacher, **PLAIN)), samples(1)[0]
    assert like.frames_TCHW is not None
    pair = [replace(like, frames_TCHW=torch.full_like(like.frames_TCHW, level)) for level in (0, 255)]
    ends = torch.stack([torch.full(like.frames_TCHW.shape, level) for level in (-1.0, 1.0)])
    batch = trainer._batch(pair)
    assert_close(batch.x_0, trainer.parts.teacher.vae.encode(ends), atol=1e-6, rtol=1e-5)
    assert batch.x_0.dtype == torch.float32 and not torch.allclose(batch.x_0[0], batch.x_0[1], atol=1e-3)


def test_bf16_and_the_whole_denoiser_on_a_cpu(loop_teacher: Path) -> None:
    trainer = Trainer(recipe(loop_teacher, rank=0, precision="bf16", lr=1e-3))
    before = copied(trainer.weights)
    step = trainer.step(samples(2))
    assert step.taken and isinstance(step.figures, Figures) and 0 < step.grad_norm < 1e3
    assert {weight.dtype for weight in trainer.weights.values()} == {torch.float32}
    changed = sum(not weight.equal(before[name]) for name, weight in trainer.weights.items())
    assert changed > 0.9 * len(before)
    teacher = dict(trainer.parts.teacher.denoiser.named_parameters())  # type: ignore[attr-defined]
    assert all(not weight.requires_grad or weight.grad is None for weight in teacher.values())


def test_fp16_needs_a_gpu_and_processes_have_to_divide_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe(Path("teacher"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"fp16 on a CPU.*precision=bf16"):
        new_accelerator(replace(config, precision="fp16"))
    monkeypatch.setattr("turbo_train.trainer.PartialState", lambda cpu: SimpleNamespace(num_processes=3))
    with pytest.raises(UserError, match="3 processes for 2 passes of 1 samples"):
        new_accelerator(config)


class Scaled:
    """What the trainer asks of an optimizer and a scaler whose gradients overflow."""

    step_was_skipped = True
    updates = steps = 0

    def step(self) -> None:
        self.steps += 1

    def update(self) -> None:
        self.updates += 1

    def zero_grad(self, set_to_none: bool) -> None:
        pass


@pytest.mark.parametrize(
    ("norm", "loss", "steps", "updates"), [(1.0, 1.0, 1, 0), (float("inf"), 1.0, 0, 1), (1.0, float("nan"), 0, 1)]
)
def test_a_loss_scale_that_overflows_is_a_step_not_taken(norm: float, loss: float, steps: int, updates: int) -> None:
    """fp16 itself needs a GPU; here is what the trainer does with what Accelerate says of it."""
    scaled = Scaled()
    own: Any = SimpleNamespace(accelerator=SimpleNamespace(scaler=scaled), optimizer=scaled, average=None, done=0)
    assert Trainer._take(own, Figures(loss, None, {}, {}), norm) is False
    assert (scaled.steps, scaled.updates) == (steps, updates)


def test_adam_in_8_bits_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"adamw8bit without the package.*optimizer=adamw"):
        new_optimizer(replace(recipe(Path("teacher")), optimizer="adamw8bit"), [torch.nn.Parameter(torch.ones(1))])
