"""Do the samplers visit the published times, and do they say so where they miss an end of the way?"""

from __future__ import annotations

import pytest
import tiny_models

from turbo_train.errors import UserError
from turbo_train.sampling.timesteps import consistency_timesteps, ddim_timesteps, early_end, late_start


@pytest.mark.parametrize(("steps", "origin"), [(0, 50), (-3, 50), (51, 50), (4, 1001)])
def test_impossible_numbers_of_steps_are_refused(steps: int, origin: int) -> None:
    with pytest.raises(UserError, match=f"{steps} consistency steps of a grid of {origin}") as caught:
        consistency_timesteps(steps, origin)
    assert caught.value.exit_code == 2


def test_the_table_of_the_second_versions_grid() -> None:
    assert consistency_timesteps(4, 200) == (999, 749, 499, 249)
    assert consistency_timesteps(8, 200) == (999, 874, 749, 624, 499, 374, 249, 124)
    assert consistency_timesteps(16, 200) == consistency_timesteps(16, 50)
    assert consistency_timesteps(16, 50)[-2:] == (159, 99)


@pytest.mark.parametrize("origin", [50, 200])
def test_the_usual_numbers_of_steps_lose_nothing(origin: int) -> None:
    assert [early_end(n, origin) for n in (1, 2, 4, 8, 16, origin)] == [None] * 6


def test_an_early_end_is_told_with_the_nearest_numbers_that_have_none() -> None:
    assert consistency_timesteps(32, 50)[-1] == 379
    assert early_end(32, 50) == "32 steps of a grid of 50 end at time 379, far from 0: choose 25 or 50"
    for origin in (50, 200):
        warned = {n for n in range(1, origin + 1) if early_end(n, origin)}
        room = {n: (consistency_timesteps(n, origin)[-1] + 1) * origin // 1000 for n in range(1, origin + 1)}
        assert warned == {n for n in room if room[n] - origin // n >= origin // n}
        chosen = {int(word) for n in warned for word in str(early_end(n, origin)).split("choose ")[1].split(" or ")}
        assert warned and not warned & chosen


@pytest.mark.parametrize(("origin", "first"), [(300, 899), (600, 599), (30, 989)])
def test_a_grid_that_would_not_begin_at_pure_noise_is_refused(origin: int, first: int) -> None:
    with pytest.raises(UserError, match=f"a grid of {origin} steps, which begins at time {first}") as caught:
        consistency_timesteps(4, origin)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 4, 25, 50])
def test_times_are_those_of_diffusers(spacing: str, steps: int) -> None:
    scheduler = tiny_models.scheduler(spacing=spacing)
    scheduler.set_timesteps(steps)
    assert list(ddim_timesteps(steps, spacing)) == scheduler.timesteps.tolist()  # type: ignore[arg-type]


def test_fifty_steps_begin_and_end_where_the_page_says() -> None:
    assert ddim_timesteps(50)[:2] + ddim_timesteps(50)[-1:] == (981, 961, 1)
    assert ddim_timesteps(50, "trailing")[:2] + ddim_timesteps(50, "trailing")[-1:] == (999, 979, 19)


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_numbers_of_ddim_steps_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match="1 to 999 steps") as caught:
        ddim_timesteps(steps)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("steps", "first"), [(334, 667), (400, 799), (501, 501)])
def test_a_late_start_is_told_with_the_nearest_numbers_that_have_none(steps: int, first: int) -> None:
    assert ddim_timesteps(steps)[0] == first
    warning = str(late_start(steps))
    assert warning.startswith(f"{steps} leading steps start at time {first}, far from 999, though from pure noise")
    chosen = [int(word) for word in warning.split("choose ")[1].split(" or ")]
    assert len(chosen) == 2 and chosen[0] < steps < chosen[1]
    for n in chosen:
        assert late_start(n) is None and ddim_timesteps(n)[0] + 1000 // n >= 900


def test_the_usual_numbers_of_steps_and_every_trailing_one_start_where_they_should() -> None:
    assert [late_start(n) for n in (1, 2, 4, 8, 10, 16, 20, 25, 30, 50, 100, 200, 250, 333, 500, 999)] == [None] * 16
    assert [late_start(n, "trailing") for n in range(1, 1000)] == [None] * 999
