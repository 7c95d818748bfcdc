"""Which training data do tests read? Clips whose pixels tell their number and frame, alone or packed into shards."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from turbo_train.data.clips import Wanted
from turbo_train.data.sample import Drawn, Position, Source
from turbo_train.video_io import write_mp4

FRAMES, FPS = 12, 8.0
SHAPE = (4, 3, 8, 8)
WANTED = Wanted(frames=3, height_px=16, width_px=16, fps=4.0, latent_shape=SHAPE)


@cache
def clip(number: int, frames: int = FRAMES, fps: float = FPS) -> bytes:
    """An mp4 of 16x16 px without loss: red is the clip's number, green ten times the frame's."""
    pixels = np.zeros((frames, 16, 16, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = number, 10 * np.arange(frames)[:, None, None]
    with TemporaryDirectory() as folder:
        write_mp4(Path(folder) / "a.mp4", pixels, fps, lossless=True)
        return (Path(folder) / "a.mp4").read_bytes()


def sample(number: int) -> dict[str, bytes]:
    """A clip and its caption under their suffixes."""
    return {"mp4": clip(number), "txt": f"clip {number}".encode()}


def latents(number: int, shape: tuple[int, ...] = SHAPE, dtype: str = "float16") -> dict[str, bytes]:
    """A latent full of the number, and its caption."""
    file = io.BytesIO()
    np.save(file, np.full(shape, number, dtype))
    return {"latents.npy": file.getvalue(), "txt": f"clip {number}".encode()}


def write_shard(path: Path, samples: Mapping[str, Mapping[str, bytes]], mode: str = "w") -> Path:
    """A tar of `key.suffix` files, by Python's own tarfile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for key, parts in samples.items():
            for suffix, data in parts.items():
                header = tarfile.TarInfo(f"{key}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
    return path


def write_shards(folder: Path, counts: Sequence[int]) -> tuple[str, ...]:
    """Shards 0.tar, 1.tar, ... of so many samples each; clips are numbered through."""
    first = np.cumsum([0, *counts])
    return tuple(
        str(write_shard(folder / f"{n}.tar", {f"{k:03d}": sample(k) for k in range(first[n], first[n] + count)}))
        for n, count in enumerate(counts)
    )


def read(source: Source, lane: int = 0, lanes: int = 1, start: Position | None = None, count: int = 1) -> list[Drawn]:
    """The next so many of a lane."""
    return list(islice(source.lane(lane, lanes, start), count))


def texts(drawn: Iterable[Drawn]) -> list[str]:
    """Captions, or why there is none."""
    return [d.skipped or (d.sample.text if d.sample else "") for d in drawn]


def same(a: Drawn, b: Drawn) -> bool:
    """Whether two draws agree in everything, to the bit."""
    if a.sample is None or b.sample is None:
        return a == b
    told = (a.position, a.sample.text, a.sample.origin) == (b.position, b.sample.text, b.sample.origin)
    pairs = ((a.sample.frames_TCHW, b.sample.frames_TCHW), (a.sample.x_0_CTHW, b.sample.x_0_CTHW))
    return told and all(x is y or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


def numbers(drawn: Iterable[Drawn]) -> Iterator[tuple[int, int]]:
    """Number and first frame of each clip, as its pixels say."""
    for one in drawn:
        assert one.sample is not None and one.sample.frames_TCHW is not None, one.skipped
        red, green, _ = one.sample.frames_TCHW[0, :, 0, 0].tolist()
        yield red, round(green / 10)
