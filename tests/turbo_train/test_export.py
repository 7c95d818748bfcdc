"""Does a student say the same in the forms for other programs, and is every mistake told before anything is written?"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import peft
import pytest
import tiny_models
import tiny_students
import torch
from click.testing import Result
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_students import COND, Family
from torch import Tensor, nn
from torch.testing import assert_close
from typer.testing import CliRunner

from turbo_train.checkpoint import save_checkpoint
from turbo_train.cli import app
from turbo_train.config import TrainConfig
from turbo_train.errors import UserError
from turbo_train.export import export
from turbo_train.find_student import find_student
from turbo_train.nets.base import teacher_sha256
from turbo_train.nets.load import load_model
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source
from turbo_train.nets.tensor_files import read_list
from turbo_train.nets.unet_denoiser import unet_denoiser_of


@dataclass(frozen=True)
class Case:
    """A run that was stopped after step 2, and what its student says."""

    family: Family
    run: Path
    wanted: Tensor

    def close(self, model: Model, tolerance: float = 1e-5) -> None:
        assert_close(self.family.call(model), self.wanted, atol=tolerance * self.wanted.abs().max().item(), rtol=0)


def write_run(folder: Path, family: Family, student: Model) -> Path:
    """A run's folder, with its teacher outside of it."""
    folder.mkdir()
    recipe = TrainConfig(preset="a-test", teacher=str(family.source.path), data="world")
    (folder / "config.json").write_text(recipe.to_json())
    for step in (1, 2):
        save_checkpoint(folder, step, {}, lambda place: tiny_students.write_student(place, student), keep=5)
    return folder


def made(name: str, top: Path, rank: int | None = None) -> Case:
    (top / "teachers").mkdir()
    family = tiny_students.write_family(name, top / "teachers")
    student = family.trained(family.rank if rank is None else rank)
    return Case(family, write_run(top / "run", family, student), family.call(student))


@pytest.fixture(scope="module", params=["ms", "vc2"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def ms(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made("ms", tmp_path_factory.mktemp("small"), rank=4)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made("ms", tmp_path_factory.mktemp("full"), rank=0)


def test_a_merged_unet_says_the_same_in_the_place_of_the_teachers(case: Case, tmp_path: Path) -> None:
    out = export(case.run, "merged", tmp_path / "out", sizes=case.family.sizes)
    assert {path.name for path in out.iterdir()} == {"unet.safetensors", "export.json"}
    case.close(load_model(Source("unet", out / "unet.safetensors", case.family.source), case.family.sizes))
    with safe_open(out / "unet.safetensors", "pt") as file:
        stated, names = file.metadata(), set(file.keys())
    said = json.loads(stated["turbo_train"])
    assert said == json.loads((out / "export.json").read_text())
    assert said["teacher_sha256"] == teacher_sha256(case.family.source.path)
    assert (said["guidance_max"], said["guidance_scale"], said["form"]) == (9.0, 5.0, "merged")
    teacher = unet_denoiser_of(case.family.teacher())
    assert names == teacher.unet.state_dict().keys() | {f"{teacher.cond_proj}.weight"}


def test_pefts_folder_says_the_same(case: Case, tmp_path: Path) -> None:
    out = export(case.run, "peft", tmp_path / "out", sizes=case.family.sizes)
    teacher = case.family.teacher()
    denoiser = unet_denoiser_of(teacher).with_guidance_condition(COND, share=True)
    denoiser.unet.load_state_dict(load_file(out / "guidance_projection.safetensors"), strict=False)
    denoiser.unet = peft.PeftModel.from_pretrained(denoiser.unet, str(out)).get_base_model()
    case.close(replace(teacher, denoiser=denoiser, timestep_cond_dim=COND))


def test_the_list_and_the_matrix_beside_it_say_the_same(case: Case, tmp_path: Path) -> None:
    out = export(case.run, "list", tmp_path / "out", sizes=case.family.sizes)
    source = Source("lora_list", out / "unet_lora.pt", case.family.source, projection="beside")
    case.close(load_model(source, case.family.sizes))
    assert [name for name, _ in source.files()][-2:] == ["lora_list", "lora_list/guidance_projection.safetensors"]
    denoiser = unet_denoiser_of(case.family.teacher()).with_guidance_condition(COND)
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    layers = [name for name, module in denoiser.unet.named_modules() if isinstance(module, kinds)]
    tensors = read_list(out / "unet_lora.pt")
    at = 2 * layers.index(denoiser.cond_proj)
    assert len(tensors) == 2 * len(layers) and not tensors[at].any() and not tensors[at + 1].any()
    projection = load_file(out / "guidance_projection.safetensors")
    assert list(projection) == [f"{denoiser.cond_proj}.weight"]
    (out / "guidance_projection.safetensors").unlink()
    with pytest.raises(UserError, match=r"no file .*guidance_projection.safetensors"):
        load_model(source, case.family.sizes)


def test_the_list_without_its_matrix_is_another_model(ms: Case, tmp_path: Path) -> None:
    out = export(ms.run, "list", tmp_path / "out")
    drawn = load_model(Source("lora_list", out / "unet_lora.pt", ms.family.source))
    assert not torch.allclose(ms.family.call(drawn), ms.wanted, atol=1e-3)
    assert "draws that matrix at random makes another model" in json.loads((out / "export.json").read_text())["read"]


@pytest.mark.parametrize("form", ["peft", "merged"])
def test_float16_halves_the_numbers(ms: Case, tmp_path: Path, form: str) -> None:
    out = export(ms.run, form, tmp_path / "out", dtype="float16")
    stored = [value for path in out.glob("*.safetensors") for value in load_file(path).values()]
    assert {value.dtype for value in stored} == {torch.float16}
    if form == "merged":
        ms.close(load_model(Source("unet", out / "unet.safetensors", ms.family.source)), tolerance=5e-3)


def test_a_full_student_is_written_merged_and_in_no_other_form(full: Case, tmp_path: Path) -> None:
    out = export(full.run, "merged", tmp_path / "out")
    full.close(load_model(Source("unet", out / "unet.safetensors", full.family.source)))
    for form in ("peft", "list"):
        done = run(full.run, "--format", form, "--out", tmp_path / form)
        assert done.exit_code == 2 and "whose whole denoiser was trained (rank 0); expected --format merged" in said(
            done
        )
        assert not (tmp_path / form).exists()


def test_what_is_written_twice_is_the_same(ms: Case, tmp_path: Path) -> None:
    folders = [export(ms.run, "merged", tmp_path / count) for count in ("one", "two")]
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert [name for name in one if one[name] != two.get(name)] == []


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, words)])


