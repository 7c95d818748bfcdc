"""Small suites, runs with clips of noise in them, and results files in exactly VBench's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbo_eval.clip_files import NewClip
from turbo_eval.keys import ModelIdentity, key_fields
from turbo_eval.manifest import Manifest, RunIdentity, Scope
from turbo_eval.prompt_suite import Suite, suite_of
from turbo_eval.records import Prompt, canonical_line
from turbo_eval.store import Run, open_run
from turbo_train.sampling.setting import Setting

FPS = 8.0


def noise(seed: int, frames: int = 3, height: int = 16, width: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def write_suite_file(path: Path, texts: Sequence[str], dimensions: Sequence[str] = ()) -> Path:
    """A suite whose prompts p0, p1, ... have these texts."""
    prompts = [Prompt(f"p{i}", text, tuple(dimensions)) for i, text in enumerate(texts)]
    path.write_text("".join(canonical_line(prompt) + "\n" for prompt in prompts), encoding="utf-8")
    return path


def suite_with(texts: Sequence[str], name: str = "mine", samples: int = 1) -> Suite:
    return suite_of(name, [Prompt(f"p{i}", text) for i, text in enumerate(texts)], samples)


def make_run(folder: Path, suite: Suite, models: Sequence[str] = ("student",), leave_out: Sequence[int] = ()) -> Run:
    """A run in which these models have made all clips, but for the prompts with the indices to leave out."""
    student = Setting("consistency", 4, 7.5)
    common: Any = {"seed": 0, "batch": 4, "threads": 1, "lossless": True, "device": "cpu"}
    fields = {name: key_fields(ModelIdentity(name, "student", student, "0" * 64), **common) for name in models}
    for name in models:
        fields[name]["weights_sha256"] = name  # models of one setting would have one key
    identity = RunIdentity(suite.name, suite.sha256, batch=4, threads=1)
    run = open_run(folder, Manifest(identity, Scope(tuple(models)), fields, {}, suite.samples), suite)
    run.publish(
        [
            NewClip((model, prompt.prompt_id, sample), index, noise(1000 * m + 10 * index + sample, 3 + index), FPS)
            for m, model in enumerate(models)
            for index, prompt in enumerate(suite.prompts)
            for sample in range(suite.samples)
            if index not in leave_out
        ]
    )
    return run


def write_results(path: Path, dimensions: dict[str, tuple[float, list[dict[str, Any]]]]) -> Path:
    """As vbench.utils.save_json writes VBench.evaluate's results."""
    with path.open("w", encoding="utf-8") as stream:
        json.dump({name: list(value) for name, value in dimensions.items()}, stream, indent=4)
    return path
