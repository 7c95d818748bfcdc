"""Does InternVideo2 keep what every reward promises? Pairing, gradients, checkpointing, cut texts; at tiny size."""

from __future__ import annotations

import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.rewards.base import VideoReward
from turbo_train.rewards.internvideo2.model import InternVideo2Model
from turbo_train.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD

TEXTS = ["red circle up", "a red circle", "up"]


def clips_of(count: int, frames: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, frames, 3, 30, 34, generator=generator, dtype=dtype)


def test_every_clip_meets_its_own_text_in_any_batch(model) -> None:
    assert isinstance(model, VideoReward)
    clips = clips_of(3)
    together = model.score_clips(clips, TEXTS)
    model.rows = 1
    alone = torch.cat([model.score_clips(clips[i : i + 1], TEXTS[i : i + 1]) for i in range(3)])
    turned = model.score_clips(clips.flip(0), TEXTS[::-1]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together, turned, atol=1e-6, rtol=0)
    assert (together - model.score_clips(clips, TEXTS[1:] + TEXTS[:1])).abs().min() > 1e-4


def test_frames_are_cropped_from_the_short_side_and_normalised(model) -> None:
    made = model.preprocess
    assert (made.size_px, made.mode, made.crop) == (28, "shortest", "centre")
    assert (made.mean, made.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_the_gradient_is_the_slope_in_float64(model) -> None:
    """To a millionth, as nothing in between is rounded to float32, RMSNorm and gammas neither."""
    model.double()
    clips = clips_of(1, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    (slope,) = torch.autograd.grad(model.score_clips(clips, TEXTS[:1]).sum(), clips)
    way = torch.randn(clips.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        up, down = (model.score_clips(clips + step * way, TEXTS[:1]) for step in (1e-5, -1e-5))
    torch.testing.assert_close((up - down).sum() / 2e-5, (slope * way).sum(), rtol=1e-6, atol=1e-10)


def test_gradients_reach_every_clip_and_no_weight(model) -> None:
    clips = clips_of(2).requires_grad_()
    assert not model.train().net.training
    model.score_clips(clips, TEXTS[:2]).sum().backward()
    assert clips.grad is not None and bool((clips.grad.flatten(1) != 0).any(1).all())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not model.text_features(TEXTS).requires_grad


def test_checkpointing_changes_the_memory_and_not_the_gradient(model) -> None:
    slopes, kept = [], []
    for checkpointing in (False, True):
        if checkpointing:
            model.use_checkpointing()
        clips = clips_of(2).requires_grad_()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: (s.append(t.nbytes), t)[1], lambda t: t):
            score = model.score_clips(clips, TEXTS[:2]).sum()
        slopes.append(torch.autograd.grad(score, clips)[0])
        kept.append(sum(saved))
    assert torch.equal(slopes[0], slopes[1])
    assert kept[1] < kept[0] / 2


def peak_bytes(model, count: int, wanted: bool) -> int:
    """Beside the clips, of a scoring or of a training step."""
    clips, texts = clips_of(count).requires_grad_(wanted), TEXTS[:1] * count
    with Counted() as stored, torch.set_grad_enabled(wanted):
        score = model.score_clips(clips, texts).sum()
        if wanted:
            torch.autograd.grad(score, clips)
    return stored.peak - clips.nbytes


def test_the_memory_does_not_grow_with_the_clips(model) -> None:
    model.rows = 1
    model.text_features(TEXTS[:1])
    scoring = [peak_bytes(model, count, False) for count in (2, 12)]
    assert scoring[1] - scoring[0] <= 3 * 10 * 20 * 4  # features of 20 floats
    plain = peak_bytes(model, 12, True) - peak_bytes(model, 2, True)
    model.use_checkpointing()
    assert 0 < peak_bytes(model, 12, True) - peak_bytes(model, 2, True) < min(4 * clips_of(10).nbytes, plain / 2)


def test_autocast_reaches_neither_clips_nor_texts(model) -> None:
    clips = clips_of(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model.score_clips(clips, TEXTS[:2])
    model.float()  # forgets the texts
    assert torch.equal(inside, model.score_clips(clips, TEXTS[:2]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_moves_the_score_by_little(model, dtype: torch.dtype) -> None:
    clips = clips_of(3)
    exact = model.score_clips(clips, TEXTS)
    model.to(dtype)
    half = model.score_clips(clips, TEXTS)
    assert half.dtype is torch.float32
    torch.testing.assert_close(half, exact, atol=2e-3 if dtype is torch.float16 else 2e-2, rtol=0)


def test_another_number_of_frames_is_a_users_mistake(model) -> None:
    assert model.frames == 4 and model.score_clips(clips_of(1, frames=1), TEXTS[:1]).shape == (1,)
    with pytest.raises(UserError, match=r"found clips of 3 frames; expected 4 frames, or one") as caught:
        model.score_clips(clips_of(1, frames=3), TEXTS[:1])
    assert caught.value.exit_code == 2


def test_words_become_pieces_and_a_long_text_keeps_its_end_token(model: InternVideo2Model, words) -> None:
    pad, unknown, start, end = (words.index(word) for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    red, u, p = (words.index(word) for word in ("red", "u", "##p"))
    ids = model.tokenizer(["Red UX \u4e00", "red " * 12, ""])
    assert ids[0].tolist() == [start, red, u, words.index("##x"), unknown, end, pad, pad, pad, pad]
    assert ids[1].tolist() == [start, *[red] * 8, end]
    assert ids[2].tolist() == [start, end, *[pad] * 8]
    assert p not in ids  # "up" is a word of its own


def test_a_text_beyond_the_limit_is_named_once(model) -> None:
    long = "circle " * 9
    assert model.too_long([TEXTS[0], long]) == [long]
    with pytest.warns(UserWarning, match=r"^1 prompt cut at 10 tokens: 'circle circle"):
        cut = model.text_features([long])
    assert torch.equal(cut, model.text_features(["circle " * 9]))  # from the cache, without a second warning
