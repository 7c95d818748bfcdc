"""Which commands look at a run, repair, merge and clean it up, and exchange it with VBench? Parsing and printing only.

With --json stdout holds one JSON document. Exit codes: 0; 2 for a user's mistake; 3 when something is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbo_eval import options
from turbo_eval.printing import print_json, print_rich, print_rows
from turbo_eval.runs.advice import in_place
from turbo_train.exits import exit_code_of

if TYPE_CHECKING:
    from turbo_eval.runs.import_vbench import ImportRequest
    from turbo_eval.runs.status import Status

runs = typer.Typer(
    help="Look at a run, verify, explain, merge and clean it up. None of this needs torch.", no_args_is_help=True
)
SHOWN = 20  # failures in a listing for people
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]


@runs.command()
def status(
    run: RunFolder,
    traceback: Annotated[bool, typer.Option("--traceback", help="With the traceback of each failure.")] = False,
    as_json: options.Json = False,
) -> None:
    """Say how far a run is, who works on it, how fast, and what failed. Writes nothing."""
    raise typer.Exit(exit_code_of(lambda: _status(run, traceback, as_json)))


def _status(run: Path, traceback: bool, as_json: bool) -> None:
    from turbo_eval.runs.status import status_of

    found = status_of(run)
    if as_json:
        print_json(found.to_json(traceback=traceback))
    else:
        _print_status(found, traceback)


def _print_status(found: Status, traceback: bool) -> None:
    typer.echo(f"{found.run}: {found.state}")
    for rows in (found.model_rows(), found.score_rows(), found.worker_rows()):
        if rows:
            typer.echo()
            print_rows(rows)
    typer.echo()
    for line in found.lines():
        typer.echo(line)
    shown = found.failures if traceback else found.failures[:SHOWN]
    for failure in shown:
        typer.echo(f"failed: {failure}")
        if traceback:
            typer.echo(failure.traceback.rstrip())
    if len(shown) < len(found.failures):
        typer.echo(f"and {len(found.failures) - len(shown)} more failures (--json)")


@runs.command()
def verify(
    run: RunFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="First cut torn lines, move broken ones aside, sweep unfinished files.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check every row and every clip of a run. Exit code 3 when something is missing or damaged."""
    raise typer.Exit(exit_code_of(lambda: _verify(run, repair, as_json)))


@in_place()
def _verify(run: Path, repair: bool, as_json: bool) -> None:
    from turbo_eval.runs.repair import repair_run
    from turbo_eval.runs.verify import require_sound, verify_run
    from turbo_eval.screen import stage

    repaired = repair_run(run) if repair else ()
    found = verify_run(run, lambda total: stage("clips checked", total))
    if as_json:
        print_json({**found.to_json(), "repaired": list(repaired)})
    else:
        for line in repaired:
            typer.echo(f"repaired: {line}")
        if found.findings:
            print_rows(found.rows())
        typer.echo(found.summary())
    require_sound(found)


@runs.command()
def explain(
    a: Annotated[Path, typer.Argument(metavar="A", help="The folder of a run.")],
    b: Annotated[Path | None, typer.Argument(metavar="[B]", help="Of another. Default: A itself.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this model. Twice: the first one in A against the second one in B."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say in which fields two runs differ, and which of them change pixels."""
    raise typer.Exit(exit_code_of(lambda: _explain(a, a if b is None else b, tuple(model or ()), as_json)))


def _explain(a: Path, b: Path, models: tuple[str, ...], as_json: bool) -> None:
    from turbo_eval.runs.explain import explain_runs

    found = explain_runs(a, b, models)
    if as_json:
        print_json(found.to_json())
        return
    if found.fields:
        print_rows(found.rows())
        typer.echo()
    for line in found.lines():
        typer.echo(line)


@runs.command()
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or a run of the same identity.")],
    sources: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The runs to merge into OUT.")],
    as_json: options.Json = False,
) -> None:
    """Unite runs that were made on machines without a shared disk. Run again it only copies what is new."""
    raise typer.Exit(exit_code_of(lambda: _merge(out, sources, as_json)))


def _merge(out: Path, sources: list[Path], as_json: bool) -> None:
    from turbo_eval.runs.merge import merge_runs, require_whole
    from turbo_eval.screen import stage

    found = merge_runs(out, sources, lambda total: stage("clips copied", total))
    if as_json:
        print_json(found.to_json())
    else:
        for line in found.lines():
            typer.echo(line)
    require_whole(found)


@runs.command()
def gc(
    run: RunFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, change nothing.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove clips of former settings and what kills have left, and write the ledger into one file."""
    raise typer.Exit(exit_code_of(lambda: _gc(run, dry_run, as_json)))


@in_place()
def _gc(run: Path, dry_run: bool, as_json: bool) -> None:
    from turbo_eval.runs.gc import collect, find_garbage

    garbage = find_garbage(run)
    if not dry_run:
        collect(garbage)
    if as_json:
        print_json({**garbage.to_json(), "dry_run": dry_run})
        return
    print_rows(garbage.rows())
    for line in garbage.remarks():
        typer.echo(line)
    typer.echo(garbage.summary(dry_run=dry_run))


@runs.command("export-vbench")
def export_vbench(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier export.")],
    model: Annotated[str | None, typer.Option(help="Only this model. Several get a folder each in DIR.")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Missing clips are no error.")] = False,
    as_json: options.Json = False,
) -> None:
    """Copy the clips of a run to the names that VBench itself looks for: {prompt}-{index}.mp4."""
    raise typer.Exit(exit_code_of(lambda: _export(run, folder, model, allow_missing, as_json)))


def _export(run: Path, folder: Path, model: str | None, allow_missing: bool, as_json: bool) -> None:
    from turbo_eval.runs.export_vbench import export_vbench, require_whole
    from turbo_eval.screen import say

    found = export_vbench(run, folder, model=model)
    for line in found.warnings:
        say(f"warning: {line}")
    if as_json:
        print_json(found.to_json())
    else:
        for line in found.lines():
            typer.echo(line)
    if not allow_missing:
        require_whole(found)


@runs.command("import-vbench")
def import_vbench(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Clips named {prompt}-{index}.mp4.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: a new one, or one that gets more clips and scores.")],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="VBench's results, also several times. *_eval_results.json in DIR are read anyway."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The clips' name in the table. Default: the folder's name.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="A suite's name or file. Default: vbench, or that of an exported folder.")
    ] = None,
    samples: options.Samples = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Print what there is, stamped PARTIAL.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Make a run of clips in VBench's naming, with the scores that VBench itself gave them."""
    from turbo_eval.runs.import_vbench import ImportRequest

    request = ImportRequest(folder, out, tuple(results or ()), model, suite, samples)
    raise typer.Exit(exit_code_of(lambda: _import(request, allow_missing, as_json)))


def _import(request: ImportRequest, allow_missing: bool, as_json: bool) -> None:
    from turbo_eval.runs.import_vbench import import_vbench
    from turbo_eval.runs.imported import require_everything
    from turbo_eval.table_text import to_rich

    found = import_vbench(request)
    if not allow_missing:
        require_everything(found)
    if as_json:
        print_json(found.to_json())
    else:
        if found.table is not None:
            print_rich(to_rich(found.table))
        if found.dimensions:
            print_rows(found.rows())
        for line in found.lines():
            typer.echo(line)
