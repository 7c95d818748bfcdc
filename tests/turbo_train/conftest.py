"""What do the tests of the training package share? One tiny teacher on disk, which no test may change."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random teacher in diffusers' layout."""
    import tiny_models

    return tiny_models.write_teacher(tmp_path_factory.mktemp("models") / "teacher")
