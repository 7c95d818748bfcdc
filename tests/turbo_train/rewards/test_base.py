"""What holds for every reward model, whatever its family? Asked of the world's four, through the table."""

from __future__ import annotations

import warnings

import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.rewards.base import BadFrames, RewardModel
from turbo_train.rewards.table import REWARDS, load_reward

WORLD = [entry.name for entry in REWARDS if entry.place is not None]
TEXTS = [
    "a red circle moves up on a black background",
    "a blue square rests on a white background",
    "a green triangle moves left on a gray background",
]


@pytest.fixture(scope="module", params=WORLD)
def model(request: pytest.FixtureRequest) -> RewardModel:
    return load_reward(request.param)


def clips_of(count: int, frames: int = 8, side: int = 32, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, frames, 3, side, side, generator=torch.Generator().manual_seed(count), dtype=dtype)


def test_every_clip_meets_its_own_text_in_any_batch(model: RewardModel) -> None:
    clips = clips_of(3)
    together = model.score_clips(clips, TEXTS)
    alone = torch.cat([model.score_clips(clips[i : i + 1], TEXTS[i : i + 1]) for i in range(3)])
    turned = model.score_clips(clips.flip(0), TEXTS[::-1]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together, turned, atol=1e-6, rtol=0)
    mispaired = model.score_clips(clips, TEXTS[1:] + TEXTS[:1])
    assert (together - mispaired).abs().min() > 1e-4
    for texts in (TEXTS[:2], TEXTS[:1]):
        with pytest.raises(ValueError, match=f"3 (images or )?clips but {len(texts)} texts"):
            model.score_clips(clips, texts)


def test_a_clips_score_is_the_mean_over_its_frames_for_an_image_reward(model: RewardModel) -> None:
    clips = clips_of(2)
    if model.kind == "video":
        torch.testing.assert_close(model.score_clips(clips, TEXTS[:2]), model.score(clips, TEXTS[:2]))
        return
    each = [model.score(clip, [text] * 8).mean() for clip, text in zip(clips, TEXTS, strict=False)]
    torch.testing.assert_close(model.score_clips(clips, TEXTS[:2]), torch.stack(each), atol=1e-6, rtol=0)


def test_rows_bound_the_memory_and_change_nothing_else(model: RewardModel) -> None:
    rows = model.rows
    try:
        whole = model.score_clips(clips_of(6), TEXTS * 2)
        model.rows = 2
        torch.testing.assert_close(model.score_clips(clips_of(6), TEXTS * 2), whole, atol=1e-6, rtol=0)
        bounded = [peak_bytes(model, count) for count in (4, 64)]
        model.rows = 64 * 8
        free = peak_bytes(model, 64)
    finally:
        model.rows = rows
    # Sixteen times the clips: only their features, of at most 64 floats a frame, are kept beside the rows in work.
    assert bounded[1] - bounded[0] <= 3 * 60 * 8 * 64 * 4
    assert free > 10 * bounded[1]


def peak_bytes(model: RewardModel, count: int) -> int:
    """Bytes that scoring so many clips needs beside the clips."""
    clips, texts = clips_of(count), TEXTS[:1] * count
    with torch.inference_mode(), Counted() as stored:
        model.score_clips(clips, texts)
    return stored.peak - clips.nbytes


def test_gradients_reach_the_pixels_and_no_weight(model: RewardModel) -> None:
    clips = clips_of(2).requires_grad_()
    assert not model.train().net.training
    model.score_clips(clips, TEXTS[:2]).sum().backward()
    assert clips.grad is not None and bool((clips.grad.flatten(1) != 0).any(1).all())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not model.text_features(TEXTS).requires_grad


