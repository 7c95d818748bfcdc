"""Does `turbo-eval lineup` say of each of many models what the commands for two of them say?"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from turbo_eval.cli import app
from turbo_eval.generators.latent import LatentGenerator

REWARDS = "world-image-reward,world-image-judge"
FIXED = ("--limit", "4", "--samples", "1", "--threads", "1", "--dimensions", "oracle_colour")


def call(command: str, *arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [command, *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def models(tiny_teacher: Path, tiny_student: Path) -> dict[str, str]:
    """Texts of the line-up: the teacher in two settings, and a student in three trainings beside the teacher."""
    found = {"teacher": f"slow={tiny_teacher}:2", "fast": f"fast={tiny_teacher}:1", "s0": f"s0={tiny_student}:1"}
    for place in (1, 2):
        folder = tiny_student.parent / f"student-{place}"
        folder.mkdir()
        weights = load_file(tiny_student / "adapter.safetensors")
        save_file({name: value * (1 - place / 3) for name, value in weights.items()}, folder / "adapter.safetensors")
        text = json.loads((tiny_student / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**text, "rewards": ["world-image-reward"]}))
        found[f"s{place}"] = f"s{place}={folder}:1"
    return found


@pytest.fixture(scope="module")
def run(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher, and one row of two seeds."""
    out = tmp_path_factory.mktemp("lineup") / "run"
    group = ("--group", f"turbo={models['s1']},{models['s2']}")
    call("lineup", "--models", models["teacher"], *group, "--reward", REWARDS, *FIXED, "--latency-s", "1", "--out", out)
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def means(folder: Path) -> dict[tuple[str, str], Any]:
    found = [line for line in lines(folder / "lineup.jsonl") if line["kind"] == "mean" and line["part"] == "all"]
    return {(line["row"], line["metric"]): line for line in found}


def test_rows_columns_and_files(run: Path) -> None:
    found = means(run)
    assert {row for row, _ in found} == {"slow", "turbo"}
    assert {metric for _, metric in found} == {"oracle_colour", *REWARDS.split(",")}
    assert (
        found["turbo", "world-image-reward"]["in_loop"] is True and len(found["turbo", "oracle_colour"]["members"]) == 2
    )
    text = (run / "table.md").read_text()
    assert "turbo (2 seeds)" in text and "difference to slow" in text and "training seeds" in text
    rows = list(csv.DictReader((run / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["kind"] for row in rows} == {"mean", "difference", "cost"}
    calls = {row["row"]: row["mean"] for row in rows if row["metric"] == "network_evaluations"}
    assert calls == {"slow": "4", "turbo": "1"}  # guidance takes the teacher two a step
    assert [(row["row"], row["against"]) for row in rows if row["metric"] == "times_faster"] == [("turbo", "slow")]
    assert list(json.loads((run / "lineup_latency.json").read_text())["per_clip"]) == ["slow", "s1"]
    assert json.loads((run / "results.json").read_text())["lineup"] == lines(run / "lineup.jsonl")


def test_more_models_make_only_their_own_clips(
    run: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    whole = LatentGenerator.generate

    def counting(self: LatentGenerator, prompts: Any, indices: Any, seed: int) -> Any:
        made.append(len(prompts))
        return whole(self, prompts, indices, seed)

    monkeypatch.setattr(LatentGenerator, "generate", counting)
    before = means(run)
    group = ("--group", f"turbo={models['s1']},{models['s2']}")
    texts = ",".join(models[name] for name in ("teacher", "s0"))
    done = call(
        "lineup",
        "--models",
        texts,
        *group,
        "--reward",
        REWARDS,
        *FIXED,
        "--no-latency",
        "--out",
        run,
        "--baseline",
        "slow,turbo",
    )
    assert sum(made) == 12  # eight prompts lie in three micro-batches of four
    after = means(run)
    assert {key: after[key] for key in before} == before
    assert "difference to turbo" in done.stdout and {row for row, _ in after} == {"slow", "s0", "turbo"}


def test_two_of_a_line_up_are_what_vbench_and_rewards_say(run: Path, models: dict[str, str], tmp_path: Path) -> None:
    folder = models["s1"].removeprefix("s1=").removesuffix(":1")
    pair = ("--model", folder, "--steps", "1", "--limit", "4", "--samples", "1", "--threads", "1", "--out", tmp_path)
    call("vbench", *pair, "--no-latency", "--dimensions", "oracle_colour")
    alone = lines(tmp_path / "scores.jsonl")
    call("rewards", *pair, "--reward", REWARDS)
    alone += lines(tmp_path / "scores.jsonl")
    of_lineup = [{**line, "model": ""} for line in lines(run / "scores.jsonl") if line["model"] == "s1"]
    assert len(of_lineup) == 24
    assert sorted(map(str, of_lineup)) == sorted(str({**line, "model": ""}) for line in alone)


def test_an_unknown_model_or_baseline_is_named_before_any_work(tmp_path: Path) -> None:
    done = call("lineup", "--models", "world-vcm,world-turbow", "--out", tmp_path / "run", code=2)
    assert "unknown model 'world-turbow'" in done.stderr
    done = call("lineup", "--models", "world-vcm", "--baseline", "world-vmc", "--out", tmp_path / "run", code=2)
    assert "did you mean world-vcm?" in done.stderr
    assert not (tmp_path / "run").exists()
