"""What does a reward's gradient cost in memory, through one prediction and through a whole sampling chain?

The paper's argument (arXiv 2405.18750, section 4.1): fine-tuning by the gradient of a reward of finished clips, as
InstructVideo does, has to keep all K steps of the sampler; a reward of the student's single-step prediction keeps one
network call. Three ways to a clip, the same network with LoRA, the same rewards of the same frames:
single       f(x_t, t, w), by train_step itself
consistency  the student's sampler, K calls (sampling/consistency.py)
ddim         the teacher's sampler with guidance, K calls of two branches (sampling/ddim.py), as in InstructVideo
recomputed: each network call and each decoded frame keep their inputs alone and are computed again in the backward
pass: chains then hardly grow in memory, and pay in time.
On a CPU bytes are counted (counted.py); on CUDA they are torch.cuda.max_memory_allocated's.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from turbo_train.assembly import Parts, assemble
from turbo_train.config import TrainConfig
from turbo_train.cost import shaped_parts, weights_of, zero_gradients
from turbo_train.diffusion.guidance import guidance_embedding
from turbo_train.draws import Draws
from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.nets.model import Model
from turbo_train.nets.student import trainable_weights
from turbo_train.presets import find_preset
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.step import Batch, decoded, train_step
from turbo_train.without_numbers import Rules, autocast, backward

Chain = Literal["single", "consistency", "ddim"]
STEPS = 4, 8, 20, 50
BRANCHES = {"single": 1, "consistency": 1, "ddim": 2}  # network calls in a step, side by side
GRID = 1000  # of training times: every number of steps that divides it ends its chain near 0
GUIDANCE = 2.0  # imagen_cfg: any but 1 makes two branches
TEXTS = ("a red circle moves up on a black background", "a blue square rests on a white background")
WORLD = find_preset("world-turbo").config
VC2 = replace(find_preset("vc2-turbo").config, gradient_checkpointing=False, checkpoint_decode=False, random_crop=False)


@dataclass(frozen=True)
class Measured:
    """One way to a reward's gradient. Bytes beside the weights, their gradients and the inputs.

    kept_bytes: alive between the forward and the backward pass, None on CUDA; peak_bytes: at the worst moment.
    shapes_only: counted on the meta device, where nothing is computed. times_single: peak_bytes over the peak of the
    single step that is not recomputed.
    """

    chain: Chain
    num_steps: int
    recomputed: bool
    kept_bytes: int | None
    peak_bytes: int
    network_calls: int
    seconds: float | None
    shapes_only: bool
    times_single: float = 1.0


@dataclass(frozen=True)
class Inputs:
    """What all ways start from: pure noise at the last time, the captions' contexts, and the frames that are seen."""

    batch: Batch
    draws: Draws


def check_steps(text: str) -> tuple[int, ...]:
    """`4,8,20`. UserError for anything else, and for a number that does not divide the training times."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) and GRID % int(part) == 0 for part in parts):
        raise UserError(
            found=f"--steps {text!r}",
            expected=f"whole numbers that divide {GRID}, separated by commas",
            run_next="turbo-train memory --steps 4,8,20,50",
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def measure_world(
    steps: Sequence[int] = STEPS,
    *,
    clips: int = 1,
    limit_bytes: float = 3 * 2**30,
    device: str = "cpu",
    watch: Callable[[Measured], None] = lambda row: None,
) -> list[Measured]:
    """Every chain on the embedded world. Ways that would need more than limit_bytes are counted in shape alone."""
    parts = assemble(WORLD, device)
    inputs = inputs_of(parts, clips)
    rows: list[Measured] = []
    for chain, num_steps, recomputed in _ways(steps):
        unsure = not recomputed and _bound(rows, chain, num_steps) > limit_bytes
        row = shapes_of(WORLD, clips, chain, num_steps, recomputed) if unsure else None
        if row is None or row.peak_bytes <= limit_bytes:
            row = _measure(WORLD, parts, inputs, chain, num_steps, recomputed)
        rows.append(replace(row, times_single=row.peak_bytes / (rows[0] if rows else row).peak_bytes))
        watch(rows[-1])
    return rows


def _bound(rows: Sequence[Measured], chain: Chain, num_steps: int) -> float:
    """Bytes that a chain cannot exceed, by shorter ones: what grows with the steps is not all of them."""
    alike = [row for row in rows if row.chain == chain and not row.recomputed] or list(rows[:1])
    calls = num_steps * BRANCHES[chain]
    return alike[-1].peak_bytes * calls / alike[-1].network_calls if alike else float("inf")


def count_full_size(
    steps: Sequence[int] = (4,), watch: Callable[[Measured], None] = lambda row: None
) -> list[Measured]:
    """The same at VideoCrafter2's size (16 frames of 320x512, both rewards, bf16), counted in shape alone."""
    rows: list[Measured] = []
    for chain, num_steps, recomputed in _ways(steps):
        row = shapes_of(VC2, 1, chain, num_steps, recomputed)
        rows.append(replace(row, times_single=row.peak_bytes / (rows[0] if rows else row).peak_bytes))
        watch(rows[-1])
    return rows


def _ways(steps: Sequence[int]) -> list[tuple[Chain, int, bool]]:
    chains: list[tuple[Chain, int]] = [("single", 1)]
    chains += [("consistency", num_steps) for num_steps in steps] + [("ddim", num_steps) for num_steps in steps]
    return [(chain, num_steps, recomputed) for chain, num_steps in chains for recomputed in (False, True)]


