"""Who is compared in a run, under which name, and set up how?

A contestant is a model of models.py with its number of steps and guidance scale, or a folder of finished clips.
Where the command line changes a model's setting the name says so (world-teacher-4steps), so that a model can be
compared with itself in another setting.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from turbo_eval.keys import FOLDER, ModelIdentity
from turbo_eval.leases import EXPIRY_S
from turbo_eval.models import ModelEntry, find_model, weights_sha256
from turbo_eval.units import Shard
from turbo_train.errors import UserError


@dataclass(frozen=True)
class Request:
    """What `turbo-eval vbench` was asked to do. `num_steps` and `guidance_scale` concern `model`, not `against`.

    None: samples as the suite says, batch and threads as the run says (a new one: 4, and all cores), shard all of it.
    """

    model: str | None = None
    against: str | None = None
    videos: Path | None = None
    suite: str = "world"
    samples: int | None = None
    num_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    batch: int | None = None
    out: Path | None = None
    limit: int | None = None
    dimensions: tuple[str, ...] = ()
    latency: bool = True
    threads: int | None = None
    device: str = "auto"
    shard: Shard | None = None
    max_failures: int = 0
    allow_missing: bool = False
    lease_s: float = EXPIRY_S


@dataclass(frozen=True)
class Contestant:
    """A name in the table. `entry` None: its clips lie in a folder."""

    name: str
    entry: ModelEntry | None = None

    def identity(self) -> ModelIdentity:
        """What must stay the same for its clips to be kept."""
        if self.entry is None:
            return ModelIdentity(self.name, FOLDER)
        scale, digest = self.entry.guidance_scale, weights_sha256(self.entry)
        return ModelIdentity(self.name, self.entry.kind, self.entry.num_steps, scale, digest)


def contestants_of(request: Request) -> tuple[Contestant, ...]:
    """One or two contestants, the model first. UserError for an unknown model, or twice the same one."""
    first = _first(request)
    if request.against is None:
        return (first,)
    second = find_model(request.against)
    if second.name == first.name:
        raise UserError(
            found=f"{first.name} against itself",
            expected="two models, or one model in two settings (--steps, --guidance concern --model)",
            run_next="turbo-eval list models",
        )
    return first, Contestant(second.name, second)


def _first(request: Request) -> Contestant:
    if request.videos is not None:
        if request.num_steps is not None or request.guidance_scale is not None:
            raise UserError(
                found="--steps or --guidance beside --videos",
                expected="finished clips are scored as they are",
                run_next="leave these options out",
            )
        return Contestant(_slug(request.model or request.videos.resolve().name or "videos"))
    if request.model is None:
        raise UserError(
            found="neither --model nor --videos",
            expected="a model to run or a folder of clips to score",
            run_next="turbo-eval list models",
        )
    entry = find_model(request.model)
    name = entry.name
    if request.num_steps is not None and request.num_steps != entry.num_steps:
        name, entry = f"{name}-{request.num_steps}steps", replace(entry, num_steps=request.num_steps)
    if request.guidance_scale is not None:
        _check_guidance(entry, request.guidance_scale)
    if request.guidance_scale is not None and request.guidance_scale != entry.guidance_scale:
        name, entry = f"{name}-w{request.guidance_scale:g}", replace(entry, guidance_scale=request.guidance_scale)
    return Contestant(name, entry)


def _check_guidance(entry: ModelEntry, scale: float) -> None:
    """A student knows only the guidance scales that it was distilled with. UserError outside them."""
    if entry.kind != "student":
        return
    config = json.loads((entry.folder / "config.json").read_text(encoding="utf-8"))
    low, high = config.get("guidance_min"), config.get("guidance_max")
    if low is not None and high is not None and not low <= scale <= high:
        raise UserError(
            found=f"--guidance {scale:g} for the student {entry.name}",
            expected=f"{low:g} to {high:g}, the scales it was distilled with (eps_c + w (eps_c - eps_u))",
            run_next=f"turbo-eval show {entry.name}",
        )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "videos"


def output_folder(request: Request, contestants: tuple[Contestant, ...], suite_name: str, prompts: int) -> Path:
    """Where a run goes when --out does not say: the same command finds the same folder again."""
    if request.out is not None:
        return request.out
    samples = "" if request.samples is None else f"x{request.samples}"
    scope = f"{_slug(suite_name)}-{prompts}{samples}-seed{request.seed}"
    weights = json.dumps([c.identity().weights_sha256 for c in contestants])
    digest = hashlib.sha256(weights.encode()).hexdigest()[:8]  # new weights, new folder
    return Path("runs") / scope / f"{'-vs-'.join(c.name for c in contestants)}-{digest}"
