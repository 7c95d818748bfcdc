"""What do the tests of the training package share? One tiny teacher on disk, which no test may change."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random teacher in diffusers' layout."""
    import tiny_models

    return tiny_models.write_teacher(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="session")
def loop_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random teacher whose tokenizer takes the world's captions whole."""
    import tiny_training

    return tiny_training.write_teacher(tmp_path_factory.mktemp("training") / "teacher")


@pytest.fixture(scope="session")
def undisturbed(loop_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of tiny_training's recipe, which nothing disturbed and no test may change."""
    import tiny_training

    folder = tmp_path_factory.mktemp("training") / "undisturbed"
    tiny_training.quietly(tiny_training.recipe(loop_teacher), folder)
    return folder
