"""Is a model better, or does it only please the rewards that it was trained on? Warnings under a table of rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
            *_only_in_loop(model, differences),
            *_nothing_held_out(model, own),
            *_related(model, own, rewards, lineage),
        ]
    return tuple(texts)


def _only_in_loop(model: str, differences: Sequence[RewardDifference]) -> Iterator[str]:
    compared = [d for d in differences if d.clips and model in (d.model, d.against)]
    better = [d for d in compared if d.improved(model)]
    if better and all(d.is_in_loop(model) for d in better):
        others = any(not d.is_in_loop(model) for d in compared)
        rest = "no other reward or judge did" if others else "no other reward or judge was scored"
        yield f"only rewards that {model} was trained on improved: {', '.join(d.reward for d in better)}; {rest}"


def _nothing_held_out(model: str, means: Sequence[RewardMean]) -> Iterator[str]:
    if means and all(mean.in_loop for mean in means):
        yield f"no held-out reward was scored: {model} was trained on {', '.join(mean.reward for mean in means)}"


def _related(
    model: str, means: Sequence[RewardMean], trained_on: Sequence[str] | None, lineage: Mapping[str, str]
) -> Iterator[str]:
    for mean in means:
        kin = [r for r in trained_on or () if lineage.get(r) == lineage.get(mean.reward, "")]
        if mean.in_loop is False and kin:
            yield (
                f"{mean.reward} is not independent of {', '.join(kin)}, which {model} was trained on: "
                f"both come from {lineage[mean.reward]}"
            )
