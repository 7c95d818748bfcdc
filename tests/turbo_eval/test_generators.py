"""Is a clip a function of model, setting, seed, prompt and sample alone, whatever batch, order or interruption?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.generators.device import device_class, find_device
from turbo_eval.generators.folder import open_folder
from turbo_eval.generators.latent import LatentGenerator, load_generator, to_uint8
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_train.errors import UserError
from turbo_train.export import export
from turbo_train.nets.source import Source
from turbo_train.nets.student import new_student, save_student, trainable_weights
from turbo_train.nets.teacher import load_teacher
from turbo_train.sampling.setting import Setting

TEACHER = Setting("ddim", 3, 2.0)
PROMPTS = [Prompt(f"p{k}", text) for k, text in enumerate(("a red circle rises", "a blue square rests", "a green box"))]


@pytest.fixture(scope="module")
def teacher(tiny_teacher: Path) -> LatentGenerator:
    return load_generator(Source("diffusers", tiny_teacher), TEACHER, batch=2)


def test_clips_are_uint8_frames_of_the_models_format(teacher: LatentGenerator) -> None:
    clips = teacher.generate(PROMPTS, [0, 0, 1], seed=0)
    assert [clip.shape for clip in clips] == [(4, 16, 16, 3)] * 3
    assert {clip.dtype for clip in clips} == {np.dtype(np.uint8)}
    assert teacher.fps == 8.0


def test_the_same_clip_twice_and_other_seeds_other_clips(teacher: LatentGenerator) -> None:
    first = teacher.generate(PROMPTS[:1], [0], seed=0)[0]
    assert np.array_equal(first, teacher.generate(PROMPTS[:1], [0], seed=0)[0])
    assert not np.array_equal(first, teacher.generate(PROMPTS[:1], [0], seed=1)[0])
    assert not np.array_equal(first, teacher.generate(PROMPTS[:1], [1], seed=0)[0])


def test_company_in_a_batch_changes_nothing(teacher: LatentGenerator) -> None:
    together = teacher.generate(PROMPTS, [0, 0, 0], seed=0)
    backwards = teacher.generate(PROMPTS[::-1], [0, 0, 0], seed=0)[::-1]
    alone = [teacher.generate([prompt], [0], seed=0)[0] for prompt in PROMPTS]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_size_changes_no_more_than_rounding(tiny_teacher: Path, teacher: LatentGenerator, batch: int) -> None:
    other = load_generator(Source("diffusers", tiny_teacher), TEACHER, batch=batch)
    pairs = zip(teacher.generate(PROMPTS, [0] * 3, 0), other.generate(PROMPTS, [0] * 3, 0), strict=True)
    assert max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in pairs) <= 1


def test_a_student_samples_in_its_own_number_of_evaluations(tiny_student: Path) -> None:
    entry = find_model(str(tiny_student))
    assert (entry.kind, entry.setting) == ("student", Setting("consistency", 4, 3.0))
    assert entry.source is not None
    student = load_generator(entry.source, entry.setting, batch=1)
    first = student.generate(PROMPTS[:1], [0], seed=0)[0]
    assert student.denoiser.rows == 4
    assert first.shape == (4, 16, 16, 3)
    assert np.array_equal(first, student.generate(PROMPTS[:1], [0], seed=0)[0])


def test_a_student_trained_whole_is_found_makes_clips_and_makes_them_again_when_exported(
    tiny_teacher: Path, tmp_path: Path
) -> None:
    student = new_student(load_teacher(tiny_teacher), rank=0, time_cond_dim=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable_weights(student).values():
            parameter.copy_((parameter + 0.1 * torch.randn(parameter.shape, generator=generator)).half())
    save_student(tmp_path / "full", student, guidance_range=(1.0, 5.0), guidance_scale=3.0)
    (tmp_path / tiny_teacher.name).symlink_to(tiny_teacher)  # beside it, under the name that config.json gives
    wanted = LatentGenerator(student, Setting("consistency", 4, 3.0), batch=1).generate(PROMPTS[:1], [0], seed=0)[0]

    entry = find_model(str(tmp_path / "full"))
    assert entry.source is not None and wanted.std() > 0
    merged = export(tmp_path / "full", "merged", tmp_path / "out") / "unet.safetensors"
    for source in (entry.source, Source("unet", merged, entry.source.base)):
        made = load_generator(source, entry.setting, batch=1).generate(PROMPTS[:1], [0], seed=0)[0]
        assert np.array_equal(made, wanted)


def test_both_kinds_start_from_the_same_noise(tiny_student: Path, teacher: LatentGenerator) -> None:
    student = load_generator(Source("student", tiny_student), Setting("consistency", 1, 3.0), batch=2)
    group = [(PROMPTS[0], 0), (PROMPTS[1], 1)]
    assert student._noise(group, 5, "initial").equal(teacher._noise(group, 5, "initial"))


def test_a_clip_of_another_length_size_and_rate(tiny_teacher: Path) -> None:
    source = Source("diffusers", tiny_teacher)
    chosen = replace(TEACHER, frames=6, size=(24, 8), fps=10, cond_fps=28, dtype="bfloat16")
    generator = load_generator(source, chosen, batch=1)
    clip = generator.generate(PROMPTS[:1], [0], seed=0)[0]
    assert clip.shape == (6, 24, 8, 3)
    assert (generator.fps, generator.model.fps) == (10.0, 28)
    with pytest.raises(UserError, match="multiples of 2"):
        load_generator(source, replace(TEACHER, size=(24, 9)), batch=1)


def test_network_evaluations_are_counted_per_row(teacher: LatentGenerator) -> None:
    single = teacher.one_at_a_time()
    single.generate(PROMPTS[:1], [0], seed=0)
    assert single.denoiser.rows == 3 * 2  # three steps, each with and without the prompt


def test_pixels_are_rounded_and_clamped() -> None:
    import torch

    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 1, 5).expand(1, 1, 3, 1, 5)
    assert to_uint8(values)[0, 0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_a_folder_finds_clips_by_prompt_and_by_id(tmp_path: Path) -> None:
    for name in ("a red circle rises-0.mp4", "p1-0.GIF", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    found = open_folder(tmp_path, PROMPTS, samples=1)
    names = [path and path.name for path in (found.find(prompt, 0) for prompt in PROMPTS)]
    assert names == ["a red circle rises-0.mp4", "p1-0.GIF", None]
    with pytest.raises(UserError, match="belongs to the suite"):
        open_folder(tmp_path, PROMPTS[2:], samples=1)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "mps", "gpu", "cpu:0"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(UserError, match="expected auto, cpu") as caught:
        find_device(name)
    assert caught.value.exit_code == 2
    assert find_device("cpu") == "cpu" and device_class("cpu").startswith("cpu ")


def test_a_file_that_belongs_to_two_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "caf\u00e9-0.mp4").write_bytes(b"")
    twins = [Prompt("a", "caf\u00e9"), Prompt("b", "cafe\u0301")]
    with pytest.raises(UserError, match="belongs to two prompts, a and b"):
        open_folder(tmp_path, twins, samples=1)
    assert open_folder(tmp_path, [twins[0], Prompt("c", "caf\u00e9")], samples=1).by_stem  # one text, one clip


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(json.dumps({"prompt_id": p.prompt_id, "prompt": p.prompt}) + "\n" for p in PROMPTS))
    return path


def vbench(model: Path, suite: Path, out: Path, *more: str) -> list[str]:
    """The arguments of a small run: 3 prompts, 2 samples."""
    options = ["--samples", "2", "--dimensions", "temporal_flickering", "--threads", "1", "--batch", "2"]
    return ["vbench", "--model", str(model), "--suite", str(suite), "--out", str(out), *options, *more]


@pytest.mark.slow
def test_a_model_against_itself_with_fewer_steps(tiny_teacher: Path, suite: Path, tmp_path: Path) -> None:
    more = ("--against", str(tiny_teacher), "--steps", "2", "--json")
    done = CliRunner().invoke(app, vbench(tiny_teacher, suite, tmp_path / "out", *more))
    assert done.exit_code == 0, done.stderr
    results = json.loads(done.stdout)
    timings = results["timings"]
    assert list(timings["per_clip"]) == ["teacher-2steps", "teacher"]
    assert [row["network_evaluations"] for row in timings["per_clip"].values()] == [4, 100]
    assert timings["speed_up"]["low"] <= timings["speed_up"]["ratio"] <= timings["speed_up"]["high"]
    assert timings["speed_up"]["ratio"] > 2
    kept = {path.name.rpartition("-")[0] for path in (tmp_path / "out" / "clips").iterdir()}
    assert kept == {"teacher-2steps", "teacher"}
    assert (tmp_path / "out" / "contact_sheet.png").stat().st_size > 0


def test_the_same_model_and_setting_twice_is_refused(tiny_teacher: Path, suite: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, vbench(tiny_teacher, suite, tmp_path / "out", "--against", str(tiny_teacher)))
    assert (done.exit_code, "against itself" in done.stderr) == (2, True)


def test_a_stopped_run_resumes_to_the_same_bytes(
    tiny_teacher: Path, suite: Path, tmp_path: Path, repository: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = vbench(tiny_teacher, suite, cut, "--no-latency", "--steps", "60")
    program = [sys.executable, "-c", f"import sys; from turbo_eval.cli import app; app({command!r})"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository)
    while process.poll() is None and not list(cut.rglob("*.mp4")):
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 75, said
    assert "Run the same command again" in said
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "of 6 clips already done" in done.stderr
    assert CliRunner().invoke(app, vbench(tiny_teacher, suite, whole, "--no-latency", "--steps", "60")).exit_code == 0
    for path in sorted(p for p in whole.rglob("*") if p.suffix == ".mp4" or p.name == "scores.jsonl"):
        assert path.read_bytes() == (cut / path.relative_to(whole)).read_bytes()


def test_show_prints_the_card_of_a_folder(tiny_teacher: Path) -> None:
    card = json.loads(CliRunner().invoke(app, ["show", str(tiny_teacher), "--json"]).stdout)
    assert (card["kind"], card["steps"], len(card["weights_sha256"])) == ("teacher", 50, 64)
    assert CliRunner().invoke(app, ["show", str(tiny_teacher)]).exit_code == 0
