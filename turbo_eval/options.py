"""Which options do the commands share that make and score clips? Each is spelled once, here.

A command declares them as `model: Model = None` and turns what typer has parsed into a Request by `request_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from turbo_eval.contestants import Request
from turbo_eval.gpus import CPU, GPUS
from turbo_eval.leases import EXPIRY_S
from turbo_eval.scorers.registry import PROFILES
from turbo_eval.scorers.vbench.encoders.backbone import COMPATS, PRECISIONS, VBENCH_CUDA
from turbo_eval.scorers.vbench.strict_rules import CORRECTED
from turbo_eval.units import parse_shard, shard_of_rank
from turbo_train.errors import UserError
from turbo_train.sampling.setting import DTYPES

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
Model = Annotated[
    str | None,
    typer.Option(help="A model's name, NAME@RECIPE, or folder. With --videos: the clips' name in the table."),
]
Against = Annotated[str | None, typer.Option(help="A second model to compare with, in its own steps and guidance.")]
Videos = Annotated[Path | None, typer.Option(help="Score the clips of this folder instead of running --model.")]
SuiteName = Annotated[
    str | None,
    typer.Option(
        help="A suite's name (turbo-eval list suites) or a .jsonl, .csv, .txt or .parquet file. "
        "Default: the model's, of finished clips vbench."
    ),
]
Samples = Annotated[int | None, typer.Option(min=1, help="Clips per prompt. Default: what the suite asks for.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps of --model.")]
Guidance = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=0.0,
        help="Guidance scale of --model: a teacher's 1 means none (imagen_cfg), a student's 0 does (lcm_cfg).",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="[FRAMESx]HxW",
        help="Height and width of the clips in pixels, such as 320x512, or 16x320x512 with the frames. "
        "Default: the model's.",
    ),
]
Frames = Annotated[int | None, typer.Option(min=1, help="Frames of a clip. Default: the model's.")]
Fps = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="Frames per second, of the files and for the network. Default: the model's."),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(DTYPES)}: of the networks; the sampler's arithmetic stays float32. Default: float32."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the noise; the same noise for both models.")]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Prompts in a micro-batch, made, lost and resumed as one. Default: the run's, or 4."),
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run. Default: a folder in runs/ named after it.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="Only the first N prompts of each dimension; of prompts that name none, the first N."),
]
Encoders = Annotated[
    str | None,
    typer.Option(
        help=f"{', '.join(PROFILES)}: the networks behind VBench's dimensions. "
        "Default: the world's own where they know every word of the prompts, else VBench's."
    ),
]
Precision = Annotated[
    str,
    typer.Option(help=f"{', '.join(PRECISIONS)}: of VBench's networks; bf16 is another scorer."),
]
Compat = Annotated[
    str,
    typer.Option(help=f"{VBENCH_CUDA}: CLIP in float16, as VBench has it on GPUs. Default: float32 everywhere."),
]
StrictRules = Annotated[
    bool,
    typer.Option(
        "--strict-rules",
        help=f"Corrected rules in {', '.join(CORRECTED)}, other scorers than VBench's. Default: VBench's own rules.",
    ),
]
Dimensions = Annotated[str | None, typer.Option(help="Only these metrics, separated by commas.")]
MeasureLatency = Annotated[bool, typer.Option(help="Measure the time per clip.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of each process. Default: the run's, or all cores.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
ShardText = Annotated[
    str | None,
    typer.Option(help="Do only part i of n: 0/n to (n-1)/n. Under torchrun or accelerate: the rank's by itself."),
]
MaxFailures = Annotated[int, typer.Option(min=0, help="So many failed clips are no failure of the run.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Print what there is when clips are missing, stamped PARTIAL.")
]
LeaseSeconds = Annotated[
    float,
    typer.Option("--lease", min=0.1, help="Seconds without a heartbeat until work is taken over."),
]
DEFAULT_LEASE_S = EXPIRY_S
GpuName = Annotated[
    str | None,
    typer.Option("--gpu", help=f"Predict hours instead, at a part of the peak of {', '.join(GPUS)} or {CPU}."),
]
Tflops = Annotated[
    float | None, typer.Option("--tflops", help="The same at these TFLOP/s, which you know to be reached.")
]
RewardNames = Annotated[
    str | None,
    typer.Option(
        help="Only these (turbo-eval list rewards), separated by commas. "
        "Default: all whose weights are here and who know the prompts' words."
    ),
]
RewardDtype = Annotated[str, typer.Option(help=f"{', '.join(DTYPES)}: of the reward networks.")]
RepeatLast = Annotated[
    bool, typer.Option("--repeat-last", help="A clip with too few frames for a video reward repeats its last one.")
]


def request_of(parameters: Mapping[str, Any]) -> Request:
    """The Request of a command's parameters (typer.Context.params). UserError for a bad shard, size or dtype."""
    taken = {name: value for name, value in parameters.items() if name != "as_json"}
    extent = parse_size(taken["size"], taken["frames"])
    names = wanted_dimensions(taken.pop("dimensions", None))
    shard = taken.pop("shard", None)
    if taken["dtype"] not in (None, *DTYPES):
        raise UserError(found=f"--dtype {taken['dtype']}", expected=f"one of {', '.join(DTYPES)}")
    for name, known in (("precision", PRECISIONS), ("compat", COMPATS)):
        if taken.get(name, known[0]) not in known:
            raise UserError(found=f"--{name} {taken[name]}", expected=f"one of {', '.join(filter(None, known))}")
    return Request(
        **{**taken, "size": extent.size, "frames": extent.frames},
        dimensions=names,
        shard=parse_shard(shard) if shard else shard_of_rank(),
    )


