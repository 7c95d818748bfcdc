"""How are the commands called, and what is a run that cannot be written?"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import make_run
from typer.testing import CliRunner

from turbo_eval.cli import app


@dataclass(frozen=True)
class Called:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


Call = Callable[..., Called]


@pytest.fixture
def call() -> Call:
    """call("status", run): `turbo-eval runs status RUN`."""

    def invoke(*arguments: object) -> Called:
        done = CliRunner().invoke(app, ["runs", *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Called(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A complete run of one model."""
    return make_run(tmp_path / "run")


@pytest.fixture
def read_only(run: Path) -> Iterator[Path]:
    """That run where this process may read but not write, also when the tests run as root."""
    if os.name != "posix":
        pytest.skip("POSIX permissions")
    top = Path(tempfile.mkdtemp())
    folder = Path(shutil.copytree(run, top / "run"))
    everything = [top, *top.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield folder
    if was_root:
        os.seteuid(0)
    for path in everything:
        path.chmod(0o755)
    shutil.rmtree(top)
