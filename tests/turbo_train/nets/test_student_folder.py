"""Does a student begin as its teacher, learn only what it should, and come back from disk as it was?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.lora import lora_weights
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.source import teacher_at
from turbo_train.nets.student import load_student, new_student, save_student, trainable_weights
from turbo_train.nets.student_config import read_student_config
from turbo_train.nets.teacher import load_teacher, weights_sha256

RANK, COND = 6, 16
COND_PROJ = ModelScopeDenoiser.cond_proj
SAID: Any = {"guidance_range": (2.0, 9.0), "guidance_scale": 5.0, "notes": "a test"}


def call(model: Model, cond: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    x, context = torch.randn(2, 4, 3, 4, 4, generator=generator), torch.randn(2, 8, 12, generator=generator)
    return model.denoiser(x, torch.tensor([20, 700]), context, timestep_cond_BE=cond).detach()


def cond(seed: int = 0) -> Tensor:
    return torch.randn(2, COND, generator=torch.Generator().manual_seed(seed))


def trained(teacher: Model) -> Model:
    """A student whose additions are all filled, with values that float16 holds exactly."""
    student = new_student(teacher, RANK, COND)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in list(trainable_weights(student).values()):
            parameter.copy_((torch.randn(parameter.shape, generator=generator) * 0.1).half().float())
    return student


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> Model:
    return load_teacher(teacher_folder)


@pytest.fixture(scope="module")
def pair(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher/ and student/ side by side, as the embedded world ships them."""
    top = tmp_path_factory.mktemp("pair")
    shutil.copytree(teacher_folder, top / "teacher")
    student = trained(load_teacher(top / "teacher"))
    save_student(top / "student", student, **SAID)
    return top


def test_a_new_student_is_its_teacher_for_every_guidance_scale(teacher: Model) -> None:
    before = call(teacher)
    student = new_student(teacher, RANK, COND)
    assert student.timestep_cond_dim == COND and teacher.timestep_cond_dim is None
    for seed in range(2):
        assert_close(call(student, cond(seed)), before, atol=1e-6, rtol=0)


def test_every_linear_and_convolution_learns_and_nothing_else(teacher: Model) -> None:
    student = new_student(teacher, RANK, COND)
    assert isinstance(student.denoiser, ModelScopeDenoiser) and isinstance(teacher.denoiser, ModelScopeDenoiser)
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    expected = [name for name, module in teacher.denoiser.unet.named_modules() if type(module) in kinds]
    weights = lora_weights(student.denoiser.unet)
    assert [name.removesuffix(".lora_A.weight") for name in list(weights)[::2]] == expected
    learning = {name for name, p in student.denoiser.unet.named_parameters() if p.requires_grad}
    assert learning == {n.replace("weight", "default.weight") for n in weights} | {f"{COND_PROJ}.weight"}
    assert len(list(trainable_weights(student).values())) == len(learning)
    for name, weight in weights.items():
        target = teacher.denoiser.unet.get_submodule(name.split(".lora_")[0])
        rank = min(RANK, *target.weight.shape[:2])
        assert weight.shape[0 if "lora_A" in name else 1] == rank
        assert bool(weight.any()) == ("lora_A" in name)


def test_one_gradient_step_reaches_the_projection_and_leaves_the_teacher_alone(teacher: Model) -> None:
    before = weights_sha256(teacher.path), call(teacher)
    student = trained(teacher)
    optimizer = torch.optim.SGD(list(trainable_weights(student).values()), lr=0.1)
    x, context = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 8, 12)
    student.denoiser(x, torch.tensor([500]), context, timestep_cond_BE=cond()[:1]).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in list(trainable_weights(student).values()))
    optimizer.step()
    assert_close(call(teacher), before[1], atol=1e-6, rtol=0)
    assert weights_sha256(teacher.path) == before[0]
    assert all(p.grad is None for p in teacher.denoiser.parameters())  # type: ignore[attr-defined]


def test_train_mode_changes_nothing_unless_dropout_is_asked_for(teacher: Model) -> None:
    for dropout in (0.0, 0.5):
        student = new_student(teacher, RANK, COND, dropout=dropout)
        before = call(student, cond())
        student.denoiser.train()  # type: ignore[attr-defined]
        assert torch.allclose(call(student, cond()), before, atol=1e-6) == (dropout == 0.0)


