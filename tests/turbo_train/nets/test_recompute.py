"""Does gradient checkpointing save memory, in both families and in the students made from a network that has it?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import tiny_models
import tiny_vc2
import torch
from torch import Tensor, nn

from turbo_train.nets.lora import inject
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.recompute import is_recomputed, recompute
from turbo_train.nets.unet_denoiser import UNetDenoiser
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser

COND = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))


def filled(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.requires_grad_(False).eval()


def modelscope() -> ModelScopeDenoiser:
    return ModelScopeDenoiser(filled(tiny_models.unet()), "epsilon")


def videocrafter2() -> VideoCrafter2Denoiser:
    net = filled(tiny_vc2.unet())
    assert isinstance(net, nn.Module)
    return VideoCrafter2Denoiser(net)  # type: ignore[arg-type]


FAMILIES = [pytest.param(modelscope, 12, id="ModelScope"), pytest.param(videocrafter2, 32, id="VideoCrafter2")]
Make = Callable[[], UNetDenoiser]


def student_of(teacher: UNetDenoiser) -> UNetDenoiser:
    """With guidance condition and LoRA, as one that learns."""
    student = teacher.with_guidance_condition(16)
    torch.manual_seed(3)
    inject(student.unet, 4, leave_out=[student.cond_proj])
    for parameter in student.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    return student


def learn(net: UNetDenoiser, width: int) -> tuple[int, list[Tensor]]:
    """Elements that the forward pass keeps, and the gradients of what learns."""
    generator, kept = torch.Generator().manual_seed(4), 0
    x, context = torch.randn(2, 4, 3, 4, 4, generator=generator), torch.randn(2, 8, width, generator=generator)

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = net(x, torch.tensor([20, 700]), context, timestep_cond_BE=COND)
    wanted = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return kept, list(torch.autograd.grad(out.square().sum(), wanted, allow_unused=True))


@pytest.mark.parametrize(("make", "width"), FAMILIES)
def test_a_student_of_a_checkpointing_teacher_keeps_a_tenth_and_learns_the_same(make: Make, width: int) -> None:
    teacher = make()
    kept, plain = learn(student_of(teacher), width)
    teacher.enable_gradient_checkpointing()
    student = student_of(teacher)
    fewer, same = learn(student, width)
    assert fewer < kept / 10
    assert len(plain) == len(same) > 100 and any(grad is not None and grad.any() for grad in plain)
    for one, other in zip(plain, same, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert learn(copy.deepcopy(student), width)[0] == fewer  # an average of weights starts as a copy


@pytest.mark.parametrize(("make", "width"), FAMILIES)
def test_names_and_weights_stay_and_whole_state_dicts_keep_the_switch(make: Make, width: int) -> None:
    net = make().with_guidance_condition(16)
    before = dict(net.unet.state_dict())
    assert not is_recomputed(net.unet)
    net.enable_gradient_checkpointing()
    net.enable_gradient_checkpointing()
    after = net.unet.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert is_recomputed(net.with_weights(after, "here").unet)


def test_without_gradients_a_layer_runs_once_and_with_them_twice() -> None:
    class Counts(nn.Linear):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            Counts.runs += 1
            return super().forward(x).tanh()

    net = nn.Sequential(Counts(2, 2), nn.Linear(2, 2))
    recompute(net, (Counts,))
    with torch.no_grad():
        net(torch.ones(1, 2))
    assert Counts.runs == 1
    net(torch.ones(1, 2)).sum().backward()
    assert Counts.runs == 3
