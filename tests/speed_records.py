"""Hand-made records of a timing: of a CPU and of a GPU, VALID and INVALID, with and without intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from turbo_eval.timing.record import (
    DECODE,
    ENCODE,
    FIRST,
    REMAINING,
    STAGES,
    TEXT,
    WALL,
    Difference,
    Peak,
    Rates,
    Ratio,
    Reason,
    Recipe,
    SpeedRecord,
    SpeedRow,
    SpeedUp,
)
from turbo_eval.timing.validity import CV_TOO_HIGH, FOREIGN_PROCESS, THROTTLED

MIB = 2**20
GIB = 2**30
WORLD = Recipe(
    model="world-turbo",
    sampler="consistency",
    num_steps=4,
    guidance_scale=7.5,
    batch=1,
    frames=8,
    height_px=32,
    width_px=32,
    dtype="float32",
    compile="off",
    cuda_graphs=False,
    channels_last=False,
    cached_text=False,
    decode_frames=16,
    vae="full",
)
TEACHER = replace(WORLD, model="world-teacher", sampler="ddim", num_steps=50)
STUDENT_S = {TEXT: 0.0021, FIRST: 0.0312, REMAINING: 0.0914, DECODE: 0.0402, ENCODE: 0.0088}
TEACHER_S = {TEXT: 0.0042, FIRST: 0.0588, REMAINING: 2.884, DECODE: 0.0407, ENCODE: 0.0089}


def runs_of(stages_s: Mapping[str, float], runs: int, cv: float = 0.004) -> dict[str, tuple[float, ...]]:
    """`runs` runs around these stages, their wall 0.2 % longer than their sum. No draw: sines of the run's number."""
    jitter = [1 + math.sqrt(2) * cv * math.sin(1.7 * k + 0.3) for k in range(runs)]
    wall = sum(stages_s.values()) * 1.002
    return {stage: tuple(s * j for j in jitter) for stage, s in {**stages_s, WALL: wall}.items()}


def row_of(name: str, recipe: Recipe, stages_s: Mapping[str, float], runs: int, **fields: Any) -> SpeedRow:
    """A row whose runs lie around `stages_s`; everything else plausible unless given."""
    cv = fields.pop("cv", 0.004)
    measured = runs_of(stages_s, runs, cv)
    usual: dict[str, Any] = {
        "runs_s": measured,
        "warmups_s": measured[WALL][:3],
        "stopped_by": "interval within +-1.0%",
        "load_s": 1.31,
        "first_call_s": 0.412,
        "compile_s": None,
        "network_calls": recipe.num_steps * (2 if recipe.sampler == "ddim" else 1),
        "tflop": {
            TEXT: 2e-5,
            FIRST: 9.1e-4,
            REMAINING: 9.1e-4 * (recipe.num_steps - 1),
            DECODE: 1.2e-3,
        },
        "floor_s": {TEXT: 4e-4, FIRST: 0.0152, REMAINING: 0.0152 * (recipe.num_steps - 1), DECODE: 0.02},
        "memory": {stage: Peak(rss_bytes=(700 + 10 * place) * MIB) for place, stage in enumerate(STAGES)},
    }
    return SpeedRow(name, recipe, **{**usual, **fields})


