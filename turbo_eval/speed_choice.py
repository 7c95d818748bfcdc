"""Which rows does `turbo-eval speed` time, and which of them race? From options to typed rows; free of torch.

[LABEL=]MODEL[@RECIPE][:STEPS]     as in a line-up: world-turbo, vc2-turbo@replayed:8, mine=runs/mine/student
Every model in every number of steps of --steps (unless it names its own) and in every batch. With --against each races
against that model in the same batch. With --each-option one model without any option, with each alone and with all:
each races the first, and the model of --against, which is run as it usually is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from turbo_eval.contestants import Contestant, Request
from turbo_eval.lineup_choice import contestant_of
from turbo_eval.model_table import ModelEntry
from turbo_eval.models import find_model
from turbo_eval.outlined import outlined
from turbo_eval.speed_request import DeviceKind, SpeedRequest, check, each_option, fast_path, filled
from turbo_eval.timing import row_names
from turbo_train.errors import UserError, together
from turbo_train.nets.fast_path import FastPath
from turbo_train.sampling.setting import DTYPES

__all__ = ["SpeedRequest", "Wanted", "filled", "rows_of"]


@dataclass(frozen=True)
class Wanted:
    """A row to be timed. entry: with the setting that it is run in. against: names of the rows that it races."""

    name: str
    entry: ModelEntry
    fast: FastPath
    batch: int
    against: tuple[str, ...] = ()


def rows_of(request: SpeedRequest, device_kind: DeviceKind) -> tuple[Wanted, ...]:
    """The models' rows in their order, then those of --against.

    UserError: unknown models (all at once), steps that a sampler does not know, two equal rows, options that this
    device or each other exclude.
    """
    check(request, device_kind)
    asked = filled(request, device_kind)
    errors: list[UserError] = []
    models = _contestants(asked.models, asked, asked.steps, errors)
    rivals = _contestants([asked.against] if asked.against else [], asked, (), errors)
    if errors:
        raise together(errors)
    if asked.each_option and len(models) > 1:
        raise UserError(
            found=f"--each-option with {', '.join(model.name for model in models)}",
            expected="one --model in one number of steps",
            run_next=f"turbo-eval speed --model {asked.models[0]} --each-option",
        )
    rows = [row for batch in asked.batches for row in _of_batch(models, rivals, batch, asked, device_kind)]
    _check_different(rows)
    return tuple(rows)


def _of_batch(
    models: Sequence[Contestant],
    rivals: Sequence[Contestant],
    batch: int,
    asked: SpeedRequest,
    device_kind: DeviceKind,
) -> Iterator[Wanted]:
    """The models' rows, then those that they race."""
    against = [_row(rival, batch, asked) for rival in rivals]
    if asked.each_option:
        against = [replace(row, fast=FastPath()) for row in against]
    for model in models:
        assert model.entry is not None
        plain = replace(_row(model, batch, asked), against=tuple(row.name for row in against))
        yield plain
        if asked.each_option:
            for name, fast in each_option(asked, model.entry, device_kind).items():
                row = _row(replace(model, name=f"{model.name}-{name}"), batch, asked)
                yield replace(row, fast=fast, against=(plain.name, *plain.against))
    yield from against


def _check_different(rows: Sequence[Wanted]) -> None:
    names: dict[object, str] = {}
    for row in rows:
        work = (row.entry.source, row.entry.setting, row.fast, row.batch)
        if work in names:
            other = names[work]
            raise UserError(
                found=f"{row.name} twice" if row.name == other else f"{other} and {row.name} are one row",
                expected="each model and setting once",
                run_next="leave one of them out",
            )
        if row.name in names.values():
            raise UserError(
                found=f"two rows called {row.name}",
                expected="a name for each",
                run_next="LABEL=FOLDER gives a folder a name of its own",
            )
        names[work] = row.name


def _contestants(
    texts: Sequence[str], asked: SpeedRequest, steps: Sequence[int], errors: list[UserError]
) -> list[Contestant]:
    """Every text in every number of steps, in the rows' dtype. What is wrong with a text is appended to the errors."""
    find = outlined if asked.random_weights else find_model
    found = []
    for text in texts:
        try:
            named = contestant_of(text, Request(frames=asked.frames, size=asked.size), find)
            own = text.rpartition(":")[2].isdigit() or not steps
            each = [named] if own else [_in_steps(named, number) for number in steps]
            found += [_checked(contestant, asked.dtype or DTYPES[0]) for contestant in each]
        except UserError as error:
            errors.append(error)
    return found


def _in_steps(contestant: Contestant, number: int) -> Contestant:
    entry = contestant.entry
    assert entry is not None
    if entry.setting.num_steps == number:
        return contestant
    changed = replace(entry, setting=replace(entry.setting, num_steps=number))
    return replace(contestant, name=f"{contestant.name}-{number}steps", entry=changed)


def _checked(contestant: Contestant, dtype: str) -> Contestant:
    """In this dtype. UserError for a number of steps that its sampler does not know."""
    from turbo_train.sampling.timesteps import consistency_timesteps, ddim_timesteps

    assert contestant.entry is not None
    setting = replace(contestant.entry.setting, dtype=dtype)
    try:
        if setting.sampler == "ddim":
            ddim_timesteps(setting.num_steps)
        else:
            consistency_timesteps(setting.num_steps, setting.origin_steps)
    except UserError as error:
        raise UserError(
            found=f"{contestant.name}: {error.found}", expected=error.expected, run_next=error.run_next
        ) from error
    return replace(contestant, entry=replace(contestant.entry, setting=setting))


def _row(contestant: Contestant, batch: int, asked: SpeedRequest) -> Wanted:
    assert contestant.entry is not None
    name = row_names.with_batch(contestant.name, batch) if len(asked.batches) > 1 else contestant.name
    return Wanted(name, contestant.entry, fast_path(asked, contestant.entry), batch)
