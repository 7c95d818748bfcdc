"""Is our way through torchvision's RAFT its own forward pass, and does it take the published file and nothing else?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large
from torchvision.models.optical_flow.raft import ResidualBlock, _raft
from vbench_checkpoints import rows as table_rows

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, score_clip
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode, numpy_of
from turbo_eval.scorers.vbench.encoders.padding import Padding
from turbo_eval.scorers.vbench.encoders.raft import STRIDE, Pictures, Raft, SeenFrames, build_raft
from turbo_eval.scorers.vbench.encoders.raft_names import raft_layout, raft_name
from turbo_eval.scorers.vbench.encoders.raft_update import RecurrentUnit
from turbo_eval.scorers.vbench.static_filter import StaticFilter
from turbo_train.errors import UserError
from turbo_train.weights.table import find_file

TINY: Callable[[], nn.Module] = partial(
    _raft,
    feature_encoder_layers=(4, 4, 6, 8, 12),
    feature_encoder_block=ResidualBlock,
    feature_encoder_norm_layer=nn.InstanceNorm2d,
    context_encoder_layers=(4, 4, 6, 8, 14),
    context_encoder_block=ResidualBlock,
    context_encoder_norm_layer=nn.BatchNorm2d,
    corr_block_num_levels=4,
    corr_block_radius=2,
    motion_encoder_corr_layers=(8, 6),
    motion_encoder_flow_layers=(6, 4),
    motion_encoder_out_channels=8,
    recurrent_block_hidden_state_size=8,
    recurrent_block_kernel_size=((1, 5), (5, 1)),
    recurrent_block_padding=((0, 2), (2, 0)),
    flow_head_hidden_size=8,
    use_mask_predictor=True,
)
PAIRS = [(0, 1), (1, 2), (0, 2), (2, 0)]
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 122, 131, 3), dtype=np.uint8)


class TinyRaft(Raft):
    UPDATES = 3

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        (published,) = tensors.values()
        return build_raft(published, "tiny", TINY)


def published(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under published names; the projection's norms also under their other name, with other values."""
    torch.manual_seed(seed)
    state = TINY().state_dict()
    for key, value in state.items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 2)
    named = {raft_name(key): value for key, value in state.items()}
    return {name: named.get(name, torch.full(shape, 7.0)) for name, shape in raft_layout(state).items()}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TinyRaft]:
    def write(mode: Mode = MODE, rows: int = 0) -> TinyRaft:
        path = tmp_path / "tiny.pth"
        torch.save(published(), path)
        raft = TinyRaft({find_file(Raft.FILES[0]): path}, mode)
        raft.rows = rows or raft.rows
        raft.load()
        return raft

    return write


def by_torchvision(net: nn.Module, pictures: Pictures, pairs: list[tuple[int, int]]) -> list[Tensor]:
    with torch.inference_mode():
        return [net(pictures[i], pictures[j], num_flow_updates=TinyRaft.UPDATES)[-1] for i, j in pairs]


@pytest.mark.parametrize("rows", [1, 3])
def test_flows_are_those_of_torchvisions_forward_pass(make: Callable[..., TinyRaft], rows: int):
    raft = make(rows=rows)
    found = list(raft.flows(FRAMES, PAIRS))
    wanted = by_torchvision(raft._net, Pictures(FRAMES, "cpu"), PAIRS)
    for flow, other in zip(found, wanted, strict=True):
        assert flow.shape == (128, 136, 2)
        np.testing.assert_allclose(flow, numpy_of(other[0].permute(1, 2, 0)), rtol=1e-4, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01  # the frames matter


def test_the_network_sees_pixels_from_minus_one_to_one():
    picture = Pictures(np.repeat(FRAMES[:1], 2, axis=0), "cpu")[1]
    assert picture.shape == (1, 3, 128, 136)
    inner = picture[0, :, 3:125, 2:133].permute(1, 2, 0)
    np.testing.assert_allclose(inner.numpy(), 2 * FRAMES[0].astype(np.float64) / 255 - 1, atol=1e-6)


def test_a_hoisted_context_changes_nothing_in_real_numbers():
    """In float64 what is left is rounding: the sums are the same sums in another order."""
    torch.manual_seed(1)
    block = TINY().double().update_block.recurrent_block
    hidden, context, motion = (torch.randn(2, channels, 9, 7, dtype=torch.float64) for channels in (8, 6, 8))
    units = [RecurrentUnit(unit, 8, context) for unit in (block.convgru1, block.convgru2)]
    with torch.inference_mode():
        found = wanted = hidden
        for _ in range(3):
            wanted = block(wanted, torch.cat([context, motion], 1))
            for unit in units:
                found = unit(found, motion)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 3])
def test_each_frame_is_encoded_once_and_the_mask_made_once_a_pair(make: Callable[..., TinyRaft], rows: int):
    raft = make(rows=rows)
    seen = {"feature_encoder": 0, "context_encoder": 0, "mask_predictor": 0}
    for name in seen:

        def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
            seen[name] += len(output)

        getattr(raft._net, name).register_forward_hook(count)
    list(raft.flows(FRAMES, PAIRS))
    assert seen == {"feature_encoder": 3, "context_encoder": 3, "mask_predictor": len(PAIRS)}


def test_what_is_not_asked_for_is_not_computed_and_no_mode_leaks(make: Callable[..., TinyRaft]):
    raft = make()
    seen = []
    raft._net.feature_encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    flows = raft.flows(FRAMES, PAIRS)
    assert not seen
    next(iter(flows))
    assert sum(seen) == 2
    assert not torch.is_inference_mode_enabled()


