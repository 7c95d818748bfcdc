"""Where are the packages that vbench 0.1.5 needs, and how do they come there?

    pip install --no-deps --target FOLDER -r overlay.txt

into a folder of its own in the user's cache, which is put in front of our packages (PYTHONPATH) in the one process
that runs vbench. Our environment is not touched. The folder appears whole (temporary name, rename) or not at all, and
names the pins and the Python that it was made for. DINO's code, which VBench takes from torch hub, lies in it too.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.weights.hashes import cache_home
from turbo_train.weights.places import places

MARK = "overlay.json"
SETUP = "turbo-eval parity --setup"
HUB_REPOSITORY, HUB_FOLDER = "facebookresearch/dino:main", "facebookresearch_dino_main"


@dataclass(frozen=True)
class Overlay:
    """A folder that is there. dino: the code of DINO's network, None where it could not be had."""

    folder: Path
    dino: Path | None


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
    return Overlay(folder, _dino(folder))


def make_overlay(folder: Path | None, say: Callable[[str], None]) -> Overlay:
    """Make it, unless it is there. UserError: pip is missing or fails, or the folder is somebody else's."""
    folder = (folder or default_folder()).absolute()
    if not _why_not(folder):
        say(f"{folder} is there already, with these {len(pinned())} packages")
        return _with_dino(folder, say)
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
    return _with_dino(folder, say)


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


def _with_dino(folder: Path, say: Callable[[str], None]) -> Overlay:
    """DINO's code by torch hub, as VBench fetches it, unless it lies where VBench or torch hub keep it."""
    if _dino(folder) is None:
        say(f"torch hub fetches the code of {HUB_REPOSITORY}, which VBench runs for subject_consistency")
        code = f"import torch; torch.hub.help({HUB_REPOSITORY!r}, 'dino_vitb16', trust_repo=True)"
        with suppress(OSError), tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as home:
            environment = {**os.environ, "TORCH_HOME": home}
            done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, cwd=home)
            fetched = Path(home) / "hub" / HUB_FOLDER
            if not done.returncode and fetched.is_dir():
                fetched.replace(folder / HUB_FOLDER)
    if _dino(folder) is None:
        say(
            f"it cannot be had: subject_consistency is compared once a copy of github.com/facebookresearch/dino "
            f"lies in {folder / HUB_FOLDER}"
        )
    return Overlay(folder, _dino(folder))


def _dino(folder: Path) -> Path | None:
    known = (folder, places()["vbench"] / "dino_model", places()["torch_hub"].parent)
    return next((place / HUB_FOLDER for place in known if (place / HUB_FOLDER / "hubconf.py").is_file()), None)


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