def said(done: Result) -> str:
    return " ".join(done.output.split())


def test_a_run_a_checkpoint_and_a_student_are_found(ms: Case, tmp_path: Path) -> None:
    mine = shutil.copytree(ms.run, tmp_path / "mine")
    last, first = mine / "checkpoints" / "step-000002", mine / "checkpoints" / "step-000001"
    assert find_student(mine).folder == last / "student" and find_student(mine).name == "mine-step-000002"
    assert find_student(mine, 1).folder == find_student(first).folder == first / "student"
    shutil.copytree(last / "student", mine / "student")
    assert find_student(mine).folder == find_student(mine / "student").folder == mine / "student"
    assert (find_student(mine).name, find_student(mine, 1).name) == ("mine", "mine-step-000001")
    teacher = str(ms.family.source.path)
    assert all(f.teacher == teacher for f in (find_student(mine), find_student(first), find_student(first / "student")))
    alone = shutil.copytree(last / "student", tmp_path / "alone")
    assert find_student(alone).teacher is None


def test_the_command_names_its_files(ms: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = shutil.copytree(ms.run / "checkpoints" / "step-000001" / "student", tmp_path / "alone")
    monkeypatch.chdir(tmp_path)
    done = run(alone, "--format", "merged", "--teacher", ms.family.source.path)
    assert done.exit_code == 0, said(done)
    out = Path("exports") / "alone-merged"
    assert [line.split()[0] for line in done.output.splitlines()] == [f"{out}/export.json", f"{out}/unet.safetensors"]
    assert sorted(path.name for path in Path("exports").iterdir()) == ["alone-merged"]
    again = run(alone, "--format", "merged", "--teacher", ms.family.source.path)
    assert again.exit_code == 2 and "which is there and not empty" in said(again)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for nameless in (".", "..", "/"):
        done = run(alone, "--format", "merged", "--teacher", ms.family.source.path, "--out", nameless)
        assert done.exit_code == 2 and "expected a folder with a name of its own" in said(done)


def test_mistakes_end_with_2_and_leave_nothing(ms: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty, alone = tmp_path / "empty", tmp_path / "alone"
    empty.mkdir()
    (empty / "config.json").write_bytes((ms.run / "config.json").read_bytes())
    damaged = shutil.copytree(ms.run, tmp_path / "damaged")
    (damaged / "checkpoints" / "step-000002" / "student" / "adapter.safetensors").write_bytes(b"x")
    shutil.copytree(ms.run / "checkpoints" / "step-000001" / "student", alone)
    other = tiny_models.write_teacher(tmp_path / "other", seed=9)
    (tmp_path / "file").touch()
    for words, says in (
        ((ms.run, "--format", "merge"), "--format 'merge' (did you mean merged?); expected one of peft, merged, list"),
        (
            (ms.run, "--format", "peft", "--dtype", "float61"),
            "(did you mean float16?); expected one of float16, float32",
        ),
        ((ms.run, "--format", "list", "--dtype", "float16"), "expected float32, as the published lists are"),
        ((empty, "--format", "peft"), "a run without checkpoints; expected a run that has saved one"),
        (
            (tmp_path / "none", "--format", "peft"),
            "expected a student (config.json, adapter.safetensors), a training run",
        ),
        ((other, "--format", "peft"), "which is no folder of a student"),
        ((ms.run, "--format", "peft", "--step", 7), "no checkpoint after step 7 in"),
        ((ms.run, "--format", "peft", "--step", 7), "expected one of its steps: 1, 2"),
        ((alone, "--format", "peft", "--step", 1), "a student's folder; expected --step with a training run's folder"),
        ((damaged, "--format", "peft", "--step", 2), "is damaged (student/adapter.safetensors has other bytes"),
        ((alone, "--format", "peft"), "the same command with --teacher PATH"),
        ((ms.run, "--format", "peft", "--teacher", other), "was distilled from, with weights"),
    ):
        done = run(*words, "--out", out)
        assert done.exit_code == 2 and says in said(done), said(done)
        assert not out.exists()
    done = run(ms.run, "--format", "merged", "--out", tmp_path / "file" / "out")
    assert done.exit_code == 2 and "cannot be written" in said(done)
    assert not list(tmp_path.glob(".*"))
