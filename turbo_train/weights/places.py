"""Where does a published file lie on this machine, and where does a pull put it?

Looked for in this order, the first one wins:
1. `$TURBO_WEIGHTS/<repository>/<file>`, and `$TURBO_WEIGHTS/<path in VBench's cache>`
2. the Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub): the pinned revision, then the one
   that the cache calls main; whether that one holds the same bytes is for `weights verify` to say
3. where the official tools keep it: VBench's cache ($VBENCH_CACHE_DIR, ~/.cache/vbench), torch hub's checkpoints
   ($TORCH_HOME, ~/.cache/torch), ~/.cache/clip, ~/.cache/hpsv2
A pull goes below $TURBO_WEIGHTS where that is set, otherwise to where the official tools look, so that nothing is
fetched twice. Files that are used as one folder are looked for as one: the first folder that holds all of them, or the
one that a pull fills, in which the others are missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from turbo_train.errors import UserError
from turbo_train.weights.hashes import cache_home
from turbo_train.weights.table import WeightFile, beside

ROOT = "TURBO_WEIGHTS"


def root() -> Path | None:
    """The folder that TURBO_WEIGHTS names, which need not be there yet; None without the variable."""
    text = os.environ.get(ROOT)
    return Path(text).expanduser() if text else None


def hub_cache() -> Path:
    """Of huggingface_hub, by the variables that it reads itself."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    home = os.environ.get("HF_HOME")
    return (Path(home).expanduser() if home else cache_home() / "huggingface") / "hub"


def places() -> dict[str, Path]:
    """The caches of the official tools, by the first word of a row's `lands`."""
    own = Path.home() / ".cache"  # VBench, openai-clip and hpsv2 do not ask for XDG_CACHE_HOME
    torch_home = os.environ.get("TORCH_HOME")
    return {
        "vbench": Path(os.environ.get("VBENCH_CACHE_DIR") or own / "vbench").expanduser(),
        "torch_hub": (Path(torch_home).expanduser() if torch_home else cache_home() / "torch") / "hub" / "checkpoints",
        "clip": own / "clip",
        "hpsv2": own / "hpsv2",
    }


def path_below_root(file: WeightFile) -> PurePosixPath:
    """Where the file lies below TURBO_WEIGHTS: the place to copy it to on a machine without a network."""
    if file.repository:
        return PurePosixPath(file.repository, file.file)
    return _in_vbench(file) or PurePosixPath(file.lands[0]).relative_to(file.lands[0].split("/")[0])


def locate(file: WeightFile) -> Path | None:
    """The file on this machine, None where there is none. What it holds is not looked at."""
    files = beside(file)
    if len(files) == 1:
        return next((path for path in _candidates(file) if path.is_file()), None)
    folders = list(_folders(file))
    whole = (folder for folder in folders if all((folder / row.file).is_file() for row in files))
    path = next(whole, folders[0]) / file.file
    return path if path.is_file() else None


def destination(file: WeightFile) -> Path:
    """Where a pull puts the file. In the hub's cache a revision stands for a commit that is not known yet."""
    below = root()
    if below is not None:
        return below / path_below_root(file)
    return _landing(file.lands[0]) if file.lands else next(_in_hub_cache(file)) / file.file


def folder_of(files: Sequence[WeightFile]) -> Path:
    """The folder that holds a repository's files in its layout. files: all that table.beside gives for one of them.

    UserError: one is missing.
    """
    found = {file: locate(file) for file in files}
    absent = [file.name for file, path in found.items() if path is None]
    if absent:
        raise UserError(
            found=f"no {', '.join(absent)}",
            expected=f"all {len(files)} files of {files[0].page}",
            run_next=f"turbo-eval weights pull {' '.join(absent)}",
        )
    return next(path.parents[len(PurePosixPath(file.file).parts) - 1] for file, path in found.items() if path)


def _candidates(file: WeightFile) -> Iterator[Path]:
    below, in_vbench = root(), _in_vbench(file)
    if below is not None:
        yield below / path_below_root(file)
        if in_vbench is not None:
            yield below / in_vbench
    if file.repository:
        yield from (folder / file.file for folder in _in_hub_cache(file))
    yield from map(_landing, file.lands)


def _folders(file: WeightFile) -> Iterator[Path]:
    """Where the folder of a repository may lie. The first is where a pull puts it."""
    below = root()
    if below is not None:
        yield below / file.repository
    yield from _in_hub_cache(file)


def _in_vbench(file: WeightFile) -> PurePosixPath | None:
    places = [PurePosixPath(text) for text in file.lands]
    return next((path.relative_to("vbench") for path in places if path.parts[0] == "vbench"), None)


def _landing(text: str) -> Path:
    place, _, path = text.partition("/")
    return places()[place] / path


def _in_hub_cache(file: WeightFile) -> Iterator[Path]:
    """The folders of the pinned revision and of main, by huggingface_hub's cache layout: refs/NAME holds a commit.

    Differs: not asked through that package, whose import costs 0.2 s.
    """
    for repository in (file.repository, *file.also):
        cached = _cached(repository)
        for revision in dict.fromkeys((file.revision or "main", "main")):
            named = cached / "refs" / revision
            yield cached / "snapshots" / (named.read_text(encoding="utf-8").strip() if named.is_file() else revision)


def _cached(repository: str) -> Path:
    return hub_cache() / f"models--{repository.replace('/', '--')}"
