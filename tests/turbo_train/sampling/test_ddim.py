"""Is the teacher's sampler DDIM? It is compared with diffusers' own scheduler and with its closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
import torch
from torch import Tensor
from torch.testing import assert_close

from turbo_train.diffusion.schedule import add_noise
from turbo_train.nets.model import Model
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.ddim import sample_ddim


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step_noise(k: int) -> Tensor:
    return draw(3, 4, 3, 4, 4, seed=100 + k)


def inputs(rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    return draw(rows, 8, 12, seed=1), draw(1, 8, 12, seed=2), draw(rows, 4, 3, 4, 4, seed=3)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_agrees_with_diffusers(
    teacher_folder: Path, kind: str, spacing: str, guidance_scale: float, eta: float
) -> None:
    model = tiny_models.formula_model(teacher_folder, kind)
    context, uncond, noise = inputs()
    ours = sample_ddim(
        model,
        context,
        uncond,
        noise,
        num_steps=10,
        guidance_scale=guidance_scale,
        eta=eta,
        step_noise=step_noise,
        spacing=spacing,  # type: ignore[arg-type]
    )
    scheduler, x = tiny_models.scheduler(kind, spacing), noise
    scheduler.set_timesteps(10)
    for k, t in enumerate(scheduler.timesteps, start=1):
        t_B = t.expand(3)
        out_c, out_u = model.denoiser(x, t_B, context), model.denoiser(x, t_B, uncond.expand(3, -1, -1))
        guided = out_u + guidance_scale * (out_c - out_u)
        x = scheduler.step(guided, t, x, eta=eta, variance_noise=step_noise(k)).prev_sample
    assert_close(ours, x, atol=1e-4, rtol=1e-4)


class TrueDenoiser:
    """Says exactly which noise is in x_t, because it knows x_0."""

    prediction_type = "epsilon"

    def __init__(self, model: Model, x_0: Tensor) -> None:
        self.schedule, self.x_0 = model.schedule, x_0

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        alpha, sigma = self.schedule.alpha(t_B[:1]), self.schedule.sigma(t_B[:1])
        return (x_BCTHW - alpha * self.x_0) / sigma


def test_with_the_true_noise_every_step_predicts_x0_and_the_end_is_x0_at_time_zero(teacher_folder: Path) -> None:
    model = load_teacher(teacher_folder)
    context, uncond, eps = inputs()
    x_0 = draw(3, 4, 3, 4, 4, seed=9)
    start = add_noise(model.schedule, x_0, eps, torch.tensor([981, 981, 981]))
    seen: list[tuple[int, Tensor]] = []
    z = sample_ddim(
        replace(model, denoiser=TrueDenoiser(model, x_0)),
        context,
        uncond,
        start,
        num_steps=50,
        guidance_scale=1.0,
        on_step=lambda done, x: seen.append((done, x)),
    )
    assert [done for done, _ in seen] == list(range(1, 51))
    assert_close(seen[0][1], x_0, atol=1e-4, rtol=0)
    assert_close(seen[-1][1], x_0, atol=1e-4, rtol=0)
    assert_close(z, add_noise(model.schedule, x_0, eps, torch.zeros(3, dtype=torch.int64)), atol=1e-3, rtol=0)


def test_guidance_is_one_call_of_twice_the_rows_and_none_is_one_of_the_rows(teacher_folder: Path) -> None:
    for guidance_scale, rows in ((7.5, 6), (1.0, 3)):
        model = tiny_models.formula_model(teacher_folder, "epsilon")
        sample_ddim(model, *inputs(), num_steps=2, guidance_scale=guidance_scale)
        assert model.denoiser.calls == [(rows, [501]), (rows, [1])]  # type: ignore[attr-defined]


def test_the_sampler_warns_of_a_late_start_and_makes_the_clip(teacher_folder: Path) -> None:
    model = tiny_models.formula_model(teacher_folder, "epsilon")
    context, uncond, noise = inputs()
    with pytest.warns(UserWarning, match="334 leading steps start at time 667") as caught:
        z = sample_ddim(model, context, uncond, noise, num_steps=334, guidance_scale=1.0)
    assert caught[0].filename == __file__ and z.shape == noise.shape
    sample_ddim(model, context, uncond, noise, num_steps=334, guidance_scale=1.0, spacing="trailing")  # no warning


def test_a_clip_does_not_depend_on_its_batch(teacher_folder: Path) -> None:
    model = load_teacher(teacher_folder)
    context, uncond, noise = inputs()
    together = sample_ddim(model, context, uncond, noise, num_steps=3, guidance_scale=4.0)
    alone = sample_ddim(model, context[1:2], uncond, noise[1:2], num_steps=3, guidance_scale=4.0)
    assert together.dtype == torch.float32 and not together.requires_grad
    assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)
