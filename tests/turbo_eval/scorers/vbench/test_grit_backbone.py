"""Is GRiT's backbone ViTDet with a pyramid of five maps, and does it project no more than there is?"""

from __future__ import annotations

import torch
from tiny_grit import TINY, calls_of, filled_at_random, noise
from torch import Tensor
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.grit import vitdet
from turbo_eval.scorers.vbench.encoders.grit.fpn import Pyramid
from turbo_eval.scorers.vbench.encoders.grit.vitdet import VitDet, filled, from_windows, windows

VIT = TINY.detection.vit


def test_vitdet_is_transformers_vitdet():
    from transformers import VitDetConfig, VitDetModel

    config = VitDetConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        mlp_ratio=4,
        image_size=128,
        pretrain_image_size=32,
        window_size=3,
        window_block_indices=[0, 2],
        use_relative_position_embeddings=True,
    )
    reference, ours = VitDetModel(config).eval(), filled_at_random(VitDet(VIT))
    names = {"pos_embed": "embeddings.position_embeddings", "patch_embed.proj.": "embeddings.projection."}
    names |= {"blocks.": "encoder.layer.", ".attn.": ".attention."}
    for small in (ours.pos_embed, *ours.patch_embed.parameters()):
        small.mul_(1e-3)  # so that the norms' eps counts
    state = ours.state_dict()
    for old, new in names.items():
        state = {key.replace(old, new): value for key, value in state.items()}
    reference.load_state_dict(state)
    for height, width in ((80, 112), (32, 32), (96, 48)):  # 5x7 patches: windows pass both edges; the table's own; 6x3
        x = noise(2, 3, height, width)
        with torch.inference_mode():
            torch.testing.assert_close(ours(x), reference(x).last_hidden_state, rtol=1e-4, atol=1e-4)


def test_windows_are_squares_in_reading_order_and_go_back():
    x = torch.arange(2 * 5 * 7).view(2, 5, 7, 1).float()
    whole = filled(x, 3, torch.tensor([-1.0]))
    squares = windows(whole, 3)
    assert whole.shape == (2, 6, 9, 1) and squares.shape == (12, 3, 3, 1)
    for picture in range(2):
        for number in range(6):
            for i in range(3):
                for j in range(3):
                    row, column = number // 3 * 3 + i, number % 3 * 3 + j
                    there = row < 5 and column < 7
                    want = picture * 35 + row * 7 + column if there else -1
                    assert squares[picture * 6 + number, i, j].item() == want
    assert torch.equal(from_windows(squares, 2, 5, 7), x)
    assert filled(whole, 3, torch.zeros(1)) is whole


def test_the_way_from_a_query_to_a_key_is_looked_up_by_rows_and_by_columns():
    height, width, short, long = 3, 4, noise(5, 6, seed=1), noise(127, 6, seed=2)
    q = noise(1, 2, height, width, 6)
    got = vitdet.position_bias(q, short, long).view(1, 2, height, width, height, width)
    stretched = F.interpolate(long.T[None], size=7, mode="linear")[0].T
    for i in range(height):
        for j in range(width):
            for k in range(height):
                for m in range(width):
                    want = q[0, :, i, j] @ (short[i - k + 2] + stretched[j - m + 3])
                    torch.testing.assert_close(got[0, :, i, j, k, m], want)


def test_attention_in_parts_is_attention(monkeypatch):
    net, x = filled_at_random(VitDet(VIT)), noise(3, 3, 80, 112)
    whole = net(x)
    monkeypatch.setattr(vitdet, "AT_ONCE", {"cpu": 1})
    torch.testing.assert_close(net(x), whole, rtol=1e-5, atol=1e-5)


def test_only_patches_that_there_are_are_projected():
    net = filled_at_random(VitDet(VIT))
    projected, back = calls_of(net.blocks[0].attn.qkv), calls_of(net.blocks[0].attn.proj)
    net(noise(2, 3, 80, 112))
    assert [x.shape for x in projected + back] == [(2, 5, 7, 16)] * 2


def test_the_pyramid_is_five_maps_of_one():
    net = filled_at_random(Pyramid(VIT, 32))
    x = noise(2, 3, 64, 96)
    levels = net(x)
    assert [level.shape[2:] for level in levels] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    seen, state = net.bottom_up(x), net.state_dict()

    def normed(x: Tensor, name: str) -> Tensor:
        deviation = (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
        scale, shift = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return (x - x.mean(1, keepdim=True)) / deviation * scale + shift

    raised = torch.einsum("bchw,cdij->bdhiwj", seen, state["fpn_stride_16_8.weight"]).reshape(2, 16, 8, 12)
    lowered = seen.reshape(2, 16, 2, 2, 3, 2).amax((3, 5))
    for stride, level, made in zip((8, 16, 32), levels, (raised, seen, lowered), strict=False):
        y = torch.einsum("bchw,dc->bdhw", made, state[f"fpn_stride{stride}_conv1.weight"][:, :, 0, 0])
        y = normed(y, f"fpn_stride{stride}_norm1")
        y = F.conv2d(y, state[f"fpn_stride{stride}_conv2.weight"], padding=1)
        torch.testing.assert_close(level, normed(y, f"fpn_stride{stride}_norm2"), rtol=1e-4, atol=1e-4)
    top = {part: state[f"top_block.{part}"] for part in ("p6.weight", "p6.bias", "p7.weight", "p7.bias")}
    p6 = F.conv2d(levels[2], top["p6.weight"], top["p6.bias"], 2, 1)
    p7 = F.conv2d(p6.clamp(min=0), top["p7.weight"], top["p7.bias"], 2, 1)
    assert (p6 < 0).any()
    torch.testing.assert_close(levels[3:], [p6, p7], rtol=1e-4, atol=1e-4)
