"""Does the wheel carry all that an installed program needs?"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def carried(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def below(repository: Path, folder: str) -> set[str]:
    files = [path for path in (repository / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(repository).as_posix() for path in files}


def test_both_packages_are_carried_with_their_types(repository: Path, carried: set[str]) -> None:
    code = {name for name in below(repository, "turbo_train") | below(repository, "turbo_eval") if name[-3:] == ".py"}
    assert code <= carried
    assert {"turbo_train/py.typed", "turbo_eval/py.typed"} <= carried


def test_prompts_are_carried_inside_turbo_eval(repository: Path, carried: set[str]) -> None:
    prompts = below(repository, "prompts")
    assert any(name.endswith(".jsonl") for name in prompts)
    assert {f"turbo_eval/{name}" for name in prompts} <= carried


def test_weights_of_the_embedded_world_are_carried(repository: Path, carried: set[str]) -> None:
    weights = below(repository, "turbo_train/world/weights")
    assert any(name.endswith(".safetensors") for name in weights)
    assert weights <= carried


def test_nothing_else_is_carried(carried: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in carried} == {"turbo_eval", "turbo_train", "turbo_video"}
