"""Does a student without LoRA begin as its teacher, train all of its denoiser, and come back from disk as it was?"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_students
import torch
from safetensors.torch import load_file
from tiny_students import COND, Family
from torch import Tensor
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.load import load_model
from turbo_train.nets.source import Source
from turbo_train.nets.student import load_student, new_student, save_student, trainable_weights
from turbo_train.nets.student_config import read_student_config
from turbo_train.nets.unet_denoiser import unet_denoiser_of


@dataclass(frozen=True)
class Case:
    """A family, its full student's folder beside the teacher, and what that student said before it was saved."""

    family: Family
    folder: Path
    wanted: Tensor


@pytest.fixture(scope="module", params=["ms", "vc2"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    top = tmp_path_factory.mktemp(request.param)
    family = tiny_students.write_family(request.param, top)
    student = family.trained(rank=0)
    folder = tiny_students.write_student(top / "full", student)
    return Case(family, folder, family.call(student))


def test_it_begins_as_its_teacher_exactly_and_a_step_leaves_the_teacher_alone(case: Case) -> None:
    teacher = case.family.teacher()
    before = case.family.call(teacher)
    student = new_student(teacher, 0, COND)
    for seed in (1, 2):
        assert_close(case.family.call(student, seed), before, atol=1e-6, rtol=0)
    for name, value in unet_denoiser_of(teacher).unet.state_dict().items():
        assert torch.equal(trainable_weights(student)[name], value)
    weights = trainable_weights(student)
    unet = unet_denoiser_of(student).unet
    assert weights.keys() == unet.state_dict().keys() == dict(unet.named_parameters()).keys()
    assert all(weight.requires_grad for weight in weights.values())
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    x, context, cond = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 8, case.family.context), torch.randn(1, COND)
    out = student.denoiser(x, torch.tensor([500]), context, timestep_cond_BE=cond)
    out.square().mean().backward()
    assert weights[f"{unet_denoiser_of(student).cond_proj}.weight"].grad is not None
    optimizer.step()
    assert_close(case.family.call(teacher), before, atol=1e-6, rtol=0)
    assert not torch.allclose(case.family.call(student), before, atol=1e-4)


def test_sharing_weights_with_the_teacher_is_refused(case: Case) -> None:
    teacher = case.family.teacher()
    with pytest.raises(ValueError, match="rank 0 with the teacher's own weights: training would change it"):
        new_student(teacher, 0, COND, share=True)
    with pytest.raises(ValueError, match="rank -1"):
        new_student(teacher, -1, COND)


def test_it_is_written_whole_and_comes_back_the_same(case: Case, tmp_path: Path) -> None:
    config, stored = read_student_config(case.folder), load_file(case.folder / "adapter.safetensors")
    assert (config.rank, config.time_cond_dim) == (0, COND)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    sizes = case.family.sizes
    frozen = load_model(Source("student", case.folder, case.family.source), sizes)
    assert_close(case.family.call(frozen), case.wanted, atol=1e-5, rtol=0)
    assert not any(p.requires_grad for p in unet_denoiser_of(frozen).parameters())
    trainable = load_student(case.folder, merged=False, sizes=sizes)
    assert_close(case.family.call(trainable), case.wanted, atol=1e-5, rtol=0)
    assert trainable_weights(trainable).keys() == stored.keys()
    tiny_students.write_student(tmp_path / "again", trainable)
    for name in ("config.json", "adapter.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (case.folder / name).read_bytes()
    with pytest.raises(ValueError, match="no LoRA: it is a teacher, or a student that was merged"):
        save_student(tmp_path / "none", frozen, **tiny_students.SAID)


def test_float16_is_the_only_loss(case: Case, tmp_path: Path) -> None:
    student = case.family.trained(rank=0)
    with torch.no_grad():
        for weight in trainable_weights(student).values():
            weight.mul_(1 + 2**-14)
    wanted = case.family.call(student)
    back = load_student(
        tiny_students.write_student(tmp_path / "s", student), case.family.source, sizes=case.family.sizes
    )
    assert_close(case.family.call(back), wanted, atol=5e-3 * wanted.abs().max().item(), rtol=0)
    assert not torch.equal(case.family.call(back), wanted)


def test_each_kind_of_folder_read_as_the_other_is_refused(case: Case, tmp_path: Path) -> None:
    whole = shutil.copytree(case.folder, tmp_path / "whole")
    lora = tiny_students.write_student(tmp_path / "lora", case.family.trained(rank=4))
    for folder, rank, says in (
        (whole, 4, r"with a whole denoiser without LoRA, while config.json says rank 4; expected LoRA"),
        (lora, 0, r"with LoRA, while config.json says rank 0; expected a whole denoiser without LoRA"),
    ):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"rank": rank}))
        with pytest.raises(UserError, match=says) as caught:
            load_student(folder, case.family.source, sizes=case.family.sizes)
        assert caught.value.exit_code == 2 and caught.value.run_next


def test_another_width_of_the_guidance_condition_is_refused(case: Case, tmp_path: Path) -> None:
    width = COND + 1
    folder = shutil.copytree(case.folder, tmp_path / "mine")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"time_cond_dim": width}))
    with pytest.raises(UserError, match=f"with a guidance condition of width {COND}; .*: {width};"):
        load_student(folder, case.family.source, sizes=case.family.sizes)


def test_a_lora_student_of_the_papers_rank_comes_back(case: Case, tmp_path: Path) -> None:
    rank = case.family.rank
    student = case.family.trained(rank)
    wanted = case.family.call(student)
    folder = tiny_students.write_student(tmp_path / "lora", student)
    ranks = {len(v) for name, v in trainable_weights(student).items() if ".lora_A." in name}
    assert read_student_config(folder).rank == max(ranks) <= rank and 4 in ranks
    apart = load_student(folder, case.family.source, merged=False, sizes=case.family.sizes)
    assert_close(case.family.call(apart), wanted, atol=1e-6, rtol=0)
    merged = load_student(folder, case.family.source, sizes=case.family.sizes)
    assert_close(case.family.call(merged), wanted, atol=2e-5 * wanted.abs().max().item(), rtol=0)
