"""Did a model become slower since the baseline was kept? Rows of the same recipe, on the same hardware and software.

A baseline is a record whose every row is VALID. Two records are compared where recipe, hardware and software agree
field by field; what differs is refused by name with both values, or, forced, stamped on every output. Rows are matched
by the fingerprint of their recipe; the medians' ratio and its interval: two_sessions.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from turbo_eval.timing.record import WALL, Ratio, SpeedRecord, SpeedRow
from turbo_eval.timing.record_file import write_record
from turbo_eval.timing.two_sessions import CAVEAT, Change, change
from turbo_train.errors import UserError

STAMP = "INCOMPARABLE: "
AGAIN = "turbo-eval speed again, on a machine that nothing else uses"
FORCE = "--force-incomparable compares them all the same, and stamps it"


class NotValid(UserError):
    """A measurement that may not be quoted. Exit code 4."""

    exit_code = 4


@dataclass(frozen=True)
class RowChange:
    """One recipe, then and now. old: the row's name in the baseline."""

    name: str
    old: str
    wall: Change
    denoising: Change


@dataclass(frozen=True)
class Comparison:
    """Rows that both have; the baseline's rows that were not measured now, and rows without one of the baseline.

    A row that a signal ended before its first run counts as not measured. stamp: what every output has to carry; empty:
    nothing was forced. caveat: what the intervals do not know.
    """

    rows: tuple[RowChange, ...]
    not_measured: tuple[str, ...]
    without_baseline: tuple[str, ...]
    stamp: str
    caveat: str = CAVEAT

    def sentences(self) -> tuple[str, ...]:
        """For people: the stamp first, the caveat last."""
        said = [self.stamp] if self.stamp else []
        for row in self.rows:
            said.append(f"{row.name}: end to end {_said(row.wall)}; denoising {_said(row.denoising)}")
        if self.not_measured:
            said.append(f"in the baseline but not measured now: {', '.join(self.not_measured)}")
        if self.without_baseline:
            said.append(f"without a row of the baseline: {', '.join(self.without_baseline)}")
        return (*said, self.caveat)


def save_baseline(record: SpeedRecord, path: Path) -> Path:
    """Keeps a record for later comparisons. NotValid: a row is INVALID, there is none, or it is stamped.

    UserError: the file is there already.
    """
    if doubts := _doubts(record):
        raise NotValid(found="; ".join(doubts), expected="a baseline whose every row is VALID", run_next=AGAIN)
    check_new(path)
    return write_record(record, path)


def check_new(path: Path) -> None:
    """UserError: a file is there already. To be asked before anything is measured."""
    if path.exists():
        raise UserError(
            found=f"{path} is there already",
            expected="a new file: no baseline is overwritten",
            run_next="another --save-baseline FILE, or remove the old one",
        )


def compare(baseline: SpeedRecord, record: SpeedRecord, force: bool = False) -> Comparison:
    """The record against the baseline. NotValid: an INVALID row or a stamp on either side; UserError: see below.

    UserError: recipe, hardware or software differ. force: both kinds become a stamp instead.
    """
    pairs, not_measured, without = _pairs(baseline, record)
    differing = [
        *_differing("hardware", baseline.hardware, record.hardware),
        *_differing("software", baseline.software, record.software),
    ]
    for old, new in pairs:
        where = f"recipe of {new.name}" if old.name == new.name else f"recipe of {old.name} and {new.name}"
        differing += _differing(where, asdict(old.recipe), asdict(new.recipe))
    differing += [f"no row of the baseline is of {row.name}" for row in without]
    doubts = [f"baseline: {doubt}" for doubt in _doubts(baseline)] + [f"now: {doubt}" for doubt in _doubts(record)]
    if differing and not force:
        expected = "the same recipe, hardware and software on both sides (baseline / now)"
        raise UserError(found="; ".join(differing), expected=expected, run_next=FORCE)
    if doubts and not force:
        raise NotValid(found="; ".join(doubts), expected="VALID rows on both sides", run_next=f"{AGAIN}; {FORCE}")
    reasons = "; ".join((*differing, *doubts))
    not_measured += [old for old, new in pairs if not _was_measured(new)]
    without += [new for old, new in pairs if _was_measured(new) and not _was_measured(old)]
    return Comparison(
        rows=tuple(_row_change(old, new) for old, new in pairs if _was_measured(old) and _was_measured(new)),
        not_measured=tuple(row.name for row in not_measured),
        without_baseline=tuple(row.name for row in without),
        stamp=f"{STAMP}{reasons}" if reasons else "",
    )


def _doubts(record: SpeedRecord) -> list[str]:
    """Why a record may not be quoted."""
    doubts = [f"{row.name} is INVALID ({_reasons(row)})" for row in record.rows if not row.valid]
    doubts += [] if record.rows else ["no row was measured"]
    return [*doubts, f"stamped {record.stamp!r}"] if record.stamp else doubts


def _reasons(row: SpeedRow) -> str:
    return "; ".join(f"{reason.code}: {reason.text}" for reason in row.reasons)


def _pairs(
    baseline: SpeedRecord, record: SpeedRecord
) -> tuple[list[tuple[SpeedRow, SpeedRow]], list[SpeedRow], list[SpeedRow]]:
    """(old, new) of equal recipes, then of equal names; rows of the baseline, and of the record, without the other."""
    free = list(baseline.rows)
    pairs: list[tuple[SpeedRow, SpeedRow]] = []
    left = list(record.rows)
    for same in (_same_recipe, _same_name):
        rest = []
        for new in left:
            old = next((old for old in free if same(old, new)), None)
            if old is None:
                rest.append(new)
            else:
                free.remove(old)
                pairs.append((old, new))
        left = rest
    return pairs, free, left


def _same_recipe(old: SpeedRow, new: SpeedRow) -> bool:
    return old.recipe.fingerprint == new.recipe.fingerprint


def _same_name(old: SpeedRow, new: SpeedRow) -> bool:
    return old.name == new.name


def _differing(where: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """`hardware: cpu 'A' / 'B', cores 2 / 4`, or nothing."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not names:
        return []
    return [f"{where}: " + ", ".join(f"{name} {old.get(name)!r} / {new.get(name)!r}" for name in names)]


def _was_measured(row: SpeedRow) -> bool:
    return bool(row.runs_s.get(WALL))


def _row_change(old: SpeedRow, new: SpeedRow) -> RowChange:
    wall = change(old.runs_s[WALL], new.runs_s[WALL])
    return RowChange(new.name, old.name, wall, change(old.denoising_s, new.denoising_s))


def _said(found: Change) -> str:
    """`1.062x [1.041, 1.083] the baseline's time: slower (a slow-down of 1.8 % would be found four times of five)`."""
    if found.interval is None:
        return f"{found.ratio:.4g}x the baseline's time, too few runs for an interval"
    least = ""
    if found.smallest_found is not None:
        least = f" (a slow-down of {100 * found.smallest_found:.2g} % would be found four times of five)"
    return f"{found.ratio:.4g}x {_bounds(found.interval)} the baseline's time: {found.verdict}{least}"


def _bounds(interval: Ratio) -> str:
    return f"[{interval.low:.4g}, {interval.high:.4g}]"
