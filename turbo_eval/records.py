"""What is known about a prompt, a clip and a score? The records that cross the package, each one JSON line.

A score is a number or `unscored(reason)`, never both, never NaN and never 0 in place of "no number".
A canonical line has sorted keys and floats in their shortest exact form (Python's repr), so equal records are
equal bytes on every machine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

SCHEMA_VERSION = 2
ClipId = tuple[str, str, int]  # (model, prompt_id, sample_index)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")  # model and prompt ids become file names
SHA256 = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


def check_name(kind: str, name: str) -> str:
    """`name` itself, if it may be (part of) a file name on every system; else ValueError."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise ValueError(f"{kind} {name[:120]!r}; use letters, digits, '.', '_' and '-' (at most 100, no leading '.')")
    return name


def take(data: Mapping[str, Any], key: str, kind: type[_T], default: _T | None = None) -> _T:
    """`data[key]`, checked to be of a JSON type (an int passes for a float). ValueError names what is wrong."""
    if key not in data and default is not None:
        return default
    if key not in data:
        raise ValueError(f"no field {key!r}")
    value = data[key]
    if kind is float and type(value) is int:
        return cast("_T", float(value))
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"field {key!r} is {value!r}, not of type {kind.__name__}")
    return value


def _check_schema(data: Mapping[str, Any]) -> None:
    found = take(data, "schema_version", int)
    if found != SCHEMA_VERSION:
        raise ValueError(f"schema_version {found}, this version reads {SCHEMA_VERSION}")


@dataclass(frozen=True)
class Prompt:
    """One prompt of a suite. `dimensions` it is meant for (empty: all); `attributes`: what a clip of it must show."""

    prompt_id: str
    prompt: str
    dimensions: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    held_out: bool = False

    def __post_init__(self) -> None:
        check_name("prompt_id", self.prompt_id)
        if not self.prompt.strip():
            raise ValueError("an empty prompt")

    def to_json(self) -> dict[str, Any]:
        """The prompt as it stands in a suite file."""
        return {
            "prompt_id": self.prompt_id,
            "prompt": self.prompt,
            "dimensions": list(self.dimensions),
            "attributes": dict(self.attributes),
            "held_out": self.held_out,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], default_id: str = "") -> Prompt:
        """Only `prompt` is required where a `default_id` is given. ValueError for anything else than the schema."""
        unknown = sorted(set(data) - {"prompt_id", "prompt", "dimensions", "attributes", "held_out"})
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}")
        dimensions: list[Any] = take(data, "dimensions", list, [])
        attributes: dict[str, Any] = take(data, "attributes", dict, {})
        if not all(isinstance(value, str) for value in (*dimensions, *attributes.values())):
            raise ValueError("dimensions and attributes hold strings only")
        return cls(
            take(data, "prompt_id", str, default_id or None),
            take(data, "prompt", str),
            tuple(dimensions),
            attributes,
            take(data, "held_out", bool, False),
        )


@dataclass(frozen=True)
class ClipRecord:
    """One clip that exists. `path` is posix and relative to the run folder: clips/<folder>/<file>.

    key: the content key (keys.py) of what made it; another key is another clip. suite_sha256: of the suite (suites.py).
    """

    model: str
    prompt_id: str
    sample_index: int
    path: str
    sha256: str
    size_bytes: int
    frames: int
    height_px: int
    width_px: int
    fps: float
    key: str
    suite_sha256: str

    def __post_init__(self) -> None:
        check_name("model", self.model)
        check_name("prompt_id", self.prompt_id)
        parts = self.path.split("/")
        plain = "\\" not in self.path and not any(part in ("", ".", "..") for part in parts)
        if not plain or len(parts) != 3 or parts[0] != "clips":  # what a row names may be removed (runs/gc.py)
            raise ValueError(f"path {self.path!r} is not clips/<folder>/<file>")
        for digest in (self.sha256, self.key, self.suite_sha256):
            if not SHA256.fullmatch(digest):
                raise ValueError(f"sha256 {digest!r}")
        counts = (self.size_bytes, self.frames, self.height_px, self.width_px)
        if self.sample_index < 0 or min(counts) < 1 or not 0 < self.fps < math.inf:
            raise ValueError(f"not positive and finite: {self}")
        object.__setattr__(self, "fps", float(self.fps))

    @property
    def clip_id(self) -> ClipId:
        """(model, prompt_id, sample_index)."""
        return (self.model, self.prompt_id, self.sample_index)

    def to_json(self) -> dict[str, Any]:
        """The record with its schema version."""
        return {"schema_version": SCHEMA_VERSION, **self.__dict__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ClipRecord:
        """ValueError says which field is missing or wrong."""
        _check_schema(data)
        return cls(
            model=take(data, "model", str),
            prompt_id=take(data, "prompt_id", str),
            sample_index=take(data, "sample_index", int),
            path=take(data, "path", str),
            sha256=take(data, "sha256", str),
            size_bytes=take(data, "size_bytes", int),
            frames=take(data, "frames", int),
            height_px=take(data, "height_px", int),
            width_px=take(data, "width_px", int),
            fps=take(data, "fps", float),
            key=take(data, "key", str),
            suite_sha256=take(data, "suite_sha256", str),
        )


@dataclass(frozen=True)
class ScoreRecord:
    """What one scorer says of one clip: exactly one of a finite `value` and a reason why it is `unscored`.

    suite_sha256: None until a run keeps the score; scores of different suites are not compared.
    """

    model: str
    prompt_id: str
    sample_index: int
    metric: str
    scorer: str
    value: float | None = None
    unscored: str | None = None
    suite_sha256: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.unscored is None):
            raise ValueError(f"a score has either a value or a reason why it has none: {self}")
        if self.value is not None:
            if not math.isfinite(self.value):
                raise ValueError(f"not a finite score: {self}")
            object.__setattr__(self, "value", float(self.value))
        if self.unscored is not None and not self.unscored.strip():
            raise ValueError(f"unscored without a reason: {self}")

    @property
    def clip_id(self) -> ClipId:
        """(model, prompt_id, sample_index)."""
        return (self.model, self.prompt_id, self.sample_index)

    @property
    def sort_key(self) -> tuple[str, str, str, str, int]:
        """The order of scores.jsonl: metric, scorer, model, prompt_id, sample_index."""
        return (self.metric, self.scorer, self.model, self.prompt_id, self.sample_index)

    def to_json(self) -> dict[str, Any]:
        """The record with its schema version; the absent one of value and unscored is null."""
        return {"schema_version": SCHEMA_VERSION, **self.__dict__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreRecord:
        """ValueError says which field is missing or wrong."""
        _check_schema(data)
        return cls(
            model=take(data, "model", str),
            prompt_id=take(data, "prompt_id", str),
            sample_index=take(data, "sample_index", int),
            metric=take(data, "metric", str),
            scorer=take(data, "scorer", str),
            value=None if data.get("value") is None else take(data, "value", float),
            unscored=None if data.get("unscored") is None else take(data, "unscored", str),
            suite_sha256=None if data.get("suite_sha256") is None else take(data, "suite_sha256", str),
        )


def canonical_json(data: Mapping[str, Any]) -> str:
    """One line of JSON: sorted keys, floats by repr, UTF-8 text as it is; ValueError for NaN and infinities."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)


def canonical_line(record: Prompt | ClipRecord | ScoreRecord) -> str:
    """The record as one canonical line, without its newline."""
    return canonical_json(record.to_json())
