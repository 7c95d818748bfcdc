"""What do the drills share? Their launcher, and a run of two processes that nothing disturbed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import launch`


@pytest.fixture(scope="session")
def two_processes(loop_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of six steps in two processes."""
    from launch import launch, six_steps

    folder = tmp_path_factory.mktemp("drills") / "two"
    done = launch(six_steps(loop_teacher), folder, 2)
    assert done.code == 0, done.text
    return folder
