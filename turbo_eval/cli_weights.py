"""Which commands list, fetch and check published weights? Parsing and printing only.

With --json stdout holds one JSON document. Exit codes: 0; 2 for a name that is none, a file that is missing or wrong,
no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from turbo_eval import options
from turbo_eval.printing import print_json, print_rows
from turbo_train.exits import exit_code_of

if TYPE_CHECKING:
    from turbo_train.weights.table import WeightFile

weights = typer.Typer(
    help="List, fetch and check the published weights. Looking at them needs no torch.", no_args_is_help=True
)
MEGABYTE = 10**6
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Files, as `weights list` names them.")]
For = Annotated[
    list[str] | None,
    typer.Option("--for", metavar="NAME", help="What this model, dimension or reward needs; vbench; rewards."),
]


@weights.command("list")
def list_(
    user: For = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only what has to be fetched.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the published files: size, licence, who needs them, whether they are here and their sha256 is known."""
    raise typer.Exit(exit_code_of(lambda: _list(user or [], missing, as_json)))


def _list(users: list[str], missing: bool, as_json: bool) -> None:
    from turbo_eval.weights_rows import list_document, listed, row, total

    files = listed(users, missing=missing)
    if as_json:
        print_json(list_document(files))
        return
    if files:
        print_rows([row(file) for file in files])
    typer.echo(total(files))


@weights.command()
def pull(
    names: Names = None,
    user: For = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched to where.")] = False,
    as_json: options.Json = False,
) -> None:
    """Fetch files, check them and put them where they are looked for. Run again it goes on where it stopped."""
    raise typer.Exit(exit_code_of(lambda: _pull(names or [], user or [], dry_run, as_json)))


def _pull(names: list[str], users: list[str], dry_run: bool, as_json: bool) -> None:
    from turbo_eval.weights_rows import (
        chosen,
        forecast_document,
        forecast_row,
        pulled_document,
        pulled_row,
        total,
    )
    from turbo_train.errors import UserError
    from turbo_train.weights.pull import pull

    files = chosen(names, users)
    if not files and not users:
        raise UserError(
            found="nothing to fetch",
            expected="names of files, or --for a model, dimension or reward",
            run_next="turbo-eval weights list",
        )
    if dry_run:
        plan = [forecast_document(file) if as_json else forecast_row(file) for file in files]
    else:
        done = pull(files, _watch)
        plan = [pulled_document(one) if as_json else pulled_row(one) for one in done]
    if as_json:
        print_json({"dry_run": dry_run, "files": plan})
        return
    if plan:
        print_rows(plan)
    typer.echo(total(files))


def _watch(file: WeightFile) -> AbstractContextManager[Callable[[int], None]]:
    return _megabytes(f"MB of {file.name}", file.bytes)


@contextmanager
def _megabytes(name: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Progress in megabytes, told in bytes. More than the total, which may be rounded, is not shown."""
    from turbo_eval.screen import stage

    left = max(1, round(total_bytes / MEGABYTE))
    with stage(name, left) as advance:
        rest = 0

        def told(count: int) -> None:
            nonlocal rest, left
            rest += count
            if left > 0:
                whole = min(left, rest // MEGABYTE)
                left, rest = left - whole, rest - whole * MEGABYTE
                advance(whole)

        yield told


@weights.command()
def verify(names: Names = None, user: For = None, as_json: options.Json = False) -> None:
    """Read every file that is here, or the named ones: size, sha256, and whether it opens without running code."""
    raise typer.Exit(exit_code_of(lambda: _verify(names or [], user or [], as_json)))


def _verify(names: list[str], users: list[str], as_json: bool) -> None:
    from turbo_eval.weights_rows import chosen
    from turbo_eval.weights_verify import require_right, verify
    from turbo_train.weights.places import locate
    from turbo_train.weights.table import weight_files

    files = chosen(names, users) if names or users else [file for file in weight_files() if locate(file) is not None]
    found = verify(files, lambda total_bytes: _megabytes("MB checked", total_bytes))
    if as_json:
        print_json({"files": [one.to_json() for one in found]})
    elif found:
        print_rows([one.row() for one in found])
    else:
        typer.echo("no published weights are here")
    require_right(found)


@weights.command()
def where(names: Names = None, as_json: options.Json = False) -> None:
    """Print where the named files lie, one path a line; without a name, where weights are looked for."""
    raise typer.Exit(exit_code_of(lambda: _where(names or [], as_json)))


def _where(names: list[str], as_json: bool) -> None:
    from turbo_eval.weights_rows import place_rows
    from turbo_train.weights.missing import require
    from turbo_train.weights.table import find_file

    if not names:
        rows = place_rows()
        print_json(rows) if as_json else print_rows(rows)
        return
    paths = require([find_file(name) for name in names], "")
    if as_json:
        print_json({name: str(path) for name, path in paths.items()})
        return
    for path in paths.values():
        typer.echo(str(path))
