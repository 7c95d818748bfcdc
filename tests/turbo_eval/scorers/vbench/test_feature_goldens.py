"""Do six dimensions give VBench's own numbers at full size? Its scores on random checkpoints (tests/golden/vbench).

The package computed them on another CPU, in float32, a frame at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vbench_checkpoints import CLIPS, ROW, write_plain

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features, Scorer
from turbo_eval.scorers.vbench.aesthetic_quality import AestheticQuality
from turbo_eval.scorers.vbench.appearance_style import AppearanceStyle
from turbo_eval.scorers.vbench.background_consistency import BackgroundConsistency
from turbo_eval.scorers.vbench.encoders import clip_picture_features, clip_video_features, style_cosines
from turbo_eval.scorers.vbench.encoders.aesthetic import LaionAesthetic
from turbo_eval.scorers.vbench.encoders.backbone import Backbone
from turbo_eval.scorers.vbench.encoders.clip import ClipB32
from turbo_eval.scorers.vbench.encoders.dino import Dino
from turbo_eval.scorers.vbench.encoders.viclip import ViClip
from turbo_eval.scorers.vbench.overall_consistency import OverallConsistency
from turbo_eval.scorers.vbench.subject_consistency import SubjectConsistency
from turbo_eval.scorers.vbench.temporal_style import TemporalStyle
from turbo_train.video_io import read_video
from turbo_train.weights.table import find_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GOLDEN = json.loads((CLIPS / "eleven_dimensions_four_clips.json").read_text(encoding="utf-8"))
REL = 2e-6  # float32 sums in another order; 7e-7 was the most


@pytest.fixture(scope="module")
def clips() -> list[Features]:
    """The four clips as one company; a clip's text is its name without the number."""
    company = []
    for video in GOLDEN["subject_consistency"]["videos"]:
        text = video["video_path"].rpartition("-")[0]
        prompt = Prompt("p-0", text, attributes={"appearance_style": "oil painting"})
        decoded = read_video(CLIPS / video["video_path"])
        company.append(Features(Clip(("model", "p-0", 0), prompt, decoded.frames_THWC, decoded.fps)))
    for features in company:
        features.company = company
    return company


def opened(kind: type[Backbone], tables: list[str], folder: Path) -> Iterator[Any]:
    files = {find_file(ROW[table]): write_plain(table, folder) for table in tables}
    yield kind(files)
    for path in files.values():
        path.unlink()


@pytest.fixture
def dino(tmp_path: Path) -> Iterator[Dino]:
    yield from opened(Dino, ["dino_vitb16"], tmp_path)


@pytest.fixture
def clip_b32(tmp_path: Path) -> Iterator[ClipB32]:
    yield from opened(ClipB32, ["clip_vit_b32"], tmp_path)


@pytest.fixture
def aesthetic(tmp_path: Path) -> Iterator[LaionAesthetic]:
    yield from opened(LaionAesthetic, ["clip_vit_l14", "laion_head"], tmp_path)


@pytest.fixture
def viclip(tmp_path: Path) -> Iterator[ViClip]:
    yield from opened(ViClip, ["viclip"], tmp_path)


def agrees(scorer: Scorer, clips: list[Features]) -> None:
    wanted = [video["video_results"] for video in GOLDEN[scorer.metric]["videos"]]
    scores = [scorer.score(features.clip, features).value for features in clips]
    np.testing.assert_allclose(scores, wanted, rtol=REL, atol=0)


def test_subject_consistency(dino: Dino, clips):
    agrees(SubjectConsistency(dino), clips)


def test_background_consistency_and_appearance_style(clip_b32: ClipB32, clips):
    agrees(BackgroundConsistency(clip_b32), clips)
    for features, video in zip(clips, GOLDEN["background_consistency"]["videos"], strict=True):
        pairs = len(features.clip.frames_THWC) - 1
        value = BackgroundConsistency(clip_b32).score(features.clip, features).value
        assert video["cnt_per_video"] == pairs and value * pairs == pytest.approx(video["video_sim"], rel=REL)
    style = clip_b32.text_features("oil painting")
    for features, video in zip(clips, GOLDEN["appearance_style"]["videos"], strict=True):
        cosines = style_cosines(clip_picture_features(clip_b32, features), style)
        np.testing.assert_allclose(cosines, video["frame_results"], rtol=0, atol=2e-7)
    agrees(AppearanceStyle(clip_b32), clips)


def test_aesthetic_quality(aesthetic: LaionAesthetic, clips):
    agrees(AestheticQuality(aesthetic), clips)


def test_overall_consistency_and_temporal_style(viclip: ViClip, clips):
    for features, first in zip(clips, GOLDEN["overall_consistency"]["intermediate"], strict=True):
        video_D = clip_video_features(viclip, features)
        np.testing.assert_allclose(video_D[:8] / np.linalg.norm(video_D), first, rtol=0, atol=2e-7)
    agrees(OverallConsistency(viclip), clips)
    agrees(TemporalStyle(viclip), clips)
