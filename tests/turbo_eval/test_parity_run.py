"""Does `turbo-eval parity` compare the clips that it was given, keep what it measured, and say what is missing?

The live comparison with the package itself: test_parity_live.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from further_clips import GOLDEN_CLIPS
from typer.testing import CliRunner, Result

from turbo_eval import parity_ours
from turbo_eval.cli import app
from turbo_eval.parity import Row
from turbo_eval.parity_ours import Ask, _answer
from turbo_eval.parity_run import (
    REPORT,
    ParityRequest,
    _identity,
    _meant_for,
    _rows_before,
    find_clips,
    wanted_dimensions,
    write_parity,
)
from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features, Score, UnreadableClip, open_clip
from turbo_eval.scorers.registry import Scorers
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.encoders.backbone import MODE
from turbo_eval.scorers.vbench.official import ClipFile
from turbo_eval.scorers.vbench.overlay import MARK
from turbo_eval.scorers.vbench.overlay import _identity as mark
from turbo_train.errors import UserError
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.table import find_file

# A package called vbench whose one dimension is the real one's formula, and that refuses a clip whose prompt says so.
FLICKERING = """
import json, cv2, numpy as np
from tqdm import tqdm
def compute_temporal_flickering(json_dir, device, submodules, **kwargs):
    found = []
    for entry in tqdm(json.load(open(json_dir))):
        if "refused" in entry["prompt_en"]:
            raise RuntimeError("no such video")
        video, frames = cv2.VideoCapture(entry["video_list"][0]), []
        while (read := video.read())[0]:
            frames.append(read[1].astype(np.float32))
        mean = np.mean([np.mean(cv2.absdiff(a, b)) for a, b in zip(frames, frames[1:])])
        found.append({"video_path": entry["video_list"][0], "video_results": (255 - mean) / 255})
    return 0.0, found
