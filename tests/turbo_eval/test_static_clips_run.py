"""Does a run take clips of a flickering prompt until five are static, alone, in shards, and again?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.suites import load_suite
from turbo_train.video_io import write_mp4

SUITE = "vbench:temporal_flickering"
MOVING = (1, 3)  # of the first prompt's clips; of the second's all move
FILES = 9


def frames(seed: int, moves: bool) -> np.ndarray:
    """A textured square that rests or moves by 3 px a frame."""
    draw = np.random.default_rng(seed)
    made = np.full((8, 64, 64, 3), 40, np.uint8)
    square = draw.integers(120, 255, (24, 24, 3), dtype=np.uint8)
    for t in range(8):
        left = 10 + (3 * t if moves else 0)
        made[t, 20:44, left : left + 24] = square
    return made


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    first, second = (prompt.prompt for prompt in load_suite(SUITE).prompts[:2])
    for sample in range(FILES):
        write_mp4(folder / f"{first}-{sample}.mp4", frames(sample, sample in MOVING), 8.0)
        write_mp4(folder / f"{second}-{sample}.mp4", frames(sample, True), 8.0)
    return folder


def run(videos: Path, out: Path, *options: str) -> tuple[int, str, str]:
    common = ["vbench", "--videos", str(videos), "--suite", SUITE, "--limit", "2", "--out", str(out), "--no-latency"]
    common += ["--encoders", "embedded", "--dimensions", "temporal_flickering", "--threads", "1", "--batch", "2"]
    done = CliRunner().invoke(app, [*common, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stdout, done.stderr


def scores_of(folder: Path, name: str = "scores.jsonl") -> dict[tuple[str, int], float | str]:
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return {(row["prompt_id"], row["sample_index"]): row["unscored"] or row["value"] for row in rows}


def test_clips_are_taken_until_five_are_static(videos: Path, tmp_path: Path) -> None:
    code, out, err = run(videos, tmp_path / "run", "--limit", "1")
    assert code == 0, err
    found = scores_of(tmp_path / "run")
    assert sorted(sample for _, sample in found) == [*range(7)]
    assert {sample for (_, sample), value in found.items() if isinstance(value, str)} == set(MOVING)
    assert len(list((tmp_path / "run" / "clips").rglob("*.mp4"))) == 7
    assert "not static" in out
    status = CliRunner().invoke(app, ["runs", "status", str(tmp_path / "run"), "--json"])
    (model,) = json.loads(status.stdout)["models"]
    assert (model["wanted"], model["done"]) == (7, 7)
    assert run(videos, tmp_path / "run", "--limit", "1")[0] == 0
    assert CliRunner().invoke(app, ["runs", "verify", str(tmp_path / "run")]).exit_code == 0


def test_a_prompt_of_which_everything_moves_asks_for_all_25(videos: Path, tmp_path: Path) -> None:
    code, _, err = run(videos, tmp_path / "run")
    assert (code, "no file" in err) == (3, True)  # 9 of its 25 clips are there
    code, out, _ = run(videos, tmp_path / "run", "--allow-missing")
    assert (code, "PARTIAL: 16 of 32 clips" in out) == (0, True)
    found = scores_of(tmp_path / "run", "PARTIAL-scores.jsonl")
    assert sum(isinstance(value, float) for value in found.values()) == 5
    assert sum(value == "no file" for value in found.values()) == 16


def test_shards_and_one_process_agree(videos: Path, tmp_path: Path) -> None:
    options = ("--limit", "1", "--batch", "1")
    assert run(videos, tmp_path / "one", *options)[0] == 0
    for shard in ("2/3", "0/3", "1/3"):
        assert run(videos, tmp_path / "three", *options, "--shard", shard)[0] == 0
    assert run(videos, tmp_path / "three", *options)[0] == 0
    assert scores_of(tmp_path / "three") == scores_of(tmp_path / "one")
    assert (tmp_path / "three" / "scores.jsonl").read_bytes() == (tmp_path / "one" / "scores.jsonl").read_bytes()


def test_a_plan_counts_the_clips_that_are_known_to_be_needed(videos: Path, tmp_path: Path) -> None:
    options = ["--videos", str(videos), "--suite", SUITE, "--out", str(tmp_path / "run"), "--no-latency", "--json"]
    options += ["--encoders", "embedded", "--dimensions", "temporal_flickering", "--threads", "1", "--batch", "2"]

    def plan(limit: str) -> tuple[int, int, str]:
        done = CliRunner().invoke(app, ["plan", *options, "--limit", limit, "--no-calibrate"])
        found = json.loads(done.stdout)
        return found["models"][0]["clips"], found["models"][0]["to_make"], "; ".join(found["notes"])

    clips, to_make, notes = plan("2")
    assert (clips, to_make) == (10, 10)
    assert "until five of a prompt are static; at most 40" in notes
    assert run(videos, tmp_path / "run", "--limit", "1")[0] == 0
    clips, to_make, notes = plan("2")
    assert (clips, to_make) == (7 + 5, 5) and "at most 20" in notes
    clips, to_make, notes = plan("1")
    assert (clips, to_make) == (7, 0) and "not counted" not in notes


def test_without_the_filters_weights_nothing_waits_for_it(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("TURBO_WEIGHTS", "HOME", "HF_HOME", "TORCH_HOME", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    code, out, err = run(videos, tmp_path / "run", "--encoders", "vbench")
    assert (code, "turbo-eval weights pull --for static_filter" in out) == (0, True), err
    assert len(list((tmp_path / "run" / "clips").rglob("*.mp4"))) == 2 * 5
    status = CliRunner().invoke(app, ["runs", "status", str(tmp_path / "run"), "--json"])
    assert json.loads(status.stdout)["state"] == "complete"


def test_other_encoders_in_the_same_folder_ask_for_no_oracle(videos: Path, tmp_path: Path) -> None:
    """The first command's oracle speaks of its clips alone; the second, of more clips, is complete without it."""
    out, more = tmp_path / "run", ("--dimensions", "subject_consistency,temporal_flickering,oracle_shape")
    assert run(videos, out, "--limit", "1", "--samples", "2", *more)[0] == 0
    code, table, err = run(videos, out, "--limit", "2", "--samples", "2", *more, "--encoders", "vbench")
    assert (code, "it reads the embedded world alone" in table) == (0, True), err
    status = json.loads(CliRunner().invoke(app, ["runs", "status", str(out), "--json"]).stdout)
    assert "oracle_shape" not in [score["metric"] for score in status["models"][0]["scores"]]
