"""Which suites are there? Built-in ones by name, files by path.

VBench's prompts come from the installed package (vbench_suite.py); .jsonl, .csv, .txt and .parquet files are read by
suite_files.py; prompt_suite.py says what a suite is. This module knows the scorers' table of dimensions: what lies
below the scorers, as the store, imports those two instead.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from turbo_eval.prompt_suite import Suite, select, suite_of
from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench.spec import NAMES
from turbo_eval.suite_files import FORMATS, check_prompt, legal_stem, read_prompts
from turbo_eval.vbench_suite import CATEGORIES, SAMPLES, SAMPLES_BY_DIMENSION, category_prompts, vbench_prompts
from turbo_train.errors import UserError, near
from turbo_train.video_io import VIDEO_SUFFIXES

__all__ = ["Suite", "describe_suites", "load_suite", "prompts_folder", "read_prompts", "select", "suite_of"]

WORLD = {
    "world": "the embedded world, 72 prompts: 54 of combinations held out from training, 18 of seen ones",
    "world-validation": "the embedded world, 36 prompts for tuning, disjoint from `world`",
}
WORLD_SAMPLES = 2
VBENCH = "vbench"
ONE_DIMENSION = "vbench:"
ONE_CATEGORY = "vbench-category:"
FILE_NAMES = "file-names"
_INDEXED = re.compile(r"(.+)-(\d{1,3})")


def describe_suites() -> dict[str, str]:
    """The built-in suites and one sentence on each."""
    return {
        **WORLD,
        VBENCH: "VBench's 944 prompts, read from the installed vbench package",
        f"{ONE_DIMENSION}DIMENSION": "VBench's prompts of one dimension (turbo-eval list dimensions)",
        FILE_NAMES: "the prompts after which the files of --videos are named",
        f"{ONE_CATEGORY}NAME": f"100 prompts of a VBench category: {', '.join(CATEGORIES)}",
    }


def load_suite(name_or_path: str) -> Suite:
    """A built-in suite, or a file by its path. UserError: unknown name, broken file, duplicate id, no vbench."""
    if name_or_path in WORLD:
        return suite_of(name_or_path, read_prompts(prompts_folder() / f"{name_or_path}.jsonl"), WORLD_SAMPLES)
    if name_or_path == VBENCH:
        return suite_of(name_or_path, vbench_prompts(), SAMPLES, SAMPLES_BY_DIMENSION)
    if name_or_path.startswith(ONE_DIMENSION):
        prompts = vbench_prompts(name_or_path.removeprefix(ONE_DIMENSION))
        return suite_of(name_or_path, prompts, SAMPLES, SAMPLES_BY_DIMENSION)
    if name_or_path.startswith(ONE_CATEGORY):
        return suite_of(name_or_path, category_prompts(name_or_path.removeprefix(ONE_CATEGORY)), SAMPLES)
    path = _existing(name_or_path)
    # A name that cannot be printed (half-decoded bytes, control characters) would break every record of the suite.
    return suite_of(path.stem if path.stem.isprintable() else legal_stem(path.stem), read_prompts(path))


def _existing(name_or_path: str) -> Path:
    """The path of a file; UserError for a folder, and for what is neither a suite's name nor there."""
    path = Path(name_or_path)
    try:
        if name_or_path and path.is_file():
            return path
        there = bool(name_or_path) and path.exists()
    except (OSError, ValueError):  # a name that is too long for a file, or a folder closed to us
        there = False
    files = f"the path of a {', '.join(FORMATS)} file"
    if there:
        kind = "a folder" if path.is_dir() else "not a plain file"
        raise UserError(found=f"{path} is {kind}", expected=files, run_next="the same command with such a file")
    names = [*WORLD, VBENCH, FILE_NAMES]
    names += [*(ONE_DIMENSION + name for name in NAMES), *(ONE_CATEGORY + name for name in CATEGORIES)]
    guess = near(repr(name_or_path), map(repr, names)) if len(name_or_path) < 100 else ""
    shown = name_or_path if len(name_or_path) < 300 else name_or_path[:300] + "..."
    raise UserError(
        found=f"no suite and no file {shown!r}{guess}",
        expected=f"one of {', '.join(describe_suites())}, or {files}",
        run_next="turbo-eval list suites",
    )


def suite_of_texts(texts: Sequence[str]) -> Suite:
    """A suite of prompts from the command line. A prompt has the same id, and so the same noise, in any company.

    UserError for a prompt that is empty, has control characters, or stands there twice.
    """
    prompts = []
    for text in texts:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        try:
            prompt = Prompt(f"{legal_stem(text)[:40].rstrip('-.')}-{digest}", text)
            check_prompt(prompt)
        except ValueError as error:
            raise UserError(found=f"--prompt {text!r}: {error}", expected="a prompt in plain text") from error
        if prompt in prompts:
            raise UserError(
                found=f"--prompt {text!r} twice",
                expected="different prompts",
                run_next="--samples 2 for two clips of one",
            )
        prompts.append(prompt)
    return suite_of("prompts", prompts)


def suite_of_file_names(folder: Path | None) -> Suite:
    """The prompts after which the videos of a folder are named, as in VBench's custom mode: no dimension is excluded.

    `a red car-0.mp4` and `a red car-1.mp4` are two clips of one prompt, `a red car.mp4` is the first of one.
    UserError: no folder, no video in it, a name that is no prompt.
    """
    if folder is None or not folder.is_dir():
        raise UserError(
            found=f"--suite {FILE_NAMES} with {'no --videos' if folder is None else f'{folder}, which is no folder'}",
            expected="a folder of videos that are named after their prompts",
            run_next=f"turbo-eval vbench --videos DIR --suite {FILE_NAMES}",
        )
    names = sorted(p.stem for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)
    indices: dict[str, int] = {}
    for name in names:
        match = _INDEXED.fullmatch(unicodedata.normalize("NFC", name))
        text, index = (match[1], int(match[2])) if match else (unicodedata.normalize("NFC", name), 0)
        indices[text] = max(indices.get(text, 0), index)
    if not indices:
        raise UserError(
            found=f"no videos in {folder}",
            expected=f"files named after their prompts ({', '.join(sorted(VIDEO_SUFFIXES))})",
            run_next="the folder that holds the clips",
        )
    suite = suite_of_texts(list(indices))
    return suite_of(FILE_NAMES, suite.prompts, 1 + max(indices.values()))


def prompts_folder() -> Path:
    """Where the suites lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"
