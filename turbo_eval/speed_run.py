"""What does `turbo-eval speed` do? Load, call once, warm up, measure interleaved, judge, count, write.

Mistakes of the command line are found before anything is loaded. A signal ends the measurement after the round in
hand; what was measured by then is written, INVALID. Memory and differences of clips come from calls of their own.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turbo_eval.durable import write_atomically
from turbo_eval.generators.device import find_device
from turbo_eval.provenance import cores
from turbo_eval.records import Prompt
from turbo_eval.screen import say
from turbo_eval.speed_choice import Wanted, rows_of
from turbo_eval.speed_request import DeviceKind, SpeedRequest, filled
from turbo_eval.suites import load_suite
from turbo_eval.timing import fingerprints
from turbo_eval.timing.baseline import check_new, compare, save_baseline
from turbo_eval.timing.figure import draw_scatter, draw_stages
from turbo_eval.timing.markdown import to_markdown
from turbo_eval.timing.measure import cost_per_call_s, measure_rounds
from turbo_eval.timing.quality import Quality, quality_of
from turbo_eval.timing.record import SpeedRecord, SpeedRow, SpeedUp
from turbo_eval.timing.record_file import document, read_record, write_record
from turbo_eval.timing.speed_ups import speed_ups
from turbo_eval.timing.stop_rule import INTERRUPTED, Rules
from turbo_eval.timing.watch import Watch, busy
from turbo_train.errors import UserError
from turbo_train.exits import finishing

if TYPE_CHECKING:
    from turbo_eval.generators.subject import Subject

RECORD_FILE, TABLE_FILE, STAGES_FILE, SCATTER_FILE = "speed.json", "speed.md", "stages.png", "scatter.png"
RUNS = Path("runs") / "speed"
RATES_S = 2.0  # for what the machine reaches, or a tenth of the time limit


@dataclass(frozen=True)
class Spoken:
    """What a measurement has to say. comparison: with the baseline, in sentences. files: for people and programs.

    refusal: why the record was not compared with the baseline, or may not be one.
    """

    record: SpeedRecord
    comparison: tuple[str, ...]
    files: tuple[Path, ...]
    interrupted: bool
    refusal: UserError | None = None

    def to_json(self) -> dict[str, Any]:
        """The document that --json prints: the record's file, and the comparison."""
        return {**document(self.record), "comparison": list(self.comparison)}


def run_speed(request: SpeedRequest) -> Spoken:
    """Measure and write. UserError: mistakes of the request, before anything is loaded; too large for the memory."""
    import torch

    device = find_device(request.device)
    kind: DeviceKind = "cuda" if device.startswith("cuda") else "cpu"
    wanted = rows_of(request, kind)
    asked = filled(request, kind)
    baseline = None if request.baseline is None else read_record(request.baseline)
    if request.save_baseline is not None:
        check_new(request.save_baseline)
    quality = _quality(request, wanted)
    torch.set_num_threads(request.threads or cores())
    if kind == "cuda":
        torch.cuda.set_device(device)  # compiled kernels and recordings are of the current one
    notes = [*_busy(device), *(["random weights: times do not depend on their values"] * asked.random_weights)]
    with tempfile.TemporaryDirectory(prefix="turbo-eval-speed-") as scratch:
        record = _measured(asked, wanted, device, Path(scratch), notes)
    return written(request, record, baseline, quality)


def _quality(request: SpeedRequest, wanted: Sequence[Wanted]) -> Quality | None:
    if request.scores is None:
        return None
    vaes = {row.name: "tiny" if row.fast.tiny_vae else "full" for row in wanted}
    return quality_of(request.scores, vaes, request.metric)


def _busy(device: str) -> Iterator[str]:
    clause = busy(device)
    if clause:
        say(f"before the start {clause}: the measurement will probably be INVALID")
        yield f"before the start {clause}"


