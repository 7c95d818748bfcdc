"""Which commands does `turbo-eval` have? Parsing and printing only; each command's work lies in its own module.

Nothing heavy is imported here: `turbo-eval --help` loads neither torch nor diffusers nor transformers. Results go
to stdout, everything else to stderr; with --json stdout holds one JSON document.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from turbo_eval import options
from turbo_eval.cli_curves import curves
from turbo_eval.cli_lineup import lineup
from turbo_eval.cli_parity import parity
from turbo_eval.cli_rewards import print_outcome, require_few, rewards
from turbo_eval.cli_runs import runs
from turbo_eval.cli_speed import speed
from turbo_eval.cli_weights import weights
from turbo_eval.contestants import Request
from turbo_eval.gpus import CPU, Machine
from turbo_eval.printing import print_json, print_rows
from turbo_train import __version__
from turbo_train.errors import UserError
from turbo_train.exits import exit_code_of, program

app = typer.Typer(
    name="turbo-eval",
    help="Say what a few-step text-to-video model is worth: generate, score, time, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs, name="runs")
app.add_typer(weights, name="weights")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"turbo-eval {__version__}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Say what a few-step text-to-video model is worth: generate, score, time, compare."""


@app.command()
def vbench(
    context: typer.Context,
    model: options.Model = None,
    against: options.Against = None,
    videos: options.Videos = None,
    suite: options.SuiteName = None,
    samples: options.Samples = None,
    num_steps: options.Steps = None,
    guidance_scale: options.Guidance = None,
    size: options.Size = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    dtype: options.Dtype = None,
    seed: options.Seed = 0,
    batch: options.Batch = None,
    out: options.Out = None,
    limit: options.Limit = None,
    dimensions: options.Dimensions = None,
    encoders: options.Encoders = None,
    precision: options.Precision = "float32",
    compat: options.Compat = "",
    strict_rules: options.StrictRules = False,
    latency: options.MeasureLatency = True,
    threads: options.Threads = None,
    device: options.Device = "auto",
    shard: options.ShardText = None,
    max_failures: options.MaxFailures = 0,
    allow_missing: options.AllowMissing = False,
    lease_s: options.LeaseSeconds = options.DEFAULT_LEASE_S,
    as_json: options.Json = False,
) -> None:
    """Generate a suite, score it, time it and print the table. Running the same command again goes on or re-prints."""
    raise typer.Exit(exit_code_of(lambda: _vbench(options.request_of(context.params), as_json)))


def _vbench(request: Request, as_json: bool) -> None:
    from turbo_eval.vbench_run import run_vbench

    print_outcome(run_vbench, request, as_json)


for command in (rewards, lineup, curves, parity, speed):
    app.command()(command)


@app.command()
def generate(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="A model's name, NAME@RECIPE, or folder.")],
    suite: Annotated[str | None, typer.Option(help="A suite's name (turbo-eval list suites) or file.")] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompt", help="A prompt, instead of a suite; may be given several times.")
    ] = None,
    samples: options.Samples = None,
    num_steps: options.Steps = None,
    guidance_scale: options.Guidance = None,
    size: options.Size = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    dtype: options.Dtype = None,
    seed: options.Seed = 0,
    batch: options.Batch = None,
    out: options.Out = None,
    limit: options.Limit = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    shard: options.ShardText = None,
    max_failures: options.MaxFailures = 0,
    allow_missing: options.AllowMissing = False,
    lease_s: options.LeaseSeconds = options.DEFAULT_LEASE_S,
    as_json: options.Json = False,
) -> None:
    """Make the clips of a suite or of prompts, and nothing else. Running the same command again goes on."""
    raise typer.Exit(exit_code_of(lambda: _generate({**context.params}, as_json)))


def _generate(parameters: dict[str, Any], as_json: bool) -> None:
    from turbo_eval.generate_run import run_generate

    prompts = tuple(parameters.pop("prompts") or ())
    suite = parameters.pop("suite")
    if (suite is None) == (not prompts):
        raise UserError(
            found="both --suite and --prompt" if prompts else "neither --suite nor --prompt",
            expected="one of them",
            run_next=f'turbo-eval generate --model {parameters["model"]} --prompt "a red fox in the snow"',
        )
    chosen = {"prompts": prompts} if prompts else {"suite": suite}
    outcome = run_generate(options.request_of({**parameters, **chosen, "score": False, "latency": False}))
    if as_json:
        print_json(outcome.to_json())
    else:
        for line in outcome.lines():
            typer.echo(line)
    require_few(outcome.excess, outcome.folder, parameters["max_failures"])


