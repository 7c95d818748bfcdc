"""Which objects are in a frame, and what do they look like? GRiT-B as VBench asks it (vbench 0.1.5).

A frame is looked at as it is, but one whose short side is above 768 px is first resized to int(720 / short * side):
color does it to bytes by OpenCV, the three other dimensions to floats by torchvision, with antialiasing.
VBench runs box head and text decoder twice, once for the task of the dimension and once for the names; both tasks come
out of one pass here. It drops boxes that are empty after clipping with both their texts, and truncates the others.
Differs: VBench's object_class takes any fault for "nothing seen"; here it stays a fault.
Shape legend: N T frames, H W pixels, C colours (RGB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import ByteArray, SeenObjects, looked_at
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Backbone, Mode, rows_of
from turbo_eval.scorers.vbench.encoders.grit.cascade import OBJECT_SIDE
from turbo_eval.scorers.vbench.encoders.grit.net import Found, GritSizes, build_grit
from turbo_eval.scorers.vbench.encoders.grit.text_decoder import boxes_at_once
from turbo_eval.scorers.vbench.encoders.word_pieces import WordPieces
from turbo_train.weights.table import WeightFile

ROW = "grit/grit_b_densecap_objectdet.pth"
VOCABULARY = "bert-base-uncased/vocab.txt"
NAME_IT, DESCRIBE_IT = 101, 104  # begin tokens of the tasks ObjectDet and DenseCap
ROWS_ON_CPU = 4  # of 512x320 px, ten boxes each: 2, 4, 8 frames take 3.7, 3.1, 3.1 s a frame, 2.1, 2.4, 3.0 GB


class Grit(Backbone):
    """ObjectDetector from GRiT-B. rows: frames in a pass; boxes: the most whose words are written at a time."""

    NAME = "grit-b"
    FILES = (ROW, VOCABULARY)
    PACKAGES = ("torch", "torchvision", "opencv")
    ROWS = 16
    SIZES = GritSizes()
    num_frames = 16

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        super().__init__(files, mode)
        self.rows = ROWS_ON_CPU if mode.device == "cpu" else self.ROWS
        self.boxes = boxes_at_once(self.SIZES.text, OBJECT_SIDE**2)

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """The published network. UserError: another layout, or another vocabulary."""
        self._words = WordPieces(self.path_of(VOCABULARY))
        return build_grit(tensors[ROW], str(self.path_of(ROW)), self.SIZES)

    def relieve(self) -> str:
        """Halve the frames of a pass, and the boxes whose words are written at a time."""
        done = super().relieve()
        if self.boxes > 1:
            self.boxes //= 2
            done = f"{self.NAME} takes {self.rows} frames and {self.boxes} boxes at a time"
        return done

    def objects(self, clips: Sequence[ByteArray], *, captions: bool, as_bytes: bool) -> list[list[SeenObjects]]:
        """Of every frame of each clip, (T, H, W, C) RGB; see ObjectDetector. A frame that repeats is looked at once."""
        self.load()
        runs = [first_of_run(clip) for clip in clips]
        sizes: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, run in enumerate(runs):
            sizes.setdefault(clips[number].shape[1:], []).extend((number, frame) for frame in sorted(set(run)))
        seen: dict[tuple[int, int], SeenObjects] = {}
        for (height, width, _), places in sizes.items():
            rows = rows_of(self.rows, *looked_at(height, width))
            for first in range(0, len(places), rows):
                batch = places[first : first + rows]
                frames = np.stack([clips[number][frame] for number, frame in batch])
                seen.update(zip(batch, self._look(frames, captions, as_bytes), strict=True))
        return [[seen[number, frame] for frame in run] for number, run in enumerate(runs)]

    def _look(self, frames_NHWC: ByteArray, captions: bool, as_bytes: bool) -> list[SeenObjects]:
        assert self._net is not None
        with self.computing():
            shrunk = resized(frames_NHWC, as_bytes, self.mode.device)
            found = self._net(shrunk, (NAME_IT, DESCRIBE_IT) if captions else (NAME_IT,), self.boxes)
        return [self._read(objects) for objects in found]

    def _read(self, found: Found) -> SeenObjects:
        texts = [tuple(self._words.decode(ids) for ids in of_task) for of_task in found.texts]
        return SeenObjects(found.boxes_B4.cpu().numpy().astype(np.int64), *texts)


def first_of_run(clip_THWC: ByteArray) -> list[int]:
    """For each frame the first of the equal ones that it ends, as `middle` repeats a short clip's last."""
    firsts: list[int] = []
    for number, frame in enumerate(clip_THWC):
        same = number > 0 and np.array_equal(frame, clip_THWC[number - 1])
        firsts.append(firsts[-1] if same else number)
    return firsts


def resized(frames_NHWC: ByteArray, as_bytes: bool, device: str) -> Tensor:
    """(N, H', W', C) on the device: bytes, or floats in 0..255 where floats are resized."""
    height, width = looked_at(*frames_NHWC.shape[1:3])
    if (height, width) == frames_NHWC.shape[1:3]:
        return torch.from_numpy(frames_NHWC).to(device)
    if as_bytes:
        import cv2

        shrunk = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames_NHWC]
        return torch.from_numpy(np.stack(shrunk)).to(device)
    x_NCHW = torch.from_numpy(frames_NHWC).to(device).permute(0, 3, 1, 2).float()
    x_NCHW = F.interpolate(x_NCHW, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return x_NCHW.permute(0, 2, 3, 1)
