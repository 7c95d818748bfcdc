"""Does DDIM with fresh noise, and with VideoCrafter2's rescaling, stay on the marginals of the diffusion?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from golden import fill
from torch import Tensor
from torch.testing import assert_close

from turbo_train.diffusion.prediction import target_of, to_eps, to_x0
from turbo_train.diffusion.schedule import make_schedule
from turbo_train.diffusion.solver import DDIMSolver, ddim_std, videocrafter2_x0_scale
from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.sampling.timesteps import ddim_timesteps

SCALE = videocrafter2_x0_scale()
SHAPE = (2, 4, 3, 4, 4)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def at(t: int) -> Tensor:
    return torch.tensor([t])


class Says:
    """A network whose output is a given function of x_t and t."""

    def __init__(self, answer: Any, prediction_type: str = "epsilon") -> None:
        self.answer, self.prediction_type = answer, prediction_type

    def __call__(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
        out: Tensor = self.answer(x_BCTHW, t_B[:1])
        return out


def model_that(folder: Path, answer: Any, kind: str = "epsilon", **changes: Any) -> Model:
    return replace(load_teacher(folder), denoiser=Says(answer, kind), schedule=make_schedule(), **changes)


def run(model: Model, noise: Tensor, **options: Any) -> Tensor:
    """Unguided; 50 steps if nothing else is said."""
    context = torch.zeros(len(noise), 8, 12)
    return sample_ddim(model, context, context[:1], noise, **{"num_steps": 50, "guidance_scale": 1.0, **options})


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_without_noise_and_scale_it_is_equation_12_to_the_last_bit(teacher_folder: Path, kind: str) -> None:
    model = tiny_models.formula_model(teacher_folder, kind)
    context, x = torch.zeros(2, 8, 12), draw(1)
    ours = run(model, x, num_steps=10)
    times = ddim_timesteps(10)
    for t, s in zip(times, (*times[1:], 0), strict=True):
        out = model.denoiser(x, at(t).expand(2), context)
        x_0, eps = (to(kind, model.schedule, out, x, at(t)) for to in (to_x0, to_eps))
        x = model.schedule.alpha(at(s)) * x_0 + model.schedule.sigma(at(s)) * eps
    assert torch.equal(ours, x)
    assert torch.equal(ours, run(replace(model, x0_scale=torch.ones(1000)), draw(1), num_steps=10))


def test_noise_is_not_asked_for_without_eta_and_after_every_step_with_it(teacher_folder: Path) -> None:
    model, asked = model_that(teacher_folder, lambda x, t: x), []

    def step_noise(k: int) -> Tensor:
        asked.append(k)
        return draw(k)

    run(model, draw(1), num_steps=5, step_noise=step_noise)
    assert asked == []
    run(model, draw(1), num_steps=5, step_noise=step_noise, eta=0.5)
    assert asked == [1, 2, 3, 4, 5]


def test_eta_that_is_none_or_comes_without_noise_is_refused(teacher_folder: Path) -> None:
    model = model_that(teacher_folder, lambda x, t: x)
    for eta in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match=f"eta {eta}") as caught:
            run(model, draw(1), eta=eta, step_noise=draw)
        assert caught.value.exit_code == 2
    with pytest.raises(ValueError, match=r"eta 1\.0 needs step_noise"):
        run(model, draw(1), eta=1.0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_perfect_scaled_network_finds_x0_at_every_step(teacher_folder: Path, kind: str, eta: float) -> None:
    """x_t = alpha scale x_0 + sigma eps: what the network's x_0 stands for is scale x_0."""
    schedule, x_0, seen = make_schedule(), draw(2), []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        scaled = SCALE[t] * x_0
        eps = (x - schedule.alpha(t) * scaled) / schedule.sigma(t)
        return target_of(kind, schedule, scaled, eps, t)

    model = model_that(teacher_folder, answer, kind, x0_scale=SCALE)
    t = at(981)
    start = schedule.alpha(t) * SCALE[t] * x_0 + schedule.sigma(t) * draw(3)
    z = run(model, start, eta=eta, step_noise=lambda k: draw(k + 10), on_step=lambda done, x: seen.append(x))
    assert len(seen) == 50
    for x in seen:
        assert_close(x, x_0, atol=1e-3, rtol=1e-3)
    assert_close(z, schedule.alpha(at(0)) * x_0, atol=6 * float(schedule.sigma(at(0))), rtol=0)
    seen.clear()
    run(replace(model, x0_scale=None), start, num_steps=50, on_step=lambda done, x: seen.append(x))
    assert_close(seen[0], 0.7 * x_0, atol=1e-3, rtol=1e-3)  # what forgetting the scale would give


