"""Do the commands say what can be named, keep stdout for results, and load nothing heavy to print help?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.scorers.vbench.spec import NAMES
from turbo_train.errors import UserError
from turbo_train.exits import STOPPED, exit_code_of

HEAVY = ("torch", "diffusers", "transformers", "open_clip", "cv2", "av", "matplotlib", "pandas", "scipy")


@pytest.mark.parametrize("arguments", [["vbench", "--help"], ["list", "dimensions"]])
def test_help_and_lists_import_nothing_heavy(arguments: list[str], repository: Path) -> None:
    program = (
        "import sys; from turbo_eval.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        f"sys.stderr.write(repr([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stderr == "[]"
    assert done.stdout


@pytest.mark.parametrize(("what", "expected"), [("models", "world-vcm"), ("suites", "world"), ("dimensions", "scene")])
def test_list_prints_names_and_json(what: str, expected: str) -> None:
    printed = CliRunner().invoke(app, ["list", what])
    assert (printed.exit_code, expected in printed.stdout) == (0, True)
    rows = json.loads(CliRunner().invoke(app, ["list", what, "--json"]).stdout)
    assert expected in {row["name"] for row in rows}


def test_list_dimensions_has_vbenchs_sixteen() -> None:
    rows = json.loads(CliRunner().invoke(app, ["list", "dimensions", "--json"]).stdout)
    assert [row["name"] for row in rows] == list(NAMES)


def test_list_of_an_unknown_kind_says_what_was_meant() -> None:
    done = CliRunner().invoke(app, ["list", "model"])
    assert done.exit_code == 2
    assert "did you mean models?" in done.stderr
    assert done.stdout == ""


def test_a_mistaken_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["vbench", "--modle", "x"]).exit_code == 2
    assert CliRunner().invoke(app, ["vbench", "--samples", "0"]).exit_code == 2


def test_vbench_without_a_model_names_the_options() -> None:
    done = CliRunner().invoke(app, ["vbench"])
    assert done.exit_code == 2
    assert "neither --model nor --videos" in done.stderr


def test_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.startswith("turbo-eval")) == (0, True)


def test_exit_codes_of_mistakes_signals_and_success(capsys: pytest.CaptureFixture[str]) -> None:
    def mistake() -> None:
        raise UserError(found="a cat", expected="a dog", run_next="whistle")

    def signal() -> None:
        raise KeyboardInterrupt

    assert exit_code_of(lambda: None) == 0
    assert exit_code_of(mistake) == 2
    assert capsys.readouterr().err == "error: found a cat; expected a dog; try: whistle\n"
    assert exit_code_of(signal) == STOPPED == 75
    assert "Run the same command again" in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_is_no_regression(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(lambda: 1 // 0) == 4
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_terminate_arrives_as_an_interrupt(repository: Path) -> None:
    program = (
        "import os, signal, sys; from turbo_train.exits import exit_code_of\n"
        "sys.exit(exit_code_of(lambda: os.kill(os.getpid(), signal.SIGTERM)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=repository)
    assert done.returncode == 75
    assert "what was done is kept" in done.stderr
