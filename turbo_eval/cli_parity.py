"""Which command holds our VBench engine against the package? Parsing and printing only; the work: parity_run.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbo_eval import options
from turbo_eval.printing import print_json, print_rows
from turbo_eval.screen import say
from turbo_train.errors import UserError
from turbo_train.exits import exit_code_of

if TYPE_CHECKING:
    from turbo_eval.parity_run import ParityRequest


def parity(
    videos: Annotated[Path | None, typer.Option(help="The folder of clips that both engines score.")] = None,
    setup: Annotated[
        bool, typer.Option("--setup", help="Make the folder of packages that vbench 0.1.5 needs, once.")
    ] = False,
    dimensions: options.Dimensions = None,
    suite: Annotated[
        str, typer.Option(help="Whose prompts the clips were made for. Default: what the files are named after.")
    ] = "file-names",
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEXT",
            help='Auxiliary info for every clip, such as appearance_style="oil painting". May be given several times.',
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the comparison in this folder, and go on with it.")] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder of VBench's packages. Default: turbo-video/vbench-overlay in the cache.")
    ] = None,
    official_cache: Annotated[
        Path | None,
        typer.Option(
            help="VBench's weights, in its own layout. Default: the files that turbo-eval weights where finds."
        ),
    ] = None,
    early_exit: Annotated[
        bool, typer.Option("--early-exit", help="Time dynamic_degree with its shortcut, which cannot change a verdict.")
    ] = False,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest relative difference that agrees.")] = 1e-3,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Score the same clips with our engine and with the vbench package itself: differences and time ratios.

    Ends with 0 where they agree, 1 where they do not, 3 where something could not be compared.
    """

    def work() -> int:
        if setup == (videos is not None):
            raise UserError(
                found="both --setup and --videos" if setup else "neither --setup nor --videos",
                expected="one of them",
                run_next="turbo-eval parity --setup, once; then turbo-eval parity --videos DIR",
            )
        if videos is None:
            return _setup(overlay, as_json)
        from turbo_eval.parity_run import ParityRequest

        request = ParityRequest(
            videos=videos,
            dimensions=options.wanted_dimensions(dimensions),
            suite=suite,
            attributes=tuple(map(_attribute, attribute or ())),
            overlay=overlay,
            official_cache=official_cache,
            out=out,
            device=device,
            threads=threads,
            early_exit=early_exit,
            tolerance=tolerance,
        )
        return _compare(request, as_json)

    raise typer.Exit(exit_code_of(work))


def _setup(overlay: Path | None, as_json: bool) -> int:
    from turbo_eval.scorers.vbench.overlay import make_overlay

    made = make_overlay(overlay, say)
    if as_json:
        code = {"dino": made.dino, "detectron2": made.detectron2}
        print_json({"folder": str(made.folder), **{name: path and str(path) for name, path in code.items()}})
    return 0


def _compare(request: ParityRequest, as_json: bool) -> int:
    from turbo_eval.parity_run import run_parity
    from turbo_eval.parity_text import lines, table, to_json

    outcome = run_parity(request)
    if as_json:
        print_json(to_json(outcome.rows, outcome.identity))
    else:
        print_rows(table(outcome.rows))
        for line in lines(outcome.rows, outcome.identity):
            typer.echo(line)
    for path in outcome.files:
        typer.echo(f"  {path}", err=as_json)
    return outcome.code


def _attribute(text: str) -> tuple[str, str]:
    name, equal, value = text.partition("=")
    if not (name.strip() and equal and value.strip()):
        raise UserError(found=f"--attribute {text}", expected='NAME=TEXT, such as appearance_style="oil painting"')
    return name.strip(), value.strip()
