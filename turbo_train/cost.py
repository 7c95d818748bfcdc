"""What does a training step cost, before anything is downloaded? Its own code is run on tensors without numbers.

`train_step` and its backward pass run on the real classes at their real sizes on torch's meta device: FLOPs and bytes
are counted where they arise (counted.py), part by part. Arithmetic: products, convolutions and attention, whose
backward pass computes its scores again, as fused kernels do.
Memory: weights, gradients and optimizer states by their sizes, activations by the storages alive at the worst moment.
Not seen: kernels' workspaces, an allocator's rounding and fragments, CUDA's context, what the optimizer's step and the
exchange of gradients between processes need for themselves, when activations are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from turbo_train.assembly import Parts, frozen_dtype, put_together, with_clip
from turbo_train.config import TrainConfig
from turbo_train.cost_networks import shaped_reward, shaped_teacher
from turbo_train.draws import Draws
from turbo_train.nets.counted import Counted, Phase, size_bytes
from turbo_train.nets.student import trainable_weights
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig
from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.table import find_reward
from turbo_train.step import Batch, RewardTerm, train_step
from turbo_train.without_numbers import Rules, autocast, backward

ENCODE, TEXT, TEACHER, TARGET, STUDENT, DECODE = "vae encode", "text", "teacher", "target", "student", "decode"
ADAM_STATES = 2  # moments per weight
FLOAT32_BYTES, EIGHT_BIT_BYTES = 4, 1


@dataclass(frozen=True)
class Work:
    """FLOPs of one part, for one sample."""

    part: str
    phase: Phase
    flops: float


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, for one pass of micro_batch_size samples.

    frozen, trainable, gradients, optimizer, average: weights and what belongs to them. graph: part -> activations that
    are kept from the forward to the backward pass. worst: part -> activations alive at the worst moment.
    """

    frozen: int
    trainable: int
    gradients: int
    optimizer: int
    average: int
    graph: dict[str, int]
    worst: dict[str, int]

    @property
    def weights(self) -> int:
        """All that is there before and after a pass."""
        return self.frozen + self.trainable + self.gradients + self.optimizer + self.average

    @property
    def peak(self) -> int:
        """At the worst moment of a pass."""
        return self.weights + sum(self.worst.values())


@dataclass(frozen=True)
class Cost:
    """Of one recipe. work: per sample, encoding of clips included, which cached latents save. parameters: trainable."""

    config: TrainConfig
    parameters: int
    frozen_parameters: int
    work: tuple[Work, ...]
    memory: Memory

    def flops_per_sample(self, *, cached_latents: bool = True) -> float:
        """Of one sample in a step."""
        return sum(row.flops for row in self.work if not (cached_latents and row.part == ENCODE))

    def flops_per_step(self, *, cached_latents: bool = True) -> float:
        """Of one optimizer step over all processes."""
        return self.flops_per_sample(cached_latents=cached_latents) * self.config.batch_size


def cost_of(config: TrainConfig, sizes: CheckpointConfig | None = None) -> Cost:
    """Count a recipe. sizes: of a VideoCrafter2 teacher that is not the published one.

    UserError: a teacher or reward that does not exist, sizes and frames that do not fit.
    """
    with torch.device("meta"), Rules():
        return _count(config, shaped_parts(config, sizes))


def shaped_parts(config: TrainConfig, sizes: CheckpointConfig | None = None) -> Parts:
    """What `assemble` gives, on the meta device, which has to be the default one. UserError: as `cost_of`."""
    teacher = with_clip(shaped_teacher(config.teacher, sizes), config)
    terms = tuple(_term(config, place) for place in range(len(config.rewards)))
    return put_together(config, teacher, terms, "meta")


def _nets(parts: Parts) -> list[nn.Module]:
    nets: list[object] = [parts.teacher.denoiser, parts.student.denoiser, parts.teacher.vae, parts.teacher.text]
    nets += [term.model for term in parts.objective.rewards]
    return [net for net in nets if isinstance(net, nn.Module)]


def _term(config: TrainConfig, place: int) -> RewardTerm:
    wanted = config.rewards[place]
    model = shaped_reward(wanted).to(dtype=frozen_dtype(config))
    crops = config.random_crop and find_reward(wanted.name).resize == "shortest"
    model.preprocess = replace(model.preprocess, crop="random" if crops else "centre")
    if config.gradient_checkpointing:
        model.use_checkpointing()
    return RewardTerm(wanted.name, model, wanted.part, wanted.beta, wanted.frames, random_crop=crops)


