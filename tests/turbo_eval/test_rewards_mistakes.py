"""Does `turbo-eval rewards` name a mistake before any work, and end with 2?"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from turbo_eval.cli import app


def rewards(*arguments: str | Path, code: int) -> Result:
    done = CliRunner().invoke(app, ["rewards", "--threads", "1", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reward", "world-image-jugde"], "did you mean world-image-judge?"),
        (["--reward", "hpsv2.1"], "turbo-eval weights pull --for hpsv2.1"),
        (["--reward-dtype", "int8"], "one of float32, bfloat16, float16"),
        (["--in-loop", "hps"], "unknown reward 'hps'"),
        (["--in-loop", ""], "names of rewards, or none"),
        (["--in-loop", "none,viclip"], "names of rewards, or none alone"),
        (["--in-loop", "None"], "names of rewards, or none alone"),
        (["--reward", ""], "found --reward ''; expected names of rewards"),
        (["--reward", " , "], "expected names of rewards"),
        (["--in-loop", "viclip"], "--in-loop viclip for world-vcm"),
        (["--suite", "world", "--model", "world-vmc"], "did you mean world-vcm?"),
    ],
)
def test_mistakes_end_with_2_before_any_work(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "XDG_CACHE_HOME", "TURBO_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    done = rewards("--model", "world-vcm", "--out", tmp_path / "run", *arguments, code=2)
    assert message in done.stderr and done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_nothing_that_can_score_foreign_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    suite = tmp_path / "foreign.txt"
    suite.write_text("a fox in the snow\n")
    done = rewards("--model", "world-vcm", "--suite", suite, "--out", tmp_path / "run", code=2)
    assert "world-image-reward (does not know fox, in, snow)" in done.stderr
