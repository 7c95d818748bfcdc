"""Is one training step the original's: predictions, losses, and the gradient of every LoRA tensor?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import fill
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.draws import Draws
from turbo_train.nets.lora import inject, load_lora, lora_weights
from turbo_train.nets.lora_list import from_list, list_layers
from turbo_train.nets.model import Model
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig, vae_of
from turbo_train.step import Batch, Objective, RewardTerm, StepResult, train_step

META, EXPECTED = fill.load("train_step")
INPUTS = fill.inputs_of(META)
LORA, _ = fill.load("lora")
VAE, _ = fill.load("vc2_vae")


class Traced(nn.Module):
    """The network, with a record of what it says. A student is given the recorded guidance embedding (see README)."""

    prediction_type = "epsilon"

    def __init__(self, denoiser: VideoCrafter2Denoiser, recorded: Tensor | None = None) -> None:
        super().__init__()
        self.denoiser, self.recorded = denoiser, recorded
        self.outputs: list[Tensor] = []
        self.inputs: list[Tensor] = []

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, *, fps: Any = None, timestep_cond_BE: Any = None
    ) -> Tensor:
        if self.recorded is not None:
            assert_close(timestep_cond_BE, self.recorded, atol=5e-4, rtol=0)
            timestep_cond_BE = self.recorded
        assert fps == 16
        self.inputs.append(x)
        self.outputs.append(self.denoiser(x, t, context, fps=fps, timestep_cond_BE=timestep_cond_BE))
        return self.outputs[-1]


class Redness:
    """The fixture's image reward: the mean of the red channel."""

    seen: Tensor

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: object = None) -> Tensor:
        self.seen = clips_BTCHW
        return clips_BTCHW[:, :, 0].mean((1, 2, 3))


class Change(Redness):
    """The fixture's video reward: the mean absolute difference of consecutive frames."""

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: object = None) -> Tensor:
        self.seen = clips_BTCHW
        return clips_BTCHW.diff(dim=1).abs().mean((1, 2, 3, 4))


def unet(label: str) -> VideoCrafterUNet:
    config, known = META["models"][label]["config"], {field.name for field in fields(UNetConfig)}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items() if name in known}
    net = VideoCrafterUNet(UNetConfig(**values)).eval()
    assert fill.fill_module(net) == []
    return net


def student_unet() -> VideoCrafterUNet:
    net = unet("student").requires_grad_(False)
    rows = LORA["vc2"]["modules"]
    names = [(f"{row[0]}.lora_{part}.weight", row[at]) for row in rows for part, at in (("up", 3), ("down", 4))]
    weights = from_list([fill.fill_value(name, shape) for name, shape in names], net, 4)
    inject(net, 4)
    load_lora(net, weights)
    return net.eval()


def model(denoiser: Traced, cond: int | None) -> Model:
    weights = fill.filled_state_dict(VAE["models"]["vae"]["state_dict"])
    vae = FrameVAE(vae_of(weights, VAEConfig((32, 64, 128, 128))).requires_grad_(False))
    return Model("golden", denoiser, lambda texts: torch.zeros(1), vae, make_schedule(), (4, 8, 8, 8), 16, cond, Path())


Case = tuple[StepResult, Traced, Traced, VideoCrafterUNet, dict[str, Redness]]


def run(case: str, objective: Objective) -> Case:
    suffix = "" if case == "full" else "_b"
    given = {name: INPUTS[name + suffix] for name in ("latents", "noise", "context", "uncond_context", "index", "w")}
    net = student_unet()
    student = Traced(VideoCrafter2Denoiser(net), EXPECTED[f"{case}/timestep_cond"])
    teacher = Traced(VideoCrafter2Denoiser(unet("teacher").requires_grad_(False)))
    batch, frames = len(given["index"]), given["latents"].shape[2]
    order = [*META["frames"]["image_frames"], *(i for i in range(frames) if i not in META["frames"]["image_frames"])]
    draws = Draws(
        given["index"],
        given["w"],
        given["noise"],
        torch.tensor(order)[None, :frames].expand(batch, -1),
        torch.full((batch,), 0.5),  # every second frame, from the second on: the fixture's 1, 3, 5, 7
        torch.zeros(batch, dtype=torch.int64),
    )
    data = Batch(given["latents"], given["context"], given["uncond_context"], ("a text",) * batch)
    pupil, master = model(student, 256), model(teacher, None)
    toys = {term.name: term.model for term in objective.rewards}
    result = train_step(pupil, master, DDIMSolver(make_schedule()), data, draws, objective)
    return result, student, teacher, net, toys  # type: ignore[return-value]