def inputs_of(parts: Parts, clips: int) -> Inputs:
    """For `clips` clips, on the parts' device: the same numbers each time."""
    device, shape = parts.empty_1LD.device, (clips, *parts.teacher.latent_shape)
    texts = tuple(TEXTS[number % len(TEXTS)] for number in range(clips))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(shape, generator=generator, device="cpu").to(device)
    order = torch.arange(shape[2], device=device).expand(clips, -1)
    last = torch.full((clips,), parts.solver.num_ddim_steps - 1, device=device)
    zeros = torch.zeros(clips, device=device)
    with torch.no_grad():
        batch = Batch(torch.zeros(shape, device=device), parts.teacher.text(texts), parts.empty_1LD, texts)
        for term in parts.objective.rewards:
            term.model.text_features(texts)  # type: ignore[attr-defined]  # once per caption, not per gradient
    return Inputs(batch, Draws(last, zeros, noise, order, zeros, torch.zeros_like(last)))


def reward_loss(parts: Parts, inputs: Inputs, chain: Chain, num_steps: int, *, recomputed: bool = False) -> Tensor:
    """-sum beta reward of the clip that a chain makes, with its graph."""
    batch, draws = inputs.batch, inputs.draws
    student = replace(parts.student, denoiser=_Again(parts.student)) if recomputed else parts.student
    if chain == "single":
        objective = replace(parts.objective, parts=("img", "vid"), checkpoint_decode=recomputed)
        return train_step(student, parts.teacher, parts.solver, batch, draws, objective).loss
    z = _sampled(student, inputs, chain, num_steps)
    terms = []
    for term in parts.objective.rewards:
        frames = decoded(parts.teacher.vae, z, draws.order_BT[:, : term.frames], again=recomputed)
        terms.append(-term.beta * term.model.score_clips(frames, batch.texts).mean())
    return torch.stack(terms).sum()


def _sampled(student: Model, inputs: Inputs, chain: Chain, num_steps: int) -> Tensor:
    """z of a sampler's own code, which by itself runs without gradients."""
    batch, noise = inputs.batch, inputs.draws.noise_BCTHW

    def step_noise(step: int) -> Tensor:
        return torch.randn(noise.shape, generator=torch.Generator().manual_seed(step), device="cpu")

    if chain == "consistency":
        sample = inspect.unwrap(sample_consistency)
        options: dict[str, Any] = {"num_steps": num_steps, "guidance_scale": 0.0, "origin_steps": GRID}
        return sample(student, batch.context_BLD, noise, step_noise, **options)  # type: ignore[no-any-return]
    unaware: Any = _Unaware(student)
    options = {"num_steps": num_steps, "guidance_scale": GUIDANCE, "spacing": "trailing"}
    sample, teacher = inspect.unwrap(sample_ddim), replace(student, denoiser=unaware)
    return sample(teacher, batch.context_BLD, batch.empty_1LD, noise, **options)  # type: ignore[no-any-return]


def _measure(
    config: TrainConfig, parts: Parts, inputs: Inputs, chain: Chain, num_steps: int, recomputed: bool
) -> Measured:
    device = parts.empty_1LD.device
    fixed = [*weights_of(parts), *zero_gradients(trainable_weights(parts.student).values())]
    began = time.perf_counter()
    kept: int | None = None
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with autocast(config.precision, "cuda"):
            loss = reward_loss(parts, inputs, chain, num_steps, recomputed=recomputed)
        loss.backward()
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with Counted(fixed) as counted:
            with autocast(config.precision):
                loss = reward_loss(parts, inputs, chain, num_steps, recomputed=recomputed)
            kept = counted.now
            backward(loss)
        peak = counted.peak
    calls = num_steps * BRANCHES[chain]
    seconds = None if device.type == "meta" else time.perf_counter() - began
    return Measured(chain, num_steps, recomputed, kept, peak, calls, seconds, device.type == "meta")


def shapes_of(config: TrainConfig, clips: int, chain: Chain, num_steps: int, recomputed: bool) -> Measured:
    """One way to a recipe's rewards, counted in shape alone. UserError: as `cost_of`."""
    with torch.device("meta"), Rules():
        parts = shaped_parts(config)
        return _measure(config, parts, inputs_of(parts, clips), chain, num_steps, recomputed)


class _Again:
    """A denoiser whose every call is computed again in the backward pass."""

    def __init__(self, model: Model) -> None:
        self._net = model.denoiser
        self.prediction_type = model.denoiser.prediction_type

    def __call__(self, *inputs: Tensor, **options: Any) -> Tensor:
        out: Tensor = checkpoint(self._net, *inputs, use_reentrant=False, **options)
        return out


class _Unaware:
    """A student that is told no guidance, so that a teacher's sampler can run it: the teacher with LoRA."""

    def __init__(self, model: Model) -> None:
        self._net, self._width = model.denoiser, model.timestep_cond_dim or 0
        self.prediction_type = model.denoiser.prediction_type

    def __call__(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, *, fps: Any = None) -> Tensor:
        told = guidance_embedding(torch.zeros(len(x_BCTHW), device=x_BCTHW.device), self._width)
        return self._net(x_BCTHW, t_B, context_BLD, fps=fps, timestep_cond_BE=told)
