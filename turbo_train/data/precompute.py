"""How do clips become cached latents? Encoded one by one and packed into shards; a killed run goes on where it was.

Process i of n reads lane i of n of the clips and writes its own shards, latents-III-KKKKK.tar, each with a note (.json)
of what was skipped and where the lane stands behind it, and a last note when it is through. What stands under its final
name is whole; no byte depends on kills. Clips are encoded singly, so that no neighbour changes a latent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from turbo_train.data.latents import INDEX, LATENTS, LatentsIndex, latents_bytes, read_index
from turbo_train.data.latents_fit import DONE
from turbo_train.data.sample import Drawn, NoData, Position, Sample, Source
from turbo_train.data.skipped import Unusable
from turbo_train.errors import UserError
from turbo_train.weights.alone import Taken, alone

SHARD = "latents-{process:03d}-{number:05d}.tar"
Encode = Callable[[Tensor], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Note:
    """What a shard holds: how many samples, what was skipped among them, where the lane stands behind them."""

    samples: int
    skipped: tuple[str, ...]
    position: Position | None


@dataclass(frozen=True)
class Made:
    """By one process, over all its shards, also those of earlier calls."""

    shards: int
    samples: int
    skipped: int


def precompute(
    source: Source, encode: Encode, out: Path, index: LatentsIndex, process: int = 0, say: Say = lambda text: None
) -> Made:
    """Write those shards of a process that are not there yet, then its last note.

    source: ends by itself where index.samples is None. encode: frames_TCHW (uint8) to x_0_CTHW.
    UserError: the folder holds latents that were made differently, or cannot be written; no clip can be used.
    """
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        _begin(out, index)
        with alone(out / f".latents-{process:03d}.lock"):
            return _finished(out, process) or _rest(source, encode, out, index, process, say)


def _rest(source: Source, encode: Encode, out: Path, index: LatentsIndex, process: int, say: Say) -> Made:
    for left in out.glob(f".latents-{process:03d}-*.partial"):  # by a kill
        left.unlink()
    notes = list(_notes(out, process))
    lane = source.lane(process, index.processes, notes[-1].position if notes else None)
    notes += _write_shards(lane, encode, out, index, process, notes, say)
    skipped = [text for note in notes for text in note.skipped]
    made = Made(sum(note.samples > 0 for note in notes), _samples(notes), len(skipped))
    if not made.samples and index.processes == 1:
        raise NoData(
            found=f"no clip that can be used in {index.data}{''.join(f'; {text}' for text in skipped[-1:])}",
            expected="clips with captions that are long enough, fast enough and whole",
            run_next="other clips, or another --size, --frames, --fps",
        )
    _replace(out / DONE.format(process=process), _text(asdict(made)))
    return made


def encoder_of(vae: Any, device: torch.device | str) -> Encode:
    """The posterior's mean of one clip, as the VAE scales it."""

    @torch.no_grad()
    def encode(frames_TCHW: Tensor) -> Tensor:
        x_0_BCTHW: Tensor = vae.encode(frames_TCHW[None].to(device).float().div_(127.5).sub_(1))
        return x_0_BCTHW[0]

    return encode


def _write_shards(
    lane: Iterator[Drawn], encode: Encode, out: Path, index: LatentsIndex, process: int, before: list[Note], say: Say
) -> list[Note]:
    """The notes of the new shards; the last may be of skipped samples only, without a shard."""
    share = None if index.samples is None else len(range(process, index.samples, index.processes))
    notes: list[Note] = []
    while (made := _samples(before) + _samples(notes)) != share:
        room = index.samples_per_shard if share is None else min(index.samples_per_shard, share - made)
        path = out / SHARD.format(process=process, number=len(before) + len(notes))
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                note = _fill(file, lane, room, f"{process:03d}", made, encode)
                file.flush()
                os.fsync(file.fileno())
            notes.append(note)
            if note.samples:
                _replace(path.with_suffix(".json"), _text(asdict(note)))
                partial.replace(path)
                say(f"{path.name}: {note.samples} samples, {len(note.skipped)} skipped")
        finally:
            partial.unlink(missing_ok=True)
        for text in note.skipped:
            say(f"skipped {text}")
        if note.samples < room:  # the end of the clips
            break
    return notes


def _fill(file: IO[bytes], lane: Iterator[Drawn], room: int, prefix: str, number: int, encode: Encode) -> Note:
    """Up to `room` samples into a shard, numbered from `number` on. The same samples give the same bytes."""
    from webdataset import TarWriter

    skipped: list[str] = []
    position: Position | None = None
    count = 0
    with TarWriter(file, encoder=False, mtime=0) as writer:
        while count < room and (drawn := next(lane, None)) is not None:
            position = drawn.position
            if drawn.sample is None:
                skipped.append(drawn.skipped or "no reason given")
                continue
            try:
                content = latents_bytes(_latents(drawn.sample, encode))
            except Unusable as why:
                skipped.append(f"{drawn.sample.origin}: {why}")
                continue
            origin = json.dumps({"origin": drawn.sample.origin}).encode()
            key = f"{prefix}{number + count:09d}"
            writer.write({"__key__": key, LATENTS: content, "txt": drawn.sample.text.encode(), "json": origin})
            count += 1
    return Note(count, tuple(skipped), position)


def _latents(sample: Sample, encode: Encode) -> Tensor:
    if sample.frames_TCHW is None:
        raise Unusable("latents already")
    return encode(sample.frames_TCHW)


def _samples(notes: list[Note]) -> int:
    return sum(note.samples for note in notes)


def _finished(out: Path, process: int) -> Made | None:
    """The last note, where there is one."""
    path = out / DONE.format(process=process)
    if not path.is_file():
        return None
    try:
        return Made(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            found=f"{path}: {error}", expected="the note of this version", run_next=f"delete {path.name}, then again"
        ) from error


def _notes(out: Path, process: int) -> Iterator[Note]:
    """Of the shards that are finished."""
    number = 0
    while (path := out / SHARD.format(process=process, number=number)).is_file():
        try:
            values = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            yield Note(int(values["samples"]), tuple(values["skipped"]), values["position"])
        except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
            raise UserError(
                found=f"{path} without its note {path.with_suffix('.json').name} ({error})",
                expected="each shard with the note that was written before it",
                run_next=f"delete {path.name}, then the same command again: it is made anew",
            ) from error
        number += 1


def _begin(out: Path, index: LatentsIndex) -> None:
    """latents.json. UserError: there is another one."""
    found = read_index(out)
    if found is None:
        _replace(out / INDEX, index.to_json())
        return
    names = [field.name for field in fields(index) if getattr(found, field.name) != getattr(index, field.name)]
    if names:
        differ = ", ".join(f"{name} {getattr(found, name)} and not {getattr(index, name)}" for name in names)
        raise UserError(
            found=f"{out} with latents made differently: {differ}",
            expected="the settings that were begun with, or a new folder",
            run_next="the same command with another --out",
        )


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Inside, the system's refusal to write is a UserError, and so is another process on the same share."""
    try:
        yield
    except Taken as error:
        raise UserError(
            found=f"another process at work ({error})",
            expected="one process for each share",
            run_next="--shard I/N with another I, or wait",
        ) from error
    except OSError as error:
        raise UserError(
            found=f"{error.filename or out} cannot be written ({error.strerror or error})",
            expected="a folder with free space that you may write to; finished shards are kept",
            run_next="free some space, then the same command again",
        ) from error


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _replace(path: Path, text: str) -> None:
    """The whole file or none of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
