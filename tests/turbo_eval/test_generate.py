"""Does `turbo-eval generate` make the clips of a suite or of prompts, once, and go on where it was?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from turbo_eval.cli import app
from turbo_eval.manifest import read_manifest
from turbo_eval.runs.status import status_of
from turbo_train.video_io import read_video


def generate(model: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["generate", "--model", str(model), "--steps", "2", *arguments])


def test_prompts_become_clips_and_a_second_call_makes_none(tiny_teacher: Path, tmp_path: Path) -> None:
    texts = ["a red circle moving right", "a blue square; \u00fc, still"]
    arguments = [part for text in texts for part in ("--prompt", text)] + ["--out", str(tmp_path / "run"), "--json"]
    first = json.loads(generate(tiny_teacher, *arguments).stdout)
    assert first["complete"] and [row["prompt"] for row in first["clips"]] == texts
    frames = [read_video(Path(row["file"])).frames_THWC for row in first["clips"]]
    assert [f.shape for f in frames] == [(4, 16, 16, 3)] * 2
    made = [Path(row["file"]).stat().st_mtime_ns for row in first["clips"]]
    assert json.loads(generate(tiny_teacher, *arguments).stdout) == first
    assert [Path(row["file"]).stat().st_mtime_ns for row in first["clips"]] == made


def test_a_prompts_clip_does_not_depend_on_the_other_prompts(tiny_teacher: Path, tmp_path: Path) -> None:
    def clip(folder: str, *texts: str) -> str:
        options = [part for text in texts for part in ("--prompt", text)]
        result = generate(tiny_teacher, *options, "--out", str(tmp_path / folder), "--json", "--batch", "1")
        return str(next(row["sha256"] for row in json.loads(result.stdout)["clips"] if row["prompt"] == "a red circle"))

    assert clip("a", "a red circle") == clip("b", "a blue square", "a red circle")


def test_other_prompts_go_to_another_folder(
    tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [json.loads(generate(tiny_teacher, "--prompt", text, "--json").stdout)["run"] for text in ("a", "b", "a")]
    assert runs[0] == runs[2] != runs[1]
    assert read_manifest(Path(runs[0])).identity.batch == 1  # one clip is not made four times


def test_a_run_without_scores_is_complete(tiny_teacher: Path, tmp_path: Path) -> None:
    assert generate(tiny_teacher, "--prompt", "a red circle", "--out", str(tmp_path / "run")).exit_code == 0
    found = status_of(tmp_path / "run")
    assert (found.state, found.score_rows()) == ("complete", [])


def test_a_suite_can_be_scored_afterwards(tiny_teacher: Path, tmp_path: Path) -> None:
    suite, out = tmp_path / "mine.txt", str(tmp_path / "run")
    suite.write_text("a red circle moving right\na blue square moving left\n")
    assert generate(tiny_teacher, "--suite", str(suite), "--out", out, "--samples", "2").exit_code == 0
    clips = sorted((tmp_path / "run" / "clips").rglob("*.mp4"))
    assert len(clips) == 4
    before = [path.stat().st_mtime_ns for path in clips]
    command = ["vbench", "--model", str(tiny_teacher), "--steps", "2", "--suite", str(suite), "--out", out]
    metric = ["--samples", "2", "--dimensions", "temporal_flickering", "--no-latency", "--json"]
    scored = CliRunner().invoke(app, [*command, *metric])
    assert scored.exit_code == 0, scored.stderr
    assert [path.stat().st_mtime_ns for path in clips] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither --suite nor --prompt"),
        (["--prompt", "a", "--suite", "world"], "both --suite and --prompt"),
        (["--prompt", "a", "--prompt", "a"], "twice"),
        (["--prompt", " "], "--prompt ' '"),
        (["--prompt", "a\x07b"], "control character"),
        (["--prompt", "a", "--size", "17x16"], "multiples of 2 pixels"),
        (["--prompt", "a", "--guidance", "inf"], "--guidance inf"),
        (["--prompt", "a", "--dtype", "int8"], "one of float32, bfloat16, float16"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, tiny_teacher: Path, tmp_path: Path) -> None:
    result = generate(tiny_teacher, *arguments, "--out", str(tmp_path / "run"))
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "run").exists()


def test_latents_that_are_no_numbers_are_a_failure_that_names_the_step(tiny_teacher: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken", tmp_path / "run"
    shutil.copytree(tiny_teacher, broken)
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.bias"][0] = float("inf")
    save_file(weights, path, metadata={"format": "pt"})
    result = generate(broken, "--prompt", "a red circle", "--out", str(out))
    assert result.exit_code == 3
    assert "latents are not finite from step 1 of 2 on (time " in result.stderr
    assert not list(out.rglob("*.mp4"))


def test_lost_words_and_an_early_end_are_one_line_each(tiny_student: Path, repository: Path, tmp_path: Path) -> None:
    program = "import sys; from turbo_eval.cli import main; sys.argv[0] = 'turbo-eval'; main()"
    command = [sys.executable, "-c", program, "generate", "--model", str(tiny_student), "--steps", "32"]
    words = " ".join(["red"] * 30)
    done = subprocess.run(
        [*command, "--prompt", f"{words} circle at the very end", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=repository,
        check=True,
    )
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert any("lost:" in line and "very end" in line for line in warnings)
    assert any("379" in line for line in warnings)
    assert len(warnings) == 2 and "warnings.warn" not in done.stderr
