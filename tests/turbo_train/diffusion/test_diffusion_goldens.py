"""Do schedule, conversions, scalings, solver and loss give the numbers of the official code?"""

from __future__ import annotations

import pytest
import torch
from golden import fill

from turbo_train.diffusion.boundary import c_out, c_skip, consistency
from turbo_train.diffusion.guidance import guidance_embedding
from turbo_train.diffusion.losses import pseudo_huber
from turbo_train.diffusion.prediction import PREDICTION_TYPES, to_eps, to_x0, v_of
from turbo_train.diffusion.schedule import add_noise, expand, make_schedule, scaled_linear_betas
from turbo_train.diffusion.solver import DDIMSolver, ddim_std, videocrafter2_x0_scale
from turbo_train.sampling.timesteps import consistency_timesteps

SCHEDULE = make_schedule()
SCHEDULER, SCHEDULER_OUT = fill.load("scheduler")
SOLVER, SOLVER_OUT = fill.load("solver")


def scheduler_says(name: str, actual: torch.Tensor) -> None:
    fill.compare(SCHEDULER, SCHEDULER_OUT, name, actual)


def solver_says(name: str, actual: torch.Tensor) -> None:
    fill.compare(SOLVER, SOLVER_OUT, name, actual)


def test_schedule() -> None:
    scheduler_says("betas", scaled_linear_betas(0.00085, 0.012, 1000))
    scheduler_says("alphas_cumprod", SCHEDULE.alphas_cumprod)


def test_boundary_scalings() -> None:
    scheduler_says("c_skip", c_skip(torch.arange(1000)))
    scheduler_says("c_out", c_out(torch.arange(1000)))
    t = fill.inputs_of(SOLVER)["boundary_timesteps"]
    solver_says("boundary/c_skip", c_skip(t))
    solver_says("boundary/c_out", c_out(t))


@pytest.mark.parametrize("name", sorted(SCHEDULER["timesteps"]))
def test_timesteps_of_the_few_step_sampler(name: str) -> None:
    origin, steps = (int("".join(filter(str.isdigit, part))) for part in name.split("/"))
    assert list(consistency_timesteps(steps, origin)) == SCHEDULER["timesteps"][name]


def test_chain_of_four_steps() -> None:
    inputs = fill.inputs_of(SCHEDULER)
    times, x_t = consistency_timesteps(4, 50), inputs["sample"]
    for i, t in enumerate(times):
        z = consistency("epsilon", SCHEDULE, inputs[f"model_output_{i}"], x_t, torch.tensor([t]))
        x_t = add_noise(SCHEDULE, z, inputs[f"noise_{i}"], torch.tensor([times[min(i + 1, 3)]]))
        scheduler_says(f"chain4/denoised_{i}", z)
        scheduler_says(f"chain4/prev_sample_{i}", x_t)


def test_one_step_alone_is_x_0() -> None:
    inputs = fill.inputs_of(SCHEDULER)
    (t,) = consistency_timesteps(1, 50)
    z = consistency("epsilon", SCHEDULE, inputs["model_output_0"], inputs["sample"], torch.tensor([t]))
    scheduler_says("single/denoised", z)
    scheduler_says("single/prev_sample", z)  # nothing is added after the last step


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_one_step_of_the_other_prediction_types(kind: str) -> None:
    inputs = fill.inputs_of(SCHEDULER)
    z = consistency(kind, SCHEDULE, inputs["model_output_0"], inputs["sample"], torch.tensor([759]))
    scheduler_says(f"{kind}/denoised", z)
    scheduler_says(f"{kind}/prev_sample", add_noise(SCHEDULE, z, inputs["noise_0"], torch.tensor([519])))


def test_noising_and_velocity() -> None:
    inputs = fill.inputs_of(SCHEDULER)
    x_0 = torch.cat([inputs["sample"], inputs["noise_0"]])
    eps, t = torch.cat([inputs["noise_1"], inputs["noise_2"]]), torch.tensor([19, 779])
    scheduler_says("add_noise", add_noise(SCHEDULE, x_0, eps, t))
    scheduler_says("get_velocity", v_of(SCHEDULE, x_0, eps, t))


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_conversions(kind: str) -> None:
    inputs = fill.inputs_of(SOLVER)
    out, x_t, t = inputs["model_output"], inputs["sample"], inputs["timesteps"]
    solver_says(f"x0/{kind}", to_x0(kind, SCHEDULE, out, x_t, t))
    solver_says(f"eps/{kind}", to_eps(kind, SCHEDULE, out, x_t, t))


@pytest.mark.parametrize("steps", [50, 200])
def test_solver_tables(steps: int) -> None:
    solver = DDIMSolver(SCHEDULE, steps)
    every = torch.arange(steps)
    solver_says(f"ddim{steps}/timesteps", solver.grid)
    solver_says(f"ddim{steps}/alpha_cumprods", SCHEDULE.abar(solver.time(every)))
    solver_says(f"ddim{steps}/alpha_cumprods_prev", SCHEDULE.abar(solver.prev_time(every)))


def test_solver_steps() -> None:
    inputs = fill.inputs_of(SOLVER)
    x_0, eps, index = inputs["pred_x0"], inputs["pred_noise"], inputs["index"]
    solver_says("noscale/ddim_step", DDIMSolver(SCHEDULE).step(x_0, eps, index))
    scale = videocrafter2_x0_scale()
    solver = DDIMSolver(SCHEDULE, x0_scale=scale)
    solver_says("scale/ddim_scale_arr", scale[solver.grid])
    solver_says("scale/ddim_scale_arr_prev", scale[solver.prev_time(torch.arange(50))])
    solver_says("scale/ddim_step", solver.step(x_0, eps, index))
    # The original's step with eta 1, which it never uses, adds the noise without taking its variance from the direction
    # and so leaves the marginals; the teachers' sampler does not (test_ddim_noise).
    std = ddim_std(SCHEDULE, solver.time(index), solver.prev_time(index), 1.0)
    solver_says("scale/ddim_step_eta1", solver.step(x_0, eps, index) + expand(std, x_0) * inputs["ddim_noise"])


@pytest.mark.parametrize(("steps", "suffix"), [(50, ""), (200, "_200")])
def test_inverse_step(steps: int, suffix: str) -> None:
    inputs = fill.inputs_of(SOLVER)
    t = inputs[f"reverse_ts{suffix}"]
    x_t = DDIMSolver(SCHEDULE, steps).invert(inputs["sample"], inputs["pred_noise"], t)
    solver_says(f"reverse_step{suffix}", x_t)


@pytest.mark.parametrize("dim", [256, 16, 17])
def test_guidance_embedding(dim: int) -> None:
    solver_says(f"w_embedding/{dim}", guidance_embedding(fill.inputs_of(SOLVER)["w"], dim))


def test_pseudo_huber_and_its_gradient() -> None:
    inputs = fill.inputs_of(SOLVER)
    a = inputs["huber_a"].requires_grad_()
    loss = pseudo_huber(a, inputs["huber_b"])
    solver_says("huber/loss", loss)
    solver_says("huber/grad", torch.autograd.grad(loss, a)[0])
