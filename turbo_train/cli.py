"""Which commands does `turbo-train` have? Parsing only; the work lies in turbo_train.world.build."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from turbo_train import __version__, cli_cost, cli_data, cli_export, cli_train
from turbo_train.exits import exit_code_of, program

LOG_EVERY_S = 30.0  # where stderr is no terminal

app = typer.Typer(
    name="turbo-train",
    help="Make few-step text-to-video students from a diffusion teacher.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
world = typer.Typer(help="The embedded world: a small teacher, students, rewards and judges.", no_args_is_help=True)
app.add_typer(world, name="world")
for command in (
    cli_train.run,
    cli_train.resume,
    cli_train.presets,
    cli_cost.dry_run,
    cli_data.precompute,
    cli_export.export,
    cli_cost.memory,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"turbo-train {__version__}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Make few-step text-to-video students from a diffusion teacher."""


@world.command("build")
def world_build(
    out: Annotated[
        Path, typer.Option(help="Folder of the finished weights; the package's own are not touched.")
    ] = Path("runs/world-build/weights"),
    work: Annotated[Path, typer.Option(help="Folder of checkpoints: a stopped build goes on from here.")] = Path(
        "runs/world-build"
    ),
    stages: Annotated[str | None, typer.Option(help="Only these stages, separated by commas.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = os.cpu_count() or 1,
) -> None:
    """Train the world's networks from nothing: seeded and resumable."""
    raise typer.Exit(exit_code_of(lambda: _build(out, work, stages, threads)))


def _build(out: Path, work: Path, stages: str | None, threads: int) -> None:
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from turbo_train.world.build.stages import build

    torch.set_num_threads(threads)
    names = tuple(name.strip() for name in stages.split(",") if name.strip()) if stages else None
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    said = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def report(stage: str, done: int, total: int, figures: object) -> None:
            nonlocal said
            if stage not in bars:  # a resumed stage starts at its first report, so that its speed is its own
                bars[stage] = progress.add_task(stage, total=total, completed=done)
            progress.update(bars[stage], completed=done)
            if not console.is_terminal and (done == total or time.monotonic() - said > LOG_EVERY_S):
                said = time.monotonic()
                typer.echo(f"{stage}: {done} of {total}", err=True)

        made = build(out, work, names, report)
    typer.echo(f"made: {', '.join(made)}" if made else "nothing to do: every stage is in built.json", err=True)
    typer.echo(f"weights: {out}", err=True)


def main() -> None:
    """Entry point of the console script."""
    program(app)
