"""What decides a training run? One frozen record; a preset gives it, `--set key=value` changes a field.

The recipe of T2V-Turbo (arXiv 2405.18750, section 5; script defaults of the code at eaae323) is what the defaults
are, except where a comment says otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from turbo_train.errors import UserError, near
from turbo_train.rewards.table import find_reward

Placement = Literal["every", "split"]
SPLIT = 8  # ranks of the released code, of which the first SPLIT_CD distil and see images, the rest see clips
SPLIT_CD = 6
AGAIN = "turbo-train run --preset NAME --set key=value, with other values"
MOST_STEPS = 50  # of a clip: the grid on which students are sampled (sampling/timesteps.py)
FREE_ON_RESUME = "steps save_every keep validate_every log_every tensorboard prefetch max_nonfinite micro_batch_size"


@dataclass(frozen=True)
class RewardWeight:
    """One reward of the objective: its name (rewards/table.py), its weight beta, the frames that it sees."""

    name: str
    beta: float
    frames: int

    @property
    def part(self) -> Literal["img", "vid"]:
        """Whether it scores frames or the clip."""
        return "img" if find_reward(self.name).kind == "image" else "vid"

    def __str__(self) -> str:
        return f"{self.name}:{self.beta:g}:{self.frames}"


@dataclass(frozen=True)
class TrainConfig:
    """A run's recipe. batch_size counts samples per optimizer step over all processes and all micro-batches.

    teacher: world, ms, vc2, or a path. data: `world` (rendered without end), a folder of clips with captions, or shards
    (`{00..99}.tar`) of clips or of cached latents. rank 0: full fine-tuning. ema_decay 0: no average; otherwise the
    average is what is validated and saved, and with ema_target what the student learns from. size: (height, width)
    in px; None: the teacher's. cond_fps: told to the networks; None: nothing. warmup_steps: of the learning rate.
    micro_batch_size: samples in one pass of one process. resize: `crop` keeps the aspect. dropout: of the student's
    temporal layers; dropout_in_target, dropout_in_teacher: there too, as in the released code (the teacher's own).
    save_every, validate_every: in steps, 0 never. max_nonfinite: steps in a row without a finite loss that end the run.
    """

    preset: str
    teacher: str
    data: str
    rewards: tuple[RewardWeight, ...] = ()
    loss_placement: Placement = "every"
    rank: int = 64
    seed: int = 0
    steps: int = 10_000
    batch_size: int = 8
    micro_batch_size: int = 1
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    lr: float = 1e-5
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    checkpoint_decode: bool = False
    num_ddim_steps: int = 50
    guidance_min: float = 5.0
    guidance_max: float = 15.0
    guidance_scale: float = 7.5
    distance: Literal["huber", "l2"] = "huber"
    huber_c: float = 0.001
    random_crop: bool = False
    dropout: float = 0.0
    dropout_in_target: bool = False
    dropout_in_teacher: bool = False
    ema_decay: float = 0.0
    ema_target: bool = False
    frames: int | None = None
    size: tuple[int, int] | None = None
    fps: float | None = None
    cond_fps: int | None = None
    resize: Literal["crop", "squash"] = "crop"
    save_every: int = 500
    keep: int = 5
    validate_every: int = 0
    validation_steps: int = 4
    validation_prompts: tuple[str, ...] = ()
    log_every: int = 10
    tensorboard: bool = False
    prefetch: int = 2
    max_nonfinite: int = 10

    def to_json(self) -> str:
        """config.json of a run's folder."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def problems(self) -> list[str]:
        """What cannot be trained so."""
        positive = (
            "steps batch_size micro_batch_size lr max_grad_norm num_ddim_steps keep log_every max_nonfinite prefetch "
            "validation_steps"
        )
        wrong = [
            f"{name} {getattr(self, name)}, not above 0" for name in positive.split() if not getattr(self, name) > 0
        ]
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        wrong += [f"{n} {v}, not finite" for n, v in numbers.items() if isinstance(v, float) and not math.isfinite(v)]
        wrong += [f"beta {term.beta} of {term.name}" for term in self.rewards if not 0 <= term.beta < math.inf]
        wrong += [f"{term.frames} frames for {term.name}" for term in self.rewards if term.frames < 1]
        names = [term.name for term in self.rewards]
        wrong += [f"{name} twice among the rewards" for name in sorted({n for n in names if names.count(n) > 1})]
        if self.batch_size > 0 and self.micro_batch_size > 0 and self.batch_size % self.micro_batch_size:
            wrong.append(f"batch_size {self.batch_size}, no multiple of micro_batch_size {self.micro_batch_size}")
        if self.guidance_min > self.guidance_max:
            wrong.append(f"guidance_min {self.guidance_min} above guidance_max {self.guidance_max}")
        if not 0 <= self.ema_decay < 1:
            wrong.append(f"ema_decay {self.ema_decay}, not in [0, 1)")
        if self.ema_target and not self.ema_decay:
            wrong.append("ema_target without ema_decay: there is no average to learn from")
        if self.loss_placement == "split" and self.batch_size // max(1, self.micro_batch_size) % SPLIT:
            wrong.append(f"loss_placement split: batch_size / micro_batch_size has to be a multiple of {SPLIT}")
        if not 0 <= self.dropout < 1:
            wrong.append(f"dropout {self.dropout}, not in [0, 1)")
        wrong += self._without_effect()
        if self.seed >= 2**63:
            wrong.append(f"seed {self.seed}, of more than 63 bits")
        if not self.guidance_min <= self.guidance_scale <= self.guidance_max:
            wrong.append(f"guidance_scale {self.guidance_scale}, not in [{self.guidance_min}, {self.guidance_max}]")
        counts = "rank seed save_every validate_every warmup_steps weight_decay adam_eps huber_c"
        wrong += [f"{name} {getattr(self, name)}, below 0" for name in counts.split() if getattr(self, name) < 0]
        betas = {"adam_beta1": self.adam_beta1, "adam_beta2": self.adam_beta2}
        wrong += [f"{name} {value}, not in [0, 1)" for name, value in betas.items() if not 0 <= value < 1]
        sizes = {"frames": self.frames, "fps": self.fps, "cond_fps": self.cond_fps, "size": min(self.size or (1,))}
        wrong += [f"{name} {value}, not above 0" for name, value in sizes.items() if value is not None and value <= 0]
        return wrong

    def _without_effect(self) -> list[str]:
        """Settings that would do nothing, or fail only when they are used."""
        wrong = [
            f"{term.name}, a judge, by which nothing is trained"
            for term in self.rewards
            if find_reward(term.name).role == "judge"
        ]
        if self.validate_every and not self.validation_prompts:
            wrong.append("validate_every without validation_prompts: there is nothing to make clips of")
        if self.validation_steps > MOST_STEPS:
            wrong.append(f"validation_steps {self.validation_steps}, above {MOST_STEPS}")
        if self.dropout_in_target and not self.dropout:
            wrong.append("dropout_in_target without dropout")
        if self.loss_placement == "split" and all(term.part != "vid" for term in self.rewards):
            wrong.append("loss_placement split without a video reward: a quarter of the passes would learn nothing")
        return wrong

    def free_on_resume(self) -> set[str]:
        """Fields that a run may change when it goes on, since they do not decide what the steps left are.

        Not steps where the learning rate follows them; not the passes where these decide the loss's parts or dropout.
        """
        free = set(FREE_ON_RESUME.split())
        if self.lr_schedule == "cosine":
            free.discard("steps")
        if self.loss_placement == "split" or self.dropout > 0 or self.dropout_in_teacher:
            free.discard("micro_batch_size")
        return free

    def effective_betas(self) -> dict[str, float]:
        """Reward -> its weight relative to the distillation loss, averaged over all passes of a step."""
        share = (SPLIT - SPLIT_CD) / SPLIT_CD if self.loss_placement == "split" else 1.0
        return {term.name: term.beta * (share if term.part == "vid" else 1.0) for term in self.rewards}


def parse_reward(text: str) -> RewardWeight:
    """`name:beta` or `name:beta:frames`. ValueError or UserError otherwise."""
    name, _, rest = text.partition(":")
    beta, _, frames = rest.partition(":")
    seen = find_reward(name).frames or 6  # M = 6 (arXiv 2405.18750, section 5)
    return RewardWeight(name, float(beta or 1), int(frames) if frames else seen)


def with_settings(config: TrainConfig, settings: Sequence[str], command: str | None = None) -> TrainConfig:
    """The configuration with `key=value` settings. UserError: an unknown key, a value of another kind, no sense.

    command: whose own options they are; None: they were given by --set.
    """
    run_next = f"{command} --help" if command else f"turbo-train presets {config.preset}"
    hints = get_type_hints(TrainConfig)
    names = [name for name in hints if name != "preset"]
    chosen: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in names:
            found = f"--set {setting!r}" + (near(key, names) if equals else "")
            raise UserError(found=found, expected=f"key=value with one of {', '.join(names)}", run_next=run_next)
        try:
            chosen[key] = _value(hints[key], text)
        except ValueError as error:
            found = f"--{key} {text}" if command else f"--set {setting!r}"
            raise UserError(found=found, expected=f"{key} as {_kind(hints[key])}", run_next=run_next) from error
    return checked(replace(config, **chosen), run_next if command else AGAIN)


def checked(config: TrainConfig, run_next: str = AGAIN) -> TrainConfig:
    """The configuration. UserError: `problems`."""
    if wrong := config.problems():
        raise UserError(found="; ".join(wrong), expected="values that make sense together", run_next=run_next)
    return config


def check_alike(config: TrainConfig, before: TrainConfig, where: str, run_next: str) -> None:
    """UserError, with both values: what began as `before` would go on with another recipe."""
    free = config.free_on_resume()
    pairs = {field.name: (getattr(before, field.name), getattr(config, field.name)) for field in fields(config)}
    changed = {name: pair for name, pair in pairs.items() if name not in free and pair[0] != pair[1]}
    if changed:
        raise UserError(
            found=", ".join(f"{name} {_shown(now)}" for name, (_, now) in changed.items()) + f" for {where}",
            expected=", ".join(f"{name} {_shown(was)}" for name, (was, _) in changed.items()) + ", as it was begun",
            run_next=run_next,
        )


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(part, RewardWeight) for part in value):
        return ",".join(map(str, value)) or "none"
    return repr(value)


