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
from turbo_train.nets.base import teacher_at
from turbo_train.nets.lora import inject, load_lora, lora_targets, lora_weights, merge
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.student import load_student, new_student, read_student_config, save_student, trainable_parameters
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
        for parameter in trainable_parameters(student):
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
    assert len(trainable_parameters(student)) == len(learning)
    for name, weight in weights.items():
        target = teacher.denoiser.unet.get_submodule(name.split(".lora_")[0])
        rank = min(RANK, *target.weight.shape[:2])
        assert weight.shape[0 if "lora_A" in name else 1] == rank
        assert bool(weight.any()) == ("lora_A" in name)


def test_one_gradient_step_reaches_the_projection_and_leaves_the_teacher_alone(teacher: Model) -> None:
    before = weights_sha256(teacher.folder), call(teacher)
    student = trained(teacher)
    optimizer = torch.optim.SGD(trainable_parameters(student), lr=0.1)
    x, context = torch.randn(1, 4, 3, 4, 4), torch.randn(1, 8, 12)
    student.denoiser(x, torch.tensor([500]), context, timestep_cond_BE=cond()[:1]).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trainable_parameters(student))
    optimizer.step()
    assert_close(call(teacher), before[1], atol=1e-6, rtol=0)
    assert weights_sha256(teacher.folder) == before[0]
    assert all(p.grad is None for p in teacher.denoiser.parameters())  # type: ignore[attr-defined]


def test_train_mode_changes_nothing_unless_dropout_is_asked_for(teacher: Model) -> None:
    for dropout in (0.0, 0.5):
        student = new_student(teacher, RANK, COND, dropout=dropout)
        before = call(student, cond())
        student.denoiser.train()  # type: ignore[attr-defined]
        assert torch.allclose(call(student, cond()), before, atol=1e-6) == (dropout == 0.0)


def test_the_seed_decides_the_start_and_the_global_generator_is_untouched(teacher: Model) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (new_student(teacher, RANK, COND, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c = (trainable_parameters(student)[0] for student in (first, again, other))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_student_comes_back_the_same_merged_or_not(pair: Path, teacher: Model) -> None:
    wanted = call(trained(teacher), cond())
    apart, merged = load_student(pair / "student", merged=False), load_student(pair / "student")
    assert_close(call(apart, cond()), wanted, atol=1e-6, rtol=0)
    assert_close(call(merged, cond()), wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(call(merged, cond(1)), call(merged, cond(2)), atol=1e-3)
    assert (merged.name, merged.folder, merged.timestep_cond_dim) == ("student", pair / "student", COND)
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
        with pytest.raises(ValueError, match="no LoRA to save"):
            save_student(tmp_path, model, **SAID)
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
    "other rank": (lambda f: edit_config(f, rank=RANK - 1), "of another shape"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_student_is_refused_by_name(pair: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(pair, tmp_path / "pair")
    harm, message = BROKEN[name]
    harm(tmp_path / "pair" / "student")
    with pytest.raises(UserError) as caught:
        load_student(tmp_path / "pair" / "student")
    assert message in str(caught.value) and "turbo-train world build" in str(caught.value)
    assert caught.value.exit_code == 2


class Nested(nn.Module):
    """Layers whose names end alike, of every kind that learns and two that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 5)
        self.block = nn.ModuleDict({"out": nn.Linear(5, 7), "norm": nn.LayerNorm(7)})
        self.image = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.video = nn.Conv3d(5, 2, (3, 1, 1), padding=(1, 0, 0))
        self.line = nn.Conv1d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.image(x)
        y = self.video(y.unsqueeze(2).expand(-1, -1, 3, -1, -1))
        flat = self.out(y.flatten(2)[..., :5])
        return self.block["norm"](self.block["out"](flat))


def test_lora_adds_the_product_of_its_factors_in_every_kind_of_layer() -> None:
    torch.manual_seed(0)
    net, x = Nested(), torch.randn(2, 3, 6, 6)
    assert lora_targets(net) == {"out": 5, "block.out": 5, "image": 3, "video": 2}
    plain = {name: value.clone() for name, value in net.state_dict().items()}
    inject(net, rank=4)
    filled = {name: torch.randn(value.shape) for name, value in lora_weights(net).items()}
    load_lora(net, filled)
    active = net(x)
    merge(net)
    assert_close(net(x), active, atol=1e-5, rtol=1e-5)
    assert net.state_dict().keys() == plain.keys()
    for name in lora_targets(net):
        up, down = filled[f"{name}.lora_B.weight"], filled[f"{name}.lora_A.weight"]
        product = (up.flatten(1) @ down.flatten(1)).reshape(plain[f"{name}.weight"].shape)
        assert_close(net.state_dict()[f"{name}.weight"], plain[f"{name}.weight"] + product, atol=1e-5, rtol=1e-5)
    assert torch.equal(net.line.weight, plain["line.weight"])
