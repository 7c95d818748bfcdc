"""Which prompts does VBench itself ask for, by dimension and by category, and how many clips of each?

946 entries of VBench_full_info.json in the vbench package, 944 distinct prompts: two stand in two entries each and
share their clips. 5 clips of each, 25 of the 75 for temporal flickering (VBench's sampling protocol; spec.py): 6,220.
The categories are eight lists of 100 prompts for any dimension, which the package's wheel does not carry.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench.spec import DIMENSIONS, dimension
from turbo_eval.suite_files import read_prompts
from turbo_train.errors import UserError, near

SAMPLES = min(d.samples_per_prompt for d in DIMENSIONS)
SAMPLES_BY_DIMENSION = {d.name: d.samples_per_prompt for d in DIMENSIONS if d.samples_per_prompt != SAMPLES}
CATEGORIES = ("animal", "architecture", "food", "human", "lifestyle", "plant", "scenery", "vehicles")
PROMPTS_PER_CATEGORY = 100
FOLDER = "prompts_per_category"
ENVIRONMENT = "VBENCH_PROMPTS"


def vbench_prompts(name: str | None = None) -> list[Prompt]:
    """The 944 prompts, or those of one dimension with the same ids. UserError: unknown dimension, no package."""
    wanted = None if name is None else dimension(name).name
    package = _package()
    if package is None:
        raise UserError(
            found="no vbench package, which holds the prompts of this suite",
            expected="vbench 0.1.5 (without its dependencies, which cannot be resolved beside ours)",
            run_next="pip install --no-deps vbench==0.1.5",
        )
    info = package / "VBench_full_info.json"
    try:
        prompts = _merge(json.loads(info.read_text(encoding="utf-8")))
        if not prompts:
            raise ValueError("no prompt in the file")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            found=f"{info} cannot be read as VBench's list of prompts: {error}",
            expected="the file of vbench 0.1.5",
            run_next="pip install --force-reinstall --no-deps vbench==0.1.5",
        ) from error
    return [prompt for prompt in prompts if wanted is None or wanted in prompt.dimensions]


def category_prompts(name: str) -> list[Prompt]:
    """The 100 prompts of a category, for all dimensions. UserError: unknown category, no such file."""
    if name not in CATEGORIES:
        raise UserError(
            found=f"unknown category {name!r}{near(name, CATEGORIES)}",
            expected=f"one of {', '.join(CATEGORIES)}",
            run_next="turbo-eval list suites",
        )
    places = [folder / f"{name}.txt" for folder in _folders()]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        sought = f" (looked for {', '.join(map(str, places))})" if places else ""
        raise UserError(
            found=f"no {name}.txt, which the wheel of vbench lacks{sought}",
            expected=f"prompts/{FOLDER} of a checkout of github.com/Vchitect/VBench, named by {ENVIRONMENT}",
            run_next=f"{ENVIRONMENT}=VBench/prompts and the same command, or --suite with the path of any such .txt",
        )
    prompts = read_prompts(path)
    if len(prompts) != PROMPTS_PER_CATEGORY:
        raise UserError(
            found=f"{path} with {len(prompts)} prompts",
            expected=f"the {PROMPTS_PER_CATEGORY} prompts of VBench's category {name}",
            run_next=f"--suite {path}, which reads the file as a list of your own",
        )
    return [Prompt(f"vbench-{name}-{index:03d}", prompt.prompt) for index, prompt in enumerate(prompts)]


def _package() -> Path | None:
    """The folder of the vbench package, which is not imported; None without it."""
    spec = importlib.util.find_spec("vbench")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _folders() -> list[Path]:
    package, named = _package(), os.environ.get(ENVIRONMENT)
    folders = [] if package is None else [package / FOLDER]
    return folders + ([Path(named) / FOLDER, Path(named)] if named else [])


def _merge(entries: list[dict[str, Any]]) -> list[Prompt]:
    """One prompt for each distinct text, with the dimensions and attributes of all of its entries."""
    merged: dict[str, tuple[list[str], dict[str, str]]] = {}
    for entry in entries:
        dimensions, attributes = merged.setdefault(entry["prompt_en"], ([], {}))
        dimensions += [name for name in entry["dimension"] if name not in dimensions]
        attributes |= dict(_leaves(entry.get("auxiliary_info", {})))
    return [
        Prompt(f"vbench-{index:03d}", text, tuple(dimensions), attributes)
        for index, (text, (dimensions, attributes)) in enumerate(merged.items())
    ]


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Nested auxiliary information as flat attributes: `a.b.c` -> text."""
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, name)
        else:
            yield name, str(value)
