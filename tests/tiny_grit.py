"""A GRiT of a few small layers, its published file, frames for it, and what its parts are tested with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from vbench_checkpoints import write_word_pieces

from turbo_eval.scorers.vbench.encoders import SeenObjects
from turbo_eval.scorers.vbench.encoders.bert import BertSizes
from turbo_eval.scorers.vbench.encoders.grit.detection import DetectionSizes
from turbo_eval.scorers.vbench.encoders.grit.detector import Grit
from turbo_eval.scorers.vbench.encoders.grit.net import TEXT, GritNet, GritSizes, published_layout
from turbo_eval.scorers.vbench.encoders.grit.text_decoder import TextSizes
from turbo_eval.scorers.vbench.encoders.grit.vitdet import VitDetSizes
from turbo_train.weights.table import find_file

TINY = GritSizes(
    DetectionSizes(
        VitDetSizes(width=16, depth=3, heads=2, mlp=64, window=3, whole=(1,), whole_side=8, table=2), 64, hidden=24
    ),
    TextSizes(features=64, layers=2, layer=BertSizes(width=16, heads=2, hidden=32), positions=64, longest=9),
)
N = TypeVar("N", bound=nn.Module)
GRIT, WORD_PIECES = (find_file(name) for name in Grit.FILES)


class TinyGrit(Grit):
    """The encoder around a tiny network."""

    SIZES = TINY


def tiny_state() -> dict[str, Tensor]:
    """As a published file of a tiny network: a few objects in a frame of 64 px, with words of many lengths."""
    with torch.device("meta"):
        layout = published_layout(GritNet(TINY))
    draw = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in layout.items():
        noise = torch.randn(shape, generator=draw)
        norm = len(shape) == 1 and key.endswith("weight")
        state[key] = 1 + 0.1 * noise if norm else (0.3 if TEXT in key else 0.1) * noise
    head = "proposal_generator.centernet_head."
    state[f"{head}agn_hm.bias"] -= 2.7
    state[f"{head}bbox_pred.bias"] += 5
    for stage in range(3):
        state[f"roi_heads.box_predictor.{stage}.cls_score.bias"] += torch.tensor([0.4, 0.0])
    state[f"{TEXT}output.bias"][102] += 5
    return state


def write_tiny(folder: Path, change: Callable[[dict[str, Tensor]], Any] = len) -> dict[Any, Path]:
    """The paths by row of a tiny network and the goldens' word pieces."""
    state = tiny_state()
    change(state)
    torch.save({"model": state}, folder / "grit.pth")
    return {GRIT: folder / "grit.pth", WORD_PIECES: write_word_pieces(folder / "vocab.txt")}


def clip(count: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def plain(seen: list[list[SeenObjects]]) -> list[list[tuple[Any, ...]]]:
    return [[(frame.boxes_N4.tolist(), frame.names, frame.captions) for frame in one] for one in seen]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled_at_random(net: N, std: float = 0.3) -> N:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.eval().requires_grad_(False)


def calls_of(module: nn.Module) -> list[Tensor]:
    """Grows by what the module is given, call by call."""
    given: list[Tensor] = []
    module.register_forward_hook(lambda _, arguments, __: given.append(arguments[0]))
    return given
