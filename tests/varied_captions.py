"""A random Tag2Text that does not say the same of every picture, made from the plain random one.

Plain random weights give one word for ever: positions drown the words, and what attention adds drowns both. Here words
weigh more than positions and sublayers add little, so that a word decides the next; attention is sharp, some tags pass
the threshold, and sentences may end before the longest. Both copies of what a checkpoint holds twice stay different.
"""

from __future__ import annotations

import math
from typing import Any

from vbench_checkpoints import stand_in_bert_vocabulary

DECODER, TAGS, END = "text_decoder.", "tag_encoder.", 102
# The first of these that a key holds after its beginning scales the tensor.
SCALES: dict[str, tuple[tuple[str, float], ...]] = {
    DECODER: (
        ("position_embeddings.weight", 0.02),
        ("crossattention.self.query.weight", 8.0),
        (".attention.self.query.weight", 3.0),
        ("crossattention.output.dense.weight", 0.25),
        (".output.dense.weight", 0.1),
        ("predictions.decoder.weight", 6.0),
    ),
    TAGS: (
        ("position_embeddings.weight", 0.02),
        ("crossattention.output.dense.weight", 0.3),
        ("output.dense.weight", 0.15),
    ),
}


def vary(state: dict[str, Any]) -> None:
    """Change the tensors of `plain("tag2text")`."""
    import torch

    for key in state:
        for beginning, scales in SCALES.items():
            found = [scale for part, scale in scales if key.startswith(beginning) and part in key]
            state[key] = state[key] * found[0] if found else state[key]
        if key.endswith("position_ids"):
            state[key] = torch.arange(state[key].shape[1])[None]
    state["fc.W"] = state["fc.W"] * math.sqrt(state["fc.W"].shape[1]) * 40
    state["fc.b"] = state["fc.b"] - 95
    state[f"{DECODER}cls.predictions.decoder.bias"][END] += 20.5


def words() -> list[str]:
    """The stand-in vocabulary with the tags' own words in it, so that 40 word pieces hold several tags."""
    from turbo_eval.scorers.vbench.encoders.tag2text.tagging import tag_names

    vocabulary = stand_in_bert_vocabulary()
    own = sorted({word for tag in tag_names() for word in tag.split() if word.isalpha()} - set(vocabulary))
    vocabulary[3000 : 3000 + len(own)] = own
    return vocabulary
