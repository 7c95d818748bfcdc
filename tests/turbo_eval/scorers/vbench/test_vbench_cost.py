"""What do the dimensions cost together? Laws of sharing, and of what a verdict may save."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from turbo_eval.scorers.vbench import operations as of
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.cost import LEAST_PX, ON_GRIT, SERVES, ClipShape, Rules, clip_cost
from turbo_eval.scorers.vbench.dynamic_degree import is_dynamic, sampled_indices
from turbo_eval.scorers.vbench.encoders import padding
from turbo_eval.scorers.vbench.static_filter import is_static

MEASURED = Path(__file__).parents[4] / "reports" / "2026-11-22-vbench-agreement" / "goldens-clips.json"
CLIP = ClipShape(16, 320, 512, 8.0)
STRICT = Rules(strict=True)
BY_FRAME = ("DINO-B/16", "CLIP-B/32", "MUSIQ", "CLIP-L/14, LAION")


def total(*dimensions: str, shape: ClipShape = CLIP, most: bool = True) -> float:
    return sum(bounds[most].total for bounds in clip_cost(dimensions, shape).values())


def test_every_dimension_has_its_network_and_only_its_own() -> None:
    assert sorted(name for served in SERVES.values() for name in served) == sorted(spec.NAMES)
    for network, served in SERVES.items():
        for name in served:
            assert list(clip_cost([name], CLIP)) == [network]
    assert list(clip_cost(spec.NAMES, CLIP)) == list(SERVES)


def test_together_never_costs_more_and_what_is_shared_is_paid_once() -> None:
    assert total(*spec.NAMES) < sum(total(name) for name in spec.NAMES)
    assert total(spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY) == total(spec.TEMPORAL_STYLE)
    three = [name for name in ON_GRIT if name != spec.COLOR]
    assert total(*three) == total(three[0]) < total(*ON_GRIT) == total(spec.COLOR)
    assert total(spec.BACKGROUND_CONSISTENCY, spec.APPEARANCE_STYLE) == 2 * total(spec.APPEARANCE_STYLE)
    assert total(spec.DYNAMIC_DEGREE, spec.TEMPORAL_FLICKERING) == total(spec.TEMPORAL_FLICKERING)


def test_large_frames_of_color_are_seen_apart() -> None:
    large = replace(CLIP, height=800, width=1000)
    assert total(*ON_GRIT, shape=large) == pytest.approx(
        total(spec.COLOR, shape=large) + total(spec.OBJECT_CLASS, shape=large)
    )


def test_twice_the_frames_are_twice_the_work_where_each_is_seen() -> None:
    once, twice = (clip_cost(spec.NAMES, replace(CLIP, frames=frames)) for frames in (16, 32))
    for network in BY_FRAME:
        assert twice[network].most.total == 2 * once[network].most.total
    for network in ("GRiT-B", "Tag2Text", "UMT-L/16", "ViCLIP-L/14"):
        assert twice[network] == once[network]
    for frames, pairs in ((16, 7), (17, 8)):
        cost = clip_cost([spec.MOTION_SMOOTHNESS], replace(CLIP, frames=frames))["AMT-S"]
        assert cost.most == pairs * of.amt(320, 512)
    half = clip_cost([spec.OBJECT_CLASS], replace(CLIP, frames=8))["GRiT-B"].most.total
    assert 2 * half == once["GRiT-B"].most.total - (total(spec.COLOR) - total(spec.OBJECT_CLASS))


def asked_for(verdict: object, radii: list[float]) -> Iterator[float]:
    for radius in radii:
        verdict.append(radius)  # type: ignore[attr-defined]
        yield radius


@pytest.mark.parametrize("frames", [2, 3, 4, 7, 16, 25, 81])
def test_the_least_and_most_pairs_are_those_of_the_rules(frames: int) -> None:
    """All still or all in motion are the quickest verdicts; a static clip is the least of the filter's."""
    shape = replace(CLIP, frames=frames, fps=8.0)
    kept = sampled_indices(frames, 8.0)
    counts = []
    for radius in (0.0, 1e9):
        seen: list[float] = []
        is_dynamic(asked_for(seen, [radius] * (len(kept) - 1)), len(kept), 320)
        counts.append(len(seen))
    cost = clip_cost([spec.DYNAMIC_DEGREE], shape, Rules(at_once=1))["RAFT"]

    def of_pairs(pairs: int) -> float:
        frame, pair = of.raft_encoder(320, 512), of.raft_pair(320, 512)
        return ((2 * pairs + 1) * frame + pairs * pair).total

    assert cost.least.total == pytest.approx(of_pairs(min(counts)))
    assert cost.most.total == pytest.approx(of_pairs(frames - 1))
    seen, ends = [], []
    assert is_static(asked_for(seen, [0.0] * (frames - 1)), asked_for(ends, [0.0, 0.0]), frames, 320)
    new = {(0, frames - 1), (frames - 1, 0)} - {(0, 1)}  # flows are computed once, however often they are asked for
    assert len(ends) == 2
    both = (2 + len(new)) * of.raft_encoder(320, 512).total + len(new) * of.raft_pair(320, 512).total
    cost = clip_cost([spec.TEMPORAL_FLICKERING], shape, Rules(at_once=1))["RAFT"]
    assert cost.least.total == pytest.approx(of_pairs(len(seen)) + both)
    assert cost.most.total == pytest.approx(of_pairs(frames - 1) + both)
    in_eights = clip_cost([spec.TEMPORAL_FLICKERING], shape)["RAFT"]
    assert cost.least.total <= in_eights.least.total <= in_eights.most.total == cost.most.total


