"""Which command compares any number of models? Parsing and printing only; its work lies in lineup_run.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from turbo_eval import options
from turbo_eval.cli_rewards import print_outcome
from turbo_eval.contestants import Request, RewardChoice
from turbo_train.exits import exit_code_of
from turbo_train.sampling.setting import DTYPES

CHOICE = ("reward", "reward_dtype", "repeat_last")


def lineup(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Option(
            help="Models, separated by commas: [LABEL=]MODEL[:STEPS], such as world-teacher,world-teacher:4,"
            "mine=runs/mine/student:8. May be given several times."
        ),
    ],
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW=MEMBER,MEMBER",
            help="One row for several trainings of a recipe that differ in their seed. May be given several times.",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Rows that all are held against, separated by commas. Default: the first.")
    ] = None,
    suite: options.SuiteName = None,
    reward: options.RewardNames = None,
    reward_dtype: options.RewardDtype = DTYPES[0],
    repeat_last: options.RepeatLast = False,
    dimensions: options.Dimensions = None,
    samples: options.Samples = None,
    size: options.Size = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    dtype: options.Dtype = None,
    seed: options.Seed = 0,
    batch: options.Batch = None,
    out: options.Out = None,
    limit: options.Limit = None,
    latency: options.MeasureLatency = True,
    latency_s: Annotated[float, typer.Option(min=1.0, help="Seconds that measuring the time per clip may take.")] = 60,
    threads: options.Threads = None,
    device: options.Device = "auto",
    shard: options.ShardText = None,
    max_failures: options.MaxFailures = 0,
    allow_missing: options.AllowMissing = False,
    lease_s: options.LeaseSeconds = options.DEFAULT_LEASE_S,
    as_json: options.Json = False,
) -> None:
    """Compare any number of models from the same noise: oracle, judges, rewards, dimensions, network calls and time.

    Running the same command again goes on or re-prints; with more models it makes only their clips.
    """
    raise typer.Exit(exit_code_of(lambda: _lineup(dict(context.params), as_json)))


def scored_by(parameters: dict[str, Any]) -> Request:
    """The Request of a command that scores by everything there is. Takes the options CHOICE out of `parameters`."""
    chosen = {name: parameters.pop(name) for name in CHOICE}
    choice = RewardChoice(
        names=options.wanted_rewards(chosen["reward"]),
        dtype=options.known_dtype(chosen["reward_dtype"]),
        repeat_last=chosen["repeat_last"],
        beside=True,
    )
    return replace(options.request_of(parameters), rewards=choice)


def _lineup(parameters: dict[str, Any], as_json: bool) -> None:
    from turbo_eval.lineup_choice import lineup_of
    from turbo_eval.lineup_run import run_lineup

    texts = [name for text in parameters.pop("models") for name in options.names_of(text)]
    groups, latency_s = parameters.pop("group") or [], parameters.pop("latency_s")
    baselines = options.names_of(parameters.pop("baseline")) or tuple(texts[:1])
    request = scored_by(parameters)
    found = lineup_of(texts, groups, baselines, request)
    print_outcome(lambda asked: run_lineup(asked, found, latency_s), request, as_json)
