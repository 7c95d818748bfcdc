"""How does what was measured become rows? With verdict, operations, floors, memory and the difference of the clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from turbo_eval.generators.difference import difference
from turbo_eval.generators.floors import floor_s, stage_work, tflop_of
from turbo_eval.generators.memory_peaks import memory_peaks
from turbo_eval.generators.subject import Subject
from turbo_eval.speed_choice import Wanted
from turbo_eval.timing.measure import Measured
from turbo_eval.timing.record import Rates, SpeedRow
from turbo_eval.timing.stop_rule import INTERRUPTED, Rules
from turbo_eval.timing.validity import reasons
from turbo_eval.timing.watch import Seen


def rows_of_measured(
    wanted: Sequence[Wanted],
    subjects: Mapping[str, Subject],
    measured: Measured,
    seen: Seen,
    rules: Rules,
    rates: Rates,
) -> tuple[SpeedRow, ...]:
    """In their order. An interrupted measurement has no memory and no differences: nobody waits for them."""
    rows = [_row(row, subjects[row.name], measured, seen, rules, rates) for row in wanted]
    if measured.stopped_by == INTERRUPTED:
        return tuple(rows)
    with_memory = [_with_memory(row, subjects[row.name]) for row in rows]
    return tuple(_with_difference(row, one, wanted, subjects) for row, one in zip(with_memory, wanted, strict=True))


def _row(wanted: Wanted, subject: Subject, measured: Measured, seen: Seen, rules: Rules, rates: Rates) -> SpeedRow:
    runs_s = measured.runs_s[wanted.name]
    work = stage_work(wanted.entry, wanted.batch, wanted.fast)
    return SpeedRow(
        name=wanted.name,
        recipe=subject.recipe,
        runs_s=runs_s,
        warmups_s=measured.warmups_s[wanted.name],
        stopped_by=measured.stopped_by,
        load_s=subject.load_s,
        first_call_s=subject.first_call_s,
        compile_s=subject.compile_s,
        network_calls=subject.call.network_calls,
        tflop=tflop_of(work),
        floor_s=floor_s(work, wanted.entry.setting.dtype, rates),
        memory={},
        notes=(*subject.quick.notes, *_cached(subject)),
        reasons=reasons(
            runs_s,
            seen,
            min_runs=rules.fewest_runs,
            interrupted=measured.stopped_by == INTERRUPTED,
        ),
    )


def _cached(subject: Subject) -> Iterator[str]:
    if subject.quick.compiled is not None and subject.quick.compiled.from_cache:
        yield "compiled kernels came from torch's cache on the disk: the first compilation takes longer"


def _with_memory(row: SpeedRow, subject: Subject) -> SpeedRow:
    peaks = memory_peaks(subject.call.work, subject.call.device)
    return replace(row, memory=peaks.by_stage, notes=(*row.notes, *([peaks.note] if peaks.note else [])))


def _with_difference(
    row: SpeedRow, wanted: Wanted, others: Sequence[Wanted], subjects: Mapping[str, Subject]
) -> SpeedRow:
    """Of the last call's clips from those of the row that it races, where both make the same clips but for rounding."""
    for other in others:
        if other.name in wanted.against and (other.entry, other.batch) == (wanted.entry, wanted.batch):
            own, its = subjects[wanted.name].call.frames, subjects[other.name].call.frames
            return replace(row, difference=difference(own, its, other.name))
    return row
