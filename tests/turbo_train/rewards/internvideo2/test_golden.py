"""Is our InternVideo2 the published one? Golden numbers of the official code at tiny size.

Not asked: vision/clip_align and vision/final_align, outputs of decoders that the score does not use and we lack.
"""

from __future__ import annotations

import pytest
import torch
from golden import fill

from turbo_train.rewards.base import cosine, unit
from turbo_train.rewards.internvideo2.model import InternVideo2
from turbo_train.rewards.internvideo2.positions import Grid, grid_of, refit, sincos

UNUSED = {"vision/clip_align", "vision/final_align"}
ASKED = {
    "init": {"init/pos_embed", "init/img_pos_embed"},
    "interp": {"interp/pos_embed_8_frames", "interp/pos_embed_2x2"},
    "vision": {"vision/tokens", "vision/pooled", "video/features", "one_frame/features", "score", "grad/video"},
    "text": {"text/tokens", "text/pooled", "text/features"},
    "variants": {
        "tanh_gelu/video_features",
        "large_gamma/video_features",
        "large_gamma_tanh/video_features",
        "f64/large_gamma_video_features",
    },
}


def test_every_recorded_output_is_asked_for(golden) -> None:
    assert set.union(UNUSED, *ASKED.values()) == set(golden[0]["outputs"])


def agree(golden, group: str, **actual: torch.Tensor) -> None:
    """All outputs of a group, their names with _of_ for the stroke."""
    meta, expected = golden
    values = {name.replace("_of_", "/"): value for name, value in actual.items()}
    assert values.keys() == ASKED[group]
    for name, value in values.items():
        fill.compare(meta, expected, name, value)


def test_positions_start_as_sines_and_cosines(golden, config) -> None:
    start = InternVideo2(config).vision_encoder
    agree(golden, "init", init_of_pos_embed=start.pos_embed, init_of_img_pos_embed=start.img_pos_embed)
    with pytest.raises(ValueError, match="a multiple of 16"):
        sincos(40, Grid(4, 2))


def test_positions_are_refitted_over_time_and_space(golden) -> None:
    inputs = fill.inputs_of(golden[0])
    four, wide = inputs["pos_embed_4_frames"], inputs["pos_embed_3x3"]
    agree(
        golden,
        "interp",
        interp_of_pos_embed_8_frames=refit(four, Grid(4, 2), Grid(8, 2)),
        interp_of_pos_embed_2x2=refit(wide, Grid(4, 3), Grid(4, 2)),
    )
    both = refit(refit(wide, Grid(4, 3), Grid(4, 2)), Grid(4, 2), Grid(8, 2))
    torch.testing.assert_close(refit(wide, Grid(4, 3), Grid(8, 2)), both, atol=1e-6, rtol=0)
    assert refit(four, Grid(4, 2), Grid(4, 2)) is four
    assert refit(four.half(), Grid(4, 2), Grid(8, 2)).dtype is torch.float16


def test_a_grid_is_known_by_its_lengths() -> None:
    assert grid_of(1025, 257) == Grid(4, 16) and grid_of(2049, 257) == Grid(8, 16)
    assert grid_of(1026, 257) is None and grid_of(1025, 256) is None
    assert grid_of(1, 257) is None and grid_of(5, 1) is None and grid_of(0, 0) is None


def test_a_clip_is_seen_as_recorded(golden, make) -> None:
    inputs, net = fill.inputs_of(golden[0]), make()
    video = inputs["video"].requires_grad_()
    tokens = net.vision_encoder.tokens(video)
    features = unit(net.see(video))
    said = unit(net.read(inputs["input_ids"][:1]))
    (slope,) = torch.autograd.grad((features * inputs["R"]).sum(), video, retain_graph=True)
    agree(
        golden,
        "vision",
        vision_of_tokens=tokens,
        vision_of_pooled=net.vision_encoder.clip_projector(tokens),
        video_of_features=features,
        one_frame_of_features=unit(net.see(inputs["one_frame"])),
        score=cosine(features, said.expand(2, -1)),
        grad_of_video=slope,
    )


def test_a_text_is_read_as_recorded(golden, make) -> None:
    inputs, net = fill.inputs_of(golden[0]), make()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    assert torch.equal((ids != net.config.text.pad_token_id).long(), mask)
    tokens = net.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    agree(
        golden,
        "text",
        text_of_tokens=tokens,
        text_of_pooled=tokens[:, 0],
        text_of_features=unit(net.read(ids)),
    )


def test_both_gelus_and_float64_agree(golden, make) -> None:
    """In the float64 golden RMSNorm and LayerScale are float32's; ours are float64's: 4e-8 apart, of 1e-6 allowed."""
    video = fill.inputs_of(golden[0])["video"]
    agree(
        golden,
        "variants",
        tanh_gelu_of_video_features=unit(make("tanh").see(video)),
        large_gamma_of_video_features=unit(make(gamma=20.0).see(video)),
        large_gamma_tanh_of_video_features=unit(make("tanh", gamma=20.0).see(video)),
        f64_of_large_gamma_video_features=unit(make(gamma=20.0, dtype=torch.float64).see(video.double())),
    )
    apart = make(gamma=20.0).see(video) - make("tanh", gamma=20.0).see(video)
    assert apart.abs().max() > 3e-5  # more than the goldens' tolerance: the two GELUs are told apart


def test_padding_changes_nothing(golden, make) -> None:
    net, ids = make(), fill.inputs_of(golden[0])["input_ids"]
    torch.testing.assert_close(net.read(ids[1:2, :6]), net.read(ids[1:2]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_half_precisions_stay_close(golden, make, dtype: torch.dtype, atol: float) -> None:
    inputs = fill.inputs_of(golden[0])
    exact, half = make("tanh", gamma=20.0), make("tanh", gamma=20.0, dtype=dtype)
    pairs = [(exact.see(inputs["video"]), half.see(inputs["video"].to(dtype)))]
    pairs += [(exact.read(inputs["input_ids"]), half.read(inputs["input_ids"]))]
    for want, have in pairs:
        assert have.dtype is dtype
        torch.testing.assert_close(unit(have), unit(want), atol=atol, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_and_gammas_are_float32s_rounded_once(make, dtype: torch.dtype) -> None:
    block = make(gamma=20.0, dtype=dtype).vision_encoder.blocks[0]
    x = 300 * torch.randn(99, 64, generator=torch.Generator().manual_seed(0)).to(dtype)  # squares beyond float16
    norm, gamma = block.norm1.weight.float(), block.ls1.gamma.float()
    wide = x.float()
    mean_square = wide.square().mean(-1, keepdim=True)
    torch.testing.assert_close(block.norm1(x), (wide / (mean_square + 1e-6).sqrt() * norm).to(dtype))
    assert torch.equal(block.ls1(x), (wide * gamma).to(dtype))
