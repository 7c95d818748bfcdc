"""Which samples does a folder of clips give? Every clip with its caption once an epoch, in an order of its own.

Captions: `captions.csv` or `captions.jsonl` with the fields file and caption, paths as seen from the folder; or without
such a table `x.txt` beside `x.mp4`, in the folder and below it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from turbo_train.data.clips import Wanted, read_caption, read_clip
from turbo_train.data.sample import Drawn, Position, Sample
from turbo_train.data.skipped import Fruitless, Unusable
from turbo_train.data.turns import Line, seeded
from turbo_train.errors import UserError
from turbo_train.video_io import VIDEO_SUFFIXES

PLACE = 6004  # of the window in a clip
TABLES = ("captions.csv", "captions.jsonl")
COLUMNS = ("file", "caption")


@dataclass(frozen=True)
class Item:
    """A clip, its caption, or both. name: of the clip, or of the caption that has none. text None: in `x.txt`."""

    name: str
    clip: Path | None
    caption: Path | str | None


@dataclass(frozen=True)
class Folder:
    """A Source. epochs: after how many a lane ends; None: never."""

    folder: Path
    items: tuple[Item, ...]
    wanted: Wanted
    seed: int = 0
    epochs: int | None = None

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        """UserError: a position in a folder with other clips."""
        first, _ = self._line.start(start)
        return self._walk(self._line, number, lanes, first)

    @cached_property
    def _line(self) -> Line:
        return Line(tuple(item.name for item in self.items), self.seed, self.epochs)

    def _walk(self, line: Line, number: int, lanes: int, first: int) -> Iterator[Drawn]:
        fruitless = Fruitless(len(self.items), str(self.folder))
        for turn in line.turns(number, lanes, first):
            position, item = line.position(turn.number + 1), self.items[turn.unit]
            try:
                sample = self._sample(item, turn.epoch, turn.unit)
            except Unusable as why:
                yield Drawn(position, skipped=fruitless.skipped(f"{self.folder / item.name}: {why}"))
                fruitless.over(turn.unit)
                continue
            fruitless.found()
            yield Drawn(position, sample)

    def _sample(self, item: Item, epoch: int, number: int) -> Sample:
        if item.clip is None:
            raise Unusable("a caption without a clip")
        if item.caption is None:
            raise Unusable("a clip without a caption")
        try:
            data = item.caption.encode() if isinstance(item.caption, str) else item.caption.read_bytes()
        except OSError as error:
            raise Unusable(f"its caption cannot be read ({error.strerror})") from error
        text = read_caption(data)
        frames_TCHW = read_clip(item.clip, self.wanted, seeded(PLACE, self.seed, epoch, number))
        return Sample(text, str(self.folder / item.name), frames_TCHW=frames_TCHW)


def list_items(folder: Path) -> tuple[Item, ...]:
    """What is there, by name; a clip or a caption that stands alone is an item too, which will be skipped by name.

    UserError: two tables, a table that cannot be read, no clip at all.
    """
    clips = {
        path.relative_to(folder).as_posix(): path for path in _files(folder) if path.suffix.lower() in VIDEO_SUFFIXES
    }
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(tables) > 1:
        raise _wrong(f"both {' and '.join(TABLES)} in {folder}", "one table of captions")
    if not clips:
        found = f"no clip in {folder}" + _what_else(folder)
        raise _wrong(found, f"clips ({', '.join(VIDEO_SUFFIXES)}) with captions, or shards (.tar)")
    if tables:
        captions = _read_table(tables[0])
        named = sorted({*clips, *captions})
        return tuple(Item(name, _existing(folder / name), captions.get(name)) for name in named)
    texts = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in _files(folder) if path.suffix == ".txt"
    }
    stems = {Path(name).with_suffix("").as_posix() for name in clips}
    items = [Item(name, path, texts.get(Path(name).with_suffix("").as_posix())) for name, path in clips.items()]
    items += [Item(f"{stem}.txt", None, path) for stem, path in texts.items() if stem not in stems]
    return tuple(sorted(items, key=lambda item: item.name))


def _files(folder: Path) -> Iterator[Path]:
    paths = (path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    return (path for path in paths if path.is_file())


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_table(path: Path) -> dict[str, str]:
    """file -> caption. UserError with the line's number: a field is missing, a file stands twice."""
    captions: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = (
                csv.DictReader(file) if path.suffix == ".csv" else (json.loads(line) for line in file if line.strip())
            )
            for number, row in enumerate(rows, 1):
                values = [row.get(column) if isinstance(row, dict) else None for column in COLUMNS]
                name, caption = values
                if not isinstance(name, str) or not isinstance(caption, str):
                    raise _wrong(f"{path}: entry {number} has no {' and '.join(COLUMNS)}: {row}", _TABLE)
                name = Path(name).as_posix()
                if name in captions:
                    raise _wrong(f"{path}: {name} twice, again in entry {number}", "each clip once")
                captions[name] = caption
    except (OSError, ValueError, csv.Error) as error:
        raise _wrong(f"{path} cannot be read ({error})", _TABLE) from error
    return captions


_TABLE = "the columns file,caption (csv), or an object with these fields a line (jsonl)"


def _what_else(folder: Path) -> str:
    suffixes = sorted({path.suffix for path in _files(folder) if path.suffix})
    return f", only {', '.join(suffixes[:6])}" if suffixes else ", which is empty"


def _wrong(found: str, expected: str) -> UserError:
    return UserError(found=found, expected=expected, run_next="--set data=PATH with another path, or mend this one")
