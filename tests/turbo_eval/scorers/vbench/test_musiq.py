"""Is MUSIQ the published network, and are its shortcuts exact?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.functional import InterpolationMode, resize
from vbench_checkpoints import CLIPS, ROW, rows, write_plain

from turbo_eval.scorers.vbench.encoders import musiq
from turbo_eval.scorers.vbench.encoders.backbone import MODE, PRECISIONS, Mode
from turbo_eval.scorers.vbench.encoders.musiq import Musiq, prepare
from turbo_eval.scorers.vbench.encoders.musiq_net import MusiqNet, MusiqSizes, StdConv, cut, hashed, same
from turbo_train.errors import UserError
from turbo_train.video_io import read_video
from turbo_train.weights.table import find_file

TINY = MusiqSizes(width=12, depth=2, heads=2, mlp=16, stem=8, groups=4, sides_px=(64, 96))


def tiny_net() -> MusiqNet:
    torch.manual_seed(0)
    net = MusiqNet(TINY)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval().requires_grad_(False)


class TinyMusiq(Musiq):
    """The encoder around a tiny network."""

    def build(self, tensors):
        return tiny_net()


def tiny_encoder(tmp_path: Path, mode: Mode = MODE) -> TinyMusiq:
    path = tmp_path / "any.pt"
    torch.save({}, path)
    return TinyMusiq({find_file(ROW["musiq_spaq"]): path}, mode)


def frames(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_layout_is_the_published_checkpoints():
    with torch.device("meta"):
        state = MusiqNet().state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: s for k, s, _ in rows("musiq_spaq")}


def masked_score(net: MusiqNet, x_NCHW: torch.Tensor) -> torch.Tensor:
    """As the paper has it: the small scales padded to their largest number of tokens, which a mask hides."""
    tokens, seen = [], [torch.ones(1)]
    scaled = net.scales((x_NCHW - 0.5) * 2)
    for scale, picture in enumerate(scaled):
        real = net.tokens(picture, scale)
        sides = net.sizes.sides_px
        most = (-(-sides[scale] // net.sizes.patch_px)) ** 2 if scale < len(sides) else real.shape[1]
        empty = net.embed(torch.zeros(1, 3, net.sizes.patch_px, net.sizes.patch_px))
        encoder = net.transformer_encoder
        filler = empty + encoder.posembed_input()[:, :1] + encoder.scaleembed_input()[0]
        tokens += [real, filler.expand(len(real), most - real.shape[1], -1)]
        seen += [torch.ones(real.shape[1]), torch.zeros(most - real.shape[1])]
    encoder = net.transformer_encoder
    x = torch.cat([encoder.cls.expand(len(x_NCHW), -1, -1), *tokens], 1).double()
    mask = torch.cat(seen)
    assert (mask == 0).sum() > 0
    net = net.double()
    for block in encoder.transformer.values():
        y = block.norm1(x)
        a = block.attention
        q, k, v = (layer(y).unflatten(-1, (a.heads, -1)).transpose(1, 2) for layer in (a.query, a.key, a.value))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        shares = scores.masked_fill(mask[:, None] * mask[None] == 0, -1e3).softmax(-1)
        x = x + a.out((shares @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    return net.head(encoder.encoder_norm(x)[:, 0])[:, 0]


@pytest.mark.parametrize(("height", "width"), [(40, 64), (97, 51)])
def test_dropping_masked_tokens_and_all_but_the_last_class_token_changes_nothing(height, width):
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    got = tiny_net()(x)
    torch.testing.assert_close(got.double(), masked_score(tiny_net(), x), rtol=1e-5, atol=1e-6)
    assert abs(got[0] - got[1]) > 1e-3


def test_clips_in_company_score_as_they_do_alone(tmp_path):
    encoder = tiny_encoder(tmp_path)
    clips = [frames(3, 40, 70), frames(1, 33, 31, 1), frames(6, 40, 70, 2), frames(2, 1, 130, 3)]
    together = encoder.frame_scores(clips)
    assert [len(scores) for scores in together] == [3, 1, 6, 2] and together[0].dtype == np.float32
    encoder.rows = 2
    for clip, scores in zip(clips, together, strict=True):
        np.testing.assert_allclose(encoder.frame_scores([clip])[0], scores, rtol=1e-6, atol=1e-6)
        one = [encoder.frame_scores([frame[None]])[0][0] for frame in clip]
        np.testing.assert_allclose(one, scores, rtol=1e-6, atol=1e-6)
    assert np.ptp(np.concatenate(together)) > 1e-3


def test_in_bf16_the_head_stays_in_float32(tmp_path):
    clip = frames(6, 40, 70)
    (exact,), (half,) = (tiny_encoder(tmp_path, Mode(precision=kind)).frame_scores([clip]) for kind in PRECISIONS)
    assert half.dtype == np.float32 and 0 < np.abs(exact - half).max() < 0.1 * np.abs(exact).max()
    assert not torch.equal(torch.from_numpy(half).bfloat16().float(), torch.from_numpy(half))


@pytest.mark.parametrize(
    ("size", "want"),
    [((320, 512), (320, 512)), ((720, 1280), (288, 512)), ((1023, 601), (512, 300)), ((2, 1400), (1, 512))],
)
def test_a_frame_longer_than_512_px_is_shrunk(size, want):
    whole = torch.from_numpy(frames(1, *size))
    x = prepare(whole)
    assert x.shape == (1, 3, *want) and x.dtype == torch.float32
    official = resize(whole.permute(0, 3, 1, 2).float(), list(want), InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(x, official / 255, rtol=0, atol=1e-6)


def test_scales_have_their_longer_side_at_224_and_384():
    net = MusiqNet(replace(TINY, sides_px=MusiqSizes().sides_px))
    shapes = [tuple(x.shape[2:]) for x in net.scales(torch.zeros(1, 3, 320, 512))]
    thin = [tuple(x.shape[2:]) for x in net.scales(torch.zeros(1, 3, 512, 1))]
    assert shapes == [(140, 224), (240, 384), (320, 512)]
    assert thin == [(224, 1), (384, 1), (512, 1)]


def test_a_token_says_where_and_at_which_scale_its_patch_lies():
    net = tiny_net()
    flat = torch.full((1, 3, 64, 96), 0.3)  # 2 x 3 patches without anything in them
    encoder = net.transformer_encoder
    (first, *others), (elsewhere, *_) = net.tokens(flat, 0)[0], net.tokens(flat, 2)[0]
    places = encoder.posembed_input()[0]
    for token, place in zip(others, [3, 6, 50, 53, 56], strict=True):
        torch.testing.assert_close(token - first, places[place] - places[0], rtol=1e-4, atol=1e-5)
    scales = encoder.scaleembed_input()
    torch.testing.assert_close(elsewhere - first, scales[2] - scales[0], rtol=1e-4, atol=1e-5)


def test_padding_is_tensorflows_same():
    assert same(32, 7, 2) == (2, 3) and same(16, 3, 2) == (0, 1) and same(8, 3, 1) == (1, 1)
    assert same(140, 32, 32) == (10, 10) and same(51, 32, 32) == (6, 7) and same(64, 32, 32) == (0, 0)


def test_patches_are_cut_row_by_row_and_centred():
    x = torch.arange(3 * 5, dtype=torch.float32).reshape(1, 1, 3, 5) + 1
    patches = cut(x, 4)
    assert patches.shape == (1, 1, 2, 1, 4, 4)
    want = F.pad(x[0, 0], (1, 2, 0, 1))
    assert torch.equal(patches[0, 0, 0, 0], want[:, :4]) and torch.equal(patches[0, 0, 1, 0], want[:, 4:])


def test_places_are_hashed_to_the_grid():
    assert hashed(2, 5, 10).tolist() == [0, 2, 4, 6, 8, 50, 52, 54, 56, 58]
    assert hashed(1, 16, 10).tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9]
    assert hashed(10, 10, 10).tolist() == list(range(100))


def test_kernels_are_standardised():
    conv = StdConv(2, 1, 1, bias=False).requires_grad_(False)
    conv.weight.copy_(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1))
    # mean 2, unbiased deviation sqrt 2: -1 / sqrt 2 and 1 / sqrt 2
    out = conv(torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1))
    assert out.item() == pytest.approx(1 / (2**0.5 + 1e-5), rel=1e-6)


def test_a_half_precision_checkpoint_may_hold_more(tmp_path, monkeypatch):
    monkeypatch.setattr(musiq, "MusiqNet", tiny_net)
    path = tmp_path / "musiq.pt"
    halves = {key: value.half() for key, value in tiny_net().state_dict().items()}
    torch.save(halves | {"of_training": torch.zeros(1)}, path)
    encoder = Musiq({find_file(ROW["musiq_spaq"]): path})
    encoder.load()
    state = encoder._net.state_dict()
    assert all(value.dtype == torch.float32 and torch.equal(value, halves[key].float()) for key, value in state.items())


def test_another_checkpoint_is_refused(tmp_path):
    path = tmp_path / "musiq.pt"
    torch.save({"conv_root.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(UserError, match="247 keys of"):
        Musiq({find_file(ROW["musiq_spaq"]): path}).load()


@pytest.mark.slow
def test_every_frame_of_four_clips_scores_as_in_vbench(tmp_path):
    path = write_plain("musiq_spaq", tmp_path)
    encoder = Musiq({find_file(ROW["musiq_spaq"]): path})
    names = sorted(CLIPS.glob("*.mp4"))
    got = encoder.frame_scores([read_video(name).frames_THWC for name in names])
    path.unlink()
    golden = json.loads((CLIPS / "eleven_dimensions_four_clips.json").read_text())["imaging_quality"]
    np.testing.assert_allclose(np.concatenate(got), [row[0] for row in golden["intermediate"]], rtol=2e-6)
    for name, scores, video in zip(names, got, golden["videos"], strict=True):
        assert video["video_path"] == name.name
        assert float(np.mean(scores, dtype=np.float64)) == pytest.approx(video["video_results"], rel=1e-6)
