"""How is a student trained from the command line? `run`, `resume`, `presets`. Parsing only; the work is in loop.py."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbo_train.errors import UserError
from turbo_train.exits import STOPPED, exit_code_of

if TYPE_CHECKING:
    from turbo_train.config import TrainConfig

LOG_EVERY_S = 30.0  # where stderr is no terminal
CONFIG_FILE, LOCK_FILE = "config.json", ".run.lock"

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe; several times.")
]


def run(
    preset: Annotated[str, typer.Option(help="A recipe of `turbo-train presets`.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; one that was stopped goes on.")] = None,
) -> None:
    """Train a student; the same command goes on where a stopped run ended."""
    raise typer.Exit(exit_code_of(lambda: _run(preset, settings or [], out)))


def resume(
    folder: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    settings: Settings = None,
) -> None:
    """Go on with a run from its last checkpoint, with the recipe that its folder holds."""
    raise typer.Exit(exit_code_of(lambda: _resume(folder, settings or [])))


def presets(
    name: Annotated[str | None, typer.Argument(help="Only this one, with all its fields.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Which recipes have a name, and what each of them reached."""
    raise typer.Exit(exit_code_of(lambda: _presets(name, as_json)))


def _run(preset: str, settings: list[str], out: Path | None) -> int:
    from turbo_train.checkpoint import checkpoints
    from turbo_train.config import check_alike, with_settings
    from turbo_train.presets import find_preset

    config = with_settings(find_preset(preset).config, settings)
    folder = out or Path("runs/train") / f"{preset}-seed{config.seed}"
    if checkpoints(folder):  # else nothing was learnt yet, and the recipe may still be mended
        check_alike(config, _recipe(folder), f"the run in {folder}", _again(folder))
    return _train(config, folder)


def _resume(folder: Path, settings: list[str]) -> int:
    from turbo_train.config import check_alike, with_settings

    before = _recipe(folder)
    config = with_settings(before, settings)
    check_alike(config, before, f"the run in {folder}", _again(folder))
    return _train(config, folder)


def _again(folder: Path) -> str:
    return f"turbo-train resume {folder}, or another --out"


def _recipe(folder: Path) -> TrainConfig:
    from turbo_train.config import config_of

    path = folder / CONFIG_FILE
    try:
        return config_of(json.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise UserError(
            found=f"no {CONFIG_FILE} in {folder}",
            expected="the folder of a training run",
            run_next="turbo-train run --preset NAME --out FOLDER",
        ) from error
    except ValueError as error:
        raise UserError(found=f"{path} is no JSON ({error})", expected="a training run's recipe") from error


def _train(config: TrainConfig, folder: Path) -> int:
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from turbo_train.loop import train
    from turbo_train.step_figures import Figures

    main = os.environ.get("RANK", "0") == "0"
    held = ExitStack()
    if main:
        _hold(folder, held)
        _write_recipe(config, folder)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    said = 0.0
    with held, Progress(*columns, console=console, disable=not (console.is_terminal and main)) as progress:
        bar = progress.add_task(config.preset, total=config.steps, figures="")

        def watch(done: int, steps: int, figures: Figures) -> None:
            nonlocal said
            text = _line(figures)
            progress.update(bar, completed=done, figures=text)
            if not console.is_terminal and (done == steps or time.monotonic() - said > LOG_EVERY_S):
                said = time.monotonic()
                typer.echo(f"{config.preset}: {done} of {steps}, {text}", err=True)

        ended = train(config, folder, watch=watch, say=lambda text: typer.echo(text, err=True))
    if main:
        where = folder if ended.stopped else folder / "student"
        typer.echo(f"{'stopped' if ended.stopped else 'done'} at step {ended.step}: {where}", err=True)
    return STOPPED if ended.stopped else 0


def _hold(folder: Path, held: ExitStack) -> None:
    """Until `held` ends, no other call trains in this folder. UserError: one does; it cannot be written to."""
    from turbo_train.weights.alone import Taken, alone

    try:
        held.enter_context(alone(folder / LOCK_FILE))
    except Taken as error:
        raise UserError(
            found=f"another process that trains in {folder}",
            expected="one at a time",
            run_next="another --out, or wait until it has ended",
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error


def _write_recipe(config: TrainConfig, folder: Path) -> None:
    partial = folder / f".{CONFIG_FILE}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(config.to_json(), encoding="utf-8")
        partial.replace(folder / CONFIG_FILE)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        found=f"{folder / CONFIG_FILE} cannot be written ({error.strerror})",
        expected="a folder on a writable disk with room",
        run_next="the same command with another --out",
    )


def _line(figures: object) -> str:
    from turbo_train.step_figures import Figures

    assert isinstance(figures, Figures)
    cd = "" if figures.loss_cd is None else f"loss_cd {figures.loss_cd:.4f} "
    return cd + " ".join(f"{name} {value:.4f}" for name, value in figures.rewards.items())


def _presets(name: str | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from turbo_train.presets import PRESETS, find_preset

    chosen = [find_preset(name)] if name else list(PRESETS.values())
    if as_json:
        rows = [{"purpose": p.purpose, "reached": p.reached, **json.loads(p.config.to_json())} for p in chosen]
        typer.echo(json.dumps(rows[0] if name else rows, indent=2))
        return
    console = Console(soft_wrap=True)
    if name:
        console.print(f"{name}: {chosen[0].purpose}\nreached: {chosen[0].reached}", highlight=False)
        for key, value in json.loads(chosen[0].config.to_json()).items():
            console.print(f"  {key} = {_shown(value)}", highlight=False, markup=False)
        return
    table = Table("preset", "teacher", "rewards", "steps", "reached")
    for preset in chosen:
        rewards = ", ".join(map(str, preset.config.rewards)) or "none"
        table.add_row(preset.name, preset.config.teacher, rewards, str(preset.config.steps), preset.reached)
    console.print(table)


def _shown(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ",".join(f"{term['name']}:{term['beta']:g}:{term['frames']}" for term in value)
    if isinstance(value, list):
        return ("x" if all(isinstance(part, int) for part in value) else "|").join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
