"""Does one run score all sixteen dimensions: one decode a clip, one load a network, and the Total?

Networks of VBench's classes in tiny sizes, from files where the published ones lie (tests/tiny_vbench.py).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.tiny_vbench import CAR, NETWORKS, RED, use_tiny_networks, write_tiny_grit, write_tiny_networks
from tests.vbench_checkpoints import WORD_PIECES
from turbo_eval import clip_files, decode_ahead
from turbo_eval.cli import app
from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.color import NOT_SHOWN
from turbo_eval.scorers.vbench.encoders.grit import detector
from turbo_eval.scorers.vbench.encoders.grit.detector import DESCRIBE_IT, NAME_IT, Grit
from turbo_eval.scorers.vbench.encoders.grit.net import GritNet
from turbo_eval.scorers.vbench.networks import Networks
from turbo_eval.scorers.vbench.strict_rules import CORRECTED
from turbo_train.video_io import write_mp4
from turbo_train.weights.places import path_below_root
from turbo_train.weights.table import find_file

OBJECTS = (spec.OBJECT_CLASS, spec.MULTIPLE_OBJECTS, spec.COLOR, spec.SPATIAL_RELATIONSHIP)
ATTRIBUTES = {
    "object_class.object": "red",
    "multiple_objects.object": "red and red",
    "color.color": "blue",
    "spatial_relationship.spatial_relationship.object_a": "red",
    "spatial_relationship.spatial_relationship.object_b": "cat",
    "spatial_relationship.spatial_relationship.relationship": "on the left of",
    "scene.scene.scene": "w",
    "appearance_style.appearance_style": "oil painting",
}
OTHERS = tuple(name for name in spec.NAMES if name not in (*OBJECTS, spec.HUMAN_ACTION))
PROMPTS = (
    Prompt("things", "a blue red", OBJECTS, ATTRIBUTES),
    Prompt("action", "a person is surfing water", (spec.HUMAN_ACTION,)),
    Prompt("rest", "a quiet alley", OTHERS, ATTRIBUTES),
    Prompt("both", "a blue red in an alley", (spec.OBJECT_CLASS, spec.SCENE), ATTRIBUTES),
)


@pytest.fixture(scope="module")
def sees_red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_networks(tmp_path_factory.mktemp("red"), RED)


@pytest.fixture(scope="module")
def sees_cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_grit(tmp_path_factory.mktemp("cars"), CAR)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    draw = np.random.default_rng(0)
    for prompt in PROMPTS:
        for sample in range(2):
            pixels = draw.integers(0, 256, (3, 64, 72, 3), dtype=np.uint8)
            write_mp4(folder / "clips" / f"{prompt.prompt}-{sample}.mp4", pixels, 8.0)
    suite = folder / "tiny.jsonl"
    suite.write_text("".join(json.dumps(prompt.to_json()) + "\n" for prompt in PROMPTS))
    return ["--videos", str(folder / "clips"), "--suite", str(suite), "--encoders", "vbench"]


def run(inputs: list[str], out: Path, *options: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["vbench", *inputs, "--out", str(out), "--threads", "1", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stdout, done.stderr


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def test_all_sixteen_on_one_decode_a_clip_and_one_load_a_network(
    sees_red: Path, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = use_tiny_networks(sees_red, tmp_path / "home", monkeypatch)
    decoded: Counter[str] = Counter()
    for module in (decode_ahead, clip_files):
        read = module.read_video
        monkeypatch.setattr(module, "read_video", lambda p, read=read: (decoded.update([p.name]), read(p))[1])
    passes: list[tuple[int, tuple[int, ...]]] = []
    look = GritNet.forward
    monkeypatch.setattr(
        GritNet,
        "forward",
        lambda net, x, begins, most: (passes.append((len(x), begins)), look(net, x, begins, most))[1],
    )
    code, out, err = run(inputs, tmp_path / "run")
    assert code == 0, err
    assert sorted(passes) == [(3, (NAME_IT,)), (3, (NAME_IT, DESCRIBE_IT))]  # of one clip four dimensions ask
    assert loads == {network.NAME: 1 for network in NETWORKS}
    assert len(decoded) == 4 and set(decoded.values()) == {1}
    rows = rows_of(tmp_path / "run")
    assert Counter(row["metric"] for row in rows) == {
        name: 2 if name in (spec.OBJECT_CLASS, spec.SCENE) else 1 for name in spec.NAMES
    }
    assert all(isinstance(row["value"], float) for row in rows), [row["unscored"] for row in rows]
    assert {row["value"] for row in rows if row["metric"] in OBJECTS[:2]} == {1.0}
    assert {row["value"] for row in rows if row["metric"] == spec.COLOR} == {0.0}
    assert all(name in out for name in (*spec.NAMES, *spec.SCORES)) and "no quality" not in out


def test_strict_rules_are_other_scorers_on_the_same_run(
    sees_red: Path, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_networks(sees_red, tmp_path / "home", monkeypatch)
    asked = [*inputs, "--dimensions", ",".join((spec.OBJECT_CLASS, *CORRECTED))]
    code, _, err = run(asked, tmp_path / "run")
    assert code == 0, err
    plain = {row["metric"]: row["scorer"] for row in rows_of(tmp_path / "run")}
    plain_table = (tmp_path / "run" / "table.md").read_text()
    code, _, err = run(asked, tmp_path / "run", "--strict-rules")
    assert code == 0, err
    strict = {row["metric"]: row["scorer"] for row in rows_of(tmp_path / "run")}
    assert {name for name in plain if plain[name] != strict[name]} == set(CORRECTED)
    told = f"strict rules in {', '.join(CORRECTED)}: not comparable with VBench"
    assert told in (tmp_path / "run" / "table.md").read_text() and "strict" not in plain_table
    lines = [line for path in (tmp_path / "run" / "ledger").glob("*") for line in path.read_text().splitlines()]
    kept = [json.loads(line) for line in lines]
    scores = Counter((row["metric"], row["scorer"]) for row in kept if row["kind"] == "score")
    clips = dict.fromkeys(plain, 1) | {spec.OBJECT_CLASS: 2, spec.SCENE: 2}
    assert scores == {(name, ids[name]): clips[name] for ids in (plain, strict) for name in plain}
    monkeypatch.setattr(Grit, "objects", None)  # what is known is printed again, by either rules
    assert run(asked, tmp_path / "run")[0] == 0 and (tmp_path / "run" / "table.md").read_text() == plain_table


def test_where_no_clip_shows_the_object_color_has_a_reason_and_there_is_no_total(
    sees_cars: Path, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As temporal flickering without a static clip: the clips are all there, and the exit code is 0."""
    use_tiny_networks(sees_cars, tmp_path / "home", monkeypatch)
    code, out, err = run(
        inputs, tmp_path / "run", "--samples", "2", "--dimensions", f"{spec.OBJECT_CLASS},{spec.COLOR}"
    )
    words = " ".join(out.split())
    assert (code, f"{NOT_SHOWN} (2 clips)" in words) == (0, True), err
    assert f"no quality, semantic or total score: 1 dimension is unscored: {spec.COLOR}; 14 dimensions are" in words
    rows = rows_of(tmp_path / "run")
    assert {row["unscored"] for row in rows if row["metric"] == spec.COLOR} == {NOT_SHOWN}
    assert {row["value"] for row in rows if row["metric"] == spec.OBJECT_CLASS} == {0.0}