def test_only_frames_that_come_again_are_kept(make: Callable[..., TinyRaft]):
    raft = make()
    frames = SeenFrames(raft._net.feature_encoder)
    with torch.inference_mode():
        frames.see(Pictures(FRAMES, "cpu"), [0, 1, 2])
    frames.keep(number for pair in [(2, 1), (1, 3)] for number in pair)
    assert set(frames.maps) == {1, 2}


def test_a_batch_gives_what_its_pairs_give(make: Callable[..., TinyRaft]):
    one, many = (list(make(rows=rows).flows(FRAMES, PAIRS)) for rows in (1, 3))
    for alone, beside in zip(one, many, strict=True):
        np.testing.assert_allclose(beside, alone, rtol=1e-4, atol=1e-5)


def test_relief_halves_a_pass_until_it_is_one(make: Callable[..., TinyRaft]):
    raft = make(rows=2)
    passes: list[int] = []
    raft._net.mask_predictor.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    for wanted in ([2, 2], [1, 1, 1, 1]):
        passes.clear()
        list(raft.flows(FRAMES, PAIRS))
        assert passes == wanted
        assert bool(raft.relieve()) == (wanted[0] > 1)


def test_a_file_in_float16_is_widened():
    halves = {name: value.half() if value.is_floating_point() else value for name, value in published().items()}
    assert {value.dtype for value in build_raft(halves, "tiny", TINY).parameters()} == {torch.float32}


def test_the_published_layout_is_the_table():
    with torch.device("meta"):
        layout = raft_layout(raft_large().state_dict())
    assert {name: tuple(shape) for name, shape in layout.items()} == {
        name: shape for name, shape, _ in table_rows("raft_things")
    }


def test_the_projections_own_norm_counts_and_not_its_other_name():
    net = build_raft(published(), "tiny", TINY)
    assert not (net.context_encoder.layer2[0].downsample[1].running_var == 7).any()


def test_another_file_is_refused():
    whole = published()
    without = {key: value for key, value in whole.items() if "gru" not in key}
    other = whole | {"module.fnet.conv1.weight": torch.zeros(4, 3, 3, 3)}
    for state in (without, other, whole | {"module.more": torch.zeros(1)}):
        with pytest.raises(UserError, match=r"tiny differ.*things"):
            build_raft(state, "tiny", TINY)


@pytest.mark.parametrize("size", [(120, 131), (64, 64), (7, 300)])
def test_small_frames_are_seen_with_a_repeated_border_and_their_flow_is_cut(
    make: Callable[..., TinyRaft], size: tuple[int, int]
):
    frames = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    height, width = (side + -side % STRIDE for side in size)  # as VBench pads it
    more = [max(128, padded) - side for padded, side in zip((height, width), size, strict=True)]
    wide = np.pad(frames, ((0, 0), *((count // 2, count - count // 2) for count in more), (0, 0)), mode="edge")
    (small,), (large,) = (list(make().flows(clip, [(0, 1)])) for clip in (frames, wide))
    top, left = (count // 2 - -side % STRIDE // 2 for count, side in zip(more, size, strict=True))
    assert large.shape[:2] == wide.shape[1:3] and small.shape == (height, width, 2)
    np.testing.assert_array_equal(small, large[top : top + height, left : left + width])


def test_frames_of_128_px_and_more_are_untouched():
    frames = np.random.default_rng(2).integers(0, 256, (1, 121, 131, 3), dtype=np.uint8)
    seen = Pictures(frames, "cpu")
    assert seen.enlarging == (0, 0, 0, 0)
    plain = 2 * (torch.from_numpy(frames[0]).permute(2, 0, 1)[None].float() / 255) - 1
    assert torch.equal(seen[0], Padding.to_multiple(121, 131, STRIDE).put(plain))


def test_a_small_clip_is_scored(make: Callable[..., TinyRaft]):
    clip = Clip(("m", "p", 0), Prompt(prompt_id="p", prompt="a prompt"), FRAMES[:, :64, :64], 8.0)
    assert all(record.value is not None for record in score_clip([DynamicDegree(make()), StaticFilter(make())], clip))


def test_bf16_is_labelled_and_near(make: Callable[..., TinyRaft]):
    exact, half = make(), make(Mode(precision="bf16"))
    assert "bf16" in half.encoder_id and "bf16" not in exact.encoder_id
    pairs = list(pairwise(range(3)))
    for a, b in zip(exact.flows(FRAMES, pairs), half.flows(FRAMES, pairs), strict=True):
        assert b.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.2 * np.abs(a).max()


@pytest.mark.parametrize(
    ("size", "multiple", "padding"),
    [((320, 512), 8, (0, 0, 0, 0)), ((250, 334), 8, (1, 1, 3, 3)), ((121, 129), 8, (3, 4, 3, 4))],
)
def test_padding_is_split_evenly_with_the_one_more_at_the_end(
    size: tuple[int, int], multiple: int, padding: tuple[int, int, int, int]
):
    found = Padding.to_multiple(*size, multiple)
    assert found == padding
    picture = torch.rand(1, 3, *size)
    wide = found.put(picture)
    assert all(side % multiple == 0 for side in wide.shape[-2:])
    assert torch.equal(found.cut(wide), picture)
    assert torch.equal(wide[..., 0, found.left], picture[..., 0, 0]) and torch.equal(
        wide[..., -1, -1], picture[..., -1, -1]
    )