def _measured(
    asked: SpeedRequest, wanted: Sequence[Wanted], device: str, scratch: Path, notes: Sequence[str]
) -> SpeedRecord:
    from turbo_eval.generators.rates import measure_rates
    from turbo_eval.generators.stage_clock import harness_s
    from turbo_eval.speed_rows import rows_of_measured

    began = datetime.now(UTC).isoformat(timespec="seconds")
    subjects = _subjects(asked, wanted, device, scratch)
    rates = measure_rates(device, [row.entry.setting.dtype for row in wanted], min(RATES_S, asked.max_s / 10))
    rules, watch = Rules(max_s=asked.max_s), Watch(device)
    say(f"measuring {', '.join(subjects)}, about {asked.max_s:g} s")
    with finishing(say, "round") as stop:

        def look_and_ask() -> bool:
            watch.look()
            return stop.requested

        measured = measure_rounds({name: one.call for name, one in subjects.items()}, rules, stop=look_and_ask)
    seen = watch.seen()
    rows = rows_of_measured(wanted, subjects, measured, seen, rules, rates)
    return SpeedRecord(
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        began=began,
        rows=rows,
        speed_ups=tuple(_races(wanted, rows)),
        rates=rates,
        harness_s=harness_s(subjects[wanted[0].name].call.device) + cost_per_call_s(),
        hardware=fingerprints.hardware(device),
        software=fingerprints.software(),
        notes=(*notes, *(f"not watched: {what}" for what in seen.unseen)),
        code=fingerprints.code(),
    )


def _subjects(asked: SpeedRequest, wanted: Sequence[Wanted], device: str, scratch: Path) -> dict[str, Subject]:
    """Row -> what is timed, loaded and called once."""
    from turbo_eval.generators.subject import Loading

    loading, subjects = Loading(device, asked.seed, scratch, random_weights=asked.random_weights), {}
    for row in wanted:
        say(f"loading {row.name}")
        loading.load(row.entry, row.fast, row.name)
    for row in wanted:
        say(f"calling {row.name} once")
        subjects[row.name] = loading.subject(row.entry, row.fast, prompts_for(row), row.name)
    return subjects


def prompts_for(row: Wanted) -> tuple[Prompt, ...]:
    """One per clip of a call: the first of its model's suite, over again where a call has more clips."""
    return tuple(islice(cycle(load_suite(row.entry.suite).prompts), row.batch))


def _races(wanted: Sequence[Wanted], rows: Sequence[SpeedRow]) -> Iterator[SpeedUp]:
    named = {row.name: row for row in rows}
    for row in wanted:
        for against in row.against:
            yield from speed_ups([named[row.name]], named[against])


def written(
    request: SpeedRequest, record: SpeedRecord, baseline: SpeedRecord | None, quality: Quality | None
) -> Spoken:
    """Everything of the record, whatever becomes of the baselines."""
    folder = request.out or RUNS / f"{record.began[:19].replace(':', '')}-{record.rows[0].name}"
    said: tuple[str, ...] = ()
    kept: tuple[Path, ...] = ()
    refusal = None
    if quality is not None:
        record = replace(record, notes=(*record.notes, *quality.notes))
    try:
        if baseline is not None:
            comparison = compare(baseline, record, request.force_incomparable)
            record, said = replace(record, stamp=comparison.stamp), comparison.sentences()
        if request.save_baseline is not None:
            kept = (save_baseline(record, request.save_baseline),)
    except UserError as error:
        refusal = error
    pictures = {STAGES_FILE: draw_stages(record)}
    if quality is not None and all(row.runs_s for row in record.rows):
        pictures[SCATTER_FILE] = draw_scatter(record, quality)
    table = to_markdown(record, said, tuple(pictures)).encode()
    files = [write_record(record, folder / RECORD_FILE)]
    files += [write_atomically(folder / name, data) for name, data in {TABLE_FILE: table, **pictures}.items()]
    interrupted = any(row.stopped_by == INTERRUPTED for row in record.rows)
    return Spoken(record, said, (*files, *kept), interrupted, refusal)
