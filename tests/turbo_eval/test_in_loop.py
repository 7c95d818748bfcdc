"""Are the warnings under a table of rewards said when they hold, and only then?"""

from __future__ import annotations

import pytest

from turbo_eval.in_loop import hacking_of, is_in_loop, warnings_of
from turbo_eval.lineup_numbers import Part, RowDifference
from turbo_eval.reward_records import RewardDifference, RewardMean

LINEAGE = {"hpsv2.1": "ViT-H", "clip": "ViT-H", "viclip": "ViCLIP", "judge": "judge"}
UP, DOWN, FLAT, FEW = (0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None)
Bounds = tuple[float | None, float | None]


def mean(reward: str, trained_on: tuple[str, ...] | None, model: str = "m", clips: int = 10) -> RewardMean:
    numbers = (0.5, 0.4, 0.6) if clips else (None, None, None)
    return RewardMean("0" * 64, model, reward, "s", "reward", is_in_loop(reward, trained_on), *numbers, clips, clips, 0)


def difference(
    reward: str, bounds: Bounds, trained_on: tuple[str, ...] | None, other: tuple[str, ...] | None = ()
) -> RewardDifference:
    marks = is_in_loop(reward, trained_on), is_in_loop(reward, other)
    return RewardDifference("0" * 64, "m", "n", reward, "s", 0.1, *bounds, 10, 10, *marks)


@pytest.mark.parametrize(
    ("trained_on", "bounds", "expected"),
    [
        (("viclip",), {"viclip": UP, "judge": FLAT}, "improved: viclip; no other reward or judge did"),
        (("viclip",), {"viclip": UP, "judge": DOWN, "clip": FEW}, "improved: viclip; no other reward or judge did"),
        (("viclip", "clip"), {"viclip": UP, "clip": UP, "judge": FLAT}, "improved: viclip, clip; no other"),
        (("viclip",), {"viclip": UP}, "improved: viclip; no other reward or judge was scored"),
        (("viclip",), {"viclip": UP, "judge": UP}, ""),  # a held-out one has improved, too
        (("viclip",), {"viclip": FLAT, "judge": FLAT}, ""),
        (("viclip",), {"viclip": FEW, "judge": FEW}, ""),  # too few prompts for an interval
        ((), {"viclip": UP, "judge": FLAT}, ""),
        (None, {"viclip": UP, "judge": FLAT}, ""),  # nobody knows
        (("hpsv2.1",), {"hpsv2.1": UP, "clip": UP, "judge": FLAT}, "weights, improved: hpsv2.1, clip; no other reward"),
        (("hpsv2.1",), {"hpsv2.1": FLAT, "clip": UP, "judge": DOWN}, "weights, improved: clip; no other reward or"),
        (("hpsv2.1",), {"hpsv2.1": UP, "clip": FLAT}, "on improved: hpsv2.1; no other reward or judge was scored"),
        (("hpsv2.1",), {"hpsv2.1": UP, "clip": UP, "viclip": UP}, ""),
        ((), {"hpsv2.1": UP, "clip": UP, "judge": FLAT}, ""),
    ],
)
def test_only_what_it_was_trained_on_improved(
    trained_on: tuple[str, ...] | None, bounds: dict[str, Bounds], expected: str
) -> None:
    differences = [difference(reward, b, trained_on) for reward, b in bounds.items()]
    said = warnings_of([], differences, {"m": trained_on, "n": ()}, LINEAGE)
    assert len(said) == bool(expected)
    assert all(text.startswith("only rewards that m was trained on") and expected in text for text in said)


def test_the_second_model_is_looked_at_as_well() -> None:
    differences = [difference("viclip", DOWN, (), ("viclip",)), difference("judge", FLAT, (), ("viclip",))]
    [said] = warnings_of([], differences, {"m": (), "n": ("viclip",)}, LINEAGE)
    assert said == "only rewards that n was trained on improved: viclip; no other reward or judge did"


