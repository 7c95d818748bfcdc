"""How does a timing lie on the disk? One JSON file, read back strictly: nothing unknown, nothing missing.

    {"schema_version": 1, "record": <SpeedRecord, field by field>, "derived": [<of each row>]}

Numbers are exact (Python writes the shortest decimal that reads back as the same double). `derived` (medians,
intervals, verdicts) is for other programs, and never read: it follows from the runs.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import write_atomically, writing
from turbo_eval.timing.intervals import coefficient_of_variation, median_interval
from turbo_eval.timing.record import SCHEMA_VERSION, STAGES, WALL, SpeedRecord, SpeedRow
from turbo_train.errors import UserError, near

PARTS = ("schema_version", "record", "derived")


class _Mismatch(Exception):
    """What is wrong, and where: a path of names."""


def write_record(record: SpeedRecord, path: Path) -> Path:
    """Whole or not at all. ValueError: a number that is not finite. UserError: the disk refuses."""
    text = json.dumps(document(record), indent=1, ensure_ascii=False, allow_nan=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(path, (text + "\n").encode())


def document(record: SpeedRecord) -> dict[str, object]:
    """What is in the file."""
    return {"schema_version": SCHEMA_VERSION, "record": asdict(record), "derived": [derived(r) for r in record.rows]}


def derived(row: SpeedRow) -> dict[str, object]:
    """What follows from a row, for other programs: verdict; median and interval of each stage, in seconds.

    None: too few runs for it. A stage without any run is left out.
    """
    stages = {}
    for stage, runs_s in row.runs_s.items():
        if runs_s:
            median_s, low_s, high_s = median_interval(runs_s)
            cv = coefficient_of_variation(runs_s) if len(runs_s) > 1 else None
            stages[stage] = {"median_s": median_s, "low_s": low_s, "high_s": high_s, "cv": cv}
    return {
        "name": row.name,
        "recipe_fingerprint": row.recipe.fingerprint,
        "verdict": "VALID" if row.valid else "INVALID",
        "codes": [reason.code for reason in row.reasons],
        "stages": stages,
    }


def read_record(path: Path) -> SpeedRecord:
    """A record that `write_record` wrote. UserError: no such file, another schema, a field too many or too few."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise _not_a_record(f"no file {path}") from None
    except (OSError, ValueError) as error:
        raise _not_a_record(f"{path} cannot be read ({error})") from error
    if not isinstance(whole, dict) or "schema_version" not in whole:
        raise _not_a_record(f"no schema_version in {path}")
    if (version := whole["schema_version"]) != SCHEMA_VERSION:
        raise UserError(
            found=f"{path} with schema_version {version!r}",
            expected=f"schema_version {SCHEMA_VERSION}, which this version of turbo-eval writes",
            run_next="turbo-eval speed again, for a new file",
        )
    try:
        _names(whole, PARTS, "")
        record = _typed(SpeedRecord, whole["record"], "record")
        for i, row in enumerate(record.rows):
            _check_runs(row.runs_s, f"record.rows[{i}].runs_s")
    except _Mismatch as error:
        raise _not_a_record(f"{error} in {path}") from None
    assert isinstance(record, SpeedRecord)
    return record


def _check_runs(runs_s: Mapping[str, tuple[float, ...]], where: str) -> None:
    """_Mismatch: other stages than those of a call, not as many runs of each, or a call that took no time."""
    if not runs_s:  # a signal came before the first run
        return
    _names(runs_s, (*STAGES, WALL), where)
    if len({len(runs) for runs in runs_s.values()}) > 1:
        raise _Mismatch(f"not as many runs of each stage at {where}")
    if min(runs_s[WALL], default=1.0) <= 0:
        raise _Mismatch(f"a call that took no time at {where}.{WALL}")


def _not_a_record(found: str) -> UserError:
    return UserError(
        found=found,
        expected="a file that turbo-eval speed wrote, unchanged",
        run_next="turbo-eval speed, which writes one",
    )


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _names(found: Mapping[str, object], wanted: tuple[str, ...], where: str) -> None:
    at = f" at {where}" if where else ""
    for name in found:
        if name not in wanted:
            raise _Mismatch(f"an unknown field {name!r}{at}{near(name, wanted)}")
    for name in wanted:
        if name not in found:
            raise _Mismatch(f"no field {name!r}{at}")


def _typed(kind: Any, value: Any, where: str) -> Any:
    """The value as an annotated type says. _Mismatch: it is another."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is object:
        return value
    if origin in (typing.Union, types.UnionType):  # of records: X | None alone
        (some,) = (part for part in parts if part is not type(None))
        return None if value is None else _typed(some, value, where)
    if isinstance(kind, type) and is_dataclass(kind):
        _of_type(value, dict, "an object", where)
        _names(value, tuple(field.name for field in fields(kind)), where)
        hints = typing.get_type_hints(kind)
        return kind(**{name: _typed(hints[name], part, f"{where}.{name}") for name, part in value.items()})
    if origin is tuple:
        _of_type(value, list, "a list", where)
        return tuple(_typed(parts[0], part, f"{where}[{i}]") for i, part in enumerate(value))
    if origin is Mapping:
        _of_type(value, dict, "an object", where)
        return {name: _typed(parts[1], part, f"{where}.{name}") for name, part in value.items()}
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _Mismatch(f"{value!r} at {where}, where a number is expected,")
        return float(value)
    _of_type(value, kind, {str: "a text", bool: "true or false", int: "a whole number"}[kind], where)
    return value


def _of_type(value: object, kind: type, words: str, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _Mismatch(f"{value!r:.60} at {where}, where {words} is expected,")
