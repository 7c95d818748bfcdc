"""What does `turbo-eval parity` do? Both engines on the same clips and weights, dimension after dimension.

A comparison that is kept in a folder goes on there: dimensions that are asked for again are measured again, the rows
of the others stay, as long as the clips and the setting are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turbo_eval.durable import write_atomically
from turbo_eval.generators.folder import open_folder
from turbo_eval.parity import SCHEMA_VERSION, TOLERANCE, Row, exit_code, groups_of, row_of
from turbo_eval.parity_ours import Ask, measure_ours
from turbo_eval.parity_text import to_csv, to_json, to_markdown
from turbo_eval.records import canonical_json
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.encoders.backbone import VBENCH_CUDA, Mode
from turbo_eval.scorers.vbench.networks import Networks
from turbo_eval.scorers.vbench.official import ClipFile, Measured, Official
from turbo_eval.scorers.vbench.overlay import find_overlay
from turbo_eval.screen import say
from turbo_eval.suites import FILE_NAMES, load_suite, suite_of_file_names
from turbo_train.errors import UserError
from turbo_train.weights.hashes import file_sha256

REPORT = "parity.json"


@dataclass(frozen=True)
class ParityRequest:
    """dimensions: () is all sixteen. attributes: auxiliary info for every clip, beside its prompt's own."""

    videos: Path
    dimensions: tuple[str, ...] = ()
    suite: str = FILE_NAMES
    attributes: tuple[tuple[str, str], ...] = ()
    overlay: Path | None = None
    official_cache: Path | None = None
    out: Path | None = None
    device: str = "auto"
    threads: int | None = None
    early_exit: bool = False
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class ParityOutcome:
    """The rows in VBench's order, what they were measured on, and the files that were written."""

    rows: tuple[Row, ...]
    identity: Mapping[str, Any]
    files: tuple[Path, ...] = ()

    @property
    def code(self) -> int:
        """The command's exit code."""
        return exit_code(self.rows)


def run_parity(request: ParityRequest) -> ParityOutcome:
    """Compare. UserError: unknown dimension, no overlay, no clip, or a folder with another comparison."""
    dimensions = wanted_dimensions(request.dimensions)
    overlay = find_overlay(request.overlay)
    clips = find_clips(request)
    device, threads = _machine(request)
    identity = _identity(request, clips, device, threads)
    kept = _rows_before(request.out, identity)
    before = {name: replace(row, tolerance=request.tolerance) for name, row in kept.items()}
    mode = Mode(device, compat="" if device == "cpu" else VBENCH_CUDA)
    official = Official(overlay, device, threads, request.official_cache)
    made: dict[str, Row] = {}
    for group in groups_of(dimensions):
        made |= _compare(group, clips, official, Ask(group, clips, mode, threads, not request.early_exit), request)
        rows = _in_order(before | made)
        files = write_parity(request.out, rows, identity) if request.out else ()
    return ParityOutcome(rows, identity, files)


def wanted_dimensions(names: Sequence[str]) -> tuple[str, ...]:
    """In VBench's order; of no name, all. UserError for an unknown one."""
    asked = {spec.dimension(name).name for name in names} or set(spec.NAMES)
    return tuple(name for name in spec.NAMES if name in asked)


def find_clips(request: ParityRequest) -> tuple[ClipFile, ...]:
    """The clips of the folder that belong to the suite, in its order. UserError: none does, or no such folder."""
    by_names = request.suite == FILE_NAMES
    suite = suite_of_file_names(request.videos) if by_names else load_suite(request.suite)
    files = [path.stem for path in request.videos.iterdir()] if request.videos.is_dir() else []
    last = max((int(match[1]) for name in files if (match := re.search(r"-(\d{1,3})$", name))), default=0)
    folder = open_folder(request.videos, suite.prompts, last + 1)
    found = []
    for prompt in suite.prompts:
        whole = replace(prompt, attributes={**prompt.attributes, **dict(request.attributes)})
        for index in range(last + 1):
            if path := folder.find(prompt, index):
                found.append(ClipFile(path.absolute(), whole, index))
    return tuple(found)


