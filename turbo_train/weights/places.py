"""Where does a published file lie on this machine, and where does a pull put it?

Looked for in this order, the first one wins:
1. `$TURBO_WEIGHTS/<repository>/<file>`, and `$TURBO_WEIGHTS/<path in VBench's cache>`
2. the Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub): the pinned revision, then the one
   that the cache calls main; whether that one holds the same bytes is for `weights verify` to say
3. where the official tools keep it: VBench's cache ($VBENCH_CACHE_DIR, ~/.cache/vbench), torch hub's checkpoints
   ($TORCH_HOME, ~/.cache/torch), ~/.cache/clip, ~/.cache/hpsv2
A pull goes below $TURBO_WEIGHTS where that is set, otherwise to where the official tools look, so that nothing is
fetched twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from turbo_train.errors import UserError
from turbo_train.weights.hashes import cache_home
from turbo_train.weights.table import WeightFile

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
    return next((path for path in _candidates(file) if path.is_file()), None)


def destination(file: WeightFile) -> Path:
    """Where a pull puts the file. In the hub's cache the revision stands for the folder of its commit."""
    below = root()
    if below is not None:
        return below / path_below_root(file)
    return _landing(file.lands[0]) if file.lands else _snapshots(file) / (file.revision or "main") / file.file


def folder_of(files: Sequence[WeightFile]) -> Path:
    """The one folder that holds a repository's files in its layout. UserError: one is missing, or lies elsewhere."""
    folders: dict[Path, str] = {}
    for file in files:
        path = locate(file)
        if path is None:
            raise UserError(
                found=f"no {file.name}",
                expected=f"all {len(files)} files of {file.page}",
                run_next=f"turbo-eval weights pull {file.name}",
            )
        folders.setdefault(path.parents[len(PurePosixPath(file.file).parts) - 1], file.name)
    if len(folders) != 1:
        raise UserError(
            found=f"{len(files)} files of {files[0].page} in {len(folders)} folders: "
            + ", ".join(f"{name} in {folder}" for folder, name in folders.items()),
            expected="one folder with all of them",
            run_next=f"copy them into one, or set {ROOT} to an empty folder and pull again",
        )
    return next(iter(folders))


def _candidates(file: WeightFile) -> Iterator[Path]:
    below, in_vbench = root(), _in_vbench(file)
    if below is not None:
        yield below / path_below_root(file)
        if in_vbench is not None:
            yield below / in_vbench
    if file.repository:
        yield from _in_hub_cache(file)
    yield from map(_landing, file.lands)


def _in_vbench(file: WeightFile) -> PurePosixPath | None:
    places = [PurePosixPath(text) for text in file.lands]
    return next((path.relative_to("vbench") for path in places if path.parts[0] == "vbench"), None)


def _landing(text: str) -> Path:
    place, _, path = text.partition("/")
    return places()[place] / path


def _in_hub_cache(file: WeightFile) -> Iterator[Path]:
    if not _snapshots(file).is_dir():
        return  # importing huggingface_hub for nothing costs 0.2 s
    from huggingface_hub import try_to_load_from_cache

    for revision in dict.fromkeys((file.revision or "main", "main")):
        found = try_to_load_from_cache(file.repository, file.file, cache_dir=hub_cache(), revision=revision)
        if isinstance(found, str):
            yield Path(found)


def _snapshots(file: WeightFile) -> Path:
    return hub_cache() / f"models--{file.repository.replace('/', '--')}" / "snapshots"
