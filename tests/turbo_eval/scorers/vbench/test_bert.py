"""Our layer of BERT is transformers', and what it remembers changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from turbo_eval.scorers.vbench.encoders.bert import BertLayer, BertSizes

WIDTH, HEADS, HIDDEN = 32, 4, 64
SIZES = BertSizes(WIDTH, HEADS, HIDDEN, cross_width=WIDTH)


@pytest.fixture
def layer() -> BertLayer:
    torch.manual_seed(0)
    layer = BertLayer(SIZES).eval().requires_grad_(False)
    for value in layer.parameters():
        value.copy_(0.3 * torch.randn_like(value))
    return layer


def causal(length: int) -> Tensor:
    return torch.ones(1, length, length, dtype=torch.bool).tril()


def test_the_layer_is_transformers_own(layer: BertLayer) -> None:
    config = BertConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        is_decoder=True,
        add_cross_attention=True,
        attn_implementation="eager",
    )
    theirs = BertModel(config, add_pooling_layer=False).eval().encoder.layer[0]
    theirs.load_state_dict(layer.state_dict())
    x, memory = torch.randn(3, 5, WIDTH), torch.randn(3, 7, WIDTH)
    hidden = torch.zeros(1, 1, 5, 5).masked_fill(~causal(5), torch.finfo(torch.float32).min)
    expected = theirs(x, attention_mask=hidden, encoder_hidden_states=memory)
    expected = expected[0] if isinstance(expected, tuple) else expected

    read, _ = layer.read(x, None, causal(5))
    got = layer.think(layer.look(read, layer.crossattention.remember(memory)))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_token_by_token_is_all_at_once(layer: BertLayer) -> None:
    x = torch.randn(2, 6, WIDTH)
    whole, known = layer.read(x, None, causal(6))
    parts, before = [], None
    for token in x.split(1, dim=1):
        part, before = layer.read(token, before)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)
    assert before is not None
    torch.testing.assert_close(before.keys, known.keys)
    assert known.keys.shape == (2, HEADS, 6, WIDTH // HEADS)


def test_what_may_not_be_seen_changes_nothing(layer: BertLayer) -> None:
    x, memory = torch.randn(2, 3, WIDTH), torch.randn(2, 5, WIDTH)
    seen = torch.tensor([[[True, True, False, True, False]]])
    kept = layer.crossattention.remember(memory)
    got = layer.look(x, kept, seen)
    memory[:, [2, 4]] = 9.0
    torch.testing.assert_close(layer.look(x, layer.crossattention.remember(memory), seen), got)
    only = layer.crossattention.remember(memory[:, [0, 1, 3]])
    torch.testing.assert_close(layer.look(x, only), got, rtol=1e-5, atol=1e-6)


def test_memories_follow_their_texts(layer: BertLayer) -> None:
    x = torch.randn(3, 4, WIDTH)
    _, known = layer.read(x)
    order = torch.tensor([2, 0, 0])
    _, expected = layer.read(x[order])
    torch.testing.assert_close(known.rows(order).values, expected.values)


def test_a_layer_without_an_attention_has_no_weights_for_it() -> None:
    names = {name.split(".")[0] for name in BertLayer(BertSizes(WIDTH, HEADS, HIDDEN, 8, reads=False)).state_dict()}
    assert names == {"crossattention", "intermediate", "output"}
    assert BertLayer(BertSizes(WIDTH, HEADS, HIDDEN, 8)).crossattention.self.key.weight.shape == (WIDTH, 8)
    assert not hasattr(BertLayer(BertSizes(WIDTH, HEADS, HIDDEN)), "crossattention")
