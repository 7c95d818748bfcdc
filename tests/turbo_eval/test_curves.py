"""Do the curves warn when rewards rise and what is independent falls, and only then?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from turbo_eval.curves import Curves, curves_of
from turbo_eval.curves_figure import draw
from turbo_eval.lineup_numbers import Column, Scored
from turbo_eval.records import ScoreRecord
from turbo_eval.stats import bootstrap_bounds

PROMPTS = [f"p-{i:02d}" for i in range(24)]
REWARD, KIN, JUDGE = (
    Column("reward", "image rewards", "r/1"),
    Column("kin", "image rewards", "k/1"),
    Column("judge", "judges", "j/1"),
)
LINEAGE = {"reward": "tower", "kin": "tower", "judge": "judge"}
STEPS = {f"step-{step:06d}": step for step in (100, 200, 300, 400)}
RISING, FALLING, FLAT = (0.1, 0.2, 0.3, 0.4), (0.6, 0.8, 0.6, 0.4), (0.5, 0.5, 0.5, 0.5)


def scores(levels: Mapping[Column, tuple[float, ...]], noise: float = 0.05) -> Scored:
    rng = np.random.default_rng(1)
    found = []
    for column, level in levels.items():
        for prompt in PROMPTS:
            own = rng.normal(0, 0.2)  # what makes a prompt hard is the same at every checkpoint
            for name, mean in zip(STEPS, level, strict=True):
                value = float(mean + own + rng.normal(0, noise))
                found.append(ScoreRecord(name, prompt, 0, column.metric, column.scorer, value))
    return Scored(found)


def curves(levels: Mapping[Column, tuple[float, ...]], trained: tuple[str, ...] | None = ("reward",)) -> Curves:
    return curves_of(scores(levels), STEPS, list(levels), frozenset(PROMPTS), trained, LINEAGE)


def test_a_judge_that_falls_while_the_reward_rises_is_warned_of() -> None:
    found = curves({REWARD: RISING, JUDGE: FALLING})
    (warning,) = found.warnings
    assert warning.startswith("reward hacking: from step 200, its best, to step 400 judge fell (-0.398 [")
    assert "the training's rewards rose (reward +0.2" in warning
    judge = next(change for change in found.changes if change.metric == "judge")
    assert (judge.best_step, judge.last_step, judge.risen, judge.is_hacked) == (200, 400, ["reward"], True)
    assert judge.change.low is not None and judge.widened.low is not None
    assert judge.widened.low < judge.change.low  # for the best of three was picked afterwards


@pytest.mark.parametrize(
    ("levels", "trained"),
    [
        ({REWARD: RISING, JUDGE: RISING}, ("reward",)),
        ({REWARD: FALLING, JUDGE: FALLING}, ("reward",)),  # both fall: a bad training, no hacking
        ({REWARD: RISING, JUDGE: FLAT}, ("reward",)),
        ({REWARD: RISING, JUDGE: FALLING}, ()),
        ({REWARD: RISING, JUDGE: FALLING}, None),
    ],
)
def test_there_is_no_warning_otherwise(
    levels: Mapping[Column, tuple[float, ...]], trained: tuple[str, ...] | None
) -> None:
    assert curves(levels, trained).warnings == ()


def test_a_fall_without_a_rise_is_noted() -> None:
    assert any(note.startswith("judge fell from step 200") for note in curves({REWARD: FLAT, JUDGE: FALLING}).notes)


def test_a_reward_of_the_same_weights_is_no_witness() -> None:
    found = curves({REWARD: RISING, KIN: FALLING})
    assert [change.is_independent for change in found.changes] == [False, False]
    assert found.warnings == ("no judge, oracle or held-out reward was scored: nothing here can show reward hacking",)


def test_points_are_one_a_step_and_metric_with_marks() -> None:
    found = curves({REWARD: RISING, JUDGE: FALLING})
    lines = [point.to_json() for point in found.points]
    assert len(lines) == 8 and {line["step"] for line in lines} == set(STEPS.values())
    assert {line["metric"]: line["in_loop"] for line in lines} == {"reward": True, "judge": False}
    assert all(line["low"] < line["mean"] < line["high"] and line["clips"] == 24 for line in lines)


def test_one_checkpoint_has_points_and_no_change() -> None:
    found = curves_of(scores({JUDGE: FLAT}), {"step-000100": 100}, [JUDGE], frozenset(PROMPTS), (), LINEAGE)
    assert (len(found.points), found.changes) == (1, ())
    assert "one checkpoint: no change to judge" in found.notes


def test_the_figure_is_a_picture_and_the_same_twice() -> None:
    found = curves({REWARD: RISING, JUDGE: FALLING})
    once = draw(found, "a run")
    assert once.startswith(b"\x89PNG") and once == draw(found, "a run")
    assert once != draw(curves({REWARD: RISING, JUDGE: RISING}), "a run")


def test_the_best_of_many_equal_checkpoints_seems_to_fall_rarely() -> None:
    """N simulated trainings in which nothing changes: the widened interval errs in under 5 %, the plain one in more."""
    trainings, checkpoints, prompts = 2000, 12, 36
    rng = np.random.default_rng(7)
    values_NCK = rng.normal(0, 1, (trainings, checkpoints, prompts))
    best_N = values_NCK[:, :-1].mean(2).argmax(1)
    gaps_KN = (values_NCK[:, -1] - values_NCK[np.arange(trainings), best_N]).T
    ones = np.ones_like(gaps_KN)
    alarms = {
        level: (bootstrap_bounds(gaps_KN, ones, seed=0, resamples=4000, level=level)[1] < 0).mean()
        for level in (0.95, 1 - 0.05 / (checkpoints - 1))
    }
    plain, widened = alarms.values()
    assert widened < 0.05 - 2.576 * (0.05 * 0.95 / trainings) ** 0.5 < plain
