"""Random checkpoints of VBench's networks at full size, as the goldens in golden/vbench were made with.

plain(table): the state dict. write_plain(table, folder): one file of tensors in the layout that our loaders read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent / "golden"
CLIPS = GOLDEN / "vbench"
KEYS = GOLDEN / "keys" / "vbench"
sys.path.insert(0, str(CLIPS))
from fill_checkpoints import GROUPS, fill, read  # noqa: E402

# table -> row of weights.lock
ROW = {
    "dino_vitb16": "dino/vitb16.pth",
    "clip_vit_b32": "clip/ViT-B-32.pt",
    "clip_vit_l14": "clip/ViT-L-14.pt",
    "laion_head": "laion/sa_0_4_vit_l_14_linear.pth",
    "musiq_spaq": "musiq/spaq.pth",
    "amt_s": "amt/amt-s.pth",
    "raft_things": "raft/raft-things.pth",
    "viclip": "viclip/ViClip-InternVid-10M-FLT.pth",
    "umt_l16": "umt/l16_ptk710_ftk710_ftk400_f16_res224.pth",
}
assert set(ROW) <= set(GROUPS)


def plain(table: str) -> dict[str, Any]:
    """The state dict of a table's network; of UMT without its pos_embed, which is no random table."""
    return fill(read(KEYS / f"{table}.tsv"), table)


def write_plain(table: str, folder: Path) -> Path:
    """The state dict as torch.save writes it."""
    import torch

    path = folder / f"{table}.pt"
    torch.save(plain(table), path)
    return path
