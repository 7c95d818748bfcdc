"""Which command times models? Parsing and printing only; its work lies in speed_run.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from turbo_eval import options
from turbo_eval.printing import print_json, print_rich
from turbo_eval.speed_request import MAX_S, PAIRS, SpeedRequest
from turbo_train.errors import UserError
from turbo_train.exits import BROKEN, STOPPED, exit_code_of
from turbo_train.nets.fast_path import COMPILES, FastPath
from turbo_train.sampling.setting import DTYPES

if TYPE_CHECKING:
    from turbo_eval.speed_run import Spoken

LARGEST = 9999  # steps and clips in a call that a person can mean


def _default(on: bool) -> str:
    return "on" if on else "off"


def speed(
    context: typer.Context,
    tiny_vae: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="The folder of --vae tiny: diffusers' AutoencoderTiny.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Models, separated by commas: [LABEL=]MODEL[:STEPS], with MODEL a name, NAME@RECIPE or folder. May be "
            f"given several times. Default: {' against '.join(PAIRS['cpu'])}; "
            f"on a GPU {' against '.join(PAIRS['cuda'])} with random weights."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL[:STEPS]", help="Race all against this one, in its own steps.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Sampling steps of every --model that names none.")
    ] = None,
    size: options.Size = None,
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Clips in a call.")] = "1",
    dtype: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(DTYPES)}: of the networks. Default: float32 on a CPU, bfloat16 on a GPU."),
    ] = None,
    compiling: Annotated[
        str | None,
        typer.Option(
            "--compile",
            help=f"{', '.join(COMPILES)}: the denoiser by torch.compile; max: with a search for the fastest kernels, "
            f"which takes minutes. Default: {FastPath.compile}.",
        ),
    ] = None,
    cuda_graphs: Annotated[
        bool | None,
        typer.Option(
            help="Record the denoiser's call once and replay it. Needs a GPU. "
            f"Default: {_default(FastPath.cuda_graphs)}."
        ),
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option(help=f"Convolutions with channels last. Default: {_default(FastPath.channels_last)}.")
    ] = None,
    cached_text: Annotated[
        bool | None,
        typer.Option(help=f"Keys and values of the text once per clip. Default: {_default(FastPath.cached_text)}."),
    ] = None,
    decode_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames decoded at a time. Default: as the model says.")
    ] = None,
    vae: Annotated[
        str,
        typer.Option(
            help="full: the model's own decoder; tiny: that of PATH. Without PATH the embedded world's for its models, "
            "or one of random numbers, with --random-weights."
        ),
    ] = "full",
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="No files are needed: a time does not depend on values.")
    ] = False,
    each_option: Annotated[
        bool,
        typer.Option("--each-option", help="One --model without options, with each alone, and with all together."),
    ] = False,
    max_seconds: Annotated[float, typer.Option(min=1.0, help="Seconds of measuring, after all is loaded.")] = MAX_S,
    device: options.Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise; the same noise for all rows.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the record, Markdown and pictures. Default: a folder in runs/.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A scored run (vbench, rewards, lineup): quality over time.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Of --scores. Default: total_score, else the oracle's, else a semantic one.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this earlier record (speed.json).")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the record here, if every row is VALID.")
    ] = None,
    force_incomparable: Annotated[
        bool, typer.Option("--force-incomparable", help="Compare even where machine or recipe differ, stamped.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure nothing: which rows, and how many runs find which slow-down.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Time models stage by stage, interleaved, with intervals, memory and floors, and say whether that may be quoted.

    With no arguments: the embedded world's student against its teacher; on a GPU VideoCrafter2's, with random weights.
    Ends with 4 when a row is INVALID; everything is printed and written all the same.
    """
    parameters = dict(context.params)
    raise typer.Exit(exit_code_of(lambda: _speed(parameters)))


def request_of(parameters: dict[str, Any]) -> SpeedRequest:
    """The request of the command's parameters (typer.Context.params). UserError for what has another form."""
    taken = {name: value for name, value in parameters.items() if name not in ("plan", "as_json")}
    extent = options.parse_size(taken.pop("size"))
    texts = taken.pop("model") or []
    models = tuple(name for text in texts for name in options.names_of(text))
    if texts and not models:
        raise UserError(found=f"--model {texts[0]!r}", expected="a model", run_next="turbo-eval list models")
    steps = taken.pop("steps")
    return SpeedRequest(
        models=models,
        steps=numbers_of("--steps", steps, "4,8,50") if steps is not None else (),
        batches=numbers_of("--batch", taken.pop("batch"), "1,4"),
        frames=extent.frames,
        size=extent.size,
        compile=taken.pop("compiling"),
        max_s=taken.pop("max_seconds"),
        **taken,
    )


def numbers_of(option: str, text: str, example: str) -> tuple[int, ...]:
    """Whole numbers from 1 between commas, each once. UserError for anything else."""
    names = options.names_of(text)
    if not names or not all(re.fullmatch(r"[1-9]\d{0,3}", name) for name in names):
        expected = f"whole numbers from 1 to {LARGEST}, separated by commas"
        raise UserError(found=f"{option} {text!r}", expected=expected, run_next=f"{option} {example}")
    return tuple(dict.fromkeys(map(int, names)))


def _speed(parameters: dict[str, Any]) -> int:
    as_json = parameters["as_json"]
    request = request_of(parameters)
    if parameters["plan"]:
        _plan(request, as_json)
        return 0
    from turbo_eval.speed_run import run_speed

    return printed(run_speed(request), as_json)


def printed(spoken: Spoken, as_json: bool) -> int:
    """Prints it and returns the exit code: 75 stopped by a signal, 4 a row is INVALID, 0 otherwise.

    UserError: the refusal, once everything is printed.
    """
    if as_json:
        print_json(spoken.to_json())
    else:
        from turbo_eval.timing.text import to_rich

        print_rich(to_rich(spoken.record, spoken.comparison))
    for line in ("", "Open:", *(f"  {path}" for path in spoken.files)) if spoken.files else ():
        typer.echo(line, err=as_json)
    if spoken.interrupted:
        typer.echo("stopped by a signal; the runs until then are kept", err=True)
        return STOPPED
    if spoken.refusal is not None:
        raise spoken.refusal
    return 0 if all(row.valid for row in spoken.record.rows) else BROKEN


def _plan(request: SpeedRequest, as_json: bool) -> None:
    from turbo_eval.speed_plan import plan_of

    plan = plan_of(request)
    if as_json:
        print_json(plan.to_json())
        return
    from turbo_eval.timing.text import drawn

    for grid in plan.grids():
        print_rich(drawn(grid))
        typer.echo()
    for line in plan.lines():
        typer.echo(line)
