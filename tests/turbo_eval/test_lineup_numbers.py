"""Are the numbers of a line-up's rows what their clips' scores say, for one model and for several seeds of one?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from turbo_eval.lineup_numbers import Column, Row, Scored, differences_of, means_of, parts_of
from turbo_eval.records import Prompt, ScoreRecord
from turbo_eval.stats import cluster_bootstrap_mean, paired_difference

PROMPTS = [Prompt(f"p-{i}", f"prompt {i}", held_out=i < 8) for i in range(12)]
COLUMN = Column("sharp", "judges", "s/1")
SEEDS = Row("turbo", ("turbo-0", "turbo-1", "turbo-2"))
ALONE = Row("teacher", ("teacher",))
MODELS = (*SEEDS.members, *ALONE.members)
NOT_KNOWN: Mapping[str, tuple[str, ...] | None] = dict.fromkeys(MODELS)


def records(samples: int = 2, without: Sequence[tuple[str, str, int]] = ()) -> list[ScoreRecord]:
    rng = np.random.default_rng(3)
    found = []
    for model in MODELS:
        for prompt in PROMPTS:
            for sample in range(samples):
                value = float(rng.normal(0.5, 0.1))
                lost = (model, prompt.prompt_id, sample) in without
                score = {"unscored": "too dark"} if lost else {"value": value}
                found.append(ScoreRecord(model, prompt.prompt_id, sample, "sharp", "s/1", **score))  # type: ignore[arg-type]
    return found


def values(scores: Sequence[ScoreRecord], model: str) -> dict[tuple[str, int], float]:
    return {(s.prompt_id, s.sample_index): s.value for s in scores if s.model == model and s.value is not None}


def test_a_row_of_one_is_the_model_itself() -> None:
    scores = records()
    (mean,) = means_of(Scored(scores), [ALONE], [COLUMN], {"all": parts_of(PROMPTS)["all"]}, NOT_KNOWN)
    own = values(scores, "teacher")
    expected = cluster_bootstrap_mean(list(own.values()), [prompt for prompt, _ in own])
    assert (mean.mean, mean.low, mean.high, mean.clips, mean.prompts) == (
        expected.mean,
        expected.low,
        expected.high,
        expected.n,
        expected.clusters,
    )
    assert (mean.unscored, mean.member_means, mean.in_loop) == (0, (), None)


def test_a_row_of_seeds_is_the_mean_over_them_clip_by_clip_and_shows_each() -> None:
    scores = records()
    (mean,) = means_of(Scored(scores), [SEEDS], [COLUMN], {"all": parts_of(PROMPTS)["all"]}, NOT_KNOWN)
    each = [values(scores, name) for name in SEEDS.members]
    own = [math.fsum(part.values()) / 24 for part in each]
    assert mean.member_means == pytest.approx(own)
    assert mean.mean == pytest.approx(math.fsum(own) / 3)
    over = {key: math.fsum(part[key] for part in each) / 3 for key in each[0]}
    assert mean.low == cluster_bootstrap_mean(list(over.values()), [prompt for prompt, _ in over]).low
    assert mean.clips == 24


def test_a_clip_that_one_seed_has_no_number_of_enters_no_mean_and_is_counted() -> None:
    scores = records(without=[("turbo-1", "p-3", 0)])
    (mean,) = means_of(Scored(scores), [SEEDS], [COLUMN], {"all": parts_of(PROMPTS)["all"]}, NOT_KNOWN)
    assert (mean.clips, mean.unscored, mean.prompts) == (23, 1, 12)
    kept = [math.fsum(v for k, v in values(scores, name).items() if k != ("p-3", 0)) / 23 for name in SEEDS.members]
    assert mean.mean == pytest.approx(math.fsum(kept) / 3)


def test_a_difference_is_paired_and_has_the_other_sign_the_other_way_round() -> None:
    scored, parts = Scored(scores := records()), {"all": parts_of(PROMPTS)["all"]}
    (gap,) = differences_of(scored, [SEEDS, ALONE], ALONE, [COLUMN], parts)  # type: ignore[arg-type]
    (back,) = differences_of(scored, [SEEDS, ALONE], SEEDS, [COLUMN], parts)  # type: ignore[arg-type]
    assert (gap.row, gap.against, back.row, back.against) == ("turbo", "teacher", "teacher", "turbo")
    assert gap.mean is not None and gap.mean == pytest.approx(-(back.mean or 0))
    teacher = values(scores, "teacher")
    own = [paired_difference(values(scores, name), teacher) for name in SEEDS.members]
    assert gap.member_means == pytest.approx([one.mean for one in own if one])
    assert gap.mean == pytest.approx(math.fsum(one.mean for one in own if one) / 3)


def test_held_out_and_seen_prompts_are_apart_only_where_a_suite_has_both() -> None:
    parts = parts_of(PROMPTS)
    assert [(name, len(prompts)) for name, prompts in parts.items()] == [("all", 12), ("held_out", 8), ("seen", 4)]
    assert list(parts_of(PROMPTS[:8])) == list(parts_of(PROMPTS[8:])) == ["all"]
    means = {mean.part: mean for mean in means_of(Scored(records()), [ALONE], [COLUMN], parts, NOT_KNOWN)}
    whole = 8 * (means["held_out"].mean or 0) + 4 * (means["seen"].mean or 0)
    assert means["all"].mean == pytest.approx(whole / 12)
    assert (means["held_out"].low is None, means["seen"].low is None) == (False, True)  # four prompts are too few


def test_in_loop_is_known_only_where_all_seeds_agree() -> None:
    def mark(*trained: tuple[str, ...] | None) -> bool | None:
        known = dict(zip(SEEDS.members, trained, strict=True))
        (mean,) = means_of(Scored(records()), [SEEDS], [COLUMN], {"all": parts_of(PROMPTS)["all"]}, known)
        return mean.in_loop

    assert mark(("sharp",), ("sharp", "other"), ("sharp",)) is True
    assert mark((), (), ("other",)) is False
    assert mark(("sharp",), (), ("sharp",)) is None
    assert mark(("sharp",), None, ("sharp",)) is None
