"""What would a run cost? `turbo-train dry-run` and `turbo-train memory`. Parsing and printing only."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from turbo_train.exits import exit_code_of

WIDTH_IN_FILES = 140  # columns where stdout is no terminal

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; several times.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def dry_run(
    preset: Annotated[str, typer.Option(help="A recipe of `turbo-train presets`.")],
    settings: Settings = None,
    modes: Annotated[
        bool, typer.Option("--modes", help="Also count it without and with each kind of reward and recomputation.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count parameters, FLOPs and memory of a recipe; needs neither weights nor data."""
    raise typer.Exit(exit_code_of(lambda: _dry_run(preset, settings or [], modes, as_json)))


def memory(
    steps: Annotated[str, typer.Option(help="Lengths K of the sampling chains.")] = "4,8,20,50",
    clips: Annotated[int, typer.Option(min=1, help="In one pass.")] = 1,
    limit_gib: Annotated[
        float, typer.Option(min=0, help="Chains that need more are counted in shape, not computed.")
    ] = 3.0,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="Also K = 4 at VideoCrafter2's size, in shape.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for memory.json, memory.md and memory.png.")] = None,
    device: Annotated[str | None, typer.Option(help="By default cuda where there is one, else cpu.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the rewards' gradient through one prediction and through whole sampling chains, on the world."""
    raise typer.Exit(exit_code_of(lambda: _memory(steps, clips, limit_gib, full_size, out, device, as_json)))


def _dry_run(preset: str, settings: list[str], with_modes: bool, as_json: bool) -> None:
    from turbo_train.config import with_settings
    from turbo_train.presets import find_preset

    config = with_settings(find_preset(preset).config, settings)

    from turbo_train.cost import cost_of
    from turbo_train.cost_report import document_of, mode_row, modes_of, show

    cost = cost_of(config)
    rows = [mode_row(name, cost_of(changed)) for name, changed in modes_of(config)] if with_modes else []
    if as_json:
        typer.echo(json.dumps({**document_of(cost), "modes": rows}, indent=1))
        return
    from rich.console import Console

    console = Console()
    typer.echo(config.to_json(), nl=False)
    show(cost, rows, console if console.is_terminal else Console(width=WIDTH_IN_FILES))


def _memory(
    steps: str, clips: int, limit_gib: float, full_size: bool, out: Path | None, device: str | None, as_json: bool
) -> None:
    import torch
    from rich.console import Console

    from turbo_train.memory import check_steps, count_full_size, measure_world
    from turbo_train.memory_report import cells, document_of, table_of, write

    wanted = check_steps(steps)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    began = time.monotonic()

    def watch(row: object) -> None:
        typer.echo(" ".join(filter(None, cells(row))), err=True)  # type: ignore[arg-type]

    world = measure_world(wanted, clips=clips, limit_bytes=limit_gib * 2**30, device=place, watch=watch)
    whole = count_full_size(watch=watch) if full_size else []
    about = {"device": place, "clips": clips, "torch": torch.__version__, "seconds": time.monotonic() - began}
    document = document_of(world, whole, about)
    if out is not None:
        write(out, document, world, whole)
        typer.echo(f"wrote {out}", err=True)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH_IN_FILES)
    console.print(table_of(f"rewards' gradient on the world, {clips} clip(s), {place}", world))
    if whole:
        console.print(table_of("at VideoCrafter2's size, 16 frames of 320x512, bf16, one clip", whole))
