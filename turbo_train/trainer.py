"""What changes when a student takes one optimizer step? Its networks, their optimizer and their average, by Accelerate.

A step's batch_size samples are cut into passes of micro_batch_size; pass j belongs to process j mod W, so W decides
neither samples nor draws, and gradients are the mean over all passes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn

from turbo_train.assembly import TEACHER_NAMES, assemble
from turbo_train.config import SPLIT, SPLIT_CD, TrainConfig
from turbo_train.data.sample import Sample
from turbo_train.draws import draw, generator_for
from turbo_train.ema import Average
from turbo_train.errors import UserError
from turbo_train.learning_rate import learning_rate
from turbo_train.nets.student import save_student, trainable_weights
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig
from turbo_train.step import PARTS, Batch, Part, train_step
from turbo_train.step_figures import Figures, Sums, figures_of
from turbo_train.validation import make_validation_clips


@dataclass(frozen=True)
class Step:
    """One step. taken: whether the weights changed. network_s: in forward and backward passes (a GPU's: to launch)."""

    figures: Figures
    taken: bool
    grad_norm: float
    lr: float
    network_s: float


class Trainer:
    """A student that learns, in one process of possibly many. `done`: steps taken or skipped so far."""

    def __init__(self, config: TrainConfig, sizes: CheckpointConfig | None = None) -> None:
        self.config = config
        self.accelerator = new_accelerator(config)
        self.device: torch.device = self.accelerator.device
        self.parts = assemble(config, self.device, sizes)
        self.weights = trainable_weights(self.parts.student)
        self.denoiser = unet_denoiser_of(self.parts.student).train(config.dropout > 0)
        self.average = Average(self.denoiser, self.weights, config.ema_decay) if config.ema_decay else None
        optimizer = new_optimizer(config, list(self.weights.values()))
        self.net, self.optimizer = self.accelerator.prepare(self.denoiser, optimizer)
        self.rewards = [term.name for term in self.parts.objective.rewards]
        self.done = 0

    @property
    def places(self) -> list[list[int]]:
        """The places of a batch that each of this process's passes fills."""
        size, processes = self.config.micro_batch_size, self.accelerator.num_processes
        passes = range(self.accelerator.process_index, self.config.batch_size // size, processes)
        return [list(range(number * size, (number + 1) * size)) for number in passes]

    def step(self, samples: Mapping[int, Sample], stop: bool = False, skipped: int = 0) -> Step:
        """One optimizer step. samples: of this process's places. stop: this process was asked to stop.

        skipped: samples that it passed over for these. ValueError: a clip with fewer frames than a reward sees.
        """
        config, sums, network_s = self.config, Sums(self.rewards, self.device), 0.0
        if stop:
            sums.flag("stop")
        sums.flag("skipped", skipped)
        lr = learning_rate(config.lr, self.done, config.steps, config.warmup_steps, config.lr_schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for places in self.places:
            with self.accelerator.accumulate(self.net):
                network_s += self._pass(places, [samples[place] for place in places], sums)
        norm = self.accelerator.clip_grad_norm_(list(self.weights.values()), config.max_grad_norm).item()
        figures = figures_of(self.accelerator.reduce(sums.total, "sum"), self.rewards)
        taken = self._take(figures, norm)
        self.done += 1
        return Step(figures, taken, norm, lr, network_s)

    def _pass(self, places: list[int], samples: Sequence[Sample], sums: Sums) -> float:
        """Forward and backward of one pass; the seconds spent in them."""
        config, teacher = self.config, self.parts.teacher
        torch.manual_seed(generator_for(config.seed, self.done, places[0]).initial_seed() ^ 1)  # dropout's
        draws = draw(
            config.seed,
            self.done,
            places,
            teacher.latent_shape,
            num_ddim_steps=config.num_ddim_steps,
            guidance_range=(config.guidance_min, config.guidance_max),
        ).to(self.device)
        began = time.perf_counter()
        with self.accelerator.autocast():
            batch = self._batch(samples)
            student = replace(self.parts.student, denoiser=_Called(self.net, self.denoiser.prediction_type))
            learnt = self.average if config.ema_target and self.average is not None else self.denoiser
            objective = replace(self.parts.objective, parts=parts_of(config, places[0]))
            result = train_step(student, teacher, self.parts.solver, batch, draws, objective, learnt)
        self.accelerator.backward(result.loss)
        network_s = time.perf_counter() - began
        sums.add(result)
        return network_s

    @torch.no_grad()
    def _batch(self, samples: Sequence[Sample]) -> Batch:
        texts = tuple(sample.text for sample in samples)
        latents = [sample.x_0_CTHW for sample in samples if sample.x_0_CTHW is not None]
        if latents:
            x_0 = torch.stack(latents).to(self.device)
        else:
            frames = torch.stack([sample.frames_TCHW for sample in samples if sample.frames_TCHW is not None])
            x_0 = self.parts.teacher.vae.encode(frames.to(self.device).float().div_(127.5).sub_(1))
        return Batch(x_0.float(), self.parts.teacher.text(texts), self.parts.empty_1LD, texts)

    def _take(self, figures: Figures, norm: float) -> bool:
        """The optimizer's step, unless the loss or the gradient is not finite."""
        scaler = self.accelerator.scaler
        taken = not figures.wrong() and math.isfinite(norm)
        if taken:
            self.optimizer.step()
            taken = not self.optimizer.step_was_skipped
        elif scaler is not None:
            scaler.update()  # a smaller loss scale, as clip_grad_norm_ has seen what is not finite
        if taken and self.average is not None:
            self.average.update(self.done)
        self.optimizer.zero_grad(set_to_none=True)
        return taken

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs of it, on the CPU."""
        scaler = self.accelerator.scaler
        return {
            "step": self.done,
            "weights": {name: weight.detach().cpu() for name, weight in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "average": {} if self.average is None else {n: v.cpu() for n, v in self.average.values.items()},
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state` was made of."""
        for name, weight in self.weights.items():
            weight.copy_(state["weights"][name])
        if self.average is not None:
            for name, value in self.average.values.items():
                value.copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.done = state["step"]

    def write_student(self, folder: Path) -> None:
        """The student as it would be used: with its averaged weights, if there is an average."""
        config = self.config
        with self._as_used():
            save_student(
                folder,
                self.parts.student,
                guidance_range=(config.guidance_min, config.guidance_max),
                guidance_scale=config.guidance_scale,
                notes=f"turbo-train run --preset {config.preset}, seed {config.seed}, {self.done} steps",
                teacher_name=TEACHER_NAMES.get(config.teacher),
                rewards=tuple(term.name for term in config.rewards if term.beta),
            )

    def make_clips(self, folder: Path) -> None:
        """The validation prompts' clips, each by one of the processes."""
        config = self.config
        prompts = list(enumerate(config.validation_prompts))
        mine = prompts[self.accelerator.process_index :: self.accelerator.num_processes]
        with self._as_used(), self.accelerator.autocast():
            self.denoiser.eval()
            make_validation_clips(
                self.parts.student,
                mine,
                folder,
                num_steps=config.validation_steps,
                guidance_scale=config.guidance_scale,
            )
            self.denoiser.train(config.dropout > 0)

    def _as_used(self) -> AbstractContextManager[None]:
        return self.average.in_place() if self.average is not None else nullcontext()


class _Called:
    """The network that Accelerate prepared, behind the Denoiser protocol."""

    def __init__(self, net: Callable[..., Tensor], prediction_type: str) -> None:
        self.net, self.prediction_type = net, prediction_type

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        return self.net(*inputs, **options)


def parts_of(config: TrainConfig, first_place: int) -> tuple[Part, ...]:
    """Which parts of the loss a pass has: all, or as the released code splits them over its 8 ranks."""
    if config.loss_placement == "every":
        return PARTS
    return ("cd", "img") if first_place // config.micro_batch_size % SPLIT < SPLIT_CD else ("vid",)


def new_accelerator(config: TrainConfig) -> Accelerator:
    """Of this process. UserError: processes that do not divide the passes of a step; fp16 on a CPU."""
    cpu = not torch.cuda.is_available()
    processes = PartialState(cpu=cpu).num_processes
    passes = config.batch_size // config.micro_batch_size
    if config.precision == "fp16" and cpu:
        raise UserError(
            found="precision fp16 on a CPU",
            expected="a GPU, or precision bf16 or no",
            run_next="--set precision=bf16",
        )
    if passes % processes:
        raise UserError(
            found=f"{processes} processes for {passes} passes of {config.micro_batch_size} samples",
            expected="a number of processes that divides batch_size / micro_batch_size",
            run_next="another number of processes, or --set micro_batch_size=N",
        )
    AcceleratorState._reset_state()  # a second run in one process may have another precision
    # a plugin, since a variable of the environment overrides the plain number
    plugin = GradientAccumulationPlugin(num_steps=passes // processes, sync_with_dataloader=False)
    return Accelerator(cpu=cpu, mixed_precision=config.precision, gradient_accumulation_plugin=plugin)


def new_optimizer(config: TrainConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, in 8 bits if asked for. UserError: 8 bits without the package for it."""
    kind: Any = torch.optim.AdamW
    if config.optimizer == "adamw8bit":
        try:
            from bitsandbytes import optim
        except ImportError as error:
            raise UserError(
                found="optimizer adamw8bit without the package bitsandbytes",
                expected="bitsandbytes, or the plain AdamW",
                run_next="pip install bitsandbytes, or --set optimizer=adamw",
            ) from error
        kind = optim.AdamW8bit
    betas = config.adam_beta1, config.adam_beta2
    made: torch.optim.Optimizer = kind(
        weights, lr=config.lr, betas=betas, eps=config.adam_eps, weight_decay=config.weight_decay
    )
    return made
