"""What does a student learn in one training step? Consistency distillation, and rewards on its one-step prediction.

    x_t = alpha_t x_0 + sigma_t noise                        from data; t of the solver's grid, s < t the point below it
    f_t = f(student(x_t, t, w))                              the prediction, with gradient
    x_s = solver(lcm_cfg(teacher with the prompt, teacher without, w))
    loss = huber(f_t, f(student(x_s, s, w)).detach()) - sum beta_img reward_img - sum beta_vid reward_vid,
           rewards of frames of decode(f_t)
(T2V-Turbo, arXiv 2405.18750, algorithm 1; code at eaae323). Gradients pass the reward, its resizing, the clamp to
[0, 1] and the VAE's decoder, and never a sampling chain. There is no averaged copy unless a target is given.
Differs: noising and the solver's tables are float32 (there bfloat16 and float64); teacher and target are evaluated
without dropout; the teacher's two branches are one batch; the unconditional one is told the fps too.
Shape legend: B clips, C latent channels, T frames, H, W height and width, L tokens, D text width, M image frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from turbo_train.diffusion.boundary import consistency
from turbo_train.diffusion.guidance import guidance_embedding, lcm_cfg
from turbo_train.diffusion.losses import pseudo_huber
from turbo_train.diffusion.prediction import to_eps, to_x0
from turbo_train.diffusion.schedule import add_noise
from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.draws import Draws
from turbo_train.nets.model import Model
from turbo_train.nets.protocols import Denoiser, VideoVAE

Part = Literal["cd", "img", "vid"]
PARTS: tuple[Part, ...] = ("cd", "img", "vid")
HUBER_C = 0.001  # T2V-Turbo eaae323
IMAGE_FRAMES = 6  # M (arXiv 2405.18750, section 5)


class Reward(Protocol):
    """What a step asks of a reward model (rewards/base.py)."""

    def score_clips(
        self, clips_BTCHW: Tensor, texts: Sequence[str], generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) scores, differentiable in the clips in [0, 1]."""


@dataclass(frozen=True)
class RewardTerm:
    """One reward of the objective. frames: that it sees of a clip. beta: its weight.

    random_crop: its model was loaded so; then clips are scored one by one, each with its own sample's draws.
    """

    name: str
    model: Reward
    part: Literal["img", "vid"]
    beta: float
    frames: int = IMAGE_FRAMES
    random_crop: bool = False


@dataclass(frozen=True)
class Objective:
    """What is minimised. parts: which of it here; leaving some out on some processes is the released code's split.

    distance: between prediction and target. fps: that the networks are told; None: nothing. checkpoint_decode: decode
    again in the backward pass. dropout_in_target, dropout_in_teacher: in networks that are in train mode, as the
    released code has it, by mistake.
    """

    rewards: tuple[RewardTerm, ...] = ()
    distance: Literal["huber", "l2"] = "huber"
    huber_c: float = HUBER_C
    fps: int | None = None
    parts: tuple[Part, ...] = PARTS
    checkpoint_decode: bool = False
    dropout_in_target: bool = False
    dropout_in_teacher: bool = False


@dataclass(frozen=True)
class Batch:
    """Latents (B, C, T, h, w) as the VAE scales them, the texts' contexts (B, L, D), the empty text's (1, L, D)."""

    x_0: Tensor
    context_BLD: Tensor
    empty_1LD: Tensor
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Distillation:
    """x_s: the teacher's point below x_t on its guided ODE. target: what the prediction is pulled to."""

    loss_cd: Tensor
    x_s: Tensor
    target: Tensor


@dataclass(frozen=True)
class StepResult:
    """loss: to be minimised, with its gradient. rewards: name -> (B,), unscaled, detached. distillation: if asked for.

    prediction: f_t, (B, C, T, h, w).
    """

    loss: Tensor
    prediction: Tensor
    x_t: Tensor
    distillation: Distillation | None
    rewards: dict[str, Tensor]


def train_step(
    student: Model,
    teacher: Model,
    solver: DDIMSolver,
    batch: Batch,
    draws: Draws,
    objective: Objective,
    target: Denoiser | None = None,
) -> StepResult:
    """Everything of a step but the optimizer's. It changes nothing that it is given.

    student: its denoiser and timestep_cond_dim are used; teacher: its denoiser, schedule and VAE. target: whose f at s
    is learnt, an averaged copy; None: the student's own. ValueError: a clip with fewer frames than a reward sees.
    """
    if student.timestep_cond_dim is None:
        raise ValueError(f"{student.name} knows no guidance condition: no student")
    t = solver.time(draws.index_B)
    x_t = add_noise(teacher.schedule, batch.x_0, draws.noise_BCTHW, t)
    w_embedding = guidance_embedding(draws.w_B, student.timestep_cond_dim)

    def f_of(denoiser: Denoiser, x: Tensor, time: Tensor) -> Tensor:
        out = denoiser(x, time, batch.context_BLD, fps=objective.fps, timestep_cond_BE=w_embedding)
        return consistency(teacher.denoiser.prediction_type, teacher.schedule, out, x, time)

    prediction = f_of(student.denoiser, x_t, t)
    terms: list[Tensor] = []
    distillation = None
    if "cd" in objective.parts:
        learnt = target or student.denoiser
        with torch.no_grad():
            with _evaluated(None if objective.dropout_in_teacher else teacher.denoiser):
                x_s = teacher_step(teacher, solver, x_t, batch, draws, objective.fps)
            with _evaluated(None if objective.dropout_in_target else learnt):
                goal = f_of(learnt, x_s, solver.prev_time(draws.index_B))
        distillation = Distillation(_distance(prediction, goal, objective), x_s, goal)
        terms.append(distillation.loss_cd)
    rewards = {}
    for term, scores_B in _scored(teacher.vae, prediction, batch.texts, draws, objective):
        terms.append(-term.beta * scores_B.mean())
        rewards[term.name] = scores_B.detach()
    loss = torch.stack(terms).sum() if terms else prediction.sum() * 0
    return StepResult(loss, prediction, x_t, distillation, rewards)


