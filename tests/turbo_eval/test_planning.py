"""Does a plan say what the run will then make, and leave everything as it was?"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from turbo_eval import disk
from turbo_eval.cli import app
from turbo_eval.contestants import Request
from turbo_eval.durable import OutOfSpace
from turbo_eval.planning import LATENCY, Forecast, ModelForecast, forecast, rows
from turbo_eval.units import Shard
from turbo_eval.vbench_run import run_vbench


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "five.txt"
    path.write_text("".join(f"a red circle number {k}\n" for k in range(5)))
    return path


def request(model: Path, suite: Path, out: Path, **more: object) -> Request:
    fields = {"num_steps": 2, "samples": 2, "threads": 1, "batch": 2, "dimensions": ("temporal_flickering",)}
    fields["encoders"] = "embedded"
    return Request(model=str(model), suite=str(suite), out=out, latency=False, **(fields | more))  # type: ignore[arg-type]


def test_a_plan_counts_what_the_run_then_makes_and_writes_nothing(
    tiny_student: Path, suite: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    before = forecast(request(tiny_student, suite, out))
    (model,) = before.models
    assert (model.clips, model.there, model.to_make, model.micro_batches) == (10, 0, 10, 6)
    assert model.clip_s and model.clip_bytes and before.fits and before.notes == ("the run is new",)
    assert not out.exists()
    options = ["--model", str(tiny_student), "--suite", str(suite), "--out", str(out), "--steps", "2", "--samples", "2"]
    options += ["--threads", "1", "--batch", "2", "--dimensions", "temporal_flickering"]
    assert CliRunner().invoke(app, ["vbench", *options, "--limit", "3", "--no-latency"]).exit_code == 0
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    printed = CliRunner().invoke(app, ["plan", *options, "--no-calibrate", "--json"])
    (after,) = json.loads(printed.stdout)["models"]
    assert (after["there"], after["to_make"], after["micro_batches"], after["clip_s"]) == (6, 4, 4, None)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == files
    size = sum(path.stat().st_size for path in (out / "clips").rglob("*.mp4")) / 6
    assert model.clip_bytes == pytest.approx(size, rel=0.5)
    printed = CliRunner().invoke(app, ["plan", *options, "--no-calibrate"])
    assert "5 prompts of five" in printed.stdout and "student-2steps" in printed.stdout


def test_a_changed_key_is_foretold(tiny_student: Path, suite: Path, tmp_path: Path) -> None:
    options = ["--model", str(tiny_student), "--suite", str(suite), "--out", str(tmp_path / "run"), "--limit", "1"]
    options += ["--threads", "1", "--dimensions", "temporal_flickering"]
    assert CliRunner().invoke(app, ["vbench", *options, "--no-latency"]).exit_code == 0
    done = CliRunner().invoke(app, ["plan", *options, "--no-calibrate", "--seed", "3"])
    assert "made anew beside the old ones" in done.stdout and "seed: 0 there, 3 here" in done.stdout
    done = CliRunner().invoke(app, ["plan", *options, "--no-calibrate", "--batch", "3"])
    assert (done.exit_code, "another configuration (batch: 4 there, 3 here)" in done.stderr) == (2, True)


def test_a_disk_that_is_too_small_is_named() -> None:
    model = ModelForecast("m", 100, 0, 100, 0, 25, 36.0, 1e9)
    found = Forecast(Path("runs/x"), "vbench", 100, (model,), 10**9, False, ())
    (row,), lines = rows(found)
    assert (row["time"], row["disk"]) == ("1 h 00 min", "100.0 GB")
    assert any("1.0 GB; NOT ENOUGH" in line for line in lines)


def test_a_plan_takes_every_option_of_vbench_and_a_shard_counts_its_own(
    tiny_student: Path, suite: Path, tmp_path: Path
) -> None:
    of = {name: {o for p in command.params for o in p.opts} for name, command in get_command(app).commands.items()}  # type: ignore[attr-defined]
    assert of["vbench"] < of["plan"]
    whole = request(tiny_student, suite, tmp_path / "run")
    parts = [forecast(replace(whole, shard=Shard(k, 4)), calibrate=False).models[0] for k in range(4)]
    assert [(part.clips, part.micro_batches) for part in parts] == [(4, 2), (3, 2), (1, 1), (2, 1)]
    options = ["plan", "--model", str(tiny_student), "--suite", str(suite), "--out", str(tmp_path / "run"), "--batch"]
    options += ["2", "--samples", "2", "--shard", "1/4", "--lease", "5", "--allow-missing", "--max-failures", "2"]
    done = CliRunner().invoke(app, [*options, "--no-calibrate", "--json"])
    found = json.loads(done.stdout)
    assert (found["models"][0]["clips"], found["notes"][-1]) == (3, LATENCY)
    assert LATENCY not in CliRunner().invoke(app, [*options, "--no-calibrate", "--no-latency"]).stdout


def test_scores_that_are_missing_cost_time(tiny_student: Path, suite: Path, tmp_path: Path) -> None:
    asked = request(tiny_student, suite, tmp_path / "run", limit=2)
    run_vbench(asked)
    done = forecast(asked)
    assert (done.models[0].to_score, done.time_s, done.fits) == (0, 0.0, True)
    found = forecast(replace(asked, dimensions=("temporal_flickering", "dynamic_degree")))
    (model,) = found.models
    assert (model.to_make, model.to_score, model.clip_s) == (0, 4, None)
    assert model.score_s and found.time_s == model.score_s * 4
    assert forecast(replace(asked, dimensions=("dynamic_degree",)), calibrate=False).time_s is None


def test_a_plan_judges_the_disk_as_the_run_does(
    tiny_student: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tiny_student, suite, tmp_path / "run", num_steps=1, limit=2)
    usage = shutil.disk_usage(tmp_path)
    reserve = min(disk.RESERVE_BYTES, disk.RESERVE_SHARE * usage.total)
    for free, fits in ((reserve + 10**9, True), (reserve, False)):
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder, free=free: usage._replace(free=int(free)))
        assert forecast(asked).fits is fits
    with pytest.raises(OutOfSpace):
        disk.check_room(tmp_path, 1000.0, "the clips", disk.MARGIN)
