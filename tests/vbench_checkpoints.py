"""Random checkpoints of VBench's networks at full size, as the goldens in golden/vbench were made with.

plain(table): the state dict. write_plain(table, folder): one file of tensors in the layout that our loaders read.
write_ours(table, root): below a TURBO_WEIGHTS root. write_official(table, root): below a folder in VBench's own layout,
in the container that VBench opens; CLIP's is a TorchScript archive, which ours opens only with the published bytes.

    python tests/vbench_checkpoints.py OURS OFFICIAL TABLE...    # both, for `parity --official-cache OFFICIAL`
"""

from __future__ import annotations

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parent / "golden"
CLIPS = GOLDEN / "vbench"
KEYS = GOLDEN / "keys" / "vbench"
sys.path.insert(0, str(CLIPS))
from fill_checkpoints import GROUPS, fill, stand_in_bert_vocabulary  # noqa: E402

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
    "grit_b": "grit/grit_b_densecap_objectdet.pth",
    "tag2text": "tag2text/tag2text_swin_14m.pth",
}
assert set(ROW) <= set(GROUPS)


def rows(table: str) -> list[tuple[str, Any, Any]]:
    """(key, shape, dtype) of every tensor. The given `read` leaves its file open, which pytest takes for a fault."""
    import ast

    import torch

    lines = (KEYS / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
    cells = (line.split("\t") for line in lines if not line.startswith("#"))
    return [(key, ast.literal_eval(shape), getattr(torch, dtype)) for key, shape, dtype in cells]


def plain(table: str) -> dict[str, Any]:
    """The state dict of a table's network; of UMT without its pos_embed, which is no random table."""
    return fill(rows(table), table)


def write_plain(table: str, folder: Path) -> Path:
    """The state dict as torch.save writes it."""
    import torch

    path = folder / f"{table}.pt"
    torch.save(plain(table), path)
    return path


VOCABULARY = "viclip/bpe_simple_vocab_16e6.txt.gz"
WORD_PIECES = "bert-base-uncased/vocab.txt"


def write_word_pieces(path: Path) -> Path:
    """The stand-in for BERT's vocabulary that the goldens were made with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(stand_in_bert_vocabulary()) + "\n", encoding="utf-8")
    return path


def write_ours(table: str, root: Path) -> Path:
    """The state dict where our loaders look for it below a TURBO_WEIGHTS root, and ViCLIP's vocabulary beside its."""
    import torch

    from turbo_train.weights.places import path_below_root
    from turbo_train.weights.table import find_file

    path = root / path_below_root(find_file(ROW[table]))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(_whole(table), path)
    if table == "viclip":
        _copy_vocabulary(root / path_below_root(find_file(VOCABULARY)))
    if table in ("grit_b", "tag2text"):
        write_word_pieces(root / path_below_root(find_file(WORD_PIECES)))
    return path


def write_official(table: str, root: Path) -> Path:
    """The file that VBench opens, below the folder that VBENCH_CACHE_DIR would name."""
    import torch

    from turbo_train.weights.table import find_file

    path = root / _in_vbench(find_file(ROW[table]))
    path.parent.mkdir(parents=True, exist_ok=True)
    first = (KEYS / f"{table}.tsv").read_text(encoding="utf-8").partition("\n")[0]
    wrapper = first.partition("top-level key: ")[2].split()[0]
    if wrapper == "jit":
        archive(plain(table), path)
    else:
        torch.save(_whole(table) if wrapper == "(flat)" else {wrapper: plain(table)}, path)
    if table == "viclip":
        _copy_vocabulary(root / _in_vbench(find_file(VOCABULARY)))
    return path


def _in_vbench(file: Any) -> str:
    return str(next(text.partition("/")[2] for text in file.lands if text.startswith("vbench/")))


def _whole(table: str) -> dict[str, Any]:
    """With UMT's own initial table of positions, which the published file holds and the goldens were made with."""
    state = plain(table)
    if table == "umt_l16":
        from turbo_eval.scorers.vbench.encoders.umt_net import umt_position_table

        state["pos_embed"] = umt_position_table()
    return state


def _copy_vocabulary(path: Path) -> None:
    import open_clip

    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz"), path)


def archive(state: dict[str, Any], path: Path) -> None:
    """A TorchScript archive with these parameters and no code."""
    import torch

    top = torch.nn.Module()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        module = top
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, torch.nn.Module())
            module = module.get_submodule(parent)
        module.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # torch.jit's own, about itself
            warnings.simplefilter("ignore", category)
        torch.jit.save(torch.jit.script(top), str(path))


if __name__ == "__main__":
    for name in sys.argv[3:]:
        print(write_ours(name, Path(sys.argv[1])), write_official(name, Path(sys.argv[2])), sep="\n")
