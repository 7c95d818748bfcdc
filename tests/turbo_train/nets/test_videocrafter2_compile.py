"""Is a forward pass one graph that never waits for its device, and does it compute no more than it must?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from turbo_train.nets.model import Model
from turbo_train.nets.teacher import load_teacher
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig, new_vae
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim

COND, TEXT, FRAMES = 256, 12, 3
STUDENT = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(1,),
    num_head_channels=16,
    context_dim=TEXT,
    time_cond_proj_dim=COND,
    motion_cond_proj_dim=COND,
)
TEACHER = replace(STUDENT, time_cond_proj_dim=None, motion_cond_proj_dim=None)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def make(config: UNetConfig) -> VideoCrafter2Denoiser:
    """Random, the layers that begin at zero too: every path counts."""
    net = VideoCrafterUNet(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return VideoCrafter2Denoiser(net)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    return draw(rows, 4, FRAMES, 4, 6, seed=1), torch.tensor([999, 19])[:rows], draw(rows, 5, TEXT, seed=2)


CONDITIONS: dict[str, tuple[UNetConfig, dict[str, Any]]] = {
    "teacher, fps a number": (TEACHER, {"fps": 8}),
    "teacher, fps of each clip": (TEACHER, {"fps": torch.tensor([8, 24])}),
    "student with guidance": (STUDENT, {"fps": 16, "timestep_cond_BE": draw(2, COND)}),
    "student with guidance and motion": (
        STUDENT,
        {"fps": torch.tensor([8, 24]), "timestep_cond_BE": draw(2, COND), "motion_cond_BE": draw(2, COND, seed=4)},
    ),
}


@pytest.mark.parametrize("name", ["teacher, fps of each clip", "student with guidance and motion"])
def test_the_network_compiles_to_one_graph_with_the_same_numbers(name: str) -> None:
    config, conditions = CONDITIONS[name]
    denoiser, counter = make(config), CompileCounter()
    with torch.no_grad():
        eager = denoiser(*inputs(), **conditions)
        one_graph = torch.compile(denoiser, fullgraph=True, backend=counter)
        assert_close(one_graph(*inputs(), **conditions), eager, atol=1e-5, rtol=1e-5)
    assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_network_that_learns_compiles_to_one_graph_with_the_same_gradients(checkpointing: bool) -> None:
    conditions = CONDITIONS["student with guidance and motion"][1]
    denoiser, counter = make(STUDENT), CompileCounter()
    if checkpointing:
        denoiser.enable_gradient_checkpointing()
    one_graph = torch.compile(denoiser, fullgraph=True, backend=counter)
    grads = []
    for run in (denoiser, one_graph):
        x, t_B, context = inputs()
        run(x.requires_grad_(), t_B, context, **conditions).square().sum().backward()
        assert x.grad is not None and x.grad.any()
        grads.append(x.grad)
    assert_close(grads[1], grads[0], atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_the_steps_of_a_sampler_share_one_compilation(teacher_folder: Path, kind: str) -> None:
    config = STUDENT if kind == "student" else TEACHER
    denoiser, counter = make(config), CompileCounter()
    model = replace(
        load_teacher(teacher_folder),
        denoiser=denoiser,
        timestep_cond_dim=denoiser.timestep_cond_dim,
        motion_cond_dim=denoiser.motion_cond_dim,
    )

    def sample(model: Model) -> Tensor:
        noise, _, context = inputs()
        if kind == "teacher":
            return sample_ddim(model, context, context[:1], noise, num_steps=3, guidance_scale=4.0)
        steps = [draw(*noise.shape, seed=5 + k) for k in range(3)]
        return sample_consistency(model, context, noise, lambda k: steps[k - 1], num_steps=4, guidance_scale=7.5)

    eager = sample(model)
    denoiser.unet.compile(fullgraph=True, backend=counter)
    assert_close(sample(model), eager, atol=1e-4, rtol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", CONDITIONS)
def test_nothing_inside_a_forward_pass_asks_for_a_number(name: str) -> None:
    """On the meta device there are no numbers: .item(), bool(), .cpu() and indexing by a mask raise there."""
    config, conditions = CONDITIONS[name]
    denoiser = make(config).to("meta")
    there = {key: value.to("meta") if isinstance(value, Tensor) else value for key, value in conditions.items()}
    out = denoiser(*(value.to("meta") for value in inputs()), **there)
    assert out.shape == inputs()[0].shape and out.is_meta


def test_text_keys_and_values_are_computed_once_per_clip() -> None:
    rows: dict[str, list[tuple[int, ...]]] = {}
    denoiser = make(TEACHER)
    for name, layer in denoiser.unet.named_modules():
        if name.endswith(("to_k", "to_v")) and isinstance(layer, nn.Linear) and layer.in_features == TEXT:
            layer.register_forward_pre_hook(
                lambda _, given, name=name: rows.setdefault(name, []).append(tuple(given[0].shape))
            )
    denoiser(*inputs(), fps=8)
    assert len(rows) == 8  # keys and values of four spatial transformers: one going down, the middle, two going up
    assert all(shapes == [(2, 5, TEXT)] for shapes in rows.values())  # clips x tokens, not frames x tokens


def test_four_steps_and_the_decoding_cost_what_was_counted_for_the_original() -> None:
    """4 x 12.58 + 25.0 TFLOP at 16x320x512, as counted for the published configuration; 2 FLOP a multiply-add."""
    with torch.device("meta"), torch.no_grad():
        denoiser = VideoCrafter2Denoiser(VideoCrafterUNet(UNetConfig(time_cond_proj_dim=COND)).eval())
        vae = FrameVAE(new_vae(VAEConfig()).eval())
        x, t_B = torch.empty(1, 4, 16, 40, 64), torch.empty(1, dtype=torch.int64)
        context, cond = torch.empty(1, 77, 1024), torch.empty(1, COND)
        with FlopCounterMode(display=False) as steps:
            for _ in range(4):
                denoiser(x, t_B, context, fps=16, timestep_cond_BE=cond)
        with FlopCounterMode(display=False) as decoding:
            vae.decode(x)
    counts = {str(kind): flops for kind, flops in steps.get_flop_counts()["Global"].items()}
    attention = sum(flops for kind, flops in counts.items() if "bmm" in kind or "attention" in kind)
    assert attention == pytest.approx(4 * 0.82e12, rel=0.02)  # whole or in parts, it is in the count
    assert decoding.get_total_flops() == pytest.approx(25.0e12, rel=0.02)
    total = steps.get_total_flops() + decoding.get_total_flops()
    assert total == pytest.approx(4 * 12.58e12 + 25.0e12, rel=0.02)
