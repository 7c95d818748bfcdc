"""Which matrix projects the guidance scale in a student that was published without it? The choice, in the open.

T2V-Turbo's LoRA lists hold an addition to this layer, W = W0 + up down, but not W0: a random start that the original
drew anew in every process, in training and at inference (code at eaae323). Two matrices can stand in for it; both
differ from the one that the list was trained on, as far as anybody outside knows. A student of ours trains the matrix
whole, and the difference from any other has full rank: its list adds zero to the layer, up down = 0, and W0 = W lies
in a file beside it, so that W0 + up down is the trained matrix exactly. Free of torch at import.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from turbo_train.errors import UserError
from turbo_train.nets.source import PROJECTION_FILE, Layout, Projection

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SEED = 453645634  # Differs: our choice, for clips that can be made again; not the original's matrix
REPLAYED = Path(__file__).parent / "videocrafter2" / "time_cond_proj_replay.safetensors"
REPLAYED_LAYER = "time_cond_proj"  # VideoCrafter2's name of it

_WITHOUT_A_CHOICE = {
    "diffusers": "none: a teacher knows no guidance scale, it is run twice",
    "videocrafter2": "none: a teacher knows no guidance scale, it is run twice",
    "student": "its own: started at zero, trained whole and saved with the student",
    "unet": "its own: part of the published state dict",
}
_CHOSEN = {
    "seeded": (
        f"seeded: the list does not hold the matrix it adds to; here it is drawn from seed {SEED}, the same in every "
        "process, and is not the one of the original's training"
    ),
    "replayed": (
        "replayed: the list does not hold the matrix it adds to; here it is the one that the original's code draws "
        f"after its default seed {SEED} (torch 2.14.1, CPU); that the authors' run drew the same is not known"
    ),
    "beside": (
        f"beside: the trained matrix, whole, in {PROJECTION_FILE} beside the list, which adds zero to it; not "
        f"one that is drawn from seed {SEED}"
    ),
}


def describe(projection: Projection | None, layout: Layout) -> str:
    """One sentence: where a model's guidance projection comes from. None: the default of the layout."""
    if layout == "lora_list":
        return _CHOSEN[projection or "seeded"]
    return _WITHOUT_A_CHOICE[layout]


def base_matrix(projection: Projection | None, layer: str, shape: torch.Size, folder: Path = Path()) -> Tensor:
    """W0 (out, in) in float32 for the layer of that name; None: seeded. folder: where the list lies.

    UserError: no replayed one for this layer; no whole file beside the list, or one of another layer.
    """
    if projection == "beside":
        return _beside(folder / PROJECTION_FILE, layer, shape)
    if projection != "replayed":
        return seeded(shape)
    matrix = replayed()
    if layer != REPLAYED_LAYER or matrix.shape != shape:
        raise UserError(
            found=f"the replayed guidance projection for {layer} of shape {tuple(shape)}",
            expected=f"VideoCrafter2's {REPLAYED_LAYER} of shape {tuple(matrix.shape)}, the only one that was replayed",
            run_next="the seeded projection",
        )
    return matrix


def seeded(shape: torch.Size | tuple[int, int], seed: int = SEED) -> Tensor:
    """(out, in) from U(-1/sqrt(in), 1/sqrt(in)), torch's default for a linear layer, by a generator of its own."""
    import torch

    bound = 1 / math.sqrt(shape[1])
    return torch.empty(shape).uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))


def _beside(path: Path, layer: str, shape: torch.Size) -> Tensor:
    from turbo_train.nets.key_layout import check_layout
    from turbo_train.nets.tensor_files import read_safetensors

    state, name = read_safetensors(path), f"{layer}.weight"
    check_layout(state, {name: shape}, path, f"the guidance projection alone: {name}")
    return state[name].float()


def replayed() -> Tensor:
    """(320, 256): what the original's set-up draws for VideoCrafter2 (teacher first, then student) after its seed."""
    from safetensors.torch import load_file

    return load_file(REPLAYED)[f"{REPLAYED_LAYER}.weight"]
