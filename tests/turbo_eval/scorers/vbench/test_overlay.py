"""Do VBench's packages come whole or not at all, and does every message say what to run?"""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import pytest

from turbo_eval.scorers.vbench import overlay_code
from turbo_eval.scorers.vbench.overlay import (
    MARK,
    SETUP,
    _identity,
    default_folder,
    find_overlay,
    make_overlay,
    pinned,
)
from turbo_eval.scorers.vbench.overlay_code import DETECTRON2, DINO_FOLDER
from turbo_train.errors import UserError

SPEC = {"transformers": "4.33.2", "tokenizers": "0.13.3", "numpy": "1.26.4", "vbench": "0.1.5", "decord": "0.6.0"}


@pytest.fixture
def said() -> list[str]:
    return []


def made_by_hand(folder: Path) -> Path:
    """A folder that passes for an overlay: its mark, and the code of DINO and detectron2."""
    (folder / DINO_FOLDER).mkdir(parents=True)
    (folder / DINO_FOLDER / "hubconf.py").write_text("")
    (folder / DETECTRON2).mkdir()
    (folder / DETECTRON2 / "__init__.py").write_text("")
    (folder / MARK).write_text(json.dumps(_identity()))
    return folder


def test_every_package_is_pinned_exactly_and_once() -> None:
    found = pinned()
    assert SPEC.items() <= found.items() and not {"torch", "torchvision"} & set(found)
    assert all(re.fullmatch(r"[0-9.]+(\.post[0-9]+)?", version) for version in found.values())
    major, minor = map(int, found["timm"].split(".")[:2])
    assert (major, minor) <= (1, 0) and int(found["setuptools"].split(".")[0]) < 81  # pkg_resources
    assert int(found["opencv-python-headless"].split(".")[0]) == 4


def test_without_an_overlay_the_setup_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "turbo-video" / "vbench-overlay"
    with pytest.raises(UserError) as caught:
        find_overlay()
    assert caught.value.run_next == SETUP and str(tmp_path) in caught.value.found
    with pytest.raises(UserError) as caught:
        find_overlay(tmp_path / "other")
    assert caught.value.run_next == f"{SETUP} --overlay {tmp_path / 'other'}"


def test_one_that_is_there_is_not_made_again(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_by_hand(tmp_path / "overlay")
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # a pip that runs would fail
    assert make_overlay(folder, said.append) == find_overlay(folder)
    assert len(said) == 1 and "there already" in said[0]
    assert find_overlay(folder).dino == folder / DINO_FOLDER


@pytest.mark.parametrize("text", ['{"pins_sha256": "0", "python": "3.11"}', "no json"])
def test_another_list_of_packages_is_no_overlay(tmp_path: Path, text: str) -> None:
    folder = made_by_hand(tmp_path / "overlay")
    (folder / MARK).write_text(text)
    with pytest.raises(UserError, match="--setup"):
        find_overlay(folder)


def test_a_pip_that_fails_changes_nothing(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    before = made_by_hand(tmp_path / "overlay")
    (before / MARK).write_text("{}")  # of another version: it stays until the new one is whole
    with pytest.raises(UserError, match="pip could not install") as caught:
        make_overlay(before, said.append)
    assert caught.value.exit_code == 2 and SETUP in caught.value.run_next
    assert list(tmp_path.iterdir()) == [before] and (before / DINO_FOLDER / "hubconf.py").is_file()


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="something else"):
        make_overlay(tmp_path, said.append)
    assert (tmp_path / "thesis.tex").read_text() == "years of work" and not said


# Stand-ins for the two programs that fetch: what they leave in TMPDIR and TORCH_HOME is seen, nothing is downloaded.
PIP = """
import os, pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
target.mkdir()
(target / "vbench.py").touch()
pathlib.Path(os.environ["TMPDIR"], "pip-was-here").touch()
"""
TORCH = """
import os, pathlib
class hub:
    def help(repository, model, trust_repo):
        code = pathlib.Path(os.environ["TORCH_HOME"], "hub", repository.replace("/", "_").replace(":", "_"))
        code.mkdir(parents=True)
        (code / "hubconf.py").touch()
"""


def test_an_old_overlay_is_replaced_by_a_whole_one_and_nothing_stays_beside_it(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, cache = tmp_path / "programs", tmp_path / "cache 'of mine'"
    for name, text in {"pip/__main__.py": PIP, "pip/__init__.py": "", "torch.py": TORCH}.items():
        (programs / name).parent.mkdir(parents=True, exist_ok=True)
        (programs / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(programs))
    for variable in ("XDG_CACHE_HOME", "VBENCH_CACHE_DIR", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    archive = tmp_path / "detectron2.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("detectron2-main/detectron2/__init__.py"))
    monkeypatch.setattr(overlay_code, "DETECTRON2_SOURCE", archive.as_uri())
    old = made_by_hand(cache / "overlay")
    (old / MARK).write_text("{}")
    (old / "old.py").touch()
    made = make_overlay(old, said.append)
    assert made == find_overlay(old) and made.dino == old / DINO_FOLDER
    assert made.detectron2 == old / DETECTRON2
    assert sorted(path.name for path in old.iterdir()) == sorted([DINO_FOLDER, DETECTRON2, MARK, "vbench.py"])
    assert list(cache.iterdir()) == [old]
