"""Which commands does `turbo-eval` have? Parsing and printing only; each command's work lies in its own module.

Nothing heavy is imported here: `turbo-eval --help` loads neither torch nor diffusers nor transformers. Results go
to stdout, everything else to stderr; with --json stdout holds one JSON document.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from turbo_eval.contestants import Request
from turbo_train import __version__
from turbo_train.exits import exit_code_of

app = typer.Typer(
    name="turbo-eval",
    help="Say what a few-step text-to-video model is worth: generate, score, time, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
WIDTH_IN_FILES = 140  # columns when stdout is no terminal


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
    model: Annotated[
        str | None, typer.Option(help="A model's name or folder. With --videos: the clips' name in the table.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="A second model to compare with, in its own settings.")] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Score the clips of this folder instead of running --model.")
    ] = None,
    suite: Annotated[str, typer.Option(help="A suite's name or a .jsonl file.")] = "world",
    samples: Annotated[int, typer.Option(min=1, help="Clips per prompt.")] = 2,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps of --model.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Guidance scale of --model: a teacher's 1 means none (imagen_cfg), a student's 0 does (lcm_cfg).",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise; the same noise for both models.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Clips in one forward pass; changes clips by rounding only.")] = 4,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: a folder in runs/ named after it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N prompts.")] = None,
    dimensions: Annotated[str | None, typer.Option(help="Only these metrics, separated by commas.")] = None,
    latency: Annotated[bool, typer.Option(help="Measure the time per clip.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Generate a suite, score it, time it and print the table. Running the same command again goes on or re-prints."""
    wanted = tuple(name.strip() for name in dimensions.split(",") if name.strip()) if dimensions else ()
    request = Request(
        model=model,
        against=against,
        videos=videos,
        suite=suite,
        samples=samples,
        num_steps=steps,
        guidance_scale=guidance,
        seed=seed,
        batch=batch,
        out=out,
        limit=limit,
        dimensions=wanted,
        latency=latency,
        threads=threads,
    )
    raise typer.Exit(exit_code_of(lambda: _vbench(request, as_json)))


def _vbench(request: Request, as_json: bool) -> None:
    from turbo_eval.tables import to_rich
    from turbo_eval.vbench_run import run_vbench
    from turbo_train.errors import Incomplete

    outcome = run_vbench(request)
    if as_json:
        _print_json(outcome.to_json())
    else:
        _print_rich(to_rich(outcome.table))
    for line in (*outcome.remarks, "", "Open:", *(f"  {path}" for path in outcome.files)):
        typer.echo(line, err=as_json)
    if outcome.missing:
        raise Incomplete(
            found=outcome.missing,
            expected="every clip of the suite",
            run_next="add the files and run the same command again",
        )


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, suites or dimensions")],
    as_json: Json = False,
) -> None:
    """List what can be named on the command line."""
    raise typer.Exit(exit_code_of(lambda: _list(what, as_json)))


def _list(what: str, as_json: bool) -> None:
    from turbo_eval.listing import listing

    rows = listing(what)
    if as_json:
        _print_json(rows)
    else:
        _print_rows(rows)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")],
    as_json: Json = False,
) -> None:
    """Show one model: where it lies, how it is run, how it was made."""
    raise typer.Exit(exit_code_of(lambda: _show(model, as_json)))


def _show(model: str, as_json: bool) -> None:
    from turbo_eval.listing import card

    fields = card(model)
    if as_json:
        _print_json(fields)
    else:
        _print_rows([{"field": key, "value": _text(value)} for key, value in fields.items()])


def _text(value: object) -> str:
    return json.dumps(value, indent=1) if isinstance(value, dict | list) else str(value)


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    _print_rich(table)


def _print_rich(drawing: Any) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_IN_FILES)
    console.print(drawing)


def main() -> None:
    """Entry point of the console script."""
    app()
