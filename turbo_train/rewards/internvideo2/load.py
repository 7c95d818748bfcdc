"""How is the published InternVideo2 read, for clips of several lengths, without what its score does not need?

The file holds the whole of Stage-2: both towers, decoders for CLIP's features, layers and heads that join clip and
text. What the score needs must be there, by name and shape. A weight that we do not know inside a layer that we run is
refused, for it would act. All else in the file is passed over.
Stored tables of positions are for 4 frames; they are refitted here, in the file's own precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor

from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.internvideo2.model import InternVideo2, InternVideo2Config, InternVideo2Model
from turbo_train.rewards.internvideo2.positions import Grid, grid_of, refit
from turbo_train.rewards.internvideo2.text import read_word_pieces
from turbo_train.rewards.published import take_weights

WEIGHTS = "internvideo2/stage2_1b-224p-f4.pt"  # its rows of weights.lock
VOCABULARY = "bert-large-uncased/vocab.txt"
CLIP_TABLE, IMAGE_TABLE = "vision_encoder.pos_embed", "vision_encoder.img_pos_embed"
RUN = tuple(f"vision_encoder.{part}." for part in ("patch_embed", "blocks", "clip_projector"))


def load_internvideo2(
    files: Mapping[str, Path], frames: int | None = None, *, config: InternVideo2Config | None = None
) -> InternVideo2Model:
    """The reward from the published checkpoint, weights as stored and not copied. files: paths by their names.

    frames: of a clip; None: the config's. config: None: Stage-2 1B's. UserError: a file that cannot be read, weights
    that are missing, of another shape or unknown in a layer that is run, word pieces of another vocabulary.
    """
    config = config or InternVideo2Config()
    if frames is not None:
        config = replace(config, vision=replace(config.vision, num_frames=frames))
    tokenizer = read_word_pieces(files[VOCABULARY], config.text)
    with init_empty_weights(include_buffers=False):  # buffers are in no file that we need
        net = InternVideo2(config)
    take_weights(net, needed(read_tensors(files[WEIGHTS]), net), files[WEIGHTS], "InternVideo2 Stage-2 1B")
    return InternVideo2Model(net, tokenizer)


def needed(state: Mapping[str, Tensor], net: InternVideo2) -> dict[str, Tensor]:
    """What of a published state dict would act in our network, by its names: positions refitted, one precision.

    What is missing or does not fit is for take_weights to say.
    """
    state = {key.replace("text_encoder.bert.", "text_encoder.", 1): value for key, value in state.items()}
    layers = tuple(f"text_encoder.encoder.layer.{i}." for i in range(net.config.text.fusion_layer))
    want = net.state_dict().keys()
    kept = {key: value for key, value in state.items() if key in want or key.startswith((*RUN, *layers))}
    if (grid := _grid(kept)) is not None:
        new = net.config.vision.grid
        kept[CLIP_TABLE] = refit(kept[CLIP_TABLE], grid, new)
        kept[IMAGE_TABLE] = refit(kept[IMAGE_TABLE], Grid(1, grid.side), Grid(1, new.side))
    mixed = len({value.dtype for value in kept.values()}) > 1
    return {key: value.to(torch.float32) for key, value in kept.items()} if mixed else kept


def _grid(state: Mapping[str, Tensor]) -> Grid | None:
    """For which clips the stored positions are; None where they are missing or no such tables."""
    tables = [state[key] for key in (CLIP_TABLE, IMAGE_TABLE) if key in state]
    if len(tables) < 2 or any(table.shape[:-2] != (1,) for table in tables):
        return None
    return grid_of(tables[0].shape[1], tables[1].shape[1])
