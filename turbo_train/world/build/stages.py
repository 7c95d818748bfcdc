"""In which order is the world made, and what is written? `turbo-train world build`.

vae -> teacher -> (tiny_vae, reward_image, reward_video, judge_image, judge_video) -> measure. Students are made from
these by the training loop: `turbo-train run --preset world-turbo`.
A stage that is finished has its entry in built.json, which also says how each network was made and how good it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from turbo_train.errors import UserError, near
from turbo_train.nets.source import ClipFormat
from turbo_train.nets.teacher import load_teacher, save_teacher
from turbo_train.nets.vae import FrameVAE
from turbo_train.world.build import contrastive, measure, teacher, tiny_vae, vae
from turbo_train.world.build.fit import Report
from turbo_train.world.scene import FPS, FRAMES
from turbo_train.world.tokenizer import build_tokenizer

RECORD = "built.json"
SCHEMA_VERSION = 1
GUIDANCE_GRID = (1.0, 2.0, 3.0, 5.0)  # imagen_cfg's convention, tried on the validation triples
TEACHER_STEPS, FEW_STEPS = 50, 4
STAGES = ("vae", "teacher", "tiny_vae", *contrastive.MODELS, "measure")
StageReport = Callable[[str, int, int, Any], None]


def read_record(out: Path) -> dict[str, Any]:
    """built.json of a folder of weights, or a new one."""
    path = out / RECORD
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else record


def _note(out: Path, stage: str, entry: dict[str, Any]) -> None:
    record = read_record(out) | {stage: entry | {"torch": torch.__version__}}
    partial = out / (RECORD + ".partial")
    partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(out / RECORD)


def build(
    out: Path, work: Path, stages: Sequence[str] | None = None, report: StageReport | None = None
) -> tuple[str, ...]:
    """Run the stages that built.json does not list (or, if `stages` names some, those). Killed: call it again.

    out: the finished weights. work: checkpoints and cached latents. report(stage, done, total, figures).
    Returns the stages that ran. UserError: an unknown stage, one whose forerunner is missing, a folder that cannot be
    written.
    """
    for name in stages or ():
        if name not in STAGES:
            found, again = f"stage {name!r}{near(name, STAGES)}", "turbo-train world build --help"
            raise UserError(found=found, expected=f"one of {', '.join(STAGES)}", run_next=again)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        again = "choose another --out folder"
        raise UserError(found=f"{out}: {error.strerror}", expected="a writable folder", run_next=again) from error
    done = read_record(out)
    wanted = [name for name in STAGES if (name in stages if stages else name not in done)]
    for name in wanted:

        def tell(step: int, total: int, figures: Any, stage: str = name) -> None:
            if report:
                report(stage, step, total, figures)

        if name in contrastive.MODELS:
            _contrastive(name, out, work, tell)
        else:
            {"vae": _vae, "teacher": _teacher, "tiny_vae": _tiny_vae, "measure": _measure}[name](out, work, tell)
    return tuple(wanted)


def _vae(out: Path, work: Path, report: Report) -> None:
    made, figures = vae.train_vae(work / "vae", report)
    made.save_pretrained(work / "vae" / "trained")
    _note(out, "vae", {"fit": asdict(vae.PLAN), "kl_weight": vae.KL_WEIGHT, "batch_frames": vae.BATCH_FRAMES} | figures)


def _trained_vae(work: Path) -> AutoencoderKL:
    folder = work / "vae" / "trained"
    if not (folder / "config.json").is_file():
        again = "turbo-train world build --stages vae, with the same --work"
        raise UserError(found=f"no VAE in {folder}", expected="the result of stage vae", run_next=again)
    network = AutoencoderKL.from_pretrained(folder, local_files_only=True).eval()
    network.register_to_config(_name_or_path="world")  # not the path of the machine that trained it
    return network


def _teacher(out: Path, work: Path, report: Report) -> None:
    autoencoder = _trained_vae(work)
    made = teacher.train_teacher(autoencoder, work / "teacher", report)
    save_teacher(
        out / "teacher",
        unet=made.unet,
        vae=autoencoder,
        text_encoder=made.text_encoder,
        tokenizer=build_tokenizer(),
        scheduler=teacher.scheduler(),
        clip=ClipFormat(FRAMES, FPS),
    )
    entry = {
        "fit": asdict(teacher.PLAN),
        "batch": teacher.BATCH,
        "clips": teacher.CLIPS,
        "captions_with_a_wrong_attribute": teacher.WRONG_SHARE,
        "captions_with_a_missing_attribute": teacher.MISSING_SHARE,
        "caption_dropout": teacher.CAPTION_DROPOUT,
    }
    _note(out, "teacher", entry | _choose_guidance(out))


def _choose_guidance(out: Path) -> dict[str, Any]:
    """The guidance scale whose clips show most of what validation captions say; ties go to the smaller one."""
    model = load_teacher(out / "teacher")
    captions = measure.held_out_captions("validation")
    rows = {}
    for scale in GUIDANCE_GRID:
        made = measure.make(model, captions, 1, measure.teacher_sampler(TEACHER_STEPS, scale))
        rows[scale] = measure.oracle_accuracy(made)
    best = max(rows, key=lambda scale: (rows[scale]["all"], -scale))
    return {"guidance_scale": best, "validation": {str(scale): row for scale, row in rows.items()}}


def _tiny_vae(out: Path, work: Path, report: Report) -> None:
    full = load_teacher(out / "teacher").vae
    assert isinstance(full, FrameVAE)
    made, figures = tiny_vae.train_tiny_vae(full, work / "tiny_vae", report)
    made.half().save_pretrained(out / "tiny_vae")
    entry = {
        "fit": asdict(tiny_vae.PLAN),
        "batch_frames": tiny_vae.BATCH_FRAMES,
        "noise_std": tiny_vae.NOISE_STD,
        "true_frames_weight": tiny_vae.TRUE_FRAMES_WEIGHT,
    }
    _note(out, "tiny_vae", entry | figures)


def _contrastive(name: str, out: Path, work: Path, report: Report) -> None:
    plan = contrastive.plan_of(name)
    towers, figures = contrastive.train_contrastive(name, work / name, report)
    contrastive.save_contrastive(towers, out / name)
    _note(out, name, {"plan": asdict(plan)} | dict(figures))


def _measure(out: Path, work: Path, report: Report) -> None:
    """Oracle accuracy on the test triples: the teacher at 50 and 4 steps."""
    captions = measure.held_out_captions("test")
    scale = float(read_record(out)["teacher"]["guidance_scale"])
    model = load_teacher(out / "teacher")
    samplers = {
        "teacher_50_steps": measure.teacher_sampler(TEACHER_STEPS, scale),
        "teacher_4_steps": measure.teacher_sampler(FEW_STEPS, scale),
    }
    rows = {}
    for done, (name, sampler) in enumerate(samplers.items(), start=1):
        rows[name] = dict(measure.oracle_accuracy(measure.make(model, captions, 1, sampler)))
        report(done, len(samplers), rows[name])
    _note(out, "measure", {"clips": len(captions), "test": rows})
