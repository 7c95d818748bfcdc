"""What holds for a training step with any network? Asked of two small ones, and of the world's own rewards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.draws import draw
from turbo_train.nets.model import Model
from turbo_train.rewards.table import load_reward
from turbo_train.step import Batch, Objective, RewardTerm, StepResult, decoded, train_step, video_frames

SHAPE = (4, 8, 6, 6)
TEXTS = ("a red circle moves up on a black background", "a blue square rests on a white background")
IMAGE = RewardTerm("image", load_reward("world-image-reward"), "img", beta=1.0, frames=3)
VIDEO = RewardTerm("video", load_reward("world-video-reward"), "vid", beta=2.0, frames=8)


class Net(nn.Module):
    """A denoiser of a few weights, with dropout, that counts its calls."""

    prediction_type = "epsilon"

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv3d(4, 4, 1)
        self.drop = nn.Dropout(0.5)
        self.cond = nn.Linear(256, 4)
        self.modes: list[bool] = []

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, *, fps: Any = None, timestep_cond_BE: Any = None
    ) -> Tensor:
        self.modes.append(self.drop.training)
        shift = context.mean((1, 2)) + t / 1000
        told = 0 if timestep_cond_BE is None else self.cond(timestep_cond_BE)[:, :, None, None, None]
        return self.drop(self.mix(x)) + shift[:, None, None, None, None] + told


class Upscaler:
    """A decoder without weights: three channels, five times as large. It counts what it decodes."""

    chunk_frames, latent_channels, factor = 16, 4, 5
    frames = 0

    def encode(self, frames_BTCHW: Tensor) -> Tensor:
        raise AssertionError("a step encodes nothing")

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        self.frames += z_BCTHW.shape[0] * z_BCTHW.shape[2]
        return z_BCTHW[:, :3].transpose(1, 2).repeat_interleave(5, -1).repeat_interleave(5, -2)


def model(cond: int | None, seed: int) -> Model:
    torch.manual_seed(seed)
    text = lambda texts: torch.zeros(len(texts), 2, 3)  # noqa: E731
    return Model(f"net-{seed}", Net(), text, Upscaler(), make_schedule(), SHAPE, 8, cond, Path())


def step(
    objective: Objective, samples: tuple[int, ...] = (0, 1), train: bool = False, **more: Any
) -> tuple[StepResult, Model, Model]:
    student, teacher = model(256, 0), model(None, 1)
    student.denoiser.train(train)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(5)
    x_0, context = torch.randn(2, *SHAPE, generator=generator), torch.randn(2, 2, 3, generator=generator)
    rows = list(samples)
    batch = Batch(x_0[rows], context[rows], torch.zeros(1, 2, 3), tuple(TEXTS[i] for i in rows))
    draws = draw(3, 4, samples, SHAPE, num_ddim_steps=50, guidance_range=(5.0, 15.0))
    return train_step(student, teacher, DDIMSolver(make_schedule()), batch, draws, objective, **more), student, teacher


def slopes(result: StepResult, student: Model) -> Tensor:
    assert isinstance(student.denoiser, nn.Module)
    return torch.cat([g.flatten() for g in torch.autograd.grad(result.loss, list(student.denoiser.parameters()))])


@pytest.mark.parametrize("objective", [Objective(), Objective(rewards=(IMAGE, VIDEO))], ids=["cd", "mixed"])
def test_a_batch_is_the_mean_of_its_samples(objective: Objective) -> None:
    whole = slopes(*step(objective)[:2])
    halves = [slopes(*step(objective, (i,))[:2]) for i in (0, 1)]
    assert_close((halves[0] + halves[1]) / 2, whole, atol=1e-5, rtol=1e-4)


def test_the_loss_is_the_sum_of_its_parts_and_rewards_are_unscaled() -> None:
    whole = Objective(rewards=(IMAGE, VIDEO))
    result = step(whole)[0]
    parts = {part: step(replace(whole, parts=(part,)))[0] for part in ("cd", "img", "vid")}  # type: ignore[arg-type]
    assert_close(sum(p.loss for p in parts.values()), result.loss, atol=1e-6, rtol=1e-6)
    assert parts["cd"].rewards == {} and list(parts["img"].rewards) == ["image"] and parts["img"].distillation is None
    assert_close(parts["vid"].loss, -2 * result.rewards["video"].mean(), atol=1e-6, rtol=1e-6)
    assert not result.rewards["image"].requires_grad and result.rewards["image"].shape == (2,)
    nothing = step(replace(whole, parts=()))[0]
    assert nothing.loss.item() == 0 and nothing.loss.requires_grad


def test_a_reward_without_weight_is_not_computed_and_kinds_share_their_frames() -> None:
    result, _, teacher = step(Objective(rewards=(replace(IMAGE, beta=0.0),)))
    assert result.rewards == {} and teacher.vae.frames == 0  # type: ignore[attr-defined]
    both = Objective(rewards=(IMAGE, replace(IMAGE, name="again"), VIDEO), parts=("img", "vid"))
    result, _, teacher = step(both)
    assert teacher.vae.frames == 2 * (3 + 8)  # type: ignore[attr-defined]
    assert torch.equal(result.rewards["image"], result.rewards["again"])


def test_dropout_acts_in_the_prediction_alone_and_modes_come_back() -> None:
    _, student, teacher = step(Objective(), train=True)
    assert isinstance(student.denoiser, Net) and isinstance(teacher.denoiser, Net)
    assert student.denoiser.modes == [True, False] and teacher.denoiser.modes == [False]
    assert all(layer.training for layer in student.denoiser.modules())
    assert all(layer.training for layer in teacher.denoiser.modules())  # as it was given
    _, student, teacher = step(Objective(dropout_in_target=True, dropout_in_teacher=True), train=True)
    assert isinstance(teacher.denoiser, Net) and teacher.denoiser.modes == [True]
    assert isinstance(student.denoiser, Net) and student.denoiser.modes == [True, True]


def test_a_target_takes_the_students_place_below_and_learns_nothing() -> None:
    target = Net()
    result, student, _ = step(Objective(), target=target)
    assert isinstance(student.denoiser, Net) and len(student.denoiser.modes) == len(target.modes) == 1
    result.loss.backward()
    assert all(p.grad is None for p in target.parameters())
    assert student.denoiser.mix.weight.grad is not None


def test_random_crops_are_each_samples_own() -> None:
    crops = replace(VIDEO, model=load_reward("world-video-reward"), random_crop=True)
    crops.model.preprocess = replace(crops.model.preprocess, mode="shortest", crop="random", size_px=32)  # type: ignore[attr-defined]
    objective = Objective(rewards=(crops,), parts=("vid",))
    whole = step(objective)[0].rewards["video"]
    assert_close(whole, torch.cat([step(objective, (i,))[0].rewards["video"] for i in (0, 1)]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("length", "count"), [(16, 8), (16, 4), (8, 8), (9, 4)])
def test_video_frames_are_strided_from_every_offset(length: int, count: int) -> None:
    stride = length // count
    offsets = torch.tensor([(k + 0.5) / stride for k in range(stride)] + [0.0, 0.999999])
    found = video_frames(length, count, offsets)
    assert found.shape == (stride + 2, count) and int(found.max()) < length
    assert found[:, 0].tolist() == [*range(stride), 0, stride - 1] and bool((found.diff(dim=1) == stride).all())


def test_a_clip_with_too_few_frames_and_a_teacher_as_student_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of 8 frames; a video reward sees 9"):
        step(Objective(rewards=(replace(VIDEO, frames=9),), parts=("vid",)))
    with pytest.raises(ValueError, match="net-1 knows no guidance condition"):
        train_step(model(None, 1), model(None, 1), DDIMSolver(make_schedule()), *([None] * 3))  # type: ignore[arg-type]


def test_decoded_frames_are_the_chosen_ones_in_range() -> None:
    z = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = torch.tensor([[7, 0], [3, 3]])
    frames = decoded(Upscaler(), z, rows)
    assert frames.shape == (2, 2, 3, 30, 30) and frames.min().item() == 0 and frames.max().item() == 1
    expected = (z[0, :3, 7] / 2 + 0.5).clamp(0, 1)
    assert_close(frames[0, 0, :, ::5, ::5], expected)
    (slope,) = torch.autograd.grad(frames.sum(), z)
    assert bool((slope[:, :, 5] == 0).all()) and bool((slope[0, :3, 7] != 0).any())
    again = decoded(Upscaler(), z, rows, again=True)
    assert torch.equal(frames, again) and torch.equal(torch.autograd.grad(again.sum(), z)[0], slope)
