"""What are the networks of a run made of? Frozen weights in the run's precision, learnt ones float32, none twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import IMAGE, VIDEO, recipe
from torch import Tensor, nn

from turbo_train.assembly import Parts, assemble
from turbo_train.config import TrainConfig
from turbo_train.cost import cost_of, weights_of
from turbo_train.draws import draw
from turbo_train.nets.counted import size_bytes
from turbo_train.nets.student import trainable_weights
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.step import Batch, train_step
from turbo_train.without_numbers import autocast

TEXTS = ("a red circle moves up on a black background", "a blue square rests on a white background")


def kinds(net: object) -> set[torch.dtype]:
    assert isinstance(net, nn.Module)
    return {weight.dtype for weight in net.parameters() if not weight.requires_grad}


def gradients(parts: Parts, config: TrainConfig, start: list[Tensor]) -> tuple[list[Tensor], float]:
    """Of one step from these learnt weights, and its loss."""
    learnt = list(trainable_weights(parts.student).values())
    draws = draw(0, 0, (0, 1), parts.teacher.latent_shape, num_ddim_steps=25, guidance_range=(0.5, 3.0))
    x_0 = torch.randn(draws.noise_BCTHW.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight, value in zip(learnt, start, strict=True):
            weight.copy_(value)
    with autocast(config.precision):
        with torch.no_grad():
            batch = Batch(x_0, parts.teacher.text(TEXTS), parts.empty_1LD, TEXTS)
        loss = train_step(parts.student, parts.teacher, parts.solver, batch, draws, parts.objective).loss
    loss.backward()
    return [weight.grad for weight in learnt if weight.grad is not None], loss.item()


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lora_learns_the_same_beside_frozen_bfloat16_weights(loop_teacher: Path, again: bool) -> None:
    config = recipe(loop_teacher, IMAGE, num_ddim_steps=25)
    half = replace(config, precision="bf16", gradient_checkpointing=again, checkpoint_decode=again)
    exact, rounded = assemble(config), assemble(half)
    learnt = list(trainable_weights(rounded.student).values())
    assert {weight.dtype for weight in learnt} == {torch.float32}
    for net in (rounded.teacher.denoiser, rounded.student.denoiser, rounded.teacher.text):
        assert kinds(net) == {torch.bfloat16}
    assert kinds(rounded.teacher.vae) == {torch.float32}
    generator = torch.Generator().manual_seed(1)  # B begins at zero, which would leave A without a gradient
    start = [0.02 * torch.randn(weight.shape, generator=generator) for weight in learnt]
    (want, want_loss), (got, loss) = gradients(exact, config, start), gradients(rounded, half, start)
    assert loss == pytest.approx(want_loss, rel=0.05)
    assert {grad.dtype for grad in got} == {torch.float32} and len(got) == len(want) == len(learnt)
    ours, theirs = (torch.cat([grad.flatten() for grad in grads]) for grads in (got, want))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.97
    assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=0.06)
    assert not any(weight.grad is not None for weight in weights_of(rounded) if not weight.requires_grad)


def test_a_denoiser_that_is_trained_whole_is_float32_beside_a_bfloat16_teacher(loop_teacher: Path) -> None:
    parts = assemble(recipe(loop_teacher, rank=0, precision="bf16"))
    assert {weight.dtype for weight in trainable_weights(parts.student).values()} == {torch.float32}
    assert kinds(parts.teacher.denoiser) == {torch.bfloat16}
    storages = [
        {weight.untyped_storage()._cdata for weight in net.parameters()}
        for net in (unet_denoiser_of(parts.student), unet_denoiser_of(parts.teacher))
    ]
    assert not storages[0] & storages[1]


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("rank", [0, 4])
def test_a_run_holds_the_bytes_that_dry_run_counts(loop_teacher: Path, rank: int, precision: str) -> None:
    config = recipe(loop_teacher, IMAGE, VIDEO, rank=rank, precision=precision)
    memory = cost_of(config).memory
    assert memory.frozen + memory.trainable == size_bytes(weights_of(assemble(config)))
