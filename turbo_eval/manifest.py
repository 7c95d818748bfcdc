"""What is a run, and by what was it made? RUN/manifest.json, and RUN/suite.jsonl with its prompts.

identity  what every process that works on the run must share; another one is refused, with the fields that differ
scope     how much of the suite the newest command wanted; it may grow and shrink, clips are kept
models    the content key's fields of each model, by name; a changed key makes new clips beside the old
made_by   the environment in which the run was begun; each process's own is in RUN/sessions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from turbo_eval.durable import LOCK, check_contained, write_atomically, writing
from turbo_eval.keys import content_key
from turbo_eval.prompt_suite import Suite, suite_of
from turbo_eval.records import SCHEMA_VERSION, canonical_line
from turbo_eval.suite_files import read_prompts
from turbo_train.errors import UserError

MANIFEST = "manifest.json"
SUITE = "suite.jsonl"
OTHER_FOLDER = "the same command with --out FOLDER, another folder"


@dataclass(frozen=True)
class RunIdentity:
    """What all processes of a run share. batch: prompts in a micro-batch. threads: CPU threads of each process."""

    suite: str
    suite_sha256: str
    batch: int
    threads: int
    lossless: bool = True
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Scope:
    """What is wanted. samples None: as many per prompt as the suite says. limit None, dimensions (): all of it.

    score: scores too, not only clips. encoders: the profile of those by which VBench's dimensions are scored.
    """

    models: tuple[str, ...]
    samples: int | None = None
    limit: int | None = None
    dimensions: tuple[str, ...] = ()
    score: bool = True
    encoders: str = "embedded"


@dataclass(frozen=True)
class Manifest:
    """A run's description. models: name -> fields of its content key."""

    identity: RunIdentity
    scope: Scope
    models: Mapping[str, Mapping[str, Any]]
    made_by: Mapping[str, Any]
    suite_samples: int = 1
    suite_samples_by_dimension: Mapping[str, int] | None = None

    @property
    def keys(self) -> dict[str, str]:
        """name -> content key."""
        return {name: content_key(fields) for name, fields in self.models.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data, keys spelled out for people."""
        return {**asdict(self), "keys": self.keys}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes it whole."""
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / MANIFEST, (text + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run's folder. UserError: there is none, or it is no manifest of this version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            found=f"no {MANIFEST} in {folder}",
            expected="the folder of a run",
            run_next="turbo-eval vbench, rewards or generate makes one; its path is printed at the end (runs/...)",
        )
    check_contained(folder, path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["identity"]["schema_version"]
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version {version}, this version reads {SCHEMA_VERSION}")
        asked = data["scope"]
        many = {name: tuple(asked[name]) for name in ("models", "dimensions")}
        scope = Scope(**{**asked, **many})
        rest = {name: data[name] for name in ("models", "made_by", "suite_samples", "suite_samples_by_dimension")}
        return Manifest(RunIdentity(**data["identity"]), scope, **rest)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            found=f"{path} cannot be read as a manifest ({error})",
            expected="the manifest that this version of turbo-eval writes",
            run_next=OTHER_FOLDER,
        ) from error


def write_suite(folder: Path, suite: Suite) -> None:
    """Keeps the whole suite in the run, so that the run can be read where the suite's file is not."""
    write_atomically(folder / SUITE, _bytes_of(suite))


def _bytes_of(suite: Suite) -> bytes:
    return "".join(canonical_line(prompt) + "\n" for prompt in suite.prompts).encode()


def _is_file_of(path: Path, suite: Suite) -> bool:
    """Whether a suite.jsonl without a manifest is what a killed beginning has left, and not somebody's own."""
    return path.is_file() and path.read_bytes() == _bytes_of(suite)


def read_suite(folder: Path, manifest: Manifest) -> Suite:
    """The suite of a run. UserError when the file is missing or is not the one that the manifest names."""
    path = check_contained(folder, folder / SUITE)
    if not path.is_file():
        raise UserError(found=f"no {SUITE} in {folder}", expected="a whole run folder", run_next=OTHER_FOLDER)
    suite = suite_of(manifest.identity.suite, read_prompts(path))
    if suite.sha256 != manifest.identity.suite_sha256:
        raise UserError(
            found=f"{path} has sha256 {suite.sha256[:12]}, the manifest says {manifest.identity.suite_sha256[:12]}",
            expected="the suite that the run was made with",
            run_next=OTHER_FOLDER,
        )
    return Suite(
        suite.name, suite.prompts, suite.sha256, manifest.suite_samples, manifest.suite_samples_by_dimension or {}
    )


def differences(there: Any, here: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """What differs between two JSON values: (field, there, here), such as (`models.a.num_steps`, 4, 8)."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = [*here, *(key for key in there if key not in here)]
        nested = [differences(there.get(key), here.get(key), f"{name}.{key}".lstrip(".")) for key in keys]
        return [line for lines in nested for line in lines]
    if isinstance(there, list | tuple) and isinstance(here, list | tuple):
        pairs = enumerate(zip_longest(there, here))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{name}[{i}]")]
    return [] if there == here else [(name, there, here)]


def describe(changed: list[tuple[str, Any, Any]]) -> str:
    """`batch: 4 there, 8 here; ...`"""
    return "; ".join(f"{name}: {json.dumps(a)} there, {json.dumps(b)} here" for name, a, b in changed)


def check_same(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest that is there, if it has this identity. UserError names the fields that differ."""
    there = read_manifest(folder)
    changed = differences(there.identity.to_json(), manifest.identity.to_json())
    if changed:
        raise UserError(
            found=f"{folder} was made by another configuration ({describe(changed)})",
            expected="the configuration that made the folder",
            run_next=OTHER_FOLDER,
        )
    read_suite(folder, there)
    return there


def is_new(folder: Path, suite: Suite, *, locked: bool) -> bool:
    """Whether a run is still to be begun in this folder, which is made. UserError when it holds something else.

    locked: whether this process holds the folder's lock; otherwise another may be about to begin a run in it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in folder.iterdir()]  # before the next line: another process may begin it now
        if (folder / MANIFEST).exists():
            return False
        begun = LOCK in names and not locked
        ours = {LOCK, SUITE} if begun or _is_file_of(folder / SUITE, suite) else {LOCK}
        if any(name not in ours and not name.endswith(".tmp") for name in names):
            raise UserError(
                found=f"{folder} holds files but no {MANIFEST}",
                expected="a new or empty folder, or one that turbo-eval made",
                run_next=OTHER_FOLDER,
            )
    return True


def begin(folder: Path, manifest: Manifest, suite: Suite) -> list[str]:
    """Makes a run's folder, or checks that it is this run's and notes the newest command. Returns notes for people.

    UserError: the folder is another run's, holds something else, or cannot be written.
    """
    if is_new(folder, suite, locked=True):
        write_suite(folder, suite)
        write_manifest(folder, manifest)
        return []
    there = check_same(folder, manifest)
    models = {**there.models, **manifest.models}
    # Written even if nothing changed: proves, before any work is done, that writing works.
    write_manifest(folder, Manifest(there.identity, manifest.scope, models, there.made_by, *_samples(suite)))
    return changed_keys(there, manifest)


def _samples(suite: Suite) -> tuple[int, Mapping[str, int]]:
    return suite.samples, dict(suite.samples_by_dimension)


def changed_keys(there: Manifest, here: Manifest) -> list[str]:
    """For each model whose content key has changed since the last command, what changed in it."""
    notes = []
    for name, fields in here.models.items():
        before = there.models.get(name)
        if before is not None and (changed := differences(before, fields)):
            what = "clips of its present content key are used, or made anew beside the old ones: the key changed"
            notes.append(f"{name}: {what} ({describe(changed)})")
    return notes