"""


def call(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["parity", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """With the stand-in for the package."""
    package = tmp_path / "overlay" / "vbench"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "utils.py").write_text("def init_submodules(names, local, read_frame): return {n: [] for n in names}")
    (package / "temporal_flickering.py").write_text(FLICKERING)
    (package.parent / MARK).write_text(json.dumps(mark()))
    return package.parent


def test_both_engines_on_the_same_clips(overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (ROOT, "HOME", "HF_HOME", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "no weights"))
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(GOLDEN_CLIPS / "a red car-1.mp4", videos)
    shutil.copy(GOLDEN_CLIPS / "a red car-1.mp4", videos / "a refused car-0.mp4")
    asked = ("--videos", videos, "--overlay", overlay, "--threads", "1", "--device", "cpu", "--out", out)
    done = call(*asked, "--dimensions", "temporal_flickering,scene", "--json", code=3)
    document = json.loads(done.stdout)
    assert document == json.loads((out / REPORT).read_text()) and document["identity"]["clips"] == 2
    flickering, scene = document["rows"]
    assert flickering["compared"] == 1 and 0 <= flickering["largest_relative"] < 1e-6 and flickering["agrees"]
    refused = flickering["clips"][1]
    assert (refused["clip"], refused["official"]) == ("a refused car-0.mp4", None) and refused["ours"] > 0.5
    assert "RuntimeError: no such video" in refused["why"] and not flickering["is_whole"]
    assert scene["why_not"].startswith("ours: weights missing: ") and scene["compared"] == 0
    text = (out / "parity.md").read_text()
    assert "temporal_flickering: a refused car-0.mp4: official: RuntimeError" in text and "scene: not compared" in text
    assert len((out / "parity.csv").read_text().splitlines()) == 3
    again = json.loads(call(*asked, "--dimensions", "scene", "--tolerance", "0.5", "--json", code=3).stdout)["rows"]
    assert again == [{**flickering, "tolerance": 0.5}, {**scene, "tolerance": 0.5}]  # one tolerance in one table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "neither --setup nor --videos"),
        (("--setup", "--videos", "x"), "both --setup and --videos"),
        (("--videos", "x"), "turbo-eval parity --setup"),
        (("--videos", "x", "--dimensions", "sujet"), "unknown dimension"),
        (("--videos", "x", "--attribute", "oil painting"), "NAME=TEXT"),
    ],
)
def test_mistakes_are_told(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert told in call(*arguments, code=2).output


def test_a_folder_without_clips_is_told(overlay: Path, tmp_path: Path) -> None:
    assert "no folder" in call("--videos", tmp_path / "nothing", "--overlay", overlay, code=2).output
    (tmp_path / "empty").mkdir()
    assert "no videos" in call("--videos", tmp_path / "empty", "--overlay", overlay, code=2).output


def test_what_cannot_end_well_is_told_before_anything_is_computed(
    overlay: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "VBENCH_CACHE_DIR", "TORCH_HOME", "HF_HOME", "TURBO_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    (tmp_path / "report").touch()
    asked = ("--videos", GOLDEN_CLIPS, "--overlay", overlay, "--dimensions", "dynamic_degree", "--device", "cpu")
    assert "report is a file" in call(*asked, "--out", tmp_path / "report", code=2).output
    weights = tmp_path / "official" / "raft_model" / "models" / "raft-things.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    done = call(*asked, "--official-cache", tmp_path / "official", code=3)  # theirs are there, ours are not
    assert "dynamic_degree: ours: weights missing: turbo-eval weights pull --for dynamic_degree" in done.output
    assert "VBench\n" not in done.stderr


def test_clips_that_are_meant_for_other_dimensions_are_not_asked_of_an_engine() -> None:
    dimensions: tuple[tuple[str, ...], ...] = ((), (spec.SCENE,), (spec.COLOR, spec.TEMPORAL_STYLE))
    clips = [ClipFile(Path(f"{n}.mp4"), Prompt(f"p{n}", "a cat", own)) for n, own in enumerate(dimensions)]
    both = (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY)
    assert [clip.path.name for clip in _meant_for(both, clips)] == ["0.mp4", "2.mp4"]
    assert [clip.path.name for clip in _meant_for(both[1:], clips)] == ["0.mp4"]


def test_all_dimensions_of_ours_are_compared_by_default() -> None:
    assert wanted_dimensions(()) == spec.NAMES
    assert wanted_dimensions((spec.SCENE, spec.AESTHETIC_QUALITY)) == (spec.AESTHETIC_QUALITY, spec.SCENE)


def test_prompts_are_the_file_names_or_a_suites(tmp_path: Path) -> None:
    for name in ("a red car-0.mp4", "a red car-11.mp4", "dog.mp4", "notes.txt"):
        (tmp_path / name).touch()
    named = find_clips(ParityRequest(tmp_path, attributes=(("appearance_style", "oil painting"),)))
    assert [(c.path.name, c.prompt.prompt, c.sample_index) for c in named] == [
        ("a red car-0.mp4", "a red car", 0),
        ("a red car-11.mp4", "a red car", 11),
        ("dog.mp4", "dog", 0),
    ]
    assert {c.prompt.attributes["appearance_style"] for c in named} == {"oil painting"}
    assert len({(c.prompt.prompt_id, c.sample_index) for c in named}) == 3
    line = {"prompt_id": "dog", "prompt": "a dog runs", "dimensions": ["human_action"], "attributes": {"color": "red"}}
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps(line))
    (own,) = find_clips(ParityRequest(tmp_path, suite=str(suite)))
    assert (own.path.name, own.prompt.prompt, own.prompt.attributes) == ("dog.mp4", "a dog runs", {"color": "red"})


def test_a_comparison_goes_on_in_its_folder_and_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a cat-0.mp4").write_bytes(b"1")
    request = ParityRequest(tmp_path)
    clips = find_clips(request)
    identity = _identity(request, clips, "cpu", 2)
    rows = [Row(spec.SCENE, 1e-3, why_not="weights missing")]
    write_parity(tmp_path, rows, identity)
    assert _rows_before(tmp_path, identity) == {spec.SCENE: rows[0]}
    assert _rows_before(tmp_path / "new", identity) == {}
    (tmp_path / "a cat-0.mp4").write_bytes(b"2")
    for other in (_identity(request, clips, "cpu", 2), _identity(request, clips, "cpu", 1)):
        with pytest.raises(UserError, match="other clips, or in another setting"):
            _rows_before(tmp_path, other)
    (tmp_path / REPORT).write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        _rows_before(tmp_path, identity)


@dataclass(frozen=True)
class Instant:
    """A scorer that takes no time."""

    metric: str
    scorer_id: str = "instant@1"

    def score(self, clip: Clip, features: Features) -> Score:
        return Score(0.5)


def test_decoding_is_counted_once_for_dimensions_that_are_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, names = {"s": 0.0}, (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY)

    def decode(*arguments: Any) -> Clip | UnreadableClip:
        clock["s"] += 1.0
        return open_clip(*arguments)

    now = SimpleNamespace(perf_counter=lambda: clock["s"], process_time=lambda: 2 * clock["s"])
    monkeypatch.setattr(parity_ours, "time", now)
    monkeypatch.setattr(parity_ours, "open_clip", decode)
    monkeypatch.setattr(parity_ours, "build_scorers", lambda *a, **k: Scorers([Instant(name) for name in names], {}))
    clips = find_clips(ParityRequest(GOLDEN_CLIPS))
    found = parity_ours._measure(Ask(names, clips, MODE, threads=torch.get_num_threads(), every_pair=True))
    assert [found[name].score_s for name in names] == [len(clips) / 2] * 2
    assert [found[name].cpu_s for name in names] == [len(clips)] * 2


def test_damaged_weights_of_ours_are_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / path_below_root(find_file("raft/raft-things.pth"))
    weights.parent.mkdir(parents=True)
    weights.write_text("a web page")
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path))
    clips = find_clips(ParityRequest(GOLDEN_CLIPS))
    receiving, sending = Pipe(duplex=False)
    _answer(sending, Ask((spec.DYNAMIC_DEGREE,), clips, MODE, threads=torch.get_num_threads(), every_pair=True))
    found = receiving.recv()
    assert "raft-things.pth" in found[spec.DYNAMIC_DEGREE].failed and not found[spec.DYNAMIC_DEGREE].values