def test_what_is_never_scored_costs_nothing() -> None:
    assert clip_cost(spec.NAMES, replace(CLIP, frames=1)) == {}
    assert clip_cost([], CLIP) == {}
    assert clip_cost([spec.TEMPORAL_FLICKERING], CLIP, Rules(filtered=False)) == {}


def test_small_frames_cost_raft_and_amt_what_those_cost_that_they_are_padded_to() -> None:
    assert LEAST_PX == padding.LEAST_PX
    asked = [spec.DYNAMIC_DEGREE, spec.MOTION_SMOOTHNESS]
    assert clip_cost(asked, replace(CLIP, height=64, width=200)) == clip_cost(
        asked, replace(CLIP, height=128, width=200)
    )


def test_scene_goes_by_six_frames_and_strictly_by_sixteen() -> None:
    vbench, strict = (clip_cost([spec.SCENE], CLIP, rules)["Tag2Text"].most.total for rules in (Rules(), STRICT))
    assert strict == pytest.approx(16 / 6 * vbench)
    short = replace(CLIP, frames=4)
    assert clip_cost([spec.SCENE], short) == clip_cost([spec.SCENE], short, STRICT)


def test_seldom_frames_are_pairs_of_their_own() -> None:
    """At 16 frames a second dynamic_degree takes every second one, which no other looks at in pairs."""
    fast = replace(CLIP, fps=16.0)
    assert total(spec.DYNAMIC_DEGREE, shape=fast) < total(spec.DYNAMIC_DEGREE)
    both = total(spec.DYNAMIC_DEGREE, spec.TEMPORAL_FLICKERING, shape=fast)
    assert both == pytest.approx(total(spec.DYNAMIC_DEGREE, shape=fast) + total(spec.TEMPORAL_FLICKERING, shape=fast))


def test_the_measured_seconds_of_a_cpu_go_with_the_counted_operations() -> None:
    """Shares on the goldens' four clips (reports/2026-11-22-vbench-agreement) agree within a factor of 2."""
    shapes = [ClipShape(16, 320, 512, 8.0), ClipShape(16, 256, 256, 8.0), ClipShape(25, 360, 640, 24.0)]
    shapes.append(ClipShape(12, 250, 334, 10.0))
    rows = json.loads(MEASURED.read_text())["rows"]
    measured = {row["dimension"]: row["ours_cpu_s"] for row in rows}
    del measured[spec.TEMPORAL_FLICKERING], measured[spec.OVERALL_CONSISTENCY]  # no network; temporal_style's own
    counted = {name: sum(total(name, shape=shape) for shape in shapes) for name in measured}
    for name in measured:
        share = counted[name] / sum(counted.values())
        assert 0.5 < share / (measured[name] / sum(measured.values())) < 2, name
    assert spearmanr([counted[name] for name in measured], list(measured.values())).statistic > 0.9
