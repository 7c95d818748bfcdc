"""How does a published network of VBench's come to an encoder? Opened when the first clip needs it, and once.

Its id holds its formula's number, the first digits of the sha256 of all its files together, and what else moves its
numbers: the precision, the kind of device, `vbench-cuda`. Scores of different ids are never compared.

precision: float32, or `bf16`: the network runs under torch.autocast in bfloat16, a labelled mode.
compat: "vbench-cuda" computes where openai-clip does in float16 on a GPU in float16 here too (clip.py).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from turbo_eval.scorers.base import NotFinite, with_versions
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_train.weights.hashes import file_sha256
from turbo_train.weights.table import WeightFile

if TYPE_CHECKING:
    from torch import Tensor, nn

PRECISIONS = ("float32", "bf16")
VBENCH_CUDA = "vbench-cuda"
COMPATS = ("", VBENCH_CUDA)
ROWS = 32  # frames in a forward pass of an image tower
ORDINARY_PX = 2**21  # a frame of 1920x1080 is still one row; 32 of them are 0.8 GB as floats
ORDINARY_RATIO = 4  # of the sides; a tower sees the short one at 224 px, and a long one as much longer


@dataclass(frozen=True)
class Mode:
    """Where and how the networks compute."""

    device: str = "cpu"
    precision: str = "float32"
    compat: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """What of it moves numbers by more than the order of a sum does."""
        kind = self.device.partition(":")[0]  # convolutions of a GPU may be TF32
        usual = (("float32", self.precision), ("cpu", kind), ("", self.compat))
        return tuple(value for default, value in usual if value != default)


MODE = Mode()


class Backbone(ABC):
    """A network behind files of weights.lock. files: path by row; nothing is opened before `load`.

    rows: the most frames (of an image tower) or clips or pairs in one forward pass; it bounds the memory.
    """

    NAME: ClassVar[str]
    FORMULA: ClassVar[int] = 1  # raise it when what is computed changes
    FILES: ClassVar[tuple[str, ...]]  # names of rows
    PACKAGES: ClassVar[tuple[str, ...]] = ("torch",)
    ROWS: ClassVar[int] = ROWS
    SMALLEST_PX: ClassVar[int] = 1  # a shorter side is padded beyond what VBench does, which has no number then

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        self.files = files
        self.mode = mode
        self.rows = self.ROWS
        digests = "".join(file_sha256(path) for path in files.values())
        weights = hashlib.sha256(digests.encode()).hexdigest()[:8]
        self.encoder_id = with_versions(
            "-".join([f"vbench/{self.NAME}@{self.FORMULA}", weights, *mode.labels]), *self.PACKAGES
        )
        self._net: nn.Module | None = None

    @abstractmethod
    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """The network, in float32 whatever its files hold, from the tensors of each by its row's name. UserError."""

    def load(self) -> None:
        """Open the files; a second call does nothing. UserError: not what they should be."""
        if self._net is None:
            from turbo_train.nets.tensor_files import read_row

            weights = {file: path for file, path in self.files.items() if file.opens != "text"}
            net = self.build({file.name: read_row(file, path) for file, path in weights.items()})
            self._net = net.to(self.mode.device).eval().requires_grad_(False)

    def relieve(self) -> str:
        """Halve the rows of a forward pass."""
        if self.rows < 2:
            return ""
        self.rows //= 2
        return f"{self.NAME} takes {self.rows} at a time"

    def path_of(self, row: str) -> Path:
        """Where the file of a row lies."""
        return next(path for file, path in self.files.items() if file.name == row)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside, nothing is kept for gradients, and heavy products are in the mode's precision."""
        import torch

        kind = self.mode.device.partition(":")[0]
        half = self.mode.precision == "bf16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=half):
            yield

    def see(self, clips: Sequence[ByteArray], look: Callable[[Tensor], Tensor]) -> list[FloatArray]:
        """What `look` makes of every frame: (N, H, W, C) uint8 on the device to (N, ...), clip by clip as numpy.

        Frames of one size go through it in common batches of at most `rows`, whichever clips they come from; of huge or
        very long frames fewer. Beside the clips only a batch is in memory.
        """
        import torch

        self.load()
        sizes: dict[tuple[int, ...], list[int]] = {}
        for number, clip in enumerate(clips):
            sizes.setdefault(clip.shape[1:], []).append(number)
        seen: list[FloatArray] = [np.empty(0, np.float32)] * len(clips)
        for (height, width, _), numbers in sizes.items():
            batches = _batches([clips[number] for number in numbers], rows_of(self.rows, height, width))
            with self.computing():
                parts = [look(torch.from_numpy(batch).to(self.mode.device)) for batch in batches]
            together = torch.cat(parts)
            counts = [len(clips[number]) for number in numbers]
            for number, part in zip(numbers, together.split(counts), strict=True):
                seen[number] = numpy_of(part)
        return seen


def rows_of(rows: int, height_px: int, width_px: int) -> int:
    """How many frames of a size go into a pass of `rows` ordinary ones, at least one."""
    short, long = sorted((height_px, width_px))
    return max(1, min(rows, rows * ORDINARY_PX // (short * long), rows * ORDINARY_RATIO * short // long))


def _batches(clips: Sequence[ByteArray], rows: int) -> Iterator[ByteArray]:
    """Copies of `rows` frames, in order, from one clip or from several; the last may be of fewer."""
    parts: list[ByteArray] = []
    room = rows
    for clip in clips:
        start = 0
        while start < len(clip):
            parts.append(clip[start : start + room])
            start += len(parts[-1])
            room -= len(parts[-1])
            if not room:
                yield np.concatenate(parts)
                parts, room = [], rows
    if parts:
        yield np.concatenate(parts)


def known(tensors: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Those that the network has a place for, where a published file may hold others too."""
    places = net.state_dict()
    return {name: value for name, value in tensors.items() if name in places}


def finite(values: Tensor, what: str) -> Tensor:
    """The values. NotFinite: some are no numbers, which whoever keeps the largest would take for nothing seen."""
    if not bool(values.isfinite().all()):
        raise NotFinite(f"{what} are not finite: the weights are damaged, or the precision is too small")
    return values


def numpy_of(values: Tensor) -> FloatArray:
    """On the host; float16 stays float16 (compat vbench-cuda), everything else becomes float32."""
    import torch

    kept = values if values.dtype is torch.float16 else values.float()
    return kept.cpu().numpy()
