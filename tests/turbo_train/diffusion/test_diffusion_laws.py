"""Do the equations of diffusion obey their own identities?"""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from turbo_train.diffusion.boundary import c_out, c_skip, consistency
from turbo_train.diffusion.guidance import guidance_embedding, imagen_cfg, lcm_cfg
from turbo_train.diffusion.losses import pseudo_huber
from turbo_train.diffusion.prediction import PREDICTION_TYPES, target_of, to_eps, to_x0, v_of
from turbo_train.diffusion.schedule import add_noise, expand, make_schedule
from turbo_train.diffusion.solver import DDIMSolver, videocrafter2_x0_scale

SCHEDULE = make_schedule()
TIMES = torch.tensor([0, 19, 519, 999])
SHAPE = (4, 4, 2, 3, 3)


def draw(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(dtype)


def test_schedule_has_the_published_values() -> None:
    facts = {0: 0.99914998, 19: 0.98224396, 279: 0.62572908, 519: 0.25157753, 759: 0.05221289, 999: 0.00466010}
    assert SCHEDULE.num_train_steps == 1000
    assert SCHEDULE.alphas_cumprod.dtype == torch.float32
    for t, abar in facts.items():
        assert float(SCHEDULE.abar(torch.tensor(t))) == pytest.approx(abar, abs=1e-7)
    assert (SCHEDULE.alphas_cumprod.diff() < 0).all()


def test_alpha_and_sigma_lie_on_the_circle() -> None:
    t = torch.arange(1000)
    assert_close(SCHEDULE.alpha(t) ** 2 + SCHEDULE.sigma(t) ** 2, torch.ones(1000), atol=2e-7, rtol=0)


def test_expand_broadcasts_over_everything_but_rows() -> None:
    assert expand(torch.arange(4), draw(0)).shape == (4, 1, 1, 1, 1)
    assert expand(torch.arange(4), torch.zeros(4, 2)).shape == (4, 1)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_right_answer_gives_back_x0_and_eps(kind: str) -> None:
    x_0, eps = draw(1).double(), draw(2).double()
    x_t = add_noise(SCHEDULE, x_0, eps, TIMES)
    out = target_of(kind, SCHEDULE, x_0, eps, TIMES)
    # alpha and sigma are float32 roots of a float32 table, so alpha^2 + sigma^2 is 1 to 1e-7 only.
    assert_close(to_x0(kind, SCHEDULE, out, x_t, TIMES), x_0, atol=1e-6, rtol=0)
    assert_close(to_eps(kind, SCHEDULE, out, x_t, TIMES), eps, atol=1e-6, rtol=0)


def test_eps_to_x0_to_eps_and_x0_to_v_to_x0() -> None:
    x_t, eps = draw(3).double(), draw(4).double()
    x_0 = to_x0("epsilon", SCHEDULE, eps, x_t, TIMES)
    assert_close(to_eps("sample", SCHEDULE, x_0, x_t, TIMES), eps, atol=1e-9, rtol=0)
    x_0 = draw(5).double()
    v = v_of(SCHEDULE, x_0, eps, TIMES)
    assert_close(
        to_x0("v_prediction", SCHEDULE, v, add_noise(SCHEDULE, x_0, eps, TIMES), TIMES), x_0, atol=1e-6, rtol=0
    )


def test_half_precision_is_lifted_to_float32() -> None:
    half = draw(6, torch.bfloat16)
    results = [
        add_noise(SCHEDULE, half, half, TIMES),
        to_x0("epsilon", SCHEDULE, half, half, TIMES),
        to_eps("epsilon", SCHEDULE, half, half, TIMES),
        consistency("v_prediction", SCHEDULE, half, half, TIMES),
        imagen_cfg(half, half, 7.5),
        DDIMSolver(SCHEDULE).step(half, half, torch.arange(4)),
        pseudo_huber(half, half),
    ]
    assert {result.dtype for result in results} == {torch.float32}
    assert_close(results[0], add_noise(SCHEDULE, half.float(), half.float(), TIMES), atol=0, rtol=0)


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(ValueError, match="velocity"):
        to_x0("velocity", SCHEDULE, draw(0), draw(0), TIMES)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_consistency_function_is_the_identity_at_time_zero(kind: str) -> None:
    zero = torch.zeros(4, dtype=torch.int64)
    x = draw(7)
    assert torch.equal(consistency(kind, SCHEDULE, draw(8), x, zero), x)
    assert (c_skip(zero) == 1).all() and (c_out(zero) == 0).all()


def test_boundary_scalings_at_the_first_and_the_last_time() -> None:
    t = torch.tensor([19, 999])
    assert_close(c_skip(t), torch.tensor([6.925e-6, 2.505e-9]), atol=0, rtol=1e-3)
    assert_close(c_out(t), torch.tensor([0.9999965, 1.0]), atol=1e-7, rtol=0)


def test_the_consistency_function_passes_gradients_to_the_network_and_to_x() -> None:
    out, x = draw(9).double().requires_grad_(), draw(10).double().requires_grad_()
    # Large values: finite differences over 16,000-fold amplification at t = 999 need float64.
    assert torch.autograd.gradcheck(
        lambda a, b: consistency("epsilon", SCHEDULE, a, b, TIMES), (out, x), atol=1e-5, rtol=1e-4, fast_mode=True
    )


def test_two_conventions_of_guidance_differ_by_one() -> None:
    cond, uncond = draw(11).double(), draw(12).double()
    assert_close(lcm_cfg(cond, uncond, 6.5), imagen_cfg(cond, uncond, 7.5), atol=1e-12, rtol=0)
    assert torch.equal(lcm_cfg(cond, uncond, 0.0), cond)
    assert_close(imagen_cfg(cond, uncond, 1.0), cond, atol=1e-12, rtol=0)
    per_row = lcm_cfg(cond, uncond, torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert_close(per_row[2], lcm_cfg(cond[2], uncond[2], 2.0), atol=1e-12, rtol=0)


def test_guidance_embedding_at_seven_and_a_half() -> None:
    embedding = guidance_embedding(torch.tensor([7.5]), 256)[0]
    assert embedding.shape == (256,) and embedding.dtype == torch.float32
    assert_close(embedding[:2], torch.tensor([-0.85124, 0.84213]), atol=3e-3, rtol=0)
    assert_close(embedding[126:130], torch.tensor([0.72181, 0.68164, -0.52478, 0.53927]), atol=3e-3, rtol=0)
    assert float(embedding.norm()) == pytest.approx(math.sqrt(128), abs=1e-4)
    zero = guidance_embedding(torch.zeros(1), 256)[0]
    assert (zero[:128] == 0).all() and (zero[128:] == 1).all()


def test_solver_step_with_the_true_x0_and_eps_lands_on_the_same_trajectory() -> None:
    solver, index = DDIMSolver(SCHEDULE), torch.tensor([0, 1, 25, 49])
    x_0, eps = draw(13), draw(14)
    assert solver.grid.tolist() == list(range(19, 1000, 20))
    assert solver.prev_time(index).tolist() == [0, 19, 499, 979]
    assert_close(solver.step(x_0, eps, index), add_noise(SCHEDULE, x_0, eps, solver.prev_time(index)))


@pytest.mark.parametrize("steps", [30, 0, -50, 2000])
def test_a_grid_that_does_not_reach_the_last_time_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"{steps} DDIM steps do not divide 1000 training times"):
        DDIMSolver(SCHEDULE, steps)


def test_solver_step_and_inversion_undo_each_other() -> None:
    solver, index = DDIMSolver(SCHEDULE), torch.tensor([0, 1, 25, 49])
    x_t, eps = draw(15).double(), draw(16).double()
    t = solver.time(index)
    x_s = solver.step(to_x0("epsilon", SCHEDULE, eps, x_t, t), eps, index)
    assert_close(solver.invert(x_s, eps, t), x_t, atol=1e-6, rtol=0)


def test_x0_scale_falls_to_seven_tenths() -> None:
    scale = videocrafter2_x0_scale()
    assert scale.shape == (1000,) and float(scale[0]) == 1.0
    assert_close(scale[399:], torch.full((601,), 0.7))


def test_pseudo_huber_is_zero_at_equality_and_absolute_far_away() -> None:
    a = draw(17)
    assert float(pseudo_huber(a, a)) == 0.0
    assert float(pseudo_huber(a, a + 2.0)) == pytest.approx(2.0 - 0.001, abs=1e-5)


def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first_alpha() -> None:
    plain, flat = make_schedule(), make_schedule(zero_terminal_snr=True)
    assert float(flat.alphas_cumprod[-1]) == 0.0
    torch.testing.assert_close(flat.alphas_cumprod[0], plain.alphas_cumprod[0])
    assert bool((flat.alphas_cumprod.diff() < 0).all())


def test_zero_terminal_snr_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    ).alphas_cumprod
    torch.testing.assert_close(make_schedule(zero_terminal_snr=True).alphas_cumprod, theirs, atol=1e-6, rtol=1e-4)
