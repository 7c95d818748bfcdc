"""Does `turbo-train` parse its commands without loading torch?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from turbo_train.cli import app


def test_help_imports_nothing_heavy(repository: Path) -> None:
    program = (
        "import sys; from turbo_train.cli import app\n"
        "try: app(['world', 'build', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "sys.stderr.write(repr([m for m in ('torch', 'diffusers', 'transformers', 'cv2') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stderr == "[]"
    assert "--stages" in done.stdout


def test_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout.startswith("turbo-train")) == (0, True)


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["wordl"]).exit_code == 2
    assert CliRunner().invoke(app, ["world", "build", "--threads", "0"]).exit_code == 2
