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
