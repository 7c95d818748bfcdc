"""All of VBench's networks where a run looks for them, most of them tiny: the real classes, files, rows and loaders.

AMT-S and RAFT are at full size, which is small. All weights are random; GRiT calls everything by one word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import tiny_encoders as tiny
from tests import tiny_grit
from tests.vbench_checkpoints import ROW, WORD_PIECES, plain, write_word_pieces
from turbo_eval.scorers.vbench.encoders import aesthetic, amt, clip, dino, musiq, raft, umt, viclip
from turbo_eval.scorers.vbench.encoders.backbone import Backbone
from turbo_eval.scorers.vbench.encoders.grit import detector
from turbo_eval.scorers.vbench.encoders.grit.net import TEXT
from turbo_eval.scorers.vbench.encoders.musiq_net import MusiqNet, MusiqSizes
from turbo_eval.scorers.vbench.encoders.tag2text import captioner
from turbo_eval.scorers.vbench.encoders.tag2text.net import Tag2TextNet, TextSizes
from turbo_eval.scorers.vbench.encoders.tag2text.swin import SwinSizes
from turbo_eval.scorers.vbench.encoders.umt_net import UmtNet, UmtSizes
from turbo_eval.scorers.vbench.encoders.word_pieces import SEPARATOR
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.table import find_file

CAR, RED = 10852, 1686  # of the stand-in for BERT's vocabulary
MUSIQ = MusiqSizes(width=12, depth=2, heads=2, mlp=16, stem=8, groups=4, sides_px=(64, 96))
UMT = UmtSizes(width=16, depth=2, heads=2, mlp=24, patch_px=56, sinusoid_frames=2)
WORDS = TextSizes(width=24, hidden=32, heads=2, layers=2, positions=48, tagging_heads=2)
SWIN = SwinSizes(side_px=24, width=12, depths=(2, 2), heads=(2, 2), window=3)
NETWORKS: tuple[type[Backbone], ...] = (
    dino.Dino,
    clip.ClipB32,
    aesthetic.LaionAesthetic,
    musiq.Musiq,
    amt.Amt,
    raft.Raft,
    viclip.ViClip,
    umt.Umt,
    detector.Grit,
    captioner.Tag2Text,
)


class TinyTag2TextNet(Tag2TextNet):
    """With sizes of its own."""

    def __init__(self) -> None:
        super().__init__(WORDS, SWIN)


def _state(net: nn.Module) -> dict[str, torch.Tensor]:
    """Random numbers, but for tables of positions."""
    drawn = tiny.random_state(net)
    return {k: drawn[k] if value.is_floating_point() else value for k, value in net.state_dict().items()}


def write_tiny_grit(root: Path, word: int = CAR, *, sees: bool = True) -> Path:
    """Below a TURBO_WEIGHTS root, with the stand-in for BERT's vocabulary. sees: objects everywhere, else nowhere."""
    state = tiny_grit.tiny_state()
    for name, value in state.items():
        if name.endswith("cls_score.bias"):
            value += torch.tensor([0.0, 0.0 if sees else 100.0])
    said = state[f"{TEXT}output.bias"]
    said[word], said[SEPARATOR] = 80.0, 40.0  # a word does not follow itself
    write_word_pieces(root / path_below_root(find_file(WORD_PIECES)))
    return _write(root, {"grit_b": state})


def write_tiny_networks(root: Path, word: int = CAR) -> Path:
    """All ten. word: what GRiT says."""
    states: Mapping[str, Mapping[str, torch.Tensor]] = {
        "dino_vitb16": tiny.random_state(dino.new_dino(tiny.DINO_SIZES)),
        "clip_vit_b32": tiny.clip_state(),
        "clip_vit_l14": tiny.clip_state(1),
        "laion_head": tiny.random_state(nn.Linear(tiny.CLIP_SIZES.embed_dim, 1)),
        "musiq_spaq": _state(MusiqNet(MUSIQ)),
        "amt_s": plain("amt_s"),
        "raft_things": plain("raft_things"),
        "viclip": tiny.random_state(viclip.new_viclip(tiny.VICLIP_SIZES)),
        "umt_l16": _state(UmtNet(UMT)),
        "tag2text": _state(TinyTag2TextNet()),
    }
    return _write(write_tiny_grit(root, word), states)


def _write(root: Path, states: Mapping[str, Mapping[str, torch.Tensor]]) -> Path:
    for table, state in states.items():
        path = root / path_below_root(find_file(ROW[table]))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), path)
    return root


def use_tiny_networks(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Weights are looked for below `root` alone, for networks of these sizes. Returns what counts each one's loads."""
    monkeypatch.setenv(ROOT, str(root))
    for variable in ("HOME", "HF_HOME", "TORCH_HOME", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home))
    for kind, sizes in (
        (dino.Dino, tiny.DINO_SIZES),
        (clip.ClipB32, tiny.CLIP_SIZES),
        (aesthetic.LaionAesthetic, tiny.CLIP_SIZES),
        (viclip.ViClip, tiny.VICLIP_SIZES),
        (detector.Grit, tiny_grit.TINY),
    ):
        monkeypatch.setattr(kind, "SIZES", sizes)
    monkeypatch.setattr(musiq, "MusiqNet", lambda: MusiqNet(MUSIQ))
    monkeypatch.setattr(umt, "UmtNet", lambda: UmtNet(UMT))
    monkeypatch.setattr(captioner, "Tag2TextNet", TinyTag2TextNet)
    monkeypatch.setattr(captioner.Tag2Text, "side_px", SWIN.side_px)
    loads: Counter[str] = Counter()
    for network in NETWORKS:
        real = network.build

        def build(self, tensors, real=real):
            loads[self.NAME] += 1
            return real(self, tensors)

        monkeypatch.setattr(network, "build", build)
    return loads
