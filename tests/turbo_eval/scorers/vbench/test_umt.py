"""Is UMT the published network, with OpenCV's resize before it?"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from vbench_checkpoints import CLIPS, ROW, plain, rows

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features
from turbo_eval.scorers.vbench.encoders import middle_indices, umt
from turbo_eval.scorers.vbench.encoders.umt import Umt, middle_square, normal
from turbo_eval.scorers.vbench.encoders.umt_net import UmtNet, UmtSizes, umt_position_table
from turbo_eval.scorers.vbench.human_action import HumanAction
from turbo_train.errors import UserError
from turbo_train.video_io import read_video
from turbo_train.weights.table import find_file

TINY = UmtSizes(width=16, depth=2, heads=2, mlp=24, frames=4, side_px=224, patch_px=56, actions=5, sinusoid_frames=2)


def tiny_net() -> UmtNet:
    torch.manual_seed(0)
    net = UmtNet(TINY)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval().requires_grad_(False)


class TinyUmt(Umt):
    """The encoder around a tiny network."""

    num_frames = TINY.frames

    def build(self, tensors):
        return tiny_net()


def clip(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_layout_is_the_published_checkpoints():
    with torch.device("meta"):
        state = UmtNet().state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: s for k, s, _ in rows("umt_l16")}


def test_the_network_is_a_plain_pre_norm_transformer():
    x = torch.rand(2, 4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    got = tiny_net()(x)
    net = tiny_net()
    patches = net.patch_embed.proj(x.transpose(1, 2)).flatten(2).transpose(1, 2)
    net = net.double()
    tokens = patches.double() + net.pos_embed
    for block in net.blocks:
        a, y = block.attn, block.norm1(tokens)
        bias = torch.cat([a.q_bias, torch.zeros_like(a.q_bias), a.v_bias])
        q, k, v = (y @ a.qkv.weight.T + bias).unflatten(-1, (3, a.heads, -1)).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        tokens = tokens + a.proj((shares @ v).transpose(1, 2).flatten(2))
        y = block.norm2(tokens)
        tokens = tokens + block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(y)))
    want = net.head(net.fc_norm(tokens.mean(1)))
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    assert (got[0] - got[1]).abs().max() > 1e-3


def test_clips_in_company_score_as_they_do_alone(tmp_path):
    path = tmp_path / "any.pt"
    torch.save({}, path)
    encoder = TinyUmt({find_file(ROW["umt_l16"]): path})
    clips = [clip(4, 256, 300), clip(4, 90, 41, 1), clip(4, 224, 224, 2), clip(4, 300, 256, 3), clip(4, 31, 33, 4)]
    together = encoder.action_probabilities(clips)
    assert [p.shape for p in together] == [(5,)] * 5 and encoder.action_probabilities([]) == []
    for one, probabilities in zip(clips, together, strict=True):
        np.testing.assert_allclose(encoder.action_probabilities([one])[0], probabilities, rtol=1e-6, atol=1e-6)
    assert np.ptp(np.stack(together), axis=0).max() > 1e-3
    assert encoder.relieve() and encoder.rows == 1 and not encoder.relieve()


def test_in_bf16_the_head_stays_in_float32():
    x = torch.rand(2, 4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    exact = tiny_net()(x)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = tiny_net()(x)
    assert half.dtype == torch.float32 and 0 < (exact - half).abs().max() < 0.1 * exact.abs().max()
    assert not torch.equal(half.bfloat16().float(), half)


@pytest.mark.parametrize(
    ("size", "resized"),
    [((250, 334), (256, 342)), ((513, 301), (436, 256)), ((256, 300), None), ((33, 31), (272, 256))],
)
def test_frames_are_resized_as_bytes_by_opencv_and_cut_in_the_middle(size, resized):
    frames = clip(2, *size)
    want = frames
    if resized:
        want = np.stack([cv2.resize(f, resized[::-1], interpolation=cv2.INTER_LINEAR) for f in frames])
    top, left = round((want.shape[1] - 224) / 2), round((want.shape[2] - 224) / 2)
    np.testing.assert_array_equal(middle_square(frames), want[:, top : top + 224, left : left + 224])


def test_colours_are_normalised_with_imagenets():
    x = normal(torch.tensor([[0, 128, 255]], dtype=torch.uint8).expand(1, 1, 1, 1, 3))
    want = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(x.flatten().numpy(), want, rtol=1e-6)


def test_positions_are_a_sinusoid_stretched_in_time():
    table = umt_position_table()[0]
    assert table.shape == (3136, 1024)
    # Frames 0 and 1 of 16 lie at -0.25 and 0.25 of the eight; before the first there is nothing to mix with.
    first = torch.arange(196, dtype=torch.float64)
    torch.testing.assert_close(table[:196, 0], first.sin().float())
    torch.testing.assert_close(table[:196, 1], first.cos().float())
    torch.testing.assert_close(table[196:392, 0], (0.75 * first.sin() + 0.25 * (first + 196).sin()).float())
    rate = 10000 ** -(510 / 1024)
    torch.testing.assert_close(table[:196, 511], (first * rate).cos().float())


def write_tiny(path: Path, **without: bool) -> Path:
    state = {key: value for key, value in tiny_net().state_dict().items() if not without.get(key)}
    torch.save({key: value.half() for key, value in state.items()} | {"of_training": torch.zeros(1)}, path)
    return path


def test_a_half_precision_checkpoint_may_lack_the_table_of_positions_or_hold_more_and_nothing_else(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(umt, "UmtNet", lambda: UmtNet(TINY))
    monkeypatch.setattr(umt, "umt_position_table", lambda: torch.full((1, 64, 16), 7.0))
    row = find_file(ROW["umt_l16"])
    whole, lacking = (
        Umt({row: write_tiny(tmp_path / "a.pt")}),
        Umt({row: write_tiny(tmp_path / "b.pt", pos_embed=True)}),
    )
    for encoder in (whole, lacking):
        encoder.load()
        assert all(value.dtype == torch.float32 for value in encoder._net.parameters())
    assert torch.equal(whole._net.pos_embed, tiny_net().pos_embed.half().float())
    assert (lacking._net.pos_embed == 7).all()
    broken = Umt({row: write_tiny(tmp_path / "c.pt", **{"blocks.1.attn.q_bias": True})})
    with pytest.raises(UserError, match=r"missing blocks\.1\.attn\.q_bias"):
        broken.load()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_probabilities_and_verdicts_on_four_clips_are_vbenchs(tmp_path):
    path = tmp_path / "umt.pt"
    torch.save(plain("umt_l16"), path)  # without positions: they are the network's own
    encoder = Umt({find_file(ROW["umt_l16"]): path})
    encoder.load()
    path.unlink()
    golden = json.loads((CLIPS / "eleven_dimensions_four_clips.json").read_text())["human_action"]
    for name, video, want in zip(sorted(CLIPS.glob("*.mp4")), golden["videos"], golden["intermediate"], strict=True):
        assert video["video_path"] == name.name
        frames = read_video(name).frames_THWC
        (got,) = encoder.action_probabilities([frames[middle_indices(len(frames), 16)]])
        assert np.argsort(-got)[:5].tolist() == want["idx"]
        np.testing.assert_allclose(got[want["idx"]], want["prob"], rtol=1e-6)
        np.testing.assert_allclose(got[:8], want["first8"], rtol=1e-5)
        asked = Prompt(prompt_id="p", prompt="a person is surfing water")
        features = Features(Clip(("m", "p", 0), asked, frames, 8.0))
        features.together(("actions", encoder.encoder_id), lambda clips, got=got: [got])
        assert bool(HumanAction(encoder).score(features.clip, features).value) == video["video_results"]
