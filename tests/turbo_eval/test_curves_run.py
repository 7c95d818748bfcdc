"""Does `turbo-eval curves` score a training's checkpoints once each, and refuse what is no training's folder?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from turbo_eval.cli import app
from turbo_eval.generators.latent import LatentGenerator

REWARD, JUDGE = "world-image-reward", "world-image-judge"


def curves(training: Path, *arguments: str | Path, code: int = 0) -> Result:
    fixed = ("--limit", "4", "--threads", "1", "--reward", f"{REWARD},{JUDGE}", "--steps", "1")
    done = CliRunner().invoke(app, ["curves", str(training), *fixed, *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def save_checkpoint(training: Path, step: int, student: Path, **config: Any) -> Path:
    """As the training loop leaves it, without the state that only the loop reads."""
    folder = training / "checkpoints" / f"step-{step:06d}" / "student"
    shutil.copytree(student, folder)
    weights = {name: value * (1 + step / 1000) for name, value in load_file(student / "adapter.safetensors").items()}
    save_file(weights, folder / "adapter.safetensors")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


@pytest.fixture
def training(tiny_teacher: Path, tiny_student: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    recipe = {"preset": "a-test", "teacher": str(tiny_teacher), "rewards": [{"name": REWARD, "beta": 1.0, "frames": 2}]}
    (folder / "config.json").write_text(json.dumps(recipe))
    for step in (100, 200):
        save_checkpoint(folder, step, tiny_student, teacher="elsewhere")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_checkpoint_is_scored_once_and_later_ones_join(
    training: Path, tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    whole = LatentGenerator.generate

    def counting(self: LatentGenerator, prompts: Sequence[Any], indices: Sequence[int], seed: int) -> list[Any]:
        made.append(len(prompts))
        return whole(self, prompts, indices, seed)

    monkeypatch.setattr(LatentGenerator, "generate", counting)
    done = curves(training)
    (folder,) = (training / "curves").iterdir()
    assert folder.name == "world-validation-8x1-seed0-1steps"
    points = lines(folder / "curves.jsonl")
    assert {(point["step"], point["clips"] + point["unscored"]) for point in points} == {(100, 8), (200, 8)}
    marks = {point["metric"]: point["in_loop"] for point in points}
    assert marks[REWARD] is True and marks[JUDGE] is False and marks["oracle_all"] is False
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"{REWARD} (in_loop)" in (folder / "table.md").read_text() and "| 100 |" in done.stdout
    assert sum(made) == 24  # of each checkpoint three micro-batches of four
    before = (folder / "curves.jsonl").read_bytes()
    curves(training)
    assert sum(made) == 24 and (folder / "curves.jsonl").read_bytes() == before
    save_checkpoint(training, 300, tiny_student, teacher="elsewhere")
    assert json.loads(curves(training, "--json").stdout)["trained_on"] == [REWARD]
    assert sum(made) == 36
    after = lines(folder / "curves.jsonl")
    assert [point for point in after if point["step"] < 300] == points


def test_what_is_no_training_is_refused(training: Path, tiny_student: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no checkpoints/step-000100 or the like" in curves(tmp_path / "empty", code=2).stderr
    (training / "checkpoints" / ".step-000250.partial").mkdir()  # a kill while saving: passed over
    other = save_checkpoint(training, 250, tiny_student, teacher="elsewhere", teacher_sha256="0" * 64)
    assert "a student of a teacher with weights 000000000000" in curves(training, code=2).stderr
    shutil.rmtree(other)
    assert "no student/ with config.json and adapter.safetensors" in curves(training, code=2).stderr
    shutil.rmtree(other.parent)
    (training / "config.json").write_text("{}")
    assert "no teacher of" in curves(training, code=2).stderr
