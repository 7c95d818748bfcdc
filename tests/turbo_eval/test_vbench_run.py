"""What does `turbo-eval vbench` know of its networks' weights, and of what was published of its models?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from turbo_eval.contestants import Contestant
from turbo_eval.models import named
from turbo_eval.scorers.base import OnEncoder
from turbo_eval.scorers.vbench.encoders.backbone import Backbone
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering
from turbo_eval.vbench_run import _altered, _on_trust, _published, _small
from turbo_train.weights.places import destination
from turbo_train.weights.table import WeightFile, find_file

if TYPE_CHECKING:
    from torch import Tensor, nn


class Nothing(Backbone):
    NAME = "nothing"
    FILES = ()
    PACKAGES = ()

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        raise AssertionError("never loaded")


def job(*contestants: Contestant, suite: str = "vbench", scorers: Any = ()) -> Any:
    """As much of a job as is looked at."""
    plan = SimpleNamespace(suite=SimpleNamespace(name=suite))
    return SimpleNamespace(contestants=contestants, plan=plan, scorers=list(scorers))


def contestant(name: str, recipe: int = 0, **changed: Any) -> Contestant:
    entry = named(name)
    assert entry is not None
    entry = replace(entry, recipe=entry.recipes[recipe], **changed)
    return Contestant(entry.label, entry, entry.rewards)


def test_weights_that_are_not_the_published_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path))
    row = find_file("clip/ViT-B-32.pt")
    path = destination(row)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"filled at random")
    scorers = [OnEncoder(Nothing({row: path})), OnEncoder(Nothing({row: path})), TemporalFlickering()]
    assert _altered(job(scorers=scorers)) == [row.name]
    assert _altered(job(scorers=[TemporalFlickering()])) == []


def test_a_model_that_is_run_as_published_has_its_published_row() -> None:
    found = _published(job(contestant("ms-turbo"), contestant("vc2-turbo-v2", 1), contestant("world-turbo")))
    assert {name: row.model for name, row in found.items()} == {
        "ms-turbo": "T2V-Turbo (MS)",
        "vc2-turbo-v2-no-mg": "T2V-Turbo-v2 w/o MG",
    }


def test_a_changed_setting_another_suite_embedded_encoders_and_strict_rules_have_none() -> None:
    turbo = contestant("ms-turbo")
    assert _published(job(replace(turbo, name="ms-turbo-8steps"), Contestant("clips"))) == {}
    assert _published(job(turbo, suite="world")) == {}
    embedded = SimpleNamespace(scorer_id="embedded/judge-video@1")
    assert _published(job(turbo, scorers=[embedded])) == {}
    strict = SimpleNamespace(scorer_id="vbench/grit-b@1-0123abcd-cuda-strict+torch2.6")
    assert _published(job(turbo, scorers=[strict])) == {}
    assert set(_published(job(turbo, scorers=[TemporalFlickering()]))) == {"ms-turbo"}


def test_files_of_unknown_sha256_are_named_where_published_scores_stand_beside() -> None:
    unknown, known = find_file("dino/vitb16.pth"), find_file("clip/ViT-B-32.pt")
    assert known.sha256 and not unknown.sha256
    here = job(contestant("vc2-turbo"), Contestant("clips"), scorers=[OnEncoder(nothing(unknown, known))])
    (note,) = _on_trust(here, ["vc2-turbo"])
    assert note.endswith("is not known: vc2-turbo/merged.pt, dino/vitb16.pth")
    assert list(_on_trust(here, [])) == []


def nothing(*rows: WeightFile) -> Nothing:
    return Nothing(dict.fromkeys(rows, Path(__file__)))


class Large(Nothing):
    NAME = "large"
    SMALLEST_PX = 121


def scorer(metric: str, network: Backbone) -> Any:
    return SimpleNamespace(metric=metric, encoder=network)


def test_clips_that_are_too_small_for_a_network_are_told_where_it_has_scored_them() -> None:
    here = job(scorers=[scorer("a", Large({})), scorer("b", nothing())])
    clips = [SimpleNamespace(clip_id=("m", "p", n), height_px=side, width_px=300) for n, side in enumerate((64, 121))]
    here.run = SimpleNamespace(clips=lambda: clips)

    def told(metric: str, sample: int, value: float | None = 1.0) -> list[str]:
        scores: Any = [SimpleNamespace(metric=metric, clip_id=("m", "p", sample), value=value)]
        return list(_small(here, scores))

    (note,) = told("a", 0)
    assert note.startswith("clips below 121 px a side: large sees them with their borders repeated")
    assert told("a", 1) == told("b", 0) == told("a", 0, None) == told("oracle", 0) == []