def _compare(
    group: tuple[str, ...], clips: tuple[ClipFile, ...], official: Official, ask: Ask, request: ParityRequest
) -> dict[str, Row]:
    """Each engine is asked for the clips that are meant for the dimension."""
    rows = {}
    asked = {name: _meant_for((name,), clips) for name in group}
    for name, own in asked.items():
        why_not = _why_not(name, official, ask.mode) if own else "no clip is meant for it"
        if why_not:
            rows[name] = Row(name, request.tolerance, why_not=why_not)
    left = tuple(name for name in group if name not in rows)
    if left:
        say(f"{' and '.join(left)}: ours")
        ours = measure_ours(replace(ask, dimensions=left, clips=_meant_for(left, clips)))
    for name in left:
        theirs = Measured({}, {})
        if not ours[name].failed:
            say(f"{name}: VBench")
            theirs = official.measure(name, asked[name])
        rows[name] = row_of(name, asked[name], theirs, ours[name], request.tolerance)
    for name in group:
        say(f"{name}: {rows[name].why_not or _in_brief(rows[name])}")
    return rows


def _why_not(dimension: str, official: Official, mode: Mode) -> str:
    """Why a dimension cannot be compared here, before anything is computed for it; "" where it can."""
    if ours := Networks(mode).why_not(dimension):
        return f"ours: {ours}"
    theirs = official.why_not(dimension)
    return theirs and f"official: {theirs}"


def _meant_for(dimensions: Sequence[str], clips: Sequence[ClipFile]) -> tuple[ClipFile, ...]:
    return tuple(c for c in clips if not c.prompt.dimensions or not set(c.prompt.dimensions).isdisjoint(dimensions))


def _in_brief(row: Row) -> str:
    flips = "" if row.flipped is None else f", {len(row.flipped)} verdicts differ"
    return f"largest relative difference {row.largest_relative or 0:.1e} on {row.compared} clips{flips}"


def _machine(request: ParityRequest) -> tuple[str, int]:
    import torch

    from turbo_eval.generators.device import find_device

    return find_device(request.device), request.threads or torch.get_num_threads()


def _identity(request: ParityRequest, clips: Sequence[ClipFile], device: str, threads: int) -> dict[str, Any]:
    """What rows must share to stand in one table."""
    told = [[c.path.name, file_sha256(c.path), c.prompt.prompt, dict(c.prompt.attributes)] for c in clips]
    digest = hashlib.sha256(canonical_json({"clips": told}).encode()).hexdigest()
    machine = {"device": device, "threads": threads, "early_exit": request.early_exit}
    return {"clips": len(clips), "clips_sha256": digest, **machine}


def _rows_before(folder: Path | None, identity: Mapping[str, Any]) -> dict[str, Row]:
    """The rows that stand in a folder already."""
    if folder and folder.exists() and not folder.is_dir():
        raise UserError(
            found=f"{folder} is a file", expected="a folder", run_next="the same command with another --out"
        )
    path = folder / REPORT if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema_version"] != SCHEMA_VERSION or found["identity"] != dict(identity):
            raise UserError(
                found=f"{path} compares other clips, or in another setting",
                expected="the same clips, device, threads and options",
                run_next="the same command with another --out",
            )
        return {row["dimension"]: Row.from_json(row) for row in found["rows"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            found=f"{path} cannot be read ({error})",
            expected="what this command wrote",
            run_next="the same command with another --out",
        ) from error


def _in_order(rows: Mapping[str, Row]) -> tuple[Row, ...]:
    return tuple(rows[name] for name in spec.NAMES if name in rows)


def write_parity(folder: Path, rows: Sequence[Row], identity: Mapping[str, Any]) -> tuple[Path, ...]:
    """parity.json, .md and .csv, each whole or not at all. Returns their paths."""
    texts = {
        REPORT: json.dumps(to_json(rows, identity), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "parity.md": to_markdown(rows, identity),
        "parity.csv": to_csv(rows),
    }
    return tuple(write_atomically(folder / name, text.encode()) for name, text in texts.items())
