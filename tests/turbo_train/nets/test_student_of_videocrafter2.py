"""Is a student of VideoCrafter2 saved, found beside its teacher's file or anywhere else, and read as it was?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_vc2
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.load import load_model
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source
from turbo_train.nets.student import load_student, new_student, save_student, trainable_weights
from turbo_train.nets.student_config import read_student_config
from turbo_train.nets.teacher import weights_sha256
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import load_checkpoint
from turbo_train.weights.hashes import read_sha256

RANK, COND = 6, 16


def call(model: Model, cond: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    x, context = torch.randn(2, 4, 3, 4, 4, generator=generator), torch.randn(2, 8, 32, generator=generator)
    return model.denoiser(x, torch.tensor([20, 700]), context, fps=16, timestep_cond_BE=cond).detach()


def cond(seed: int = 0) -> Tensor:
    return torch.randn(2, COND, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher's file, a student's folder, and what the student said before it was saved."""
    folder = tmp_path_factory.mktemp("top")
    teacher = load_checkpoint(tiny_vc2.write_checkpoint(folder / "model.ckpt"), tiny_vc2.SIZES)
    student = new_student(teacher, RANK, COND)
    torch.save(call(teacher), folder / "begin.pt")
    assert_close(call(student, cond()), call(teacher), atol=1e-5, rtol=1e-5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in list(trainable_weights(student).values()):
            parameter.copy_((torch.randn(parameter.shape, generator=generator) * 0.1).half().float())
    save_student(folder / "student", student, guidance_range=(5.0, 15.0), guidance_scale=7.5)
    torch.save(call(student, cond()), folder / "wanted.pt")
    assert_close(call(teacher), torch.load(folder / "begin.pt"))
    return folder


def test_it_comes_back_from_beside_its_teachers_file_and_leaves_that_as_it_was(top: Path) -> None:
    config, before = read_student_config(top / "student"), read_sha256(top / "model.ckpt")
    assert (config.teacher, config.teacher_sha256, config.schema_version) == ("model.ckpt", before, 1)
    assert "time_cond_proj.weight" in load_file(top / "student" / "adapter.safetensors")
    wanted = torch.load(top / "wanted.pt")
    apart = load_student(top / "student", merged=False, sizes=tiny_vc2.SIZES)
    assert_close(call(apart, cond()), wanted, atol=1e-5, rtol=1e-5)
    merged = load_model(Source("student", top / "student"), tiny_vc2.SIZES)
    assert_close(call(merged, cond()), wanted, atol=5e-5, rtol=1e-4)
    assert not torch.allclose(call(merged, cond(1)), call(merged, cond(2)), atol=1e-3)
    assert (merged.timestep_cond_dim, merged.motion_cond_dim, merged.size_multiple) == (COND, None, 2)
    assert not any(p.requires_grad for p in unet_denoiser_of(merged).parameters())
    assert read_sha256(top / "model.ckpt") == before


def test_a_teacher_that_lies_elsewhere_is_named_and_checked(top: Path, tmp_path: Path) -> None:
    student = shutil.copytree(top / "student", tmp_path / "mine")
    with pytest.raises(UserError, match=r"no folder or file .*model.ckpt; expected the teacher of .*mine"):
        load_student(student)
    named = Source("student", student, base=Source("videocrafter2", top / "model.ckpt"))
    assert_close(call(load_model(named, tiny_vc2.SIZES), cond()), torch.load(top / "wanted.pt"), atol=5e-5, rtol=1e-4)
    again = load_student(student, named.base, merged=False, sizes=tiny_vc2.SIZES)
    save_student(tmp_path / "again", again, guidance_range=(5.0, 15.0), guidance_scale=7.5)
    for name in ("config.json", "adapter.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (top / "student" / name).read_bytes()
    other = Source("videocrafter2", tiny_vc2.write_checkpoint(tmp_path / "model.ckpt", seed=9))
    with pytest.raises(UserError, match=r"was distilled from, with weights [0-9a-f]{12}") as caught:
        load_student(student, other, sizes=tiny_vc2.SIZES)
    assert caught.value.exit_code == 2


def test_a_teacher_in_the_hubs_cache_is_called_by_its_own_name(top: Path, tmp_path: Path) -> None:
    blob, link = tmp_path / "blobs" / "1edf769", tmp_path / "snapshots" / "rev" / "model.ckpt"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    shutil.copy(top / "model.ckpt", blob)
    link.symlink_to(blob)
    student = new_student(load_checkpoint(link, tiny_vc2.SIZES), RANK, COND)
    for teacher in (None, link):
        config = save_student(
            link.parent / "mine", student, guidance_range=(5.0, 15.0), guidance_scale=7.5, teacher=teacher
        )
        assert config.teacher == "model.ckpt"
    assert load_student(link.parent / "mine", sizes=tiny_vc2.SIZES).name == "mine"


def test_a_student_of_the_other_family_is_refused(top: Path, teacher_folder: Path, tmp_path: Path) -> None:
    student = shutil.copytree(top / "student", tmp_path / "student")
    config = json.loads((student / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(config | {"teacher_sha256": weights_sha256(teacher_folder)})
    (student / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"time_embedding.cond_proj.weight is None"):
        load_student(student, Source("diffusers", teacher_folder))


def test_a_network_that_knows_the_guidance_scale_gets_no_second_condition(top: Path) -> None:
    student = load_student(top / "student", sizes=tiny_vc2.SIZES)
    with pytest.raises(ValueError, match="guidance condition of width 16 already"):
        new_student(student, RANK, COND)
