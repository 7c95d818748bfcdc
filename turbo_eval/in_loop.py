"""Is a model better, or does it only please the rewards that it was trained on? Warnings of tables with rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from turbo_eval.lineup_numbers import RowDifference
from turbo_eval.reward_records import RewardDifference, RewardMean

Trained = Mapping[str, tuple[str, ...] | None]  # model -> the rewards that it was trained on; None: not known


def is_in_loop(reward: str, trained_on: Sequence[str] | None) -> bool | None:
    """Whether a model that was trained on these has seen this reward; None: not known."""
    return None if trained_on is None else reward in trained_on


def warnings_of(
    means: Sequence[RewardMean],
    differences: Sequence[RewardDifference],
    trained: Trained,
    lineage: Mapping[str, str],
) -> tuple[str, ...]:
    """One sentence each, in the order of the models: what improved alone, what was not held out, what is related.

    lineage: reward -> the weights that it was made from, of all rewards there are.
    """
    texts: list[str] = []
    for model, rewards in trained.items():
        own = [mean for mean in means if mean.model == model and mean.clips]
        texts += [
            *_only_in_loop(model, differences, rewards, lineage),
            *_nothing_held_out(model, own, rewards, lineage),
            *_related(model, own, rewards, lineage),
        ]
    return tuple(texts)


def hacking_of(
    differences: Sequence[RowDifference], trained_on: Sequence[str] | None, lineage: Mapping[str, str]
) -> Iterator[str]:
    """Of one row of a line-up against one other, over all prompts: its rewards rose and something independent fell.

    For rows that differ in their training alone: against a teacher, or at fewer steps, metrics fall for other reasons.
    """
    sure = [gap for gap in differences if gap.part == "all" and gap.is_sure and gap.mean is not None]
    rose = [gap for gap in sure if (gap.mean or 0) > 0 and is_in_loop(gap.metric, trained_on)]
    fell = [
        gap
        for gap in sure
        if (gap.mean or 0) < 0
        and is_in_loop(gap.metric, trained_on) is False
        and not relatives(gap.metric, trained_on, lineage)
    ]
    if rose and fell:
        up, down = (", ".join(f"{gap.metric} {gap.mean:+.3f}" for gap in gaps) for gaps in (rose, fell))
        first = sure[0]
        yield (
            f"reward hacking: against {first.against} the rewards that {first.row} was trained on rose ({up}) while "
            f"what is independent of them fell ({down})"
        )


def _only_in_loop(
    model: str, differences: Sequence[RewardDifference], trained_on: Sequence[str] | None, lineage: Mapping[str, str]
) -> Iterator[str]:
    compared = [d.reward for d in differences if d.clips and model in (d.model, d.against)]
    better = [d.reward for d in differences if d.clips and d.improved(model)]
    seen = [r for r in compared if is_in_loop(r, trained_on) or relatives(r, trained_on, lineage)]
    if better and set(better) <= set(seen):
        rest = "no other reward or judge was scored" if seen == compared else "no other reward or judge did"
        own = all(is_in_loop(r, trained_on) for r in better)
        what = f"rewards that {model} was trained on" + ("" if own else ", or that come from the same weights,")
        yield f"only {what} improved: {', '.join(better)}; {rest}"


def _nothing_held_out(
    model: str, means: Sequence[RewardMean], trained_on: Sequence[str] | None, lineage: Mapping[str, str]
) -> Iterator[str]:
    names = ", ".join(mean.reward for mean in means)
    if means and all(mean.in_loop for mean in means):
        yield f"no held-out reward was scored: {model} was trained on {names}"
    elif means and all(mean.in_loop or relatives(mean.reward, trained_on, lineage) for mean in means):
        yield f"no independent reward was scored: {model} was trained on {names}, or on rewards from the same weights"


def relatives(reward: str, trained_on: Sequence[str] | None, lineage: Mapping[str, str]) -> list[str]:
    """The rewards of training that were made from this one's weights."""
    return [r for r in trained_on or () if lineage.get(r) == lineage.get(reward, "")]


def _related(
    model: str, means: Sequence[RewardMean], trained_on: Sequence[str] | None, lineage: Mapping[str, str]
) -> Iterator[str]:
    for mean in means:
        kin = relatives(mean.reward, trained_on, lineage)
        if mean.in_loop is False and kin:
            yield (
                f"{mean.reward} is not independent of {', '.join(kin)}, which {model} was trained on: "
                f"both come from {lineage[mean.reward]}"
            )