def test_a_step_is_the_recorded_scaled_step_of_the_original(teacher_folder: Path) -> None:
    """From t_i of the grid 19, 39, ..., 999 to its neighbour; at 19 the last step, which goes to time 0."""
    meta, expected = fill.load("solver")
    inputs, solver = fill.inputs_of(meta), DDIMSolver(make_schedule())
    x_0, eps, rows = inputs["pred_x0"], inputs["pred_noise"], []
    for row, index in enumerate(inputs["index"]):
        t, s = int(solver.time(index)), int(solver.prev_time(index))
        alpha, sigma = solver.schedule.alpha(at(t)), solver.schedule.sigma(at(t))
        states: list[Tensor] = []

        def answer(x: Tensor, now: Tensor, states: list[Tensor] = states, e: Tensor = eps[row : row + 1]) -> Tensor:
            states.append(x)
            return e

        model = model_that(teacher_folder, answer, x0_scale=SCALE)
        times = tuple(time for time in ddim_timesteps(50, "trailing") if time <= t)
        x_t = alpha * x_0[row : row + 1] + sigma * eps[row : row + 1]
        with pytest.MonkeyPatch.context() as patch:  # begin at t: only the table of times is another
            patch.setattr("turbo_train.sampling.ddim.ddim_timesteps", lambda *_, late=times: late)
            z = run(model, x_t, num_steps=len(times))
        rows.append(states[1] if s else z)
    fill.compare(meta, expected, "scale/ddim_step", torch.cat(rows))


COUNT = 20_000
INTERVAL = 4 * (2 / COUNT) ** 0.5  # four standard errors of the variance of COUNT normal numbers


def crowd(k: int) -> Tensor:
    return draw(1000 + k, 1, 1, 1, 1, COUNT)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [4, 50])
def test_around_a_known_x0_every_time_has_its_variance_exactly(teacher_folder: Path, eta: float, steps: int) -> None:
    """x_s ~ N(alpha_s scale_s x_0, sigma_s^2) for every eta and any number of steps (Song et al. 2021, lemma 1)."""
    schedule, x_0, residuals = make_schedule(), 1.5, []

    def residual(x: Tensor, t: Tensor) -> Tensor:
        found = (x - schedule.alpha(t) * SCALE[t] * x_0) / schedule.sigma(t)
        residuals.append(found)
        return found

    model, first = model_that(teacher_folder, residual, x0_scale=SCALE), at(ddim_timesteps(steps)[0])
    start = schedule.alpha(first) * SCALE[first] * x_0 + schedule.sigma(first) * crowd(0)
    residual(run(model, start, num_steps=steps, eta=eta, step_noise=crowd), at(0))
    assert len(residuals) == steps + 1
    for found in residuals:
        assert abs(float(found.double().var()) - 1) < INTERVAL and abs(float(found.mean())) < 4 / COUNT**0.5
    if eta == 1.0 and steps == 50:  # and it is fresh: the start is forgotten
        assert abs(float((residuals[0] * residuals[-1]).mean())) < 4 / COUNT**0.5


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scaled", [False, True])
def test_gaussian_data_keep_their_variance_but_for_the_steps_length(
    teacher_folder: Path, eta: float, scaled: bool
) -> None:
    """x_0 ~ N(0, 1): the best guess of eps is sigma x_t / var_t, var_t = (alpha scale)^2 + sigma^2.

    Steps of finite length lose variance, since the guess of x_0 has less of it: the recursion var_s = a^2 var_t +
    std^2 gives 0.971 to 0.990 for 250 steps, and half as much missing for 500.
    """
    schedule, scale = make_schedule(), SCALE if scaled else torch.ones(1000)

    def variance(t: Tensor) -> Tensor:
        return schedule.abar(t) * scale[t] ** 2 + 1 - schedule.abar(t)

    model = model_that(
        teacher_folder, lambda x, t: schedule.sigma(t) * x / variance(t), x0_scale=SCALE if scaled else None
    )
    start = variance(at(ddim_timesteps(250)[0])).sqrt() * crowd(0)
    z = run(model, start, num_steps=250, eta=eta, step_noise=crowd)
    assert 0.971 - INTERVAL < float(z.double().var()) < 0.990 + INTERVAL


