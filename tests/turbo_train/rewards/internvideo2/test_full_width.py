"""Does the true width work, read from a file as it is published? Two blocks and two BERT layers; all else full size."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from golden import fill

from turbo_train.rewards.internvideo2.load import VOCABULARY, WEIGHTS, load_internvideo2
from turbo_train.rewards.internvideo2.model import InternVideo2Config
from turbo_train.rewards.internvideo2.text import TextConfig
from turbo_train.rewards.internvideo2.vision import VisionConfig
from turbo_train.rewards.word_pieces import SPECIAL

TABLE = Path(__file__).parents[3] / "golden" / "keys" / "internvideo2_s2_1b_f4_keys.tsv"
BLOCKS = 2


def rows() -> dict[str, tuple[int, ...]]:
    """Of the published table, without the blocks and layers from the third on; layer 19, which joins, is kept."""
    with TABLE.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    cut = tuple(f"vision_encoder.blocks.{i}." for i in range(BLOCKS, 40))
    cut += tuple(f"text_encoder.encoder.layer.{i}." for i in range(BLOCKS, 24) if i != 19)
    kept = {row["key"]: row["shape"] for row in table if not row["key"].startswith(cut)}
    return {key: tuple(map(int, shape.split("x"))) for key, shape in kept.items()}


@pytest.mark.slow
@pytest.mark.parametrize("frames", [4, 8])
def test_a_file_of_full_width_is_read_and_scores(tmp_path: Path, frames: int) -> None:
    weights = fill.filled_state_dict(rows().items(), ["text_encoder.embeddings.position_ids"])
    weights = {key.replace("text_encoder.", "text_encoder.bert."): value.half() for key, value in weights.items()}
    files = {WEIGHTS: tmp_path / "stage2.pt", VOCABULARY: tmp_path / "vocab.txt"}
    torch.save({"module": weights}, files[WEIGHTS])
    words = [*SPECIAL, "red", "circle", "up"]
    words += [f"[unused{i}]" for i in range(TextConfig().vocab_size - len(words))]
    files[VOCABULARY].write_text("\n".join(words) + "\n", encoding="utf-8")

    config = InternVideo2Config(VisionConfig(depth=BLOCKS), TextConfig(fusion_layer=BLOCKS))
    model = load_internvideo2(files, frames=frames, config=config)
    model.float()
    model.rows = 1
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(2, frames, 3, 240, 320, generator=generator)
    texts = ["red circle", "up"]
    seen = clips.clone().requires_grad_()
    scores = model.score_clips(seen, texts)
    scores.sum().backward()
    assert seen.grad is not None and bool((seen.grad.flatten(1) != 0).any(1).all())
    with torch.no_grad():
        alone = torch.cat([model.score_clips(clips[i : i + 1], texts[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(alone, scores.detach(), atol=1e-6, rtol=0)
        model.half()
        torch.testing.assert_close(model.score_clips(clips[:1], texts[:1]), alone[:1], atol=5e-3, rtol=0)