@pytest.mark.parametrize("name", WORLD)
def test_finite_differences_agree_with_the_gradient(name: str) -> None:
    model = load_reward(name, dtype=torch.float64)
    clips = clips_of(1, side=29, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    (slope,) = torch.autograd.grad(model.score_clips(clips, TEXTS[:1]).sum(), clips)
    way = torch.randn(clips.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        up, down = (model.score_clips(clips + s * way, TEXTS[:1]) for s in (1e-5, -1e-5))
    torch.testing.assert_close((up - down).sum() / 2e-5, (slope * way).sum(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", WORLD)
def test_checkpointing_changes_the_memory_and_not_the_gradient(name: str) -> None:
    slopes, kept = [], []
    for checkpointing in (False, True):
        model = load_reward(name, checkpointing=checkpointing)
        clips = clips_of(2).requires_grad_()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=saved: (s.append(t.nbytes), t)[1], lambda t: t):
            score = model.score_clips(clips, TEXTS[:2]).sum()
        slopes.append(torch.autograd.grad(score, clips)[0])
        kept.append(sum(saved))
    torch.testing.assert_close(slopes[0], slopes[1], rtol=0, atol=0)
    assert kept[1] < kept[0] / 2


def test_another_precision_is_computed_anew(model: RewardModel) -> None:
    clips, texts = clips_of(2), TEXTS[:2]
    exact = model.score_clips(clips, texts)
    half = load_reward(WORLD[0] if model.kind == "image" else WORLD[1])
    half.text_features(texts)
    half.to(torch.bfloat16)
    assert half.dtype is torch.bfloat16
    said = half.text_features(texts)
    assert said.dtype is torch.float32 and not torch.equal(said, load_reward(WORLD[0]).text_features(texts))
    assert half.score_clips(clips, texts).dtype is torch.float32 and exact.dtype is torch.float32


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda clips: clips[1, 0, 0, 3, 3].fill_(torch.nan), "not finite, in row"),
        (lambda clips: clips[1, 0, 0, 3, 3].fill_(torch.inf), "not finite, in row"),
        (lambda clips: clips.mul_(255), "values from 0.* to 25"),
        (lambda clips: clips[1, 0, 0, 3, 3].fill_(1.01), "values from .* to 1.01"),
        (lambda clips: clips[1, 0, 0, 3, 3].fill_(-0.01), "values from -0.01 to"),
        (lambda clips: clips.mul_(2).sub_(1), "values from -"),
    ],
)
def test_frames_that_are_not_frames_are_refused(model: RewardModel, spoil, found: str) -> None:
    clips = clips_of(2)
    spoil(clips)
    with pytest.raises(BadFrames, match=f"found frames .*{found}") as caught:
        model.score_clips(clips, TEXTS[:2])
    assert caught.value.exit_code == 2


def test_float16_rounding_is_no_fault_and_bytes_are_no_frames(model: RewardModel) -> None:
    clips = clips_of(1)
    assert torch.isfinite(model.score_clips((clips * (1 + 5e-4)), TEXTS[:1])).all()
    with pytest.raises(ValueError, match="uint8; floats in"):
        model.score_clips((clips * 255).byte(), TEXTS[:1])
    with pytest.raises(ValueError, match="floats in"):
        model.score_clips(clips[:0], [])


def test_a_prompt_beyond_the_limit_is_named_once(model: RewardModel) -> None:
    texts = [" ".join([TEXTS[0]] * 3), TEXTS[1], " ".join([TEXTS[2]] * 3)]
    assert model.too_long(texts) == [texts[0], texts[2]]
    fresh = load_reward(WORLD[0] if model.kind == "image" else WORLD[1])
    with pytest.warns(UserWarning, match=r"^2 prompts cut at 18 tokens: 'a red circle .*\.\.\.', 'a green triangle"):
        fresh.text_features(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.score_clips(clips_of(3), texts)
        fresh.to(torch.float64).text_features(texts)


def test_a_stream_of_long_captions_is_not_named_for_ever() -> None:
    model = load_reward("world-image-reward")
    long = [f"{TEXTS[0]} {' '.join(['left'] * (20 + k))}" for k in range(60)]
    with pytest.warns(
        UserWarning, match=r"^50 prompts cut at 18 tokens: .* and 45 more; further ones will not be named$"
    ):
        model.text_features(long[:50])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.text_features(long[50:])


@pytest.mark.parametrize("entry", [entry for entry in REWARDS if entry.place is not None], ids=WORLD)
def test_the_table_says_what_the_weights_are(entry) -> None:
    model = load_reward(entry.name)
    assert (model.kind, model.frames, model.rows) == (entry.kind, entry.frames, entry.rows)
    assert (model.preprocess.size_px, model.preprocess.mode) == (entry.size_px, entry.resize)
    assert model.preprocess.crop == "centre" and model.tokenizer.length == entry.tokens
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    assert entry.missing() == [] and len(entry.weights_sha256()) == 64


def test_a_name_or_a_number_of_frames_that_cannot_be_had() -> None:
    with pytest.raises(UserError, match=r"unknown reward 'hpsv2' \(did you mean hpsv2\.1\?\); expected one of hpsv2"):
        load_reward("hpsv2")
    with pytest.raises(UserError, match="found 5 frames for internvideo2; expected 8 or 4"):
        load_reward("internvideo2", frames=5)
    with pytest.raises(UserError, match="expected no number: it scores every frame"):
        load_reward("world-image-reward", frames=8)