def test_large_frames_in_which_nothing_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 768 px color looks at other pixels, so that there are two passes; a clip without objects has 0."""
    use_tiny_networks(write_tiny_grit(tmp_path / "blind", sees=False), tmp_path / "home", monkeypatch)
    write_mp4(tmp_path / "clips" / f"{PROMPTS[0].prompt}-0.mp4", np.full((2, 784, 776, 3), 90, np.uint8), 8.0)
    suite = tmp_path / "large.jsonl"
    suite.write_text(json.dumps(PROMPTS[0].to_json()) + "\n")
    looks: list[tuple[tuple[int, ...], bool]] = []
    real = detector.resized

    def resized(frames, as_bytes, device):
        looks.append((tuple(real(frames, as_bytes, device).shape), as_bytes))
        return real(frames, as_bytes, device)

    monkeypatch.setattr(detector, "resized", resized)
    asked = ["--videos", str(tmp_path / "clips"), "--suite", str(suite), "--encoders", "vbench"]
    code, _, err = run(asked, tmp_path / "run", "--dimensions", ",".join(OBJECTS))
    assert code == 0, err
    size = (int(720 / 776 * 784), int(720 / 776 * 776), 3)
    assert sorted(looks) == [((1, *size), False), ((1, *size), True)]  # one frame, for the second is like it
    found = {row["metric"]: row["unscored"] or row["value"] for row in rows_of(tmp_path / "run")}
    assert found == dict.fromkeys(OBJECTS, 0.0) | {spec.COLOR: NOT_SHOWN}


def test_berts_vocabulary_is_a_file_like_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ships it, as open_clip does with CLIP's."""
    root = write_tiny_grit(tmp_path / "weights")
    use_tiny_networks(root, tmp_path / "home", monkeypatch)
    assert [Networks().why_not(name) for name in OBJECTS] == [""] * 4
    (root / path_below_root(find_file(WORD_PIECES))).unlink()
    whys = [Networks().why_not(name) for name in (*OBJECTS, spec.SCENE)]
    assert all(why.startswith("weights missing: ") for why in whys)


def out_of_memory(times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first so many passes of the detector fail. Returns the frames that each pass may have."""
    real, rows = Grit._look, []

    def look(self, frames, *how):
        rows.append(self.rows)
        if len(rows) <= times:
            raise torch.OutOfMemoryError("of this test")
        return real(self, frames, *how)

    monkeypatch.setattr(Grit, "_look", look)
    return rows


def test_out_of_memory_in_the_detector_halves_its_passes(
    sees_red: Path, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_networks(sees_red, tmp_path / "home", monkeypatch)
    rows = out_of_memory(1, monkeypatch)
    code, _, err = run(inputs, tmp_path / "run", "--dimensions", spec.OBJECT_CLASS)
    assert (code, "out of memory: grit-b takes" in err) == (0, True), err
    assert len(rows) > 1 and rows[1] == rows[0] // 2 > 0
    assert {row["value"] for row in rows_of(tmp_path / "run")} == {1.0}


def test_out_of_memory_for_good_is_a_failed_clip_and_never_nothing_detected(
    sees_red: Path, inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_networks(sees_red, tmp_path / "home", monkeypatch)
    out_of_memory(10_000, monkeypatch)
    asked = [*inputs, "--dimensions", f"{spec.OBJECT_CLASS},{spec.TEMPORAL_FLICKERING}"]
    code, _, err = run(asked, tmp_path / "run")
    assert (code, "OutOfMemoryError: of this test" in err) == (3, True), err
    run(asked, tmp_path / "run", "--allow-missing")
    found = [json.loads(line) for line in (tmp_path / "run" / "PARTIAL-scores.jsonl").read_text().splitlines()]
    assert {row["value"] for row in found if row["metric"] == spec.OBJECT_CLASS} == {None}
    assert all("OutOfMemory" in row["unscored"] for row in found if row["metric"] == spec.OBJECT_CLASS)
    assert all(row["value"] > 0 for row in found if row["metric"] == spec.TEMPORAL_FLICKERING)
