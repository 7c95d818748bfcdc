"""Which of 3,429 tags does a picture deserve? Tag2Text's head (after Query2Label, Liu et al., arXiv 2107.10834).

    tag i is given where sigmoid(W_i . z_i + b_i) > 0.7;  z = two layers of BERT without attention to their own text,
    in which each tag's embedding looks at the picture's tokens
The layers' weights are the tag encoder's first two, read with 4 heads in place of 12 (net.py). Six tags are never
given: quarter, one, two, three, four, five.
Names of the tags, in the network's order: tags.txt, facts of Tag2Text (Apache-2.0), as vbench 0.1.5 lists them; some
stand there twice.
Shape legend: B pictures, M tokens of a picture, D width, K tags.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders.bert import BertLayer, BertSizes

FILE = Path(__file__).with_name("tags.txt")
THRESHOLD = 0.7
AT_ONCE = 4096  # tags of pictures in one pass: 50 MB in the widest layer; all at once is slower on a CPU
NEVER = (127, 3265, 3338, 3351, 3355, 3359)


@cache
def tag_names() -> tuple[str, ...]:
    """The 3,429 tags, in the network's order."""
    return tuple(FILE.read_text(encoding="utf-8").splitlines())


class Encoder(nn.Module):
    """Layers of BERT by their published names."""

    def __init__(self, layers: int, sizes: BertSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(sizes) for _ in range(layers))


class Looks(nn.Module):
    """What looks at the picture's tokens, without embeddings of its own."""

    def __init__(self, layers: int, sizes: BertSizes) -> None:
        super().__init__()
        self.encoder = Encoder(layers, sizes)

    def forward(self, x_BKD: Tensor, picture_BMD: Tensor) -> Tensor:
        """(B, K, D). What is asked does not see what else is asked, so that a part at a time is in memory."""
        layers = [layer for layer in self.encoder.layer if isinstance(layer, BertLayer)]
        seen = [layer.crossattention.remember(picture_BMD) for layer in layers]
        parts = []
        for part in x_BKD.split(max(1, AT_ONCE // len(picture_BMD)), dim=1):
            for layer, memory in zip(layers, seen, strict=True):
                part = layer.think(layer.look(part, memory))
            parts.append(part)
        return torch.cat(parts, dim=1)


class OwnWeights(nn.Module):
    """A number for each tag by the tag's own weights."""

    def __init__(self, tags: int, width: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(1, tags, width))
        self.b = nn.Parameter(torch.zeros(1, tags))

    def forward(self, x_BKD: Tensor) -> Tensor:
        """(B, K) float32"""
        with torch.autocast(x_BKD.device.type, enabled=False):  # verdicts hang on the last bits
            logits: Tensor = (self.W * x_BKD.float()).sum(-1) + self.b
        return logits


def given_tags(logits_BK: Tensor, never: tuple[int, ...] = NEVER) -> list[list[int]]:
    """The numbers of each picture's tags, in the network's order."""
    given = logits_BK.sigmoid() > THRESHOLD
    given[:, list(never)] = False
    return [row.nonzero()[:, 0].tolist() for row in given.cpu()]


def tag_text(numbers: list[int]) -> str:
    """What the tag encoder reads of a picture's tags."""
    return " | ".join(tag_names()[number] for number in numbers)
