"""Which command draws the curves of a training run? Parsing and printing only; its work lies in curves_run.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from turbo_eval import options
from turbo_eval.cli_lineup import scored_by
from turbo_eval.cli_rewards import print_outcome
from turbo_train.exits import exit_code_of
from turbo_train.sampling.setting import DTYPES

SUITE = "world-validation"


def curves(
    context: typer.Context,
    training: Annotated[
        Path, typer.Argument(metavar="RUN", help="A training run's folder, with checkpoints/step-000100/student.")
    ],
    suite: options.SuiteName = SUITE,
    reward: options.RewardNames = None,
    reward_dtype: options.RewardDtype = DTYPES[0],
    repeat_last: options.RepeatLast = False,
    dimensions: Annotated[
        str | None,
        typer.Option(help="These (turbo-eval list dimensions) beside rewards and judges. Default: the oracle."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Clips per prompt.")] = 1,
    num_steps: Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps of each checkpoint.")] = None,
    size: options.Size = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    dtype: options.Dtype = None,
    seed: options.Seed = 0,
    batch: options.Batch = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: a folder in RUN/curves.")] = None,
    limit: options.Limit = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    shard: options.ShardText = None,
    max_failures: options.MaxFailures = 0,
    allow_missing: options.AllowMissing = False,
    lease_s: options.LeaseSeconds = options.DEFAULT_LEASE_S,
    as_json: options.Json = False,
) -> None:
    """Score the checkpoints of a training run from the same noise, draw the curves, and warn of reward hacking.

    Running the same command again goes on, re-prints, or adds the checkpoints that have come since.
    """
    raise typer.Exit(exit_code_of(lambda: _curves(dict(context.params), as_json)))


def _curves(parameters: dict[str, Any], as_json: bool) -> None:
    from turbo_eval.curves_run import run_curves

    training = parameters.pop("training")
    request = scored_by({**parameters, "latency": False})
    print_outcome(lambda asked: run_curves(training, asked), request, as_json)
