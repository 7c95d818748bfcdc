"""Does a run score with VBench's own networks, each opened once, and say which weights are missing?

RAFT and AMT-S at full size with random weights: the only two of VBench's networks that are small.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.vbench_checkpoints import ROW, plain
from turbo_eval import clip_files, decode_ahead
from turbo_eval.cli import app
from turbo_eval.scorers.vbench.encoders import amt, raft
from turbo_eval.suite_files import legal_stem
from turbo_train.video_io import write_mp4
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.table import find_file

DIMENSIONS = "temporal_flickering,motion_smoothness,dynamic_degree,aesthetic_quality"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    root = tmp_path_factory.mktemp("weights")
    for table in ("raft_things", "amt_s"):
        path = root / path_below_root(find_file(ROW[table]))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(plain(table), path)
    return root


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name, size in (("a cat-0", (128, 136)), ("a dog-0", (128, 136)), ("a cow-0", (130, 128))):
        write_mp4(tmp_path / "clips" / f"{name}.mp4", draw.integers(0, 256, (4, *size, 3), dtype=np.uint8), 8.0)
    write_mp4(tmp_path / "clips" / "a pig.mp4", draw.integers(0, 256, (1, 128, 128, 3), dtype=np.uint8), 8.0)
    write_mp4(tmp_path / "clips" / "a hen-0.mp4", draw.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), 8.0)
    return tmp_path / "clips"


@pytest.fixture(autouse=True)
def _only_these_weights(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, str(weights))
    for variable in ("HOME", "HF_HOME", "TORCH_HOME", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))


def run(videos: Path, out: Path, *options: str) -> tuple[int, str, str]:
    common = ["vbench", "--videos", str(videos), "--suite", "file-names", "--out", str(out), "--threads", "1"]
    done = CliRunner().invoke(app, [*common, "--dimensions", DIMENSIONS, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done.exit_code, done.stdout, done.stderr


def scores_of(folder: Path) -> dict[tuple[str, str], float | str]:
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    return {(row["metric"], row["prompt_id"].rpartition("-")[0]): row["unscored"] or row["value"] for row in rows}


def test_what_can_be_scored_is_and_the_rest_has_its_reason(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    for kind in (amt.Amt, raft.Raft):
        real = kind.build
        monkeypatch.setattr(kind, "build", lambda self, tensors, f=real: (built.append(self.NAME), f(self, tensors))[1])
    decoded: list[str] = []
    for module in (decode_ahead, clip_files):
        read = module.read_video
        monkeypatch.setattr(module, "read_video", lambda path, read=read: (decoded.append(path.name), read(path))[1])
    code, out, err = run(videos, tmp_path / "run")
    assert code == 0, err
    assert sorted(built) == sorted([amt.Amt.NAME, raft.Raft.NAME])
    assert sorted(decoded) == sorted(path.name for path in videos.iterdir())
    assert "embedded" not in out.split("Open:")[0]
    found = scores_of(tmp_path / "run")
    for name in ("a cat", "a dog", "a cow"):
        name = legal_stem(name)
        values = [found[metric, name] for metric in DIMENSIONS.split(",")[:3]]
        assert all(isinstance(value, float) and 0 <= value <= 1 for value in values)
    assert "needs at least" in str(found["motion_smoothness", legal_stem("a pig")])
    assert "weights missing: turbo-eval weights pull --for aesthetic_quality" in out
    assert isinstance(found["dynamic_degree", legal_stem("a hen")], float | str)


def test_the_size_of_micro_batches_changes_roundings_at_most(videos: Path, tmp_path: Path) -> None:
    assert run(videos, tmp_path / "four", "--batch", "4")[0] == 0
    assert run(videos, tmp_path / "one", "--batch", "1")[0] == 0
    four, one = scores_of(tmp_path / "four"), scores_of(tmp_path / "one")
    assert four.keys() == one.keys()
    for key, value in four.items():
        assert value == (pytest.approx(one[key], rel=1e-5) if isinstance(value, float) else one[key])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--encoders", "vbnech"], "did you mean vbench"),
        (["--precision", "fp8"], "--precision fp8"),
        (["--compat", "cuda"], "--compat cuda"),
        (["--dimensions", "dynamic_degre"], "did you mean dynamic_degree"),
    ],
)
def test_mistakes_of_the_command_line(videos: Path, tmp_path: Path, options: list[str], words: str) -> None:
    code, _, err = run(videos, tmp_path / "run", *options)
    assert (code, words in err) == (2, True), err
    assert not (tmp_path / "run").exists()


def test_a_wrong_checkpoint_is_no_score(
    videos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "wrong"
    good = weights / path_below_root(find_file(ROW["amt_s"]))
    for table in ("raft_things", "amt_s"):
        path = root / path_below_root(find_file(ROW[table]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good.read_bytes())
    monkeypatch.setenv(ROOT, str(root))
    code, _, err = run(videos, tmp_path / "run", "--dimensions", "dynamic_degree")
    assert (code, "raft" in err.lower()) == (2, True), err
