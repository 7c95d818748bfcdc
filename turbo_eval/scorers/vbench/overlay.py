"""Where are the packages that vbench 0.1.5 needs, and how do they come there?

    pip install --no-deps --target FOLDER -r overlay.txt

into a folder of its own in the user's cache, which is put in front of our packages (PYTHONPATH) in the one process
that runs vbench. Our environment is not touched. The folder appears whole (temporary name, rename) or not at all, and
names the pins and the Python that it was made for. What no package index has lies in it too (overlay_code.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from turbo_eval.scorers.vbench.overlay_code import fetch_detectron2, fetch_dino, find_detectron2, find_dino
from turbo_train.errors import UserError
from turbo_train.weights.hashes import cache_home

MARK = "overlay.json"
SETUP = "turbo-eval parity --setup"


@dataclass(frozen=True)
class Overlay:
    """A folder that is there. dino, detectron2: code that lies in no package index, None where it could not be had."""

    folder: Path
    dino: Path | None
    detectron2: Path | None = None


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/turbo-video/vbench-overlay`."""
    return cache_home() / "turbo-video" / "vbench-overlay"


def pins() -> str:
    """The text of overlay.txt."""
    return resources.files("turbo_eval.scorers.vbench").joinpath("overlay.txt").read_text(encoding="utf-8")


def pinned() -> dict[str, str]:
    """Name -> version of every package. ValueError for a line that pins nothing."""
    found = {}
    for line in pins().splitlines():
        if text := line.partition("#")[0].strip():
            name, equal, version = text.partition("==")
            if not (name and equal and version):
                raise ValueError(f"overlay.txt pins nothing in {line!r}")
            found[name] = version
    return found


def find_overlay(folder: Path | None = None) -> Overlay:
    """The overlay, made for these pins and this Python. UserError names the command that makes it."""
    folder = (folder or default_folder()).absolute()
    if why := _why_not(folder):
        raise UserError(
            found=why, expected=f"the {len(pinned())} packages that vbench 0.1.5 needs", run_next=_setup_for(folder)
        )
    return _overlay(folder)


def make_overlay(folder: Path | None, say: Callable[[str], None]) -> Overlay:
    """Make it, unless it is there. UserError: pip is missing or fails, or the folder is somebody else's."""
    folder = (folder or default_folder()).absolute()
    if not _why_not(folder):
        say(f"{folder} is there already, with these {len(pinned())} packages")
        return _with_code(folder, say)
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UserError(
            found=f"{folder} holds something else than an overlay",
            expected="a folder that is empty or not there",
            run_next=f"{SETUP} --overlay FOLDER, another one",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as room:
            made = Path(room) / "made"
            _install(made, Path(room), say)
            (made / MARK).write_text(json.dumps(_identity(), indent=1) + "\n", encoding="utf-8")
            if folder.exists():
                folder.rename(Path(room) / "before")
            made.rename(folder)
    except OSError as error:
        raise UserError(
            found=f"{folder} cannot be made ({error.strerror or error})",
            expected="about 500 MB of room in a folder that you may write to",
            run_next=f"{SETUP} --overlay FOLDER, another one",
        ) from error
    say(f"{folder} is made: vbench {pinned()['vbench']} and {len(pinned()) - 1} packages that it needs")
    return _with_code(folder, say)


def _install(target: Path, room: Path, say: Callable[[str], None]) -> None:
    """room: also of pip's own files, which go with it when pip is stopped."""
    say(f"pip installs {len(pinned())} packages, about 400 MB, into a folder of their own")
    with resources.as_file(resources.files("turbo_eval.scorers.vbench").joinpath("overlay.txt")) as listed:
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-compile", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--quiet", "--target", str(target), "-r", str(listed)],
            env={**os.environ, "TMPDIR": str(room)},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise UserError(
            found=f"pip could not install them: {' '.join(lines[-1:]) or f'exit code {done.returncode}'}",
            expected="pip in this environment, and a package index that it reaches",
            run_next=f"{SETUP} again; PIP_INDEX_URL names another index, python -m ensurepip brings pip",
        )


def _with_code(folder: Path, say: Callable[[str], None]) -> Overlay:
    fetch_dino(folder, say)
    fetch_detectron2(folder, say)
    return _overlay(folder)


def _overlay(folder: Path) -> Overlay:
    return Overlay(folder, find_dino(folder), find_detectron2(folder))


def _identity() -> dict[str, str]:
    digest = hashlib.sha256("\n".join(f"{k}=={v}" for k, v in sorted(pinned().items())).encode()).hexdigest()
    return {"pins_sha256": digest, "python": f"{sys.version_info.major}.{sys.version_info.minor}"}


def _why_not(folder: Path) -> str:
    """Why the folder is no overlay for us; "" where it is."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"no overlay of vbench's packages in {folder}"
    except (OSError, ValueError) as error:
        return f"{folder / MARK} cannot be read ({error})"
    if found != _identity():
        return f"{folder} was made for another list of packages or another Python"
    return ""


def _setup_for(folder: Path) -> str:
    return SETUP if folder == default_folder().absolute() else f"{SETUP} --overlay {folder}"