@app.command()
def plan(
    context: typer.Context,
    model: options.Model = None,
    against: options.Against = None,
    videos: options.Videos = None,
    suite: options.SuiteName = None,
    samples: options.Samples = None,
    num_steps: options.Steps = None,
    guidance_scale: options.Guidance = None,
    size: options.Size = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    dtype: options.Dtype = None,
    seed: options.Seed = 0,
    batch: options.Batch = None,
    out: options.Out = None,
    limit: options.Limit = None,
    dimensions: options.Dimensions = None,
    encoders: options.Encoders = None,
    precision: options.Precision = "float32",
    compat: options.Compat = "",
    strict_rules: options.StrictRules = False,
    latency: options.MeasureLatency = True,
    threads: options.Threads = None,
    device: options.Device = "auto",
    shard: options.ShardText = None,
    max_failures: options.MaxFailures = 0,
    allow_missing: options.AllowMissing = False,
    lease_s: options.LeaseSeconds = options.DEFAULT_LEASE_S,
    calibrate: Annotated[bool, typer.Option(help="Time a micro-batch of each model.")] = True,
    gpu: options.GpuName = None,
    tflops: options.Tflops = None,
    as_json: options.Json = False,
) -> None:
    """Say what `vbench` with the same options would make: clips, what is there already, disk and time.

    Takes every option of vbench, so that one word of a command can be replaced; --max-failures, --allow-missing and
    --lease change nothing here. With --gpu or --tflops: what the whole run costs there, stage by stage, from counted
    operations; that needs no weights and times nothing.
    """
    raise typer.Exit(exit_code_of(lambda: _plan({**context.params}, calibrate, as_json)))


def _plan(parameters: dict[str, Any], calibrate: bool, as_json: bool) -> None:
    from turbo_eval.gpus import machine_of
    from turbo_eval.planning import forecast, rows

    del parameters["calibrate"]
    machine = machine_of(parameters.pop("gpu"), parameters.pop("tflops"), parameters["threads"])
    request = options.request_of(parameters)
    if machine is not None:
        _cost(request, machine, as_json)
        return
    found = forecast(request, calibrate=calibrate)
    if as_json:
        print_json(found.to_json())
        return
    table, lines = rows(found)
    print_rows(table)
    for line in lines:
        typer.echo(line)


def _cost(request: Request, machine: Machine, as_json: bool) -> None:
    from turbo_eval import cost_text
    from turbo_eval.cost import run_cost

    cost = run_cost(request, machine)
    if as_json:
        print_json(cost_text.document(cost))
        return
    for model in cost.models:
        if model.stages:
            print_rows(cost_text.rows(model))
        for line in cost_text.lines(model, "CPU" if machine.gpu == CPU else "GPU"):
            typer.echo(line)
        typer.echo()
    typer.echo(f"{cost.prompts} prompts of {cost.suite}")
    for note in cost.notes:
        typer.echo(note)


WHERE_MISSING = {
    "models": "turbo-eval show NAME names the files that are missing",
    "rewards": "turbo-eval weights pull --for NAME fetches what is missing",
}


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, suites, dimensions or rewards")],
    as_json: options.Json = False,
) -> None:
    """List what can be named on the command line."""
    raise typer.Exit(exit_code_of(lambda: _list(what, as_json)))


def _list(what: str, as_json: bool) -> None:
    from turbo_eval.listing import in_brief, listing

    rows = listing(what)
    if as_json:
        print_json(rows)
    else:
        shown = map(in_brief, rows) if what == "rewards" else rows
        print_rows([{key: _text(value) for key, value in row.items()} for row in shown])
        if any(row.get("ready") is False for row in rows):
            typer.echo(f"not ready: {WHERE_MISSING[what]}", err=True)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model's name, NAME@RECIPE, or folder.")],
    as_json: options.Json = False,
) -> None:
    """Show one model: where it lies, how it is run, how it was made."""
    raise typer.Exit(exit_code_of(lambda: _show(model, as_json)))


def _show(model: str, as_json: bool) -> None:
    from turbo_eval.listing import card

    fields = card(model)
    if as_json:
        print_json(fields)
    else:
        shown = {**fields, "rewards": "not known" if fields["rewards"] is None else fields["rewards"] or "none"}
        print_rows([{"field": key, "value": _text(value)} for key, value in shown.items()])


def _text(value: object) -> str:
    """Lines `name: value` for an object, commas for a list, as people read them."""
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_text(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        nested = any(isinstance(inner, dict | list) for inner in value)
        return json.dumps(value) if nested else ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def main() -> None:
    """Entry point of the console script."""
    program(app)
