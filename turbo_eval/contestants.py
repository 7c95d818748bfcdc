"""Who is compared in a run, under which name, and set up how?

A contestant is a model of models.py with its number of steps and guidance scale, or a folder of finished clips.
Where the command line changes a model's setting the name says so (world-teacher-4steps), so that a model can be
compared with itself in another setting.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from turbo_eval.keys import FOLDER, ModelIdentity
from turbo_eval.leases import EXPIRY_S
from turbo_eval.model_table import STANDARD_SUITE, ModelEntry
from turbo_eval.models import cell_px, find_model, named, not_as_published, read_record
from turbo_eval.prompt_suite import Suite
from turbo_eval.screen import say
from turbo_eval.units import Shard
from turbo_train.errors import UserError, together
from turbo_train.nets.source import ClipFormat
from turbo_train.sampling.setting import Setting
from turbo_train.weights.hashes import takes_long
from turbo_train.weights.sizes import readable


@dataclass(frozen=True)
class RewardChoice:
    """What `turbo-eval rewards` scores with. names: (): all that can be had. dtype: of the reward networks.

    repeat_last: a clip that is too short for a video reward repeats its last frame. in_loop: the rewards that the model
    was trained on, where it does not say so itself; None: not stated. beside: VBench's dimensions and the oracle too.
    """

    names: tuple[str, ...] = ()
    dtype: str = "float32"
    repeat_last: bool = False
    in_loop: tuple[str, ...] | None = None
    beside: bool = False


@dataclass(frozen=True)
class Request:
    """What a command that makes clips was asked to do. `num_steps` and `guidance_scale` concern `model`, not `against`.

    None: the suite of the models (suite_name), samples as the suite says, batch and threads as the run says (a new one:
    4, and all cores), shard all of it; frames, size (height and width in pixels), fps and dtype as each model says.
    prompts: instead of a suite.
    score: whether the clips are scored; rewards: by reward models, in place of VBench's dimensions and the oracle.
    lineup: any number of contestants that are resolved already, in place of `model` and `against`.
    encoders: the profile of scorers/registry.py, None: by the prompts; precision, compat: of VBench's networks
    (scorers/vbench/encoders/backbone.py); strict_rules: the corrected rules of scorers/vbench/strict_rules.py.
    """

    model: str | None = None
    against: str | None = None
    videos: Path | None = None
    suite: str | None = None
    prompts: tuple[str, ...] = ()
    samples: int | None = None
    num_steps: int | None = None
    guidance_scale: float | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None
    fps: int | None = None
    dtype: str | None = None
    seed: int = 0
    batch: int | None = None
    out: Path | None = None
    limit: int | None = None
    dimensions: tuple[str, ...] = ()
    latency: bool = True
    score: bool = True
    rewards: RewardChoice | None = None
    threads: int | None = None
    device: str = "auto"
    shard: Shard | None = None
    max_failures: int = 0
    allow_missing: bool = False
    lease_s: float = EXPIRY_S
    lineup: tuple[Contestant, ...] = ()
    encoders: str | None = None
    precision: str = "float32"
    compat: str = ""
    strict_rules: bool = False


@dataclass(frozen=True)
class Contestant:
    """A name in the table. `entry` None: its clips lie in a folder. rewards: as in ModelEntry, or as was stated."""

    name: str
    entry: ModelEntry | None = None
    rewards: tuple[str, ...] | None = None

    @cached_property
    def identity(self) -> ModelIdentity:
        """What must stay the same for its clips to be kept."""
        if self.entry is None:
            return ModelIdentity(self.name, FOLDER)
        assert self.entry.source is not None
        for _, path in self.entry.source.files():
            if takes_long(path):
                say(f"reading {path} once for its sha256 ({readable(path.stat().st_size)})")
        source = self.entry.source
        return ModelIdentity(self.name, self.entry.kind, self.entry.setting, source.sha256(), source.describe())


def contestants_of(request: Request, find: Callable[[str], ModelEntry] = find_model) -> tuple[Contestant, ...]:
    """The line-up, or one or two with the model first. UserError for an unknown model, or twice the same one.

    find: how a model is found, with its source.
    """
    if request.lineup:
        return request.lineup
    found = _find_all(request, find)
    first = _with_rewards(_first(request, found), request.rewards)
    if request.against is None:
        return (first,)
    second = _fitted(found[request.against], request)
    name = f"{second.label}{_suffix(second, request)}"
    if name == first.name:
        raise UserError(
            found=f"{first.name} against itself",
            expected="two models, or one model in two settings (--steps, --guidance concern --model)",
            run_next="turbo-eval list models",
        )
    return first, Contestant(name, second, second.rewards)


def suite_name(request: Request, contestants: Sequence[Contestant]) -> str:
    """The suite that was asked for, else that of the models; of finished clips alone VBench's, as their names are.

    UserError: models of different suites.
    """
    if request.suite is not None:
        return request.suite
    usual = {contestant.entry.suite: contestant.name for contestant in reversed(contestants) if contestant.entry}
    if len(usual) > 1:
        raise UserError(
            found=" and ".join(f"{name}, which is asked the suite {suite}" for suite, name in reversed(usual.items())),
            expected="one suite for all",
            run_next=f"--suite {next(reversed(usual))}",
        )
    return next(iter(usual), STANDARD_SUITE)


def _with_rewards(contestant: Contestant, choice: RewardChoice | None) -> Contestant:
    """With the rewards that it was trained on. UserError where it says others than the command line."""
    known = contestant.entry.rewards if contestant.entry else None
    stated = choice.in_loop if choice else None
    if known is not None and stated is not None and set(known) != set(stated):
        raise UserError(
            found=f"--in-loop {', '.join(stated) or 'none'} for {contestant.name}",
            expected=f"what is known of it: {', '.join(known) or 'none'}",
            run_next="leave --in-loop out",
        )
    return replace(contestant, rewards=stated if known is None else known)


def _find_all(request: Request, find: Callable[[str], ModelEntry]) -> dict[str, ModelEntry]:
    """The models by what the command line calls them. UserError that names what is missing of both at once."""
    found, errors = {}, []
    for name in (request.model if request.videos is None else None, request.against):
        if name is not None:
            try:
                found[name] = find(name)
            except UserError as error:
                errors.append(error)
    if errors:
        raise together(errors)
    return found


def _first(request: Request, found: Mapping[str, ModelEntry]) -> Contestant:
    if request.videos is not None:
        options = (request.num_steps, request.guidance_scale, request.frames, request.size, request.fps, request.dtype)
        if any(value is not None for value in options):
            raise UserError(
                found="--steps, --guidance, --size, --frames, --fps or --dtype beside --videos",
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
    entry = _fitted(found[request.model], request)
    name, setting = f"{entry.label}{_suffix(entry, request)}", entry.setting
    if request.num_steps is not None and request.num_steps != setting.num_steps:
        name, setting = f"{name}-{request.num_steps}steps", replace(setting, num_steps=request.num_steps)
    if request.guidance_scale is not None:
        _check_guidance(entry, request.guidance_scale)
    if request.guidance_scale is not None and request.guidance_scale != setting.guidance_scale:
        name, setting = f"{name}-w{request.guidance_scale:g}", replace(setting, guidance_scale=request.guidance_scale)
    return Contestant(name, replace(entry, setting=setting))


def _suffix(entry: ModelEntry, request: Request) -> str:
    """What the command line changes in a model's clip and precision, for its name; and whether its files are others."""
    table = named(entry.name)
    usual = table.setting if table else None
    setting, parts = entry.setting, []
    if not_as_published(entry):
        parts.append("modified")
    if request.size and setting.size and setting.size != (usual and usual.size):
        parts.append("x".join(map(str, setting.size)))
    if request.frames and setting.frames != (usual and usual.frames):
        parts.append(f"{setting.frames}frames")
    if request.fps and setting.fps != (usual and usual.fps):
        parts.append(f"{setting.fps}fps")
    if setting.dtype != Setting.dtype:
        parts.append(setting.dtype)
    return "".join(f"-{part}" for part in parts)