def cpu_record() -> SpeedRecord:
    """The world on a CPU: a row with percentiles, one with too few runs for an interval, one INVALID, one compiled."""
    compiled = replace(WORLD, compile="default", cached_text=True)
    quick_s = {**STUDENT_S, FIRST: 0.0218, REMAINING: 0.0655}
    difference = Difference("world-turbo", max_levels=1, mean_levels=0.0031, psnr_db=73.2)
    rows = (
        row_of("world-turbo", WORLD, STUDENT_S, 60),
        row_of(
            "world-turbo-compiled-cached-text",
            compiled,
            quick_s,
            30,
            compile_s=38.2,
            first_call_s=38.7,
            difference=difference,
            notes=("compiled for 8 x 32 x 32 alone",),
        ),
        row_of("world-turbo-8steps", replace(WORLD, num_steps=8), {**STUDENT_S, REMAINING: 0.214}, 4),
        row_of(
            "world-teacher",
            TEACHER,
            TEACHER_S,
            14,
            cv=0.08,
            stopped_by="time limit of 120 s",
            reasons=(
                Reason(CV_TOO_HIGH, "coefficient of variation 7.9 %, 5 % allowed"),
                Reason(FOREIGN_PROCESS, "python used 31 % of 2 cores, 5 % allowed"),
            ),
        ),
    )
    speed_ups = (
        SpeedUp(
            "world-turbo",
            "world-teacher",
            Ratio(24.01, 23.4, 24.7),
            25.0,
            Ratio(17.4, 16.9, 17.9),
            Ratio(17.25, 16.8, 17.7),
        ),
        SpeedUp(
            "world-turbo-8steps",
            "world-turbo",
            Ratio(0.5, 0.498, 0.503),
            0.5,
            Ratio(0.61, 0.607, 0.613),
            Ratio(0.62, 0.617, 0.623),
        ),
        SpeedUp(
            "world-turbo-compiled-cached-text",
            "world-turbo",
            Ratio(1.404, 1.39, 1.42),
            1.0,
            Ratio(1.2, 1.19, 1.21),
            Ratio(1.003, 0.996, 1.01),
        ),
    )
    return SpeedRecord(
        command="turbo-eval speed --model world-turbo,world-turbo:8 --against world-teacher",
        began="2026-11-23T10:00:00+00:00",
        rows=rows,
        speed_ups=speed_ups,
        rates=Rates({"float32": 0.0914}, 9.7),
        harness_s=1.4e-5,
        hardware={"cpu": "A CPU of two cores", "threads": 2},
        software={"python": "3.11.9", "torch": "2.14.1"},
        notes=("the same noise for every row",),
    )


def gpu_record() -> SpeedRecord:
    """Two sizes of batch on a GPU, one row without a counted floor, stamped."""
    sized = {"frames": 16, "height_px": 320, "width_px": 512, "dtype": "bfloat16"}
    student = replace(WORLD, model="vc2-turbo", **sized)
    stages_s = {TEXT: 0.0041, FIRST: 0.0312, REMAINING: 0.0936, DECODE: 0.061, ENCODE: 0.0305}
    memory = {
        stage: Peak(allocated_bytes=(6 + place) * GIB, reserved_bytes=(7 + place) * GIB)
        for place, stage in enumerate(STAGES[:4])
    }
    tflop = {TEXT: 0.022, FIRST: 4.6, REMAINING: 13.8, DECODE: 20.1}
    floor_s = {TEXT: 1e-4, FIRST: 0.0067, REMAINING: 0.0202, DECODE: 0.029}
    usual: dict[str, Any] = {"memory": memory, "tflop": tflop, "floor_s": floor_s}
    rows = (
        row_of("vc2-turbo", student, stages_s, 300, **usual),
        row_of(
            "vc2-turbo-batch4",
            replace(student, batch=4),
            {stage: 3.6 * s for stage, s in stages_s.items()},
            300,
            memory=memory,
            tflop={},
            floor_s={},
            reasons=(Reason(THROTTLED, "heat in 12 of 300 samples; none is allowed"),),
        ),
    )
    return SpeedRecord(
        command="turbo-eval speed --model vc2-turbo --batch 1,4 --random-weights",
        began="2026-11-23T11:00:00+00:00",
        rows=rows,
        speed_ups=(),
        rates=Rates({"bfloat16": 688.0, "float32": 51.2}, 4100.0),
        harness_s=9e-6,
        hardware={"gpu": "A GPU", "memory_bytes": 150_000_000_000},
        software={"python": "3.11.9", "torch": "2.14.1", "cuda": "12.8"},
        stamp="INCOMPARABLE: hardware differs",
    )