@pytest.mark.parametrize(
    ("trained_on", "scored", "expected"),
    [
        (("viclip",), {"viclip": 10}, True),
        (("viclip",), {"viclip": 10, "judge": 0}, True),  # a judge without a single number judges nothing
        (("viclip",), {"viclip": 10, "judge": 10}, False),
        ((), {"viclip": 10}, False),
        (None, {"viclip": 10}, False),
        (("viclip",), {}, False),
    ],
)
def test_nothing_was_held_out(trained_on: tuple[str, ...] | None, scored: dict[str, int], expected: bool) -> None:
    means = [mean(reward, trained_on, clips=clips) for reward, clips in scored.items()]
    said = warnings_of(means, [], {"m": trained_on}, LINEAGE)
    assert said == (("no held-out reward was scored: m was trained on viclip",) if expected else ())


def test_relatives_alone_hold_nothing_out() -> None:
    trained_on = ("hpsv2.1",)
    for scored in (("hpsv2.1", "clip"), ("clip",)):
        first, *_ = warnings_of([mean(r, trained_on) for r in scored], [], {"m": trained_on}, LINEAGE)
        assert first.startswith(f"no independent reward was scored: m was trained on {', '.join(scored)}, or on")
    said = warnings_of([mean(r, trained_on) for r in ("clip", "judge")], [], {"m": trained_on}, LINEAGE)
    assert [text.split()[0] for text in said] == ["clip"]


def test_a_relative_is_not_independent() -> None:
    trained_on = ("hpsv2.1", "a-reward-of-ones-own")
    said = warnings_of([mean(r, trained_on) for r in ("clip", "viclip")], [], {"m": trained_on}, LINEAGE)
    assert said == ("clip is not independent of hpsv2.1, which m was trained on: both come from ViT-H",)
    assert warnings_of([mean("clip", None)], [], {"m": None}, LINEAGE) == ()


def test_each_model_has_its_own_rewards() -> None:
    trained: dict[str, tuple[str, ...] | None] = {"m": ("viclip",), "n": ()}
    means = [mean("viclip", trained[model], model) for model in trained]
    assert [m.in_loop for m in means] == [True, False]
    assert warnings_of(means, [], trained, LINEAGE) == ("no held-out reward was scored: m was trained on viclip",)


def gap(metric: str, bounds: Bounds, part: Part = "all") -> RowDifference:
    low, high = bounds
    mean = None if low is None or high is None else (low + high) / 2
    return RowDifference("turbo", "vcm", metric, "g", part, mean, low, high, 10, 10, ("turbo",), ())


@pytest.mark.parametrize(
    ("trained_on", "gaps", "warned"),
    [
        (("viclip",), [gap("viclip", UP), gap("judge", DOWN)], True),
        (("viclip",), [gap("viclip", UP), gap("judge", FLAT)], False),
        (("viclip",), [gap("viclip", FLAT), gap("judge", DOWN)], False),
        (("viclip",), [gap("viclip", FEW), gap("judge", DOWN)], False),
        (("hpsv2.1",), [gap("hpsv2.1", UP), gap("clip", DOWN)], False),  # no witness: of the same weights
        (("viclip",), [gap("viclip", UP), gap("judge", DOWN, "held_out")], False),
        ((), [gap("viclip", UP), gap("judge", DOWN)], False),
        (None, [gap("viclip", UP), gap("judge", DOWN)], False),
    ],
)
def test_a_row_whose_rewards_rose_while_a_judge_fell(
    trained_on: tuple[str, ...] | None, gaps: list[RowDifference], warned: bool
) -> None:
    said = list(hacking_of(gaps, trained_on, LINEAGE))
    expected = (
        "reward hacking: against vcm the rewards that turbo was trained on rose (viclip +0.150) while what is "
        "independent of them fell (judge -0.150)"
    )
    assert said == [expected] * warned