def _count(config: TrainConfig, parts: Parts) -> Cost:
    learnt = trainable_weights(parts.student)
    weights = weights_of(parts)
    gradients = zero_gradients(learnt.values())
    trainable, size = size_bytes(learnt.values()), config.micro_batch_size
    elements = sum(weight.numel() for weight in learnt.values())
    state_bytes = EIGHT_BIT_BYTES if config.optimizer == "adamw8bit" else FLOAT32_BYTES
    with Counted([*weights, *gradients]) as counted:
        batch = _batch(counted, config, parts)
        graph = run_step(counted, parts, batch, _draws(parts.teacher.latent_shape, size), config.precision)
    work = [Work(part, phase, flops / size) for (part, phase), flops in counted.flops.items()]
    memory = Memory(
        frozen=size_bytes(weights) - trainable,
        trainable=trainable,
        gradients=size_bytes(gradients),
        optimizer=ADAM_STATES * state_bytes * elements,
        average=FLOAT32_BYTES * elements if config.ema_decay else 0,
        graph=_without_zeros(graph),
        worst=_without_zeros(counted.at_peak),
    )
    frozen = sum(tensor.numel() for tensor in weights if isinstance(tensor, nn.Parameter)) - elements
    return Cost(config, elements, frozen, tuple(work), memory)


def weights_of(parts: Parts) -> list[Tensor]:
    """Every weight and buffer of a run, each storage once though two networks share it."""
    found: dict[int, Tensor] = {}
    for net in _nets(parts):
        for tensor in [*net.parameters(), *net.buffers()]:
            found.setdefault(tensor.untyped_storage()._cdata, tensor)
    return list(found.values())


def zero_gradients(weights: Iterable[nn.Parameter]) -> list[Tensor]:
    """Give each weight a gradient, as it has after a first pass; these gradients."""
    gradients = []
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
        gradients.append(weight.grad)
    return gradients


def run_step(counted: Counted, parts: Parts, batch: Batch, draws: Draws, precision: str) -> dict[str, int]:
    """A pass with its parts named: train_step and backward. Bytes that each part keeps for the backward pass."""
    vae: Any = _NamedVAE(parts.teacher.vae, counted)
    teacher = replace(
        parts.teacher,
        denoiser=_Named(parts.teacher.denoiser, counted, TEACHER, TEACHER),
        vae=vae,
    )
    student = replace(parts.student, denoiser=_Named(parts.student.denoiser, counted, STUDENT, TARGET))
    terms = tuple(replace(term, model=_NamedReward(term, counted)) for term in parts.objective.rewards)
    with autocast(precision):
        result = train_step(student, teacher, parts.solver, batch, draws, replace(parts.objective, rewards=terms))
    loss = result.loss
    del result
    graph = dict(counted.alive)
    with counted.backward():
        backward(loss)
    return graph


def _batch(counted: Counted, config: TrainConfig, parts: Parts) -> Batch:
    """Latents of clips and contexts of captions: what a pass begins with."""
    _, frames, height, width = parts.teacher.latent_shape
    factor, size = parts.teacher.vae.factor, config.micro_batch_size
    texts = tuple(f"caption {number}" for number in range(size))
    with torch.no_grad(), autocast(config.precision):
        with counted.named(ENCODE):
            x_0 = parts.teacher.vae.encode(torch.zeros(size, frames, 3, height * factor, width * factor))
        with counted.named(TEXT):
            context = parts.teacher.text(texts)
    return Batch(x_0.float(), context, parts.empty_1LD, texts)


def _draws(shape: Sequence[int], size: int) -> Draws:
    whole = torch.zeros(size, dtype=torch.int64)
    order = torch.zeros(size, shape[1], dtype=torch.int64)
    return Draws(whole, torch.zeros(size), torch.zeros(size, *shape), order, torch.zeros(size), whole)


class _Named(nn.Module):
    """A denoiser whose calls belong to `learning` while gradients are wanted, else to `part`."""

    def __init__(self, net: Any, counted: Counted, learning: str, part: str) -> None:
        super().__init__()
        self.net, self.prediction_type = net, net.prediction_type
        self._counted, self._names = counted, (part, learning)

    def forward(self, *inputs: Tensor, **options: Any) -> Tensor:
        name = self._names[torch.is_grad_enabled()]
        with self._counted.named(name):
            return self._counted.border(self.net(*inputs, **options), name)


class _NamedVAE:
    """A VAE whose decoding is one part in both directions."""

    def __init__(self, vae: Any, counted: Counted) -> None:
        self.vae, self.factor, self._counted = vae, vae.factor, counted

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        before = self._counted.part
        with self._counted.named(DECODE):
            frames = self.vae.decode(self._counted.border(z_BCTHW, before))
            return self._counted.border(frames, DECODE)


class _NamedReward:
    """A reward whose clips are one part in both directions, and its texts another."""

    def __init__(self, term: RewardTerm, counted: Counted) -> None:
        self._model, self._counted, self._name = term.model, counted, f"reward {term.name}"

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: Any = None) -> Tensor:
        before = self._counted.part
        if isinstance(self._model, RewardModel):
            with self._counted.named(f"text of {self._name}"):
                self._model.text_features(texts)
        with self._counted.named(self._name):
            scores = self._model.score_clips(self._counted.border(clips_BTCHW, before), texts, generator)
            return self._counted.border(scores, self._name)


def _without_zeros(bytes_of: Any) -> dict[str, int]:
    return {part: int(count) for part, count in bytes_of.items() if count}