def wanted_dimensions(text: object) -> tuple[str, ...]:
    """The names of --dimensions; see wanted_rewards."""
    return _wanted(text, "--dimensions", "dimensions")


def wanted_rewards(text: object) -> tuple[str, ...]:
    """The rewards of --reward; () where it was not given. UserError for an empty one: a variable that was not set."""
    return _wanted(text, "--reward", "rewards")


def _wanted(text: object, option: str, what: str) -> tuple[str, ...]:
    names = names_of(text)
    if text is not None and not names:
        raise UserError(found=f"{option} {text!r}", expected=f"names of {what}", run_next=f"turbo-eval list {what}")
    return names


def names_of(text: object) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(name.strip() for name in str(text or "").split(",") if name.strip())


def known_dtype(name: str) -> str:
    """The dtype of --reward-dtype. UserError for an unknown one."""
    if name not in DTYPES:
        raise UserError(found=f"--reward-dtype {name}", expected=f"one of {', '.join(DTYPES)}")
    return name


class Extent(NamedTuple):
    """Of a clip, as far as it was asked for. size: height and width in pixels."""

    frames: int | None
    size: tuple[int, int] | None


def parse_size(text: str | None, frames: int | None = None) -> Extent:
    """`320x512`: height and width in pixels, or `16x320x512`: the frames first. frames: those of --frames.

    UserError for anything else, and for two numbers of frames.
    """
    if text is None:
        return Extent(frames, None)
    match = re.fullmatch(r"(?:([1-9]\d{0,4})x)?([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip())
    if not match:
        expected = "HEIGHTxWIDTH in pixels, or FRAMESxHEIGHTxWIDTH"
        raise UserError(found=f"--size {text}", expected=expected, run_next="--size 320x512")
    own = int(match[1]) if match[1] else frames
    if frames not in (None, own):
        raise UserError(
            found=f"--size {text} and --frames {frames}",
            expected="one number of frames",
            run_next=f"--size {match[2]}x{match[3]} --frames {frames}",
        )
    return Extent(own, (int(match[2]), int(match[3])))
