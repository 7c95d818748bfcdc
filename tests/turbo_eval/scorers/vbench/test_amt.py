"""Is the frame half-way AMT's, whatever the batch and the size, and is only AMT's file taken?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow.raft import CorrBlock
from vbench_checkpoints import rows as table_rows

from turbo_eval.scorers.vbench.encoders.amt import STRIDE, Amt, build_amt, published_name
from turbo_eval.scorers.vbench.encoders.amt_net import AmtConfig, AmtNet, ResBlock, resized_flow, warped
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode
from turbo_train.errors import UserError
from turbo_train.weights.table import find_file

TINY = AmtConfig(
    channels=(4, 5, 6, 7),
    skip=2,
    flows=2,
    radius=1,
    features=(4, 4, 8, 8, 6),
    correlation=5,
    motion=(4, 3),
    joint=5,
    hidden=6,
)
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 113, 131, 3), dtype=np.uint8)


class TinyAmt(Amt):
    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        (published,) = tensors.values()
        return build_amt(published, "tiny", TINY)


def published() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {published_name(key): value for key, value in AmtNet(TINY).state_dict().items()}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TinyAmt]:
    def write(mode: Mode = MODE, rows: int = 0) -> TinyAmt:
        path = tmp_path / "tiny.pth"
        torch.save({"state_dict": published()}, path)
        amt = TinyAmt({find_file(Amt.FILES[0]): path}, mode)
        amt.rows = rows or amt.rows
        amt.load()
        return amt

    return write


def test_a_batch_gives_what_its_pairs_give_at_odd_sizes(make: Callable[..., TinyAmt]):
    found = [make(rows=rows).middles(FRAMES[:3], FRAMES[1:]) for rows in (1, 3)]
    assert found[0].shape == (3, 113, 131, 3) and found[0].dtype == np.uint8
    for other in found[1:]:  # a rounding may carry a pixel over a whole number
        assert np.abs(found[0].astype(int) - other).max() <= 1 and (found[0] != other).mean() < 1e-3
    assert np.abs(found[0][0].astype(int) - found[0][1]).max() > 20  # the frames matter


def test_frames_are_truncated_not_rounded(make: Callable[..., TinyAmt]):
    amt = make()
    with torch.no_grad():
        for parameter in amt._net.comb_block.parameters():
            parameter.zero_()
        last = amt._net.decoder1.convblock[2]
        last.weight.zero_()
        last.bias.zero_()
    amt._net.update4 = amt._net.update3 = amt._net.update2 = NoCorrection()
    for level in (amt._net.decoder4, amt._net.decoder3, amt._net.decoder2):
        with torch.no_grad():
            level.convblock[2].weight.zero_()
            level.convblock[2].bias.zero_()
    # Without flows, masks and residuals a frame is the mean of its neighbours: 10 and 21 give 15.5.
    pair = [np.full((1, 128, 128, 3), value, np.uint8) for value in (10, 21)]
    assert np.unique(amt.middles(*pair)).tolist() == [15]


class NoCorrection(nn.Module):
    def forward(self, feature: Tensor, flows: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(feature), torch.zeros_like(flows)


def test_both_ways_of_the_correlation_are_rafts():
    torch.manual_seed(0)
    net = AmtNet(TINY)
    before, after = torch.randn(2, 2, 6, 16, 18)
    net._correlate(before, after)
    for block, pair in ((net.ahead, (before, after)), (net.back, (after, before))):
        other = CorrBlock(num_levels=4, radius=1)
        other.build_pyramid(*pair)
        for found, wanted in zip(block.corr_pyramid, other.corr_pyramid, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_warping_looks_where_the_flow_points_and_repeats_the_border():
    x = torch.arange(24.0).view(1, 1, 4, 6)
    right = torch.zeros(1, 2, 4, 6)
    torch.testing.assert_close(warped(x, right), x)
    right[:, 0] = 1
    torch.testing.assert_close(warped(x, right), x[..., [1, 2, 3, 4, 5, 5]])
    right[:, 0], right[:, 1] = 0.5, 0
    torch.testing.assert_close(warped(x, right)[..., :5], x[..., :5] + 0.5)


def test_a_resized_flow_is_in_pixels_of_its_own_grid():
    flow = torch.full((1, 2, 4, 6), 3.0)
    torch.testing.assert_close(resized_flow(flow, 2), torch.full((1, 2, 8, 12), 6.0))
    torch.testing.assert_close(resized_flow(flow, 0.5), torch.full((1, 2, 2, 3), 1.5))


def test_the_last_channels_are_treated_once_more():
    torch.manual_seed(0)
    block = ResBlock(5, 2)
    x = torch.randn(2, 5, 7, 6)
    with torch.inference_mode():
        y = block.conv1(x)
        y = block.conv3(torch.cat([y[:, :3], block.conv2(y[:, 3:])], 1))
        y = block.conv5(torch.cat([y[:, :3], block.conv4(y[:, 3:])], 1))
        torch.testing.assert_close(block(x), block.prelu(x + y))


def test_relief_halves_a_pass_until_it_is_one_and_a_file_in_float16_is_widened(make: Callable[..., TinyAmt]):
    amt = make(rows=2)
    amt._net = build_amt({name: value.half() for name, value in published().items()}, "tiny", TINY)
    passes: list[int] = []
    amt._net.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    for wanted in ([2, 1], [1, 1, 1]):
        passes.clear()
        amt.middles(FRAMES[:3], FRAMES[1:])
        assert passes == wanted
        assert bool(amt.relieve()) == (wanted[0] > 1)


def test_the_published_layout_is_the_table():
    with torch.device("meta"):
        state = AmtNet().state_dict()
    assert {published_name(key): tuple(value.shape) for key, value in state.items()} == {
        name: shape for name, shape, _ in table_rows("amt_s")
    }
    assert len(state) == 213


@pytest.mark.parametrize("size", [(112, 131), (64, 64), (9, 200)])
def test_small_frames_are_seen_with_a_repeated_border(make: Callable[..., TinyAmt], size: tuple[int, int]):
    frames = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    more = [max(128, side + -side % STRIDE) - side for side in size]
    wide = np.pad(frames, ((0, 0), *((n // 2, n - n // 2) for n in more), (0, 0)), mode="edge")
    (small,), (large,) = (make().middles(clip[:1], clip[1:]) for clip in (frames, wide))
    top, left = (n // 2 for n in more)
    np.testing.assert_array_equal(small, large[top : top + size[0], left : left + size[1]])


def test_another_file_is_refused(make: Callable[..., TinyAmt]):
    state = published()
    state.pop("comb_block.2.bias")
    with pytest.raises(UserError, match=r"missing comb_block.2.bias.*AMT-S"):
        build_amt(state, "tiny", TINY)


def test_bf16_is_labelled_and_near(make: Callable[..., TinyAmt]):
    exact, half = make(), make(Mode(precision="bf16"))
    assert "bf16" in half.encoder_id and "bf16" not in exact.encoder_id
    a, b = (amt.middles(FRAMES[:1], FRAMES[1:2]).astype(int) for amt in (exact, half))
    assert 0 < np.abs(a - b).mean() < 3
