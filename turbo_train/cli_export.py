"""How is `turbo-train export` called? Parsing and printing only; the work lies in turbo_train.export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from turbo_train.exits import exit_code_of


def export(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="STUDENT_OR_RUN_OR_CHECKPOINT", help="A student's folder, a training run, a checkpoint."
        ),
    ],
    form: Annotated[str, typer.Option("--format", metavar="peft|merged|list", help="The form to write.")],
    out: Annotated[Path | None, typer.Option(help="A new folder; by default exports/NAME-FORMAT.")] = None,
    step: Annotated[
        int | None, typer.Option(help="A run's checkpoint after so many steps; by default the last.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="world, ms, vc2 or a path; by default what the student names.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="float16|float32", help="Of the numbers; float32 is exact.")
    ] = "float32",
) -> None:
    """Write a student for other programs: PEFT's folder, one whole UNet, or T2V-Turbo's list."""
    raise typer.Exit(exit_code_of(lambda: _export(path, form, out, step, teacher, dtype)))


def _export(path: Path, form: str, out: Path | None, step: int | None, teacher: str | None, dtype: str) -> None:
    from turbo_train.export import export as write

    made = write(path, form, out, step=step, teacher=teacher, dtype=dtype)
    for file in sorted(made.iterdir()):
        typer.echo(f"{file}  {file.stat().st_size} bytes")
