"""How do pixels move, by RAFT? DenseFlow on torchvision's raft_large with the weights that VBench uses ("things").

Teed and Deng, arXiv 2003.12039. Frames 2 x / 255 - 1, border repeated to multiples of 8; 20 updates; the flow is the
one of the padded frame (vbench 0.1.5). Exact shortcuts against torchvision's forward pass: a frame's features are
computed once in a call, however many pairs it is in, and so is the context of a first frame; those of the updates are
in raft_update.py.
Differs: where the padded side is below 128 px the border repeats up to there, and the flow is cut to the frame as
VBench pads it; VBench's flow of such frames is NaN, which it counts as still.
Shape legend: N pairs, T frames, H W padded pixels, h w an eighth of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Backbone, Mode, numpy_of
from turbo_eval.scorers.vbench.encoders.padding import LEAST_PX, Padding
from turbo_eval.scorers.vbench.encoders.raft_names import raft_layout, raft_name
from turbo_eval.scorers.vbench.encoders.raft_update import refine
from turbo_train.nets.key_layout import check_layout
from turbo_train.weights.table import WeightFile

STRIDE = 8


class Raft(Backbone):
    """RAFT's flow between frames of a clip."""

    NAME = "raft"
    FILES = ("raft/raft-things.pth",)
    PACKAGES = ("torch", "torchvision")
    SMALLEST_PX = LEAST_PX - STRIDE + 1
    UPDATES: ClassVar[int] = 20

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        super().__init__(files, mode)
        self.rows = 1 if mode.device == "cpu" else 8  # pairs; a CPU's cache holds one pair's correlation best

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """raft_large with the file's weights. UserError: not RAFT's layout."""
        (published,) = tensors.values()
        return build_raft(published, self.FILES[0])

    def flows(self, frames_THWC: ByteArray, pairs: Sequence[tuple[int, int]]) -> Iterator[FloatArray]:
        """(H, W, 2) motion in px, x then y, of each pair of frames; what is not asked for is not computed."""
        self.load()
        assert self._net is not None
        net: Any = self._net
        pictures = Pictures(frames_THWC, self.mode.device)
        features, contexts = SeenFrames(net.feature_encoder), SeenFrames(net.context_encoder)
        position = 0
        while position < len(pairs):
            chunk, left = pairs[position : position + self.rows], pairs[position + self.rows :]
            position += len(chunk)
            with self.computing():
                features.see(pictures, (number for pair in chunk for number in pair))
                contexts.see(pictures, (first for first, _ in chunk))
                first, second = (features.of(numbers) for numbers in zip(*chunk, strict=True))
                flow_N2HW = refine(net, first, second, contexts.of([number for number, _ in chunk]), self.UPDATES)
                found = numpy_of(pictures.enlarging.cut(flow_N2HW).permute(0, 2, 3, 1))
            features.keep(number for pair in left for number in pair)
            contexts.keep(first for first, _ in left)
            yield from found


class Pictures:
    """Frames as RAFT takes them: (1, 3, H, W) in [-1, 1], padded as VBench pads, small ones then enlarged."""

    def __init__(self, frames_THWC: ByteArray, device: str) -> None:
        self.frames_THWC, self.device = frames_THWC, device
        height, width = frames_THWC.shape[1:3]
        self.padding = Padding.to_multiple(height, width, STRIDE)
        self.enlarging = Padding.to_least(*self.padding.sides(height, width), LEAST_PX)

    def __getitem__(self, number: int) -> Tensor:
        """The frame of that number."""
        frame = torch.from_numpy(self.frames_THWC[number]).to(self.device).permute(2, 0, 1)[None]
        return self.enlarging.put(self.padding.put(2 * (frame.float() / 255) - 1))


class SeenFrames:
    """What an encoder made of each frame, for as long as it is needed."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.maps: dict[int, Tensor] = {}

    def see(self, pictures: Pictures, numbers: Iterable[int]) -> None:
        """Encode the frames that were not seen yet."""
        new = sorted(set(numbers) - set(self.maps))
        if new:
            maps = self.encoder(torch.cat([pictures[number] for number in new]))
            self.maps.update(zip(new, maps.split(1), strict=True))

    def of(self, numbers: Iterable[int]) -> Tensor:
        """(N, C, h, w)"""
        return torch.cat([self.maps[number] for number in numbers])

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all others."""
        wanted = set(numbers)
        self.maps = {number: kept for number, kept in self.maps.items() if number in wanted}


def build_raft(published: Mapping[str, Tensor], where: str, empty: Callable[[], nn.Module] = raft_large) -> nn.Module:
    """torchvision's RAFT with weights under their published names. UserError: other names or shapes."""
    with torch.device("meta"):
        net = empty()
    wanted = net.state_dict()
    check_layout(published, raft_layout(wanted), where, "RAFT as trained on FlyingThings (raft-things.pth)")
    net.load_state_dict({key: published[raft_name(key)] for key in wanted}, assign=True)
    return net.float()
