"""Which file of a folder is the clip of a prompt and a sample?

VBench's naming, `{prompt}-{index}.mp4`, or `{prompt_id}-{index}.mp4`, where the first clip's may lack the `-0`; any
suffix of turbo_train.video_io. Names are compared in Unicode NFC, since some file systems store them decomposed.
Nothing is decoded here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.records import Prompt
from turbo_train.errors import UserError
from turbo_train.video_io import VIDEO_SUFFIXES

INDEX = re.compile(r"-\d+$")
NAMES = "files named {prompt}-{index}.mp4 or {prompt_id}-{index}.mp4"


@dataclass(frozen=True)
class VideoFolder:
    """The clips of a folder by the stem of their file's name."""

    folder: Path
    by_stem: Mapping[str, Path]

    def find(self, prompt: Prompt, sample_index: int) -> Path | None:
        """The file of a clip, or None. A name without an index is the first clip's."""
        names = [f"{key}-{sample_index}" for key in (prompt.prompt_id, prompt.prompt)]
        names += [] if sample_index else [prompt.prompt_id, prompt.prompt]
        return next((self.by_stem[stem] for stem in map(_nfc, names) if stem in self.by_stem), None)

    def strays(self, prompts: Sequence[Prompt]) -> list[str]:
        """The names of the files that are no clip of any of the prompts, whatever their index."""
        known = {_nfc(name) for prompt in prompts for name in (prompt.prompt_id, prompt.prompt)}
        return [path.name for stem, path in self.by_stem.items() if not {stem, INDEX.sub("", stem)} & known]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def open_folder(folder: Path, prompts: Sequence[Prompt], samples: int) -> VideoFolder:
    """List a folder. UserError: not a folder, no video in it, none that belongs to the prompts, two for one clip."""
    if not folder.is_dir():
        raise UserError(found=f"{folder} is not a folder", expected="a folder of clips", run_next=f"use {NAMES}")
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise UserError(
            found=f"no videos in {folder}",
            expected=f"{NAMES} ({', '.join(sorted(VIDEO_SUFFIXES))})",
            run_next="turbo-eval vbench --videos DIR with the folder that holds the clips",
        )
    by_stem: dict[str, Path] = {}
    for path in files:
        if (stem := _nfc(path.stem)) in by_stem:
            raise _two_for_one(by_stem[stem], path)
        by_stem[stem] = path
    found = VideoFolder(folder, by_stem)
    known = {_nfc(name) for prompt in prompts for name in (prompt.prompt_id, prompt.prompt)}
    for name in sorted(known & by_stem.keys()):
        if (indexed := f"{name}-0") in by_stem:
            raise _two_for_one(by_stem[indexed], by_stem[name])
    _check_unambiguous(found, prompts, samples)
    if not any(found.find(prompt, index) for prompt in prompts for index in range(samples)):
        raise UserError(
            found=f"none of the {len(files)} videos in {folder} belongs to the suite (the first is {files[0].name})",
            expected=f"{NAMES}, for example {prompts[0].prompt}-0.mp4 or {prompts[0].prompt_id}-0.mp4",
            run_next="turbo-eval list suites",
        )
    return found


def _two_for_one(first: Path, second: Path) -> UserError:
    return UserError(
        found=f"two videos for one clip: {first.name} and {second.name}",
        expected="one file per prompt and sample",
        run_next="move one of them away",
    )


def _check_unambiguous(found: VideoFolder, prompts: Sequence[Prompt], samples: int) -> None:
    """UserError when one file would be the clip of two different texts (equal but for Unicode's forms, or an id)."""
    owner: dict[Path, Prompt] = {}
    for prompt in prompts:
        for index in range(samples):
            path = found.find(prompt, index)
            if path and (other := owner.setdefault(path, prompt)).prompt != prompt.prompt:
                raise UserError(
                    found=f"{path.name} belongs to two prompts, {other.prompt_id} and {prompt.prompt_id}",
                    expected="one file per prompt and sample",
                    run_next="name their files {prompt_id}-{index}.mp4",
                )
