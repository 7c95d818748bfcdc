"""Which scorers does a name give, what do they cost to load, and what is said of those that are not there?"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from turbo_eval.scorers.oracle import ORACLE_METRICS
from turbo_eval.scorers.registry import build_scorers, metric_names
from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError

EMBEDDED = (
    spec.SUBJECT_CONSISTENCY,
    spec.BACKGROUND_CONSISTENCY,
    spec.TEMPORAL_FLICKERING,
    spec.MOTION_SMOOTHNESS,
    spec.DYNAMIC_DEGREE,
    spec.OVERALL_CONSISTENCY,
)


def test_every_metric_is_scored_or_has_its_reason(judge_weights: Path):
    scorers, unscored = build_scorers(weights=judge_weights)
    assert tuple(s.metric for s in scorers) == (*EMBEDDED, *ORACLE_METRICS)
    assert set(unscored) == set(spec.NAMES) - set(EMBEDDED)
    assert all(reason.startswith("no honest embedded encoder: ") for reason in unscored.values())
    assert {s.scorer_id.split("@")[0] for s in scorers} == {
        "embedded/judge-image",
        "embedded/judge-video",
        "embedded/dense-flow-dis",
        "embedded/oracle",
        f"vbench/{spec.TEMPORAL_FLICKERING}",
    }
    versions = {s.scorer_id.split("@")[0]: s.scorer_id.split("+")[1:] for s in scorers}
    vision = [f"opencv{metadata.version('opencv-python-headless')}", f"numpy{metadata.version('numpy')}"]
    assert versions["embedded/oracle"] == versions["embedded/dense-flow-dis"] == vision
    assert versions[f"vbench/{spec.TEMPORAL_FLICKERING}"] == vision[1:]


def test_each_backbone_is_loaded_once(judge_weights: Path, monkeypatch):
    from turbo_eval.scorers.vbench.encoders import judges

    loads = []
    for kind in ("load_image_judge", "load_video_judge"):
        load = getattr(judges, kind)
        monkeypatch.setattr(judges, kind, lambda folder, load=load, kind=kind: loads.append(kind) or load(folder))
    build_scorers(weights=judge_weights)
    assert sorted(loads) == ["load_image_judge", "load_video_judge"]


def test_weights_are_asked_for_only_by_those_who_need_them(tmp_path: Path):
    wanted = [spec.TEMPORAL_FLICKERING, spec.SCENE, "oracle_all"]
    scorers, unscored = build_scorers(dimensions=wanted, weights=tmp_path)
    assert [s.metric for s in scorers] == [spec.TEMPORAL_FLICKERING, "oracle_all"]
    assert set(unscored) == {spec.SCENE}
    with pytest.raises(UserError, match="turbo-train world build") as error:
        build_scorers(dimensions=[spec.OVERALL_CONSISTENCY], weights=tmp_path)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(("wrong", "guess"), [("dynamic_degre", "dynamic_degree"), ("oracle_color", "oracle_colour")])
def test_unknown_names_are_answered_with_the_nearest(wrong: str, guess: str):
    with pytest.raises(UserError, match=rf"unknown dimension '{wrong}'.*did you mean {guess}") as error:
        build_scorers(dimensions=[wrong])
    assert error.value.exit_code == 2
    with pytest.raises(UserError, match=r"unknown profile 'embeded'.*did you mean embedded"):
        build_scorers("embeded")


def test_the_registry_starts_without_heavy_packages():
    code = (
        "import sys, turbo_eval.scorers.registry, turbo_eval.scorers.vbench.aggregate;"
        "print([m for m in ('torch', 'cv2', 'av', 'transformers', 'open_clip', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_names_are_unique():
    assert len(set(metric_names())) == 16 + 5