@pytest.mark.parametrize("eta", [0, 1])
def test_std_is_the_originals(eta: int) -> None:
    meta, expected = fill.load("solver")
    solver, every = DDIMSolver(make_schedule()), torch.arange(50)
    std = ddim_std(solver.schedule, solver.time(every), solver.prev_time(every), float(eta))
    fill.compare(meta, expected, f"scale/ddim_sigmas_eta{eta}", std)


def test_std_is_ddpms_posterior_at_eta_one_and_nothing_at_zero() -> None:
    schedule, t, s = make_schedule(), torch.tensor([1, 500, 981]), torch.tensor([0, 499, 961])
    abar_t, abar_s = schedule.abar(t).double(), schedule.abar(s).double()
    beta = 1 - abar_t / abar_s
    assert_close(ddim_std(schedule, t, s, 1.0) ** 2, (beta * (1 - abar_s) / (1 - abar_t)).float(), atol=0, rtol=1e-3)
    assert_close(ddim_std(schedule, t, s, 0.3), 0.3 * ddim_std(schedule, t, s, 1.0))
    assert (ddim_std(schedule, t, s, 0.0) == 0).all()
    assert float(ddim_std(schedule, t[:1], s[:1], 1.0)) == pytest.approx(0.0206, abs=5e-4)


def test_with_zero_terminal_snr_the_first_noisy_step_is_a_number(teacher_folder: Path) -> None:
    model = replace(
        model_that(teacher_folder, lambda x, t: torch.tanh(x), "v_prediction"),
        schedule=make_schedule(zero_terminal_snr=True),
        spacing="trailing",
    )
    for steps in (1, 2, 3, 7, 50):
        assert bool(torch.isfinite(run(model, draw(1), num_steps=steps, eta=1.0, step_noise=draw)).all())


def test_with_a_bfloat16_network_latents_stay_in_float32(teacher_folder: Path) -> None:
    teacher = load_teacher(teacher_folder).to("cpu", torch.bfloat16)
    context, outputs = torch.zeros(2, 8, 12), []

    class Watched(Says):
        def __call__(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
            assert x_BCTHW.dtype == torch.float32
            out = teacher.denoiser(x_BCTHW, t_B, context_BLD, **conditions)
            outputs.append(out.dtype)
            return out

    seen: list[Tensor] = []
    model = replace(teacher, denoiser=Watched(None, teacher.denoiser.prediction_type))
    z = sample_ddim(
        model, context, context[:1], draw(1), num_steps=3, guidance_scale=7.5, on_step=lambda _, x: seen.append(x)
    )
    assert set(outputs) == {torch.bfloat16} and len(outputs) == 3
    for x in (z, *seen):
        assert x.dtype == torch.float32 and not torch.equal(x, x.bfloat16().float())