def test_the_seed_decides_the_start_and_no_generator_is_touched(
    teacher: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    reseeded: list[int] = []  # the GPUs' generators, where there are any
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    reseeded.clear()
    first, again, other = (new_student(teacher, RANK, COND, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not reseeded
    a, b, c = (next(iter(trainable_weights(student).values())) for student in (first, again, other))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_student_comes_back_the_same_merged_or_not(pair: Path, teacher: Model) -> None:
    wanted = call(trained(teacher), cond())
    apart, merged = load_student(pair / "student", merged=False), load_student(pair / "student")
    assert_close(call(apart, cond()), wanted, atol=1e-6, rtol=0)
    assert_close(call(merged, cond()), wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(call(merged, cond(1)), call(merged, cond(2)), atol=1e-3)
    assert (merged.name, merged.path, merged.timestep_cond_dim) == ("student", pair / "student", COND)
    assert isinstance(merged.denoiser, ModelScopeDenoiser)
    assert not any(p.requires_grad for p in merged.denoiser.parameters())
    assert {type(m).__module__.split(".")[0] for m in merged.denoiser.modules()}.isdisjoint({"peft"})


def test_what_is_written_is_a_function_of_the_student(pair: Path, tmp_path: Path) -> None:
    student = trained(load_teacher(pair / "teacher"))
    save_student(tmp_path / "again", student, **SAID)
    reread = load_student(pair / "student", merged=False)
    save_student(tmp_path / "reread", reread, **SAID)
    for name in ("config.json", "adapter.safetensors"):
        written = (pair / "student" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == written == (tmp_path / "reread" / name).read_bytes()
    config = read_student_config(pair / "student")
    assert (config.rank, config.time_cond_dim, config.teacher) == (RANK, COND, "teacher")
    assert (config.guidance_min, config.guidance_max, config.guidance_scale) == (2.0, 9.0, 5.0)
    stored = load_file(pair / "student" / "adapter.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16} and f"{COND_PROJ}.weight" in stored


def test_a_merged_student_or_a_teacher_has_nothing_to_save(pair: Path, teacher: Model, tmp_path: Path) -> None:
    for model in (load_student(pair / "student"), teacher):
        with pytest.raises(ValueError, match="this model has no LoRA: it is a teacher, or a student that was merged"):
            save_student(tmp_path, model, **SAID)
        with pytest.raises(ValueError, match="no LoRA"):
            list(trainable_weights(model).values())
    assert not list(tmp_path.iterdir())


def test_another_teacher_is_refused(pair: Path, tmp_path: Path) -> None:
    other = tiny_models.write_teacher(tmp_path / "other", seed=9)
    with pytest.raises(UserError, match=r"was distilled from, with weights [0-9a-f]{12}") as caught:
        load_student(pair / "student", teacher_at(other))
    assert caught.value.exit_code == 2


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def edit_adapter(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "adapter.safetensors")
    change(weights)
    save_file(weights, folder / "adapter.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
    "no adapter": (lambda f: (f / "adapter.safetensors").unlink(), "adapter.safetensors cannot be read"),
    "cut adapter": (lambda f: (f / "adapter.safetensors").write_bytes(b"\x10"), "adapter.safetensors cannot be read"),
    "other schema": (lambda f: edit_config(f, schema_version=99), "schema_version 99"),
    "unknown field": (lambda f: edit_config(f, colour="red"), "other fields"),
    "no such teacher": (lambda f: edit_config(f, teacher="absent"), "no folder"),
    "projection missing": (lambda f: edit_adapter(f, lambda w: w.pop(f"{COND_PROJ}.weight")), COND_PROJ),
    "LoRA missing": (lambda f: edit_adapter(f, lambda w: w.pop("conv_in.lora_A.weight")), "conv_in.lora_A.weight"),
    "LoRA extra": (lambda f: edit_adapter(f, lambda w: w.update({"x.lora_A.weight": torch.zeros(1)})), "x.lora_A"),
    "rank a text": (lambda f: edit_config(f, rank="6"), "rank '6'"),
    "rank 0": (lambda f: edit_config(f, rank=0), "rank 0"),
    "no width": (lambda f: edit_config(f, time_cond_dim=None), "time_cond_dim None"),
    "half a width": (lambda f: edit_config(f, time_cond_dim=16.5), "time_cond_dim 16.5"),
    "unknown prediction": (lambda f: edit_config(f, prediction_type="v"), "prediction_type 'v'"),
    "unhashable prediction": (lambda f: edit_config(f, prediction_type=["v"]), "prediction_type ['v']"),
    "teacher a number": (lambda f: edit_config(f, teacher=5), "teacher 5"),
    "hash a number": (lambda f: edit_config(f, teacher_sha256=5), "teacher_sha256 5"),
    "no guidance": (lambda f: edit_config(f, guidance_scale=None), "guidance_scale None"),
    "endless guidance": (lambda f: edit_config(f, guidance_max=float("inf")), "guidance_max inf"),
    "true guidance": (lambda f: edit_config(f, guidance_min=True), "guidance_min True"),
    "abars a text": (lambda f: edit_config(f, abars="low"), "abars 'low'"),
    "rewards a text": (lambda f: edit_config(f, rewards="clip"), "rewards 'clip'"),
    "a reward without a name": (lambda f: edit_config(f, rewards=["clip", 1]), "rewards ('clip', 1)"),
    "NaN in the adapter": (lambda f: edit_adapter(f, lambda w: w["conv_in.lora_A.weight"].fill_(float("nan"))), "NaN"),
    "other rank": (lambda f: edit_config(f, rank=RANK - 1), "of another shape"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_student_is_refused_by_name(pair: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    harm, message = BROKEN[name]
    harm(tmp_path / "pair" / "student")
    with pytest.raises(UserError) as caught:
        load_student(tmp_path / "pair" / "student")
    assert message in str(caught.value) and caught.value.run_next and "world build" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_broken_student_of_the_world_can_be_built_again(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    (tmp_path / "pair" / "built.json").write_text("{}")
    (tmp_path / "pair" / "student" / "adapter.safetensors").unlink()
    with pytest.raises(UserError, match=r"try: turbo-train world build$"):
        load_student(tmp_path / "pair" / "student")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_that_float16_cannot_hold_are_not_written(teacher: Model, tmp_path: Path, value: float) -> None:
    student = new_student(teacher, RANK, COND)
    with torch.no_grad():
        list(trainable_weights(student).values())[2].view(-1)[0] = value
    with pytest.raises(UserError, match="1 weights of the student that float16 cannot hold"):
        save_student(tmp_path / "student", student, **SAID)
    assert not list(tmp_path.iterdir())


def test_the_teacher_can_be_called_by_a_tables_name(pair: Path, tmp_path: Path) -> None:
    student = load_student(pair / "student", merged=False)
    sha256 = weights_sha256(pair / "teacher")
    assert save_student(tmp_path / "mine", student, teacher_name="ms", **SAID).teacher == "ms"
    kept = load_student(tmp_path / "mine", teacher_at(pair / "teacher"), merged=False)
    for saved in (
        save_student(tmp_path / "again", kept, **SAID),
        save_student(tmp_path / "again", kept, teacher=pair / "teacher", teacher_name="ms", **SAID),
    ):
        assert (saved.teacher, saved.teacher_sha256) == ("ms", sha256)
    assert (
        save_student(tmp_path / "again", kept, teacher=pair / "student" / ".." / "teacher", **SAID).teacher == "teacher"
    )
    with pytest.raises(UserError, match=r"no folder or file .*ms; .* try: put it there under the name ms"):
        load_student(tmp_path / "mine")


def test_files_that_are_not_read_make_no_other_teacher(pair: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(pair, tmp_path / "pair") / "teacher"
    unet = teacher / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(unet, unet.with_name("diffusion_pytorch_model.fp16.safetensors"))
    (teacher / "training_args.bin").write_bytes(b"x")
    (teacher / "unet" / "optimizer.bin").write_bytes(b"x")
    assert load_student(tmp_path / "pair" / "student").timestep_cond_dim == COND


def test_another_noise_schedule_beneath_is_refused_where_the_student_knows_its_own(pair: Path, tmp_path: Path) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    path = tmp_path / "pair" / "teacher" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.02}))
    with pytest.raises(UserError, match=r"another noise schedule \(abar \(0.99915, "):
        load_student(tmp_path / "pair" / "student")
    config = tmp_path / "pair" / "student" / "config.json"
    old = json.loads(config.read_text())
    assert len(old.pop("abars")) == 5
    config.write_text(json.dumps(old))
    assert load_student(tmp_path / "pair" / "student").timestep_cond_dim == COND


def test_another_teacher_is_refused_before_it_is_loaded(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_models.write_teacher(tmp_path / "other", seed=9)
    monkeypatch.setattr("turbo_train.nets.student.load_base", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UserError, match="was distilled from"):
        load_student(pair / "student", teacher_at(other))
