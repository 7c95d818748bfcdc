"""Which command scores clips by reward models? Parsing and printing only; its work lies in rewards_run.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turbo_eval import options
from turbo_eval.contestants import Request, RewardChoice
from turbo_eval.printing import print_json, print_rich
from turbo_train.errors import Incomplete, UserError
from turbo_train.exits import exit_code_of
from turbo_train.sampling.setting import DTYPES

if TYPE_CHECKING:
    from turbo_eval.outcome import Outcome

NONE = "none"


def rewards(
    context: typer.Context,
    model: options.Model = None,
    against: options.Against = None,
    videos: options.Videos = None,
    suite: options.SuiteName = None,
    reward: options.RewardNames = None,
    reward_dtype: options.RewardDtype = DTYPES[0],
    repeat_last: options.RepeatLast = False,
    in_loop: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Rewards that --model, or the clips of --videos, were trained on, or none: "
            "for those that do not say it themselves.",
        ),
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
    """Score a suite's clips by reward models and judges. It shares its runs with vbench and generate."""
    raise typer.Exit(exit_code_of(lambda: run_and_print(_request(dict(context.params)), as_json)))


def _request(parameters: dict[str, object]) -> Request:
    chosen = {name: parameters.pop(name) for name in ("reward", "reward_dtype", "repeat_last", "in_loop")}
    choice = RewardChoice(
        names=options.wanted_rewards(chosen["reward"]),
        dtype=options.known_dtype(str(chosen["reward_dtype"])),
        repeat_last=bool(chosen["repeat_last"]),
        in_loop=_stated(chosen["in_loop"]),
    )
    return replace(options.request_of({**parameters, "latency": False}), rewards=choice)


def _stated(text: object) -> tuple[str, ...] | None:
    """The rewards of --in-loop; () for `none`. UserError for a name that is no reward's."""
    if text is None:
        return None
    from turbo_train.rewards.table import find_reward

    names = options.names_of(text)
    if names == (NONE,):
        return ()
    if not names or NONE in map(str.lower, names):
        raise UserError(found=f"--in-loop {text!r}", expected=f"names of rewards, or {NONE} alone")
    return tuple(find_reward(name).name for name in names)


def run_and_print(request: Request, as_json: bool) -> None:
    """What the command does once its options are read."""
    from turbo_eval.rewards_run import run_rewards

    print_outcome(run_rewards, request, as_json)


def print_outcome(run: Callable[[Request], Outcome], request: Request, as_json: bool) -> None:
    """Runs, and prints the table and where the files are. Incomplete for more failures than are tolerated."""
    from turbo_eval.table_text import to_rich

    outcome = run(request)
    if as_json:
        print_json(outcome.to_json())
    elif outcome.table is not None:
        print_rich(to_rich(outcome.table))
    files = ("", "Open:", *(f"  {path}" for path in outcome.files)) if outcome.files else ()
    for line in (*outcome.remarks, *files):
        typer.echo(line, err=as_json)
    require_few(outcome.excess, outcome.folder, request.max_failures)


def require_few(excess: str, folder: Path, allowed: int) -> None:
    """Incomplete (exit code 3) for more failures than --max-failures."""
    if excess:
        raise Incomplete(
            found=excess,
            expected=f"at most {allowed} failed clips (--max-failures)",
            run_next=f"turbo-eval runs status {folder} shows why; the same command tries them again",
        )
