"""Are the text's keys and values computed once per clip, and does nobody notice but the clock?"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from tiny_denoisers import KINDS, call, context, denoiser
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.testing import assert_close

from turbo_train.nets.cached_text import KeptAttention, cache_text
from turbo_train.nets.lora import inject, lora_weights, merge
from turbo_train.nets.videocrafter2.blocks import SpatialTransformer

STUDENTS = [kind for kind in KINDS if kind.endswith("student")]


@pytest.fixture(params=STUDENTS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_gradients() -> object:
    with torch.no_grad():
        yield


def projections(net: nn.Module) -> Counter[str]:
    """Name of each projection of the text -> rows that went through it."""
    rows: Counter[str] = Counter()

    def count(name: str, layer: nn.Module) -> None:
        layer.register_forward_pre_hook(lambda _, given: rows.update({name: len(given[0])}))

    for name, layer in net.named_modules():
        if isinstance(layer, KeptAttention):
            count(f"{name}.to_k", layer.to_k)
            count(f"{name}.to_v", layer.to_v)
    return rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_contexts_in_turn_give_what_the_plain_network_gives(kind: str, dtype: torch.dtype) -> None:
    """The same bits on this CPU; allowed is a rounding of the dtype, since attention may group its sums otherwise."""
    plain, kept = denoiser(kind).to(dtype), cache_text(denoiser(kind)).to(dtype)
    tolerance = {"atol": 2e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 2e-2, "rtol": 2e-2}
    given = [context(kind, seed=seed) for seed in (1, 2)]
    first, second = (call(plain, kind, each) for each in given)
    assert not torch.equal(first, second)
    for each, expected in zip((*given, given[0]), (first, second, first), strict=True):
        out = call(kept, kind, each)
        assert out.dtype == dtype
        assert_close(out, expected, **tolerance)


def test_the_text_is_projected_once_per_clip_and_for_no_frame_by_itself(kind: str) -> None:
    kept = cache_text(denoiser(kind))
    rows = projections(kept)
    first, second = context(kind, seed=1), context(kind, seed=2)
    for given in [first] * 3 + [second] * 2:
        call(kept, kind, given)
    assert kept.fills == 2
    assert len(rows) == 2 * len(kept.layers) >= 4
    assert set(rows.values()) == {2 * len(first)}  # two contexts of two clips


def test_a_context_that_was_changed_in_place_is_another_one(kind: str) -> None:
    plain, kept, given = denoiser(kind), cache_text(denoiser(kind)), context(kind)
    call(kept, kind, given)
    given += 1
    assert_close(call(kept, kind, given), call(plain, kind, given), atol=2e-6, rtol=1e-5)


def test_another_number_of_clips_is_right_and_the_addresses_of_the_first_stay(kind: str) -> None:
    plain, kept = denoiser(kind), cache_text(denoiser(kind))

    def addresses() -> list[int]:
        return [tensor.data_ptr() for layer in kept.layers for tensor in (layer.key, layer.value)]

    call(kept, kind, context(kind, 2, seed=1))
    before = addresses()
    for rows in (1, 3, 2):
        given = context(kind, rows, seed=rows)
        assert_close(call(kept, kind, given), call(plain, kind, given), atol=2e-6, rtol=1e-5)
    assert addresses() == before


def test_weights_that_change_under_it_are_seen(kind: str) -> None:
    plain, kept, given = denoiser(kind), cache_text(denoiser(kind)), context(kind)
    before = call(kept, kind, given)
    for net in (plain, kept):
        for name, weight in net.named_parameters():
            if "attn2.to_v" in name:
                weight.mul_(3)
    after = call(kept, kind, given)
    assert_close(after, call(plain, kind, given), atol=2e-6, rtol=1e-5)
    assert not torch.equal(after, before)
    kept.double(), plain.double()
    assert_close(call(kept, kind, given), call(plain, kind, given), atol=1e-9, rtol=1e-9)


def test_lora_beside_the_weights_is_right_before_and_after_it_is_merged(kind: str) -> None:
    net, given = denoiser(kind), context(kind)
    without = call(net, kind, given)
    inject(net.unet, rank=2)
    generator = torch.Generator().manual_seed(6)
    for weight in lora_weights(net.unet).values():
        weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    expected, names = call(net, kind, given), list(net.state_dict())
    kept = cache_text(net)
    assert names == [name.removeprefix("denoiser.") for name in kept.state_dict()]
    beside = call(kept, kind, given)
    assert_close(beside, expected, atol=5e-6, rtol=1e-4)
    assert not torch.allclose(expected, without, atol=1e-3)
    merge(net.unet)
    assert_close(call(kept, kind, given), beside, atol=2e-4, rtol=2e-3)


def test_where_gradients_are_wanted_it_refuses(kind: str) -> None:
    kept, given = cache_text(denoiser(kind)), context(kind)
    with torch.enable_grad():
        assert_close(call(kept, kind, given), call(denoiser(kind), kind, given), atol=2e-6, rtol=1e-5)
        with pytest.raises(ValueError, match="no gradients"):
            call(kept, kind, given.clone().requires_grad_())
        kept.layers[0].to_k.weight.requires_grad_()
        with pytest.raises(ValueError, match="no gradients"):
            call(kept, kind, context(kind, seed=3))


def test_inference_tensors_are_right_though_their_changes_are_not_counted(kind: str) -> None:
    plain, kept = denoiser(kind), cache_text(denoiser(kind))
    with torch.inference_mode():
        given = context(kind)
        for _ in range(2):
            assert_close(call(kept, kind, given), call(plain, kind, given), atol=2e-6, rtol=1e-5)
            given += 1
    assert_close(call(kept, kind, context(kind)), call(plain, kind, context(kind)), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [pytest.param(STUDENTS[0], marks=pytest.mark.slow), STUDENTS[1]])
def test_all_texts_share_one_compilation(kind: str) -> None:
    """One graph serves all contexts: what is kept is an input of it, not a part."""
    plain, kept, counter = denoiser(kind), cache_text(denoiser(kind)), CompileCounter()
    torch._dynamo.reset()
    around = next(layer for layer in kept.modules() if isinstance(layer, (Transformer2DModel, SpatialTransformer)))
    around.compile(fullgraph=True, dynamic=False, backend=counter)
    for seed in range(2):
        given = context(kind, seed=seed)
        for _ in range(2):
            assert_close(call(kept, kind, given), call(plain, kind, given), atol=2e-6, rtol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_the_denoisers_refusals_pass(kind: str) -> None:
    kept = cache_text(denoiser(kind))
    with pytest.raises(ValueError, match="a context of 3 rows for 2 clips"):
        kept(torch.zeros(2, 4, 3, 4, 8), torch.zeros(2, dtype=torch.int64), context(kind, 3))
    width = None if kind.endswith("student") else 7
    cond = None if width is None else torch.zeros(2, width)
    with pytest.raises(ValueError, match=f"guidance embedding of width {width}"):
        kept(torch.zeros(2, 4, 3, 4, 8), torch.zeros(2, dtype=torch.int64), context(kind), timestep_cond_BE=cond)


def test_a_network_without_text_or_with_another_attention_is_refused() -> None:
    net = denoiser("videocrafter2 teacher")
    for layer in net.modules():
        if hasattr(layer, "transformer_blocks"):
            for block in layer.transformer_blocks:
                block.attn2 = nn.Identity()
    with pytest.raises(ValueError, match="a cross-attention of class Identity"):
        cache_text(net)
    empty = denoiser("modelscope teacher")
    empty.unet = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no cross-attention to a text"):
        cache_text(empty)
