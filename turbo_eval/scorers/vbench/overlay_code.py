"""Which code does VBench run that no package index has, and how does it come into the overlay?

DINO's network, which VBench takes from torch hub, and detectron2, on which GRiT is built: of it the Python files alone,
for what GRiT needs of its compiled part is torchvision's. Where there is no network a copy does as well.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from turbo_train.weights.places import places

DINO, DINO_FOLDER = "facebookresearch/dino:main", "facebookresearch_dino_main"
DETECTRON2 = "detectron2"
DETECTRON2_SOURCE = "https://github.com/facebookresearch/detectron2/archive/refs/heads/main.tar.gz"
PATIENCE_S = 60.0


def find_dino(overlay: Path) -> Path | None:
    """The folder with DINO's hubconf.py: in the overlay, or where VBench or torch hub keep it."""
    known = (overlay, places()["vbench"] / "dino_model", places()["torch_hub"].parent)
    return next((place / DINO_FOLDER for place in known if (place / DINO_FOLDER / "hubconf.py").is_file()), None)


def find_detectron2(overlay: Path) -> Path | None:
    """The folder of the package detectron2: in the overlay, or installed beside our own packages."""
    if (overlay / DETECTRON2 / "__init__.py").is_file():
        return overlay / DETECTRON2
    found = find_spec(DETECTRON2)
    return Path(found.origin).parent if found is not None and found.origin else None


def fetch_dino(overlay: Path, say: Callable[[str], None]) -> None:
    """Let torch hub fetch it, as VBench does, unless it is there. What cannot be had is said."""
    if find_dino(overlay) is None:
        say(f"torch hub fetches the code of {DINO}, which VBench runs for subject_consistency")
        code = f"import torch; torch.hub.help({DINO!r}, 'dino_vitb16', trust_repo=True)"
        with suppress(OSError), tempfile.TemporaryDirectory(prefix=f".{overlay.name}-", dir=overlay.parent) as home:
            environment = {**os.environ, "TORCH_HOME": home}
            done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, cwd=home)
            fetched = Path(home) / "hub" / DINO_FOLDER
            if not done.returncode and fetched.is_dir():
                fetched.replace(overlay / DINO_FOLDER)
    if find_dino(overlay) is None:
        say(
            f"it cannot be had: subject_consistency is compared once a copy of github.com/facebookresearch/dino "
            f"lies in {overlay / DINO_FOLDER}"
        )


def fetch_detectron2(overlay: Path, say: Callable[[str], None], source: str = "") -> None:
    """Unpack the package's Python files from its repository's archive, unless it is there. What cannot be had is said.

    source: the archive's address, by default DETECTRON2_SOURCE.
    """
    if find_detectron2(overlay) is not None:
        return
    source = source or DETECTRON2_SOURCE
    say(f"fetching the Python code of detectron2 ({source}), on which VBench's detector is built")
    why = "the archive holds no such package"
    try:
        with tempfile.TemporaryDirectory(prefix=f".{overlay.name}-", dir=overlay.parent) as room:
            _unpack(source, Path(room))
            for package in Path(room).glob(f"*/{DETECTRON2}"):
                package.replace(overlay / DETECTRON2)
    except (OSError, http.client.HTTPException, tarfile.TarError) as error:
        why = str(error)
    if find_detectron2(overlay) is None:
        say(
            f"it cannot be had ({why}): the dimensions on GRiT are compared once the folder detectron2 of "
            f"github.com/facebookresearch/detectron2 lies in {overlay}"
        )


def _unpack(source: str, room: Path) -> None:
    """The members below ARCHIVE/detectron2/ alone."""
    with (
        urllib.request.urlopen(source, timeout=PATIENCE_S) as stream,
        tarfile.open(fileobj=stream, mode="r|gz") as archive,
    ):
        for member in archive:
            if member.isfile() and member.name.split("/")[1:2] == [DETECTRON2]:
                archive.extract(member, room, filter="data")
