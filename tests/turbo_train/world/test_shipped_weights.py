"""Are the world's weights here, small, and as good as the record beside them says?"""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from turbo_train.nets.base import teacher_sha256
from turbo_train.nets.student import load_student
from turbo_train.nets.student_config import read_student_config
from turbo_train.nets.teacher import load_teacher
from turbo_train.nets.tiny_vae import load_tiny_vae
from turbo_train.nets.vae import FrameVAE
from turbo_train.presets import find_preset
from turbo_train.world import WEIGHTS
from turbo_train.world.build import measure
from turbo_train.world.build.clips import make_clips
from turbo_train.world.build.contrastive import MODELS
from turbo_train.world.build.tiny_vae import figures_of

LIMIT_BYTES = 26_000_000
STUDENTS = {  # folder -> preset and seed
    "world-vcm": ("world-vcm", 0),
    "world-vcm-seed1": ("world-vcm", 1),
    "world-vcm-seed2": ("world-vcm", 2),
    "world-rimg": ("world-rimg", 0),
    "world-rvid": ("world-rvid", 0),
    "world-turbo": ("world-turbo", 0),
    "world-turbo-seed1": ("world-turbo", 1),
    "world-turbo-seed2": ("world-turbo", 2),
}


def test_everything_is_shipped_in_26_megabytes() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.name for path in WEIGHTS.iterdir()} == {"teacher", "tiny_vae", *STUDENTS, *MODELS, "built.json"}
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES


@pytest.mark.parametrize("folder", STUDENTS)
def test_a_student_is_what_its_preset_gives(folder: str) -> None:
    preset, seed = STUDENTS[folder]
    recipe, config = find_preset(preset).config, read_student_config(WEIGHTS / folder)
    assert config.notes == f"turbo-train run --preset {preset}, seed {seed}, {recipe.steps} steps"
    assert config.rewards == tuple(term.name for term in recipe.rewards)
    assert config.teacher_sha256 == teacher_sha256(WEIGHTS / config.teacher)
    assert (config.rank, config.guidance_scale) == (recipe.rank, recipe.guidance_scale)
    assert (config.guidance_min, config.guidance_max) == (recipe.guidance_min, recipe.guidance_max)


def test_the_record_meets_the_bar_for_a_real_teacher() -> None:
    record = json.loads((WEIGHTS / "built.json").read_text(encoding="utf-8"))
    many, few = record["measure"]["test"]["teacher_50_steps"], record["measure"]["test"]["teacher_4_steps"]
    assert many["colour"] >= 0.85 and many["motion"] >= 0.85 and many["shape"] >= 0.70
    assert many["all"] > few["all"]
    rows = record["teacher"]["validation"]
    assert rows[str(record["teacher"]["guidance_scale"])]["all"] == max(row["all"] for row in rows.values())


def test_the_tiny_vae_is_small_cheap_and_as_near_to_the_full_decoder_as_recorded() -> None:
    record = json.loads((WEIGHTS / "built.json").read_text(encoding="utf-8"))["tiny_vae"]
    assert sum(path.stat().st_size for path in (WEIGHTS / "tiny_vae").iterdir()) <= 300_000
    full = load_teacher(WEIGHTS / "teacher").vae
    tiny = load_tiny_vae(WEIGHTS / "tiny_vae", full)
    assert isinstance(full, FrameVAE)
    frames = make_clips(12, seed=77, split="test").frames_BTCHW.flatten(0, 1)
    measured = figures_of(tiny.vae, full, frames)
    assert measured["psnr_full_decoder_db"] == pytest.approx(record["psnr_full_decoder_db"], abs=1.5)
    operations = []
    for vae in (tiny, full):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            vae.decode(torch.zeros(1, 4, 1, 8, 8))
        operations.append(counter.get_total_flops())
    assert operations[1] > 5 * operations[0]


@pytest.mark.parametrize(("name", "share"), [("world-vcm", 0.6), ("world-turbo", 0.8)])
def test_a_student_shows_what_its_caption_says_in_four_steps(name: str, share: float) -> None:
    """18 test captions: far above chance (1 in 270 for all four attributes)."""
    student = load_student(WEIGHTS / name)
    captions = measure.held_out_captions("test")[::3]
    made = measure.make(student, captions, 1, measure.student_sampler(4, 1.0))
    assert measure.oracle_accuracy(made)["all"] >= share


@pytest.mark.slow
def test_the_teacher_meets_the_bar_on_every_held_out_caption() -> None:
    record = json.loads((WEIGHTS / "built.json").read_text(encoding="utf-8"))
    teacher = load_teacher(WEIGHTS / "teacher")
    sampler = measure.teacher_sampler(50, record["teacher"]["guidance_scale"])
    seen = measure.oracle_accuracy(measure.make(teacher, measure.held_out_captions("test"), 1, sampler))
    assert seen["colour"] >= 0.85 and seen["motion"] >= 0.85 and seen["shape"] >= 0.70
    assert seen == pytest.approx(record["measure"]["test"]["teacher_50_steps"], abs=0.04)
