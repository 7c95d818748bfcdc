"""Do replayed calls give what the calls themselves give, whatever clip, text and batch they are for?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_denoisers import KINDS, call, context, denoiser, model, sample
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.cuda_graph import GraphedDenoiser, check_gpu
from turbo_train.nets.fast_path import FastPath
from turbo_train.nets.quickened import quicken
from turbo_train.nets.teacher import load_teacher


def test_tensors_on_a_cpu_are_refused_and_so_is_the_option() -> None:
    with pytest.raises(ValueError, match="not on a GPU"):
        call(GraphedDenoiser(denoiser(KINDS[0])), KINDS[0], context(KINDS[0]))
    with pytest.raises(UserError, match="found --cuda-graphs on cpu; expected a GPU"):
        check_gpu("cpu")
    check_gpu("cuda:0")


@pytest.mark.gpu
@pytest.mark.parametrize("cached_text", [False, True])
@pytest.mark.parametrize("compile", ["off", "default"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_replayed_clips_are_the_plain_ones(
    teacher_folder: Path, kind: str, compile: str, cached_text: bool
) -> None:
    plain = model(load_teacher(teacher_folder), kind).to("cuda")
    fast = FastPath(compile=compile, cuda_graphs=True, cached_text=cached_text)  # type: ignore[arg-type]
    quick = quicken(model(load_teacher(teacher_folder), kind).to("cuda"), fast, "cuda")
    for rows, seed in ((1, 1), (1, 2), (2, 3), (1, 4)):
        given = context(kind, rows, seed).cuda()
        made = [sample(one, kind, given) for one in (plain, quick.model)]
        assert_close(made[1], made[0], atol=1e-3, rtol=1e-3)
    graphed = next(part for part in quick.model.denoiser.modules() if isinstance(part, GraphedDenoiser))  # type: ignore[attr-defined]
    recorded = [recording.graph for recording in graphed._recordings.values()]
    assert len(recorded) > 1 and len({graph.pool() for graph in recorded}) == 1


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_on_another_gpu_than_the_current_one_replayed_clips_are_the_plain_ones(teacher_folder: Path) -> None:
    kind, device = KINDS[1], "cuda:1"
    plain = model(load_teacher(teacher_folder), kind).to(device)
    quick = quicken(model(load_teacher(teacher_folder), kind).to(device), FastPath(cuda_graphs=True), device).model
    for seed in (1, 2):
        given = context(kind, 1, seed).to(device)
        assert_close(sample(quick, kind, given), sample(plain, kind, given), atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
def test_on_a_gpu_a_moved_network_is_recorded_again(teacher_folder: Path) -> None:
    kind = KINDS[1]
    quick = quicken(
        model(load_teacher(teacher_folder), kind).to("cuda"), FastPath(cuda_graphs=True, cached_text=True), "cuda"
    )
    given = context(kind).cuda()
    before = sample(quick.model, kind, given)
    quick.model.to("cpu")
    torch.cuda.empty_cache()
    quick.model.to("cuda")
    assert_close(sample(quick.model, kind, given), before, atol=1e-4, rtol=1e-4)
