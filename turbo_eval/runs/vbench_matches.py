"""Which clip does each result of VBench's speak of? The one whose file VBench opened, by its name in any spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.durable import sha256_of
from turbo_eval.records import ClipId, Prompt
from turbo_eval.runs.imported import SCORER, LeftOut
from turbo_eval.runs.vbench_results import ResultsFile, VideoResult
from turbo_eval.runs.vbench_sources import Sources
from turbo_eval.store import Run
from turbo_train.errors import UserError
from turbo_train.video_io import VIDEO_SUFFIXES

STATIC_FILTER = "filtered_videos"  # VBench's static_filter.py copies clips there under new numbers


@dataclass(frozen=True)
class Match:
    """A clip's result and where it stands."""

    value: float
    file: ResultsFile
    number: int


Matches = Mapping[tuple[str, ClipId], Match]  # (dimension, clip)


class ClipNames:
    """Clips by the names that VBench's results call them by."""

    def __init__(self, clips: Iterable[tuple[ClipId, Prompt]]) -> None:
        # By falling right: the prompt's very text, its text in NFC (macOS decomposes), its id (our own naming).
        self._levels: tuple[dict[str, set[ClipId]], ...] = ({}, {}, {})
        for clip_id, prompt in clips:
            exact = f"{prompt.prompt}-{clip_id[2]}"
            names = (exact, unicodedata.normalize("NFC", exact), f"{prompt.prompt_id}-{clip_id[2]}")
            for level, name in zip(self._levels, names, strict=True):
                level.setdefault(name, set()).add(clip_id)

    def find(self, video_path: str) -> ClipId | None:
        """The clip of a path in any system's spelling, or None; None also where two clips have that name."""
        for name in dict.fromkeys((video_path.rpartition("/")[2], re.split(r"[/\\]", video_path)[-1])):
            stem = stem_of(name)
            for level, key in zip(self._levels, (stem, unicodedata.normalize("NFC", stem), stem), strict=True):
                if found := level.get(key):
                    return next(iter(found)) if len(found) == 1 else None
        return None


def stem_of(name: str) -> str:
    """The name without a video's suffix; other dots belong to the prompt."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in VIDEO_SUFFIXES else name


def match(files: Sequence[ResultsFile], names: ClipNames, sources: Sources) -> tuple[Matches, list[LeftOut]]:
    """(dimension, clip) -> result, and the results without a clip. UserError for two numbers for one."""
    matches: dict[tuple[str, ClipId], Match] = {}
    left_out = []
    for file in files:
        for dimension, results in file.dimensions.items():
            for video in results.videos:
                clip_id, why = _clip_of(video, names, sources)
                if clip_id is None:
                    left_out.append(LeftOut(dimension, video.video_path, why))
                    continue
                here = Match(video.value, file, video.number)
                first = matches.setdefault((dimension, clip_id), here)
                if first is not here and (first.file is here.file or first.value != here.value):
                    raise _two_numbers(dimension, clip_id, first, here)
    return matches, left_out


def _clip_of(video: VideoResult, names: ClipNames, sources: Sources) -> tuple[ClipId | None, str]:
    """The clip of a result, or why there is none. What the static filter has renumbered is found by its bytes."""
    parts = video.video_path.replace("\\", "/").split("/")
    if len(parts) > 1 and parts[-2] == STATIC_FILTER and sources.folder.resolve().name != STATIC_FILTER:
        path = Path(video.video_path)
        found = sources.by_sha256(sha256_of(path)) if path.is_file() else None
        return found, "renumbered by VBench's static filter, and its copy is not there to be recognised"
    return names.find(video.video_path), "no such clip"


def _two_numbers(dimension: str, clip_id: ClipId, first: Match, second: Match) -> UserError:
    places = " and ".join(f"{m.value!r} ({m.file.path.name}, clip {m.number})" for m in (first, second))
    return UserError(
        found=f"two results for {spell(clip_id)} in {dimension}: {places}",
        expected="one result for a clip and dimension",
        run_next="the same command with --results FILE, the one that counts, and the other moved away",
    )


def check_scores(run: Run, matches: Matches) -> None:
    """UserError when a clip already has another number of VBench's."""
    for (dimension, clip_id), match in matches.items():
        clip = run.clip(clip_id)
        known = run.score(clip, dimension, SCORER) if clip else None
        if known is not None and known.value != match.value:
            raise UserError(
                found=f"{dimension} of {spell(clip_id)} is {match.value!r} in {match.file.path.name} (clip "
                f"{match.number}) and {known.value!r} in an earlier import into {run.folder}",
                expected="one result for a clip and dimension",
                run_next="the same command with another --out, a run of its own for those results",
            )


def spell(clip_id: ClipId) -> str:
    """`prompt_id-sample_index`."""
    return f"{clip_id[1]}-{clip_id[2]}"
