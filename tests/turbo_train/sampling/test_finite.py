"""Is a clip that broke on the way refused, with where it broke, and without making the device wait in each step?"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from turbo_train.nets.model import Model
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.sampling.finite import FiniteWatch, NonFiniteLatents

ROWS, CONTEXT = 3, torch.zeros(3, 8, 12)
NOISE = torch.randn(3, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
Run = Callable[..., Tensor]


class BreaksAt:
    """A network that says a bad number in one place of one row at one time, and then whatever follows from it."""

    prediction_type = "epsilon"

    def __init__(self, time: int, row: int, bad: float, dtype: torch.dtype = torch.float32) -> None:
        self.time, self.row, self.bad, self.dtype = time, row, bad, dtype

    def __call__(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
        out = torch.tanh(x_BCTHW).to(self.dtype)
        if int(t_B[0]) == self.time:
            out[self.row, 0, 0, 0, 0] = self.bad
        return out


def consistency(model: Model, **options: Any) -> Tensor:
    student = replace(model, timestep_cond_dim=16)
    return sample_consistency(student, CONTEXT, NOISE, lambda k: NOISE, num_steps=4, guidance_scale=7.5, **options)


def ddim(model: Model, **options: Any) -> Tensor:
    return sample_ddim(model, CONTEXT, CONTEXT[:1], NOISE, num_steps=4, guidance_scale=1.0, **options)


@pytest.mark.parametrize(("run", "time"), [(consistency, 759), (ddim, 501)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_bad_number_in_one_row_is_named_with_its_step(
    teacher_folder: Path, run: Run, time: int, bad: float
) -> None:
    model, seen = replace(load_teacher(teacher_folder), denoiser=BreaksAt(time, 1, bad)), []
    with pytest.raises(NonFiniteLatents, match="finite") as caught:
        run(model, on_step=lambda done, _: seen.append(done))
    assert str(caught.value) == (
        f"latents are not finite from step 2 of 4 on (time {time}), in row 1 of a batch of 3, the network in float32; "
        "try another seed, or a guidance scale nearer to the model's default"
    )
    assert isinstance(caught.value, ArithmeticError) and seen == [1, 2, 3, 4]


@pytest.mark.parametrize(("run", "time"), [(consistency, 999), (ddim, 751)])
def test_a_half_precision_network_is_advised_to_be_float32(teacher_folder: Path, run: Run, time: int) -> None:
    model = replace(load_teacher(teacher_folder), denoiser=BreaksAt(time, 2, float("nan"), torch.bfloat16))
    with pytest.raises(
        NonFiniteLatents, match="row 2 of a batch of 3, the network in bfloat16; try the network in float32"
    ):
        run(model)


def test_guided_rows_are_rows_of_the_batch_and_not_of_the_pair(teacher_folder: Path) -> None:
    model = replace(load_teacher(teacher_folder), denoiser=BreaksAt(751, 5, float("nan")))  # row 2 with the prompt
    with pytest.raises(NonFiniteLatents, match="step 1 of 4") as caught:
        sample_ddim(model, CONTEXT, CONTEXT[:1], NOISE, num_steps=4, guidance_scale=7.5)
    assert caught.value.rows == (2,) and caught.value.time == 751


def test_rows_that_break_later_are_named_too_and_the_error_crosses_processes() -> None:
    watch, latents = FiniteWatch((999, 499)), torch.zeros(4, 1, 1, 1, 2)
    latents[3, 0, 0, 0, 1] = float("inf")
    watch.look(latents)
    latents[0, 0, 0, 0, 0] = float("nan")
    watch.look(latents)
    with pytest.raises(NonFiniteLatents, match=r"step 1 of 2 on \(time 999\), in rows 0, 3 of a batch of 4") as caught:
        watch.check(torch.float16)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.rows == (0, 3)


class Reads(TorchDispatchMode):
    """Counts the values that Python reads out of tensors, each of which makes the host wait for an accelerator."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("run", [consistency, ddim])
def test_no_step_reads_a_value_from_the_device(teacher_folder: Path, run: Run) -> None:
    class Tanh(BreaksAt):
        def __call__(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
            return torch.tanh(x_BCTHW)

    model, counts = replace(load_teacher(teacher_folder), denoiser=Tanh(0, 0, 0.0)), []
    with Reads() as reads:
        run(model, on_step=lambda *_: counts.append(reads.count))
        assert counts == [0, 0, 0, 0] and reads.count > 0  # the one look at the end