def _fitted(entry: ModelEntry, request: Request) -> ModelEntry:
    """The model asked for the request's clip and precision. UserError for a size that the network cannot make."""
    asked: dict[str, Any] = {"frames": request.frames, "size": request.size, "fps": request.fps, "dtype": request.dtype}
    setting = replace(entry.setting, **{name: value for name, value in asked.items() if value is not None})
    if request.fps is not None:
        setting = replace(setting, cond_fps=None)  # the network is told what the file says
    source = entry.source
    assert source is not None
    if source.layout == "diffusers" and request.frames and request.fps and not source.clip:
        source = replace(source, clip=ClipFormat(request.frames, request.fps))
    multiple = max(entry.size_multiple, cell_px(source))
    if setting.size and any(side % multiple for side in setting.size):
        height, width = setting.size
        near = [max(1, round(side / multiple)) * multiple for side in setting.size]
        raise UserError(
            found=f"--size {height}x{width} for {entry.name}",
            expected=f"height and width that are multiples of {multiple} pixels",
            run_next=f"--size {near[0]}x{near[1]}",
        )
    return replace(entry, setting=setting, source=source)


def _check_guidance(entry: ModelEntry, scale: float) -> None:
    """A student knows only the guidance scales that it was distilled with. UserError outside them."""
    assert entry.source is not None
    if not math.isfinite(scale):
        raise UserError(found=f"--guidance {scale:g}", expected="a number")
    if entry.source.layout != "student":
        return
    config = read_record(entry.source.path / "config.json")
    low, high = config.get("guidance_min"), config.get("guidance_max")
    if isinstance(low, int | float) and isinstance(high, int | float) and not low <= scale <= high:
        raise UserError(
            found=f"--guidance {scale:g} for the student {entry.name}",
            expected=f"{low:g} to {high:g}, the scales it was distilled with (eps_c + w (eps_c - eps_u))",
            run_next=f"turbo-eval show {entry.name}",
        )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "videos"


def output_folder(request: Request, contestants: tuple[Contestant, ...], suite: Suite, prompts: int) -> Path:
    """Where a run goes when --out does not say: the same command finds the same folder again."""
    if request.out is not None:
        return request.out
    samples = "" if request.samples is None else f"x{request.samples}"
    scope = f"{_slug(suite.name)}-{prompts}{samples}-seed{request.seed}"
    if request.lineup:  # whoever joins a line-up finds the others' clips there
        return Path("runs") / scope / f"lineup-{suite.sha256[:8]}"
    decides = json.dumps([suite.sha256, *(asdict(c.identity) for c in contestants)])
    digest = hashlib.sha256(decides.encode()).hexdigest()[:8]  # other prompts, weights or sizes: another folder
    return Path("runs") / scope / f"{'-vs-'.join(c.name for c in contestants)}-{digest}"
