"""Random checkpoints at full size in the published layouts, below a TURBO_WEIGHTS root, for runs from end to end.

VideoCrafter2 and T2V-Turbo by the recipe of golden/fill.py, VBench's networks by that of golden/vbench, both seeded by
the keys' names: all stay finite, and no clip is constant. Two are steered, so that VBench's honest rules leave a number
for every dimension: RAFT sees no motion (the static filter would keep no clip of random frames; of four frames it keeps
those whose first and last do not move at all, as 3 px * min(h, w) / 256 is taken round(2 * 4 / 16) = 0 times), and GRiT
calls whatever it sees THING and describes it as COLOURED (color would have no clip that shows its object).

    python tests/full_size_checkpoints.py ROOT [merged|lora]    # 20 GB, or 15 GB
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from golden import fill
from vbench_checkpoints import ROW, WORD_PIECES, plain, write_ours, write_word_pieces

KEYS = Path(__file__).resolve().parent / "golden" / "keys"

THING, COLOURED = "bicycle", "red"  # of VBench's first two prompts of color
CHECKPOINT, MERGED, LORA = "vc2/model.ckpt", "vc2-turbo/merged.pt", "vc2-turbo/unet_lora.pt"  # rows of weights.lock


def write_vc2(root: Path) -> Path:
    """VideoCrafter2: UNet, autoencoder and text tower, 2,039 keys."""
    from turbo_train.nets.videocrafter2.checkpoint import UNET, CheckpointConfig, layout

    shapes = layout(CheckpointConfig())
    assert len(shapes) == 2039
    return _write({"state_dict": {k: _random(k.removeprefix(UNET), s) for k, s in shapes.items()}}, root, CHECKPOINT)


def write_merged(root: Path) -> Path:
    """T2V-Turbo's UNet with its LoRA merged and its guidance projection: 1,413,366,340 parameters."""
    with (KEYS / "vc2_unet_keys.tsv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["in_v1_student"] == "1"]
    shapes = {row["key"]: _shape(row["shape"]) for row in rows}
    return _write({key: _random(key, shape) for key, shape in shapes.items()}, root, MERGED)


def write_lora(root: Path) -> Path:
    """T2V-Turbo's unnamed LoRA list, 1,150 tensors."""
    with (KEYS / "vc2_lora_modules.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    pairs = [(row["module"], part, row[f"{part}_shape"]) for row in rows for part in ("up", "down")]
    tensors = [0.1 * _random(f"{module}.lora_{part}.weight", _shape(shape)) for module, part, shape in pairs]
    assert len(tensors) == 1150
    return _write(tensors, root, LORA)


def write_scorers(root: Path) -> None:
    """All of VBench's networks and vocabularies."""
    for table in ROW:
        if table not in ("raft_things", "grit_b"):
            write_ours(table, root)
    write_still_raft(root)
    write_telling_grit(root)


def write_still_raft(root: Path) -> Path:
    """RAFT whose updates are zero."""
    state = plain("raft_things")
    for name in state:
        if "flow_head.conv2" in name:
            state[name].zero_()
    return _write(state, root, ROW["raft_things"])


def write_telling_grit(root: Path) -> Path:
    """GRiT that finds something in every frame and has one word for it in each task, and its vocabulary.

    The decoder's layers hardly change a word's own embedding, which points to the word that follows: from the begin
    token of ObjectDet to THING, from that of DenseCap to COLOURED, from either of them to the end token.
    """
    import torch

    end, name_it, describe_it, thing, coloured = 102, 101, 104, 10852, 1686  # the last two: vocabulary below
    state = plain("grit_b")
    for name, value in state.items():
        if ".textual.transformer." in name and ".output.dense." in name:
            value *= 0.01
        if name.endswith("agn_hm.bias"):
            value.fill_(-2.25)
    words = next(value for name, value in state.items() if name.endswith("textual.output.weight"))
    bias = next(value for name, value in state.items() if name.endswith("textual.output.bias"))
    named, described, over = torch.eye(len(words[0]))[:3] * 20
    for token, value in (
        (name_it, named),
        (describe_it, described),
        (thing, named + over),
        (coloured, described + over),
        (end, 2 * over),
    ):
        words[token] = value
    bias[[name_it, describe_it]] = -1e4  # they are their own nearest words
    next(value for name, value in state.items() if name.endswith("textual.embedding.words.weight")).copy_(words)
    vocabulary = write_word_pieces(place(root, WORD_PIECES))
    pieces = vocabulary.read_text(encoding="utf-8").splitlines()
    pieces[thing], pieces[coloured] = THING, COLOURED
    vocabulary.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return _write(state, root, ROW["grit_b"])


def place(root: Path, row: str) -> Path:
    """Where a row of weights.lock is looked for below a root."""
    from turbo_train.weights.places import path_below_root
    from turbo_train.weights.table import find_file

    path = root / path_below_root(find_file(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _random(name: str, shape: tuple[int, ...]) -> Any:
    import torch

    value = fill.fill_value(name, shape)
    return torch.zeros(shape) if value is None else value


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("x") if number)


def _write(content: object, root: Path, row: str) -> Path:
    import torch

    path = place(root, row)
    torch.save(content, path)
    return path


if __name__ == "__main__":
    folder, kind = Path(sys.argv[1]), (*sys.argv[2:], "merged")[0]
    print(write_vc2(folder), {"merged": write_merged, "lora": write_lora}[kind](folder), sep="\n")
    write_scorers(folder)