def config_of(values: Mapping[str, Any], where: str) -> TrainConfig:
    """What `to_json` wrote. UserError: fields that this version does not know, or lacks, or of another kind."""
    names = {field.name for field in fields(TrainConfig)}
    try:
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"unknown fields {', '.join(unknown)}")
        given = dict(values)
        given["rewards"] = tuple(RewardWeight(**term) for term in given.get("rewards", ()))
        given["validation_prompts"] = tuple(given.get("validation_prompts", ()))
        given["size"] = tuple(given["size"]) if given.get("size") else None
        for name, kind in get_type_hints(TrainConfig).items():
            if get_origin(kind) is Literal and name in given and given[name] not in get_args(kind):
                raise ValueError(f"{name} {given[name]!r}, none of {', '.join(get_args(kind))}")
        return checked(TrainConfig(**given))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(found=f"{where}: {error}", expected="a training run's config.json of this version") from error


def _value(kind: Any, text: str) -> Any:
    """A field's value of a string. ValueError."""
    options = get_args(kind)
    if type(None) in options:
        if text.lower() in ("none", ""):
            return None
        return _value(next(option for option in options if option is not type(None)), text)
    if get_origin(kind) is Literal:
        if text not in options:
            raise ValueError(text)
        return text
    if get_origin(kind) is tuple:
        return _values(options, text)
    if (kind is bool and text.lower() not in _BOOLS) or (kind is int and not text.lstrip("-").isdigit()):
        raise ValueError(text)
    return _BOOLS[text.lower()] if kind is bool else kind(text)


_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def _values(options: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    if options[0] is RewardWeight:
        return tuple(parse_reward(part) for part in text.split(",") if part and part != "none")
    if options[0] is str:
        return tuple(part for part in text.split("|") if part)
    height, width = text.split("x")
    return int(height), int(width)


def _kind(kind: Any) -> str:
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(str, options))
    if get_origin(kind) is tuple:
        if options[0] is RewardWeight:
            return "none, or name:beta[:frames] of rewards, separated by commas"
        return "texts separated by |" if options[0] is str else "HEIGHTxWIDTH in px"
    if type(None) in options:
        return f"{_kind(options[0])} or none"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