def objective_of(case: str) -> Objective:
    if case == "edge":
        return Objective(fps=16)
    terms = (
        RewardTerm("red", Redness(), "img", beta=1.0, frames=3),
        RewardTerm("change", Change(), "vid", beta=2.0, frames=4),
    )
    return Objective(rewards=terms, fps=16)


def says(name: str, actual: Tensor) -> None:
    fill.compare(META, EXPECTED, name, actual)


def gradients(loss: Tensor, net: VideoCrafterUNet) -> list[Tensor]:
    """Of every LoRA tensor, in the order of the published list: up, then down, layer by layer."""
    weights = lora_weights(net)
    plain = unet("student")
    names = [f"{layer}.lora_{part}.weight" for layer in list_layers(plain)[0] for part in ("B", "A")]
    assert set(names) == set(weights)
    return list(torch.autograd.grad(loss, [weights[name] for name in names], retain_graph=True))


@pytest.fixture(scope="module", params=["full", "edge"])
def case(request: pytest.FixtureRequest) -> tuple[str, Case]:
    return request.param, run(request.param, objective_of(request.param))


def test_every_intermediate_is_the_originals(case: tuple[str, Case]) -> None:
    name, (result, student, teacher, _, toys) = case
    done = result.distillation
    assert done is not None and len(teacher.outputs) == 1 and len(student.outputs) == 2
    cond, uncond = teacher.outputs[0].chunk(2)
    says(f"{name}/noisy_model_input", result.x_t)
    says(f"{name}/noise_pred", student.outputs[0])
    says(f"{name}/model_pred", result.prediction)
    says(f"{name}/cond_teacher_output", cond)
    says(f"{name}/uncond_teacher_output", uncond)
    says(f"{name}/x_prev", done.x_s.double())
    says(f"{name}/target_noise_pred", student.outputs[1])
    says(f"{name}/target", done.target.double())
    says(f"{name}/distill_loss", done.loss_cd)
    says(f"{name}/total_loss", result.loss)
    if toys:
        says("full/reward_frames", toys["red"].seen[0])
        says("full/video_frames", toys["change"].seen)
        says("full/video_rewards", result.rewards["change"])
        assert_close(result.rewards["red"], EXPECTED["full/image_rewards"].mean()[None], atol=1e-5, rtol=1e-5)


def test_every_gradient_is_the_originals(case: tuple[str, Case]) -> None:
    name, (result, _, _, net, _) = case
    found = gradients(result.loss, net)
    says(f"{name}/grad_norms/total", torch.stack([g.norm() for g in found]))
    for place, label in ((0, "first_up"), (1, "first_down"), (-2, "last_up"), (-1, "last_down")):
        says(f"{name}/grad/{label}", found[place])
    if name == "full":
        says("full/total_grad_norm", torch.stack([g.norm() for g in found]).norm())
        says("full/adamw_delta_norms", torch.stack(moves(found)))


def moves(gradients: list[Tensor]) -> list[Tensor]:
    """How far each tensor goes in the first step of AdamW with clipped gradients; from where does not matter."""
    weights = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    nn.utils.clip_grad_norm_(weights, 1.0)
    torch.optim.AdamW(weights, lr=1e-5, weight_decay=0.0).step()
    return [weight.detach().norm() for weight in weights]


@pytest.mark.parametrize(("part", "label"), [("cd", "distill"), ("img", "reward"), ("vid", "video")])
def test_each_part_alone_has_the_originals_gradient(part: Any, label: str) -> None:
    result, student, teacher, net, _ = run("full", replace(objective_of("full"), parts=(part,)))
    assert (result.distillation is None) == (part != "cd") and len(teacher.outputs) == (part == "cd")
    assert len(student.outputs) == 1 + (part == "cd")
    says(f"full/grad_norms/{label}", torch.stack([g.norm() for g in gradients(result.loss, net)]))
    expected = {"cd": "distill_loss", "img": "reward_loss", "vid": "video_rm_loss"}[part]
    says(f"full/{expected}", result.loss)


@pytest.mark.slow
def test_the_decode_may_be_computed_again_for_the_same_gradient() -> None:
    parts = replace(objective_of("full"), parts=("img",))
    one, two = (run("full", replace(parts, checkpoint_decode=again)) for again in (False, True))
    for a, b in zip(gradients(one[0].loss, one[3]), gradients(two[0].loss, two[3]), strict=True):
        assert_close(a, b, atol=1e-7, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "edge"])
def test_the_squared_distance(name: str) -> None:
    result, *_ = run(name, replace(objective_of(name), distance="l2", parts=("cd",)))
    says(f"{name}/distill_loss_l2", result.loss)
