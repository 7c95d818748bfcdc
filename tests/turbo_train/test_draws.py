"""Is what is random in a step a function of (seed, step, sample) alone, and as random as it should be?"""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from turbo_train.draws import Draws, draw

SHAPE = (4, 8, 2, 2)


def drawn(seed: int, step: int, *samples: int) -> Draws:
    return draw(seed, step, samples, SHAPE, num_ddim_steps=50, guidance_range=(5.0, 15.0))


def test_a_sample_meets_the_same_in_any_company_and_at_any_time() -> None:
    together = drawn(7, 3, 0, 1, 2, 3)
    for rank in (0, 1):
        alone = drawn(7, 3, 2 * rank, 2 * rank + 1)
        for name, value in vars(alone).items():
            assert torch.equal(value, getattr(together, name)[2 * rank : 2 * rank + 2]), name
    drawn(7, 99, 5)
    again = drawn(7, 3, 0, 1, 2, 3)
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(together).items())


@pytest.mark.parametrize("other", [(8, 3, 0), (7, 4, 0), (7, 3, 1)])
def test_another_seed_step_or_sample_is_another_draw(other: tuple[int, int, int]) -> None:
    here, there = drawn(7, 3, 0), drawn(*other)
    for name in ("noise_BCTHW", "w_B", "offset_B", "crop_seed_B"):
        assert not torch.equal(getattr(here, name), getattr(there, name)), name


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    drawn(0, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_are_uniform_and_normal() -> None:
    many = draw(1, 0, range(4000), (1, 4, 1, 1), num_ddim_steps=50, guidance_range=(5.0, 15.0))
    counts = torch.bincount(many.index_B, minlength=50).double()
    assert len(counts) == 50
    # chi-square with 49 degrees of freedom: its 0.9999 quantile is 95.
    assert float(((counts - 80) ** 2 / 80).sum()) < 95
    assert float(many.w_B.min()) >= 5 and float(many.w_B.max()) < 15
    assert_close(many.w_B.mean(), torch.tensor(10.0), atol=0.2, rtol=0)  # 4.4 standard errors
    assert_close(many.noise_BCTHW.mean(), torch.tensor(0.0), atol=0.035, rtol=0)
    assert_close(many.noise_BCTHW.std(), torch.tensor(1.0), atol=0.025, rtol=0)
    first = torch.bincount(many.order_BT[:, 0], minlength=4).double()
    assert float(((first - 1000) ** 2 / 1000).sum()) < 21  # chi-square with 3: the 0.9999 quantile
    assert torch.equal(many.order_BT.sort(1).values, torch.arange(4).expand(4000, 4))
    assert float(many.offset_B.min()) >= 0 and float(many.offset_B.max()) < 1