def teacher_step(
    teacher: Model, solver: DDIMSolver, x_t: Tensor, batch: Batch, draws: Draws, fps: int | None = None
) -> Tensor:
    """x_s, (B, C, T, h, w) float32: one DDIM step along the teacher's guided ODE; both branches in one pass."""
    t, kind = solver.time(draws.index_B), teacher.denoiser.prediction_type
    context = torch.cat([batch.context_BLD, batch.empty_1LD.expand_as(batch.context_BLD)])
    both = teacher.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), context, fps=fps)
    parts = [[convert(kind, teacher.schedule, out, x_t, t) for out in both.chunk(2)] for convert in (to_x0, to_eps)]
    x_0, eps = (lcm_cfg(cond, uncond, draws.w_B) for cond, uncond in parts)
    return solver.step(x_0, eps, draws.index_B)


def video_frames(length: int, count: int, offset_B: Tensor) -> Tensor:
    """(B, count) every (length // count)-th frame from a random offset; offset_B in [0, 1). ValueError: too short."""
    stride = length // count
    if stride < 1:
        raise ValueError(f"clips of {length} frames; a video reward sees {count}")
    first_B = (offset_B * stride).long()
    return first_B[:, None] + stride * torch.arange(count, device=offset_B.device)


def decoded(vae: VideoVAE, z_BCTHW: Tensor, frames_BM: Tensor, *, again: bool = False) -> Tensor:
    """(B, M, 3, H, W) these frames of latents, decoded, in [0, 1]; differentiable, but not where they are clamped.

    again: each frame by itself, computed once more in the backward pass, so that one frame's activations are alive.
    """
    rows = torch.arange(len(z_BCTHW), device=z_BCTHW.device)[:, None]
    picked = z_BCTHW.transpose(1, 2)[rows, frames_BM].transpose(1, 2)
    if again:
        frames = torch.cat([checkpoint(vae.decode, z, use_reentrant=False) for z in picked.split(1, dim=2)], dim=1)
    else:
        frames = vae.decode(picked)
    return (frames.float() / 2 + 0.5).clamp(0, 1)


def _scored(
    vae: VideoVAE, prediction: Tensor, texts: Sequence[str], draws: Draws, objective: Objective
) -> Iterator[tuple[RewardTerm, Tensor]]:
    """Each reward with its (B,) scores. Rewards of one kind share their decoded frames."""
    length, again = prediction.shape[2], objective.checkpoint_decode
    wanted = [term for term in objective.rewards if term.beta and term.part in objective.parts]
    for part in ("img", "vid"):
        shared: dict[int, Tensor] = {}
        for term in (term for term in wanted if term.part == part):
            if term.frames not in shared:
                count = min(term.frames, length) if part == "img" else term.frames
                order = draws.order_BT[:, :count] if part == "img" else video_frames(length, count, draws.offset_B)
                shared[term.frames] = decoded(vae, prediction, order, again=again)
            yield term, _score(term, shared[term.frames], texts, draws)


def _score(term: RewardTerm, clips_BTCHW: Tensor, texts: Sequence[str], draws: Draws) -> Tensor:
    if not term.random_crop:
        return term.model.score_clips(clips_BTCHW, texts)
    rows = zip(clips_BTCHW.split(1), texts, draws.crop_seed_B.tolist(), strict=True)
    return torch.cat([term.model.score_clips(c, [t], torch.Generator().manual_seed(seed)) for c, t, seed in rows])


def _distance(prediction: Tensor, goal: Tensor, objective: Objective) -> Tensor:
    if objective.distance == "l2":
        return F.mse_loss(prediction.float(), goal.float())
    return pseudo_huber(prediction, goal, objective.huber_c)


@contextmanager
def _evaluated(net: object) -> Iterator[None]:
    """Without dropout inside; every layer is in its own mode again afterwards. What is no module stays as it is."""
    training = [layer for layer in net.modules() if layer.training] if isinstance(net, nn.Module) else []
    for layer in training:
        layer.training = False
    try:
        yield
    finally:
        for layer in training:
            layer.training = True
