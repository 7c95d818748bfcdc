"""How do GRiT's two halves make one network, and which tensors does its published file hold?

Each frame's objects (detection.py), then words for the objects of all frames together (text_decoder.py).
Shape legend: N frames, B boxes of a frame, H W pixels, C colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Size, Tensor, nn

from turbo_eval.scorers.vbench.encoders.grit.detection import DetectionSizes, GritDetection, pictures
from turbo_eval.scorers.vbench.encoders.grit.text_decoder import TextDecoder, TextSizes
from turbo_train.nets.key_layout import check_layout

TEXT = "roi_heads.text_decoder.textual."
WORDS = f"{TEXT}embedding.words.weight"  # one table with the output's, which is read later and wins


@dataclass(frozen=True)
class GritSizes:
    """The defaults are GRiT-B's."""

    detection: DetectionSizes = field(default_factory=DetectionSizes)
    text: TextSizes = field(default_factory=TextSizes)


@dataclass(frozen=True)
class Found:
    """In one frame, the surest object first. boxes_B4: px. texts: for each task the ids of each box's text."""

    boxes_B4: Tensor
    texts: tuple[list[list[int]], ...]


class GritNet(nn.Module):
    """Objects and their words."""

    def __init__(self, sizes: GritSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes or GritSizes()
        self.detection = GritDetection(self.sizes.detection)
        self.text = TextDecoder(self.sizes.text)

    def forward(self, frames_NHWC: Tensor, begins: Sequence[int], boxes_at_once: int) -> list[Found]:
        """For each RGB frame in 0..255. begins: the tasks' begin tokens. boxes_at_once: see TextDecoder.write."""
        size = (frames_NHWC.shape[1], frames_NHWC.shape[2])
        seen = self.detection.detect(pictures(frames_NHWC), [size] * len(frames_NHWC))
        texts = self.text.write(torch.cat([objects.features_NCHW for objects in seen]), begins, boxes_at_once)
        found = []
        first = 0
        for objects in seen:
            last = first + len(objects.boxes_N4)
            found.append(Found(objects.boxes_N4, tuple(of_task[first:last] for of_task in texts)))
            first = last
        return found


def published_name(key: str) -> str:
    """Of a tensor of GritNet."""
    half, _, rest = key.partition(".")
    return {"detection": "", "text": TEXT}[half] + rest


def published_layout(net: GritNet) -> dict[str, Size]:
    """Every tensor of the published file: the network's, the mask head's, which is not built, and WORDS."""
    shapes = {published_name(key): value.shape for key, value in net.state_dict().items()}
    channels = net.sizes.detection.channels
    mask = {f"mask_fcn{number}": (channels, 3) for number in range(1, 5)} | {
        "deconv": (channels, 2),
        "predictor": (1, 1),
    }
    for layer, (wide, side) in mask.items():
        shapes[f"roi_heads.mask_head.{layer}.weight"] = Size((wide, channels, side, side))
        shapes[f"roi_heads.mask_head.{layer}.bias"] = Size((wide,))
    return shapes | {WORDS: shapes[f"{TEXT}output.weight"]}


def build_grit(published: Mapping[str, Tensor], where: str, sizes: GritSizes | None = None) -> GritNet:
    """In float32. UserError: other names or shapes than the published file's."""
    with torch.device("meta"):
        net = GritNet(sizes)
    check_layout(published, published_layout(net), where, "GRiT-B for DenseCap and ObjectDet, as VBench publishes it")
    net.load_state_dict({key: published[published_name(key)] for key in net.state_dict()}, assign=True)
    return net.float()
