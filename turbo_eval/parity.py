"""Do two engines agree on the same clips? Differences, verdicts, and how many times faster one of them is.

For each clip: absolute = |ours - official|, relative = absolute / max(|official|, FLOOR). A dimension agrees where
every relative difference is within the tolerance and every verdict (yes or no) is the same. A clip that one engine
alone can score is named, and the dimension is not wholly compared. Nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.official import ClipFile, Measured

SCHEMA_VERSION = 1
TOLERANCE = 1e-3
FLOOR = 0.01  # a score nearer to 0 is held against this
VERDICTS = (spec.DYNAMIC_DEGREE, spec.HUMAN_ACTION)
TOGETHER = (  # one computation in our engine, one each in VBench's
    (spec.OBJECT_CLASS, spec.MULTIPLE_OBJECTS, spec.COLOR, spec.SPATIAL_RELATIONSHIP),
    (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY),
)


@dataclass(frozen=True)
class ClipScores:
    """One clip. None: that engine gave no number; why: what it said instead."""

    clip: str
    official: float | None
    ours: float | None
    why: str = ""

    @property
    def both(self) -> tuple[float, float] | None:
        """(official, ours), None unless both gave a number."""
        return None if self.official is None or self.ours is None else (self.official, self.ours)


@dataclass(frozen=True)
class Row:
    """One dimension. why_not: why nothing of it could be compared. Seconds are of all clips, without loading.

    cpu_s: of all threads; on a busy machine the fairer ratio.
    """

    dimension: str
    tolerance: float
    clips: tuple[ClipScores, ...] = ()
    why_not: str = ""
    official_s: float | None = None
    ours_s: float | None = None
    official_cpu_s: float | None = None
    ours_cpu_s: float | None = None
    official_load_s: float | None = None
    ours_load_s: float | None = None
    official_peak_bytes: int | None = None
    ours_peak_bytes: int | None = None

    @property
    def compared(self) -> int:
        """Clips that both engines scored."""
        return len(self._pairs())

    @property
    def largest_absolute(self) -> float | None:
        """Over the clips; None where there is none to compare."""
        return max((abs(ours - official) for official, ours in self._pairs()), default=None)

    @property
    def largest_relative(self) -> float | None:
        """Over the clips; None where there is none to compare."""
        return max((abs(ours - o) / max(abs(o), FLOOR) for o, ours in self._pairs()), default=None)

    @property
    def flipped(self) -> tuple[str, ...] | None:
        """Clips whose verdicts differ; None for a dimension that gives none."""
        if self.dimension not in VERDICTS:
            return None
        return tuple(clip.clip for clip in self.clips if clip.both and clip.both[0] != clip.both[1])

    @property
    def one_sided(self) -> tuple[ClipScores, ...]:
        """Clips that one engine alone scored."""
        return tuple(clip for clip in self.clips if (clip.official is None) != (clip.ours is None))

    @property
    def agrees(self) -> bool | None:
        """Of the clips that were compared; None where there is none."""
        if self.largest_relative is None:
            return None
        return self.largest_relative <= self.tolerance and not self.flipped

    @property
    def is_whole(self) -> bool:
        """Whether something was compared, and no clip was scored by one engine alone."""
        return bool(self.compared) and not self.one_sided

    def _pairs(self) -> list[tuple[float, float]]:
        return [clip.both for clip in self.clips if clip.both]

    def to_json(self) -> dict[str, Any]:
        """Its fields, then what follows from them."""
        names = ("compared", "largest_absolute", "largest_relative", "flipped", "agrees", "is_whole")
        return asdict(self) | {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """Of to_json. KeyError and TypeError for anything else."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        return cls(**{**known, "clips": tuple(ClipScores(**clip) for clip in data["clips"])})


@dataclass(frozen=True)
class Speed:
    """Seconds of both engines for all clips of some dimensions. times_faster: VBench's over ours."""

    dimensions: tuple[str, ...]
    official_s: float
    ours_s: float

    @property
    def times_faster(self) -> float:
        """How many times faster ours is."""
        return self.official_s / max(self.ours_s, 1e-9)


def row_of(dimension: str, clips: Sequence[ClipFile], official: Measured, ours: Measured, tolerance: float) -> Row:
    """What both say of the clips, in their order."""
    failed = [f"{name}: {m.failed}" for name, m in (("official", official), ("ours", ours)) if m.failed]
    scores = [] if failed else [_scores(clip.path, official, ours) for clip in clips]
    whys = list(dict.fromkeys(clip.why for clip in scores))
    nothing = "; ".join(whys[:2]) if scores and not any(clip.both for clip in scores) else ""
    return Row(
        dimension=dimension,
        tolerance=tolerance,
        clips=tuple(scores),
        why_not="; ".join(failed) or nothing,
        official_s=official.score_s,
        ours_s=ours.score_s,
        official_cpu_s=official.cpu_s,
        ours_cpu_s=ours.cpu_s,
        official_load_s=official.load_s,
        ours_load_s=ours.load_s,
        official_peak_bytes=official.peak_bytes,
        ours_peak_bytes=ours.peak_bytes,
    )


def _scores(path: Path, official: Measured, ours: Measured) -> ClipScores:
    sides = (("official", official), ("ours", ours))
    whys = [f"{name}: {m.unscored.get(path, 'no word of it')}" for name, m in sides if path not in m.values]
    return ClipScores(path.name, official.values.get(path), ours.values.get(path), "; ".join(whys))


def groups_of(dimensions: Sequence[str]) -> list[tuple[str, ...]]:
    """The dimensions in their order, those that our engine computes at once together."""
    groups: list[tuple[str, ...]] = []
    for name in dimensions:
        whole = next((group for group in TOGETHER if name in group), (name,))
        group = tuple(member for member in whole if member in dimensions)
        if group not in groups:
            groups.append(group)
    return groups


def speeds(rows: Sequence[Row]) -> list[Speed]:
    """Of each group of dimensions whose times are known on both sides, for the very clips that both scored."""
    by_name = {row.dimension: row for row in rows}
    found = []
    for group in groups_of([row.dimension for row in rows]):
        members = [by_name[name] for name in group]
        official = [row.official_s for row in members if row.official_s is not None]
        ours = [row.ours_s for row in members if row.ours_s is not None]
        if len(official) == len(ours) == len(members) and all(row.is_whole for row in members):
            found.append(Speed(group, sum(official), sum(ours)))
    return found


def exit_code(rows: Sequence[Row]) -> int:
    """0: all agree. 1: one differs. 3: one could not be compared, or not on every clip."""
    if any(row.agrees is False for row in rows):
        return 1
    return 0 if rows and all(row.is_whole for row in rows) else 3
