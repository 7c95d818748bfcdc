"""Does a reward change what surrounds it, or its scores with it? Random state, modes, autocast, copies, batches."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.rewards import base
from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.table import load_reward

NAMES = ["world-image-reward", "world-video-reward"]
GROUNDS = ["black", "white", "gray"]
TEXTS = ["a red circle moves up on a black background", "a blue square rests on a white background"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> RewardModel:
    return load_reward(name)


def clips_of(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 8, 3, side, side, generator=torch.Generator().manual_seed(count), dtype=torch.float32)


def slope_of(model: RewardModel, clips: torch.Tensor) -> torch.Tensor:
    wanted = clips.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.score_clips(wanted, TEXTS).sum(), wanted)
    return slope


def test_loading_draws_nothing_and_leaves_every_mode(name: str) -> None:
    state = torch.get_rng_state()
    with torch.no_grad():
        load_reward(name)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_reward_trains_others_wherever_it_was_loaded(name: str, mode: Any, model: RewardModel) -> None:
    with mode():
        loaded = load_reward(name)
        scores = loaded.score_clips(clips_of(), TEXTS)
    torch.testing.assert_close(scores, model.score_clips(clips_of(), TEXTS), atol=1e-6, rtol=0)
    assert torch.equal(slope_of(loaded, clips_of()), slope_of(model, clips_of()))


def test_another_default_dtype_changes_no_score(name: str, model: RewardModel) -> None:
    try:
        torch.set_default_dtype(torch.float64)
        other = load_reward(name)
        scores = other.score_clips(clips_of(), TEXTS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in other.parameters()} == {scores.dtype} == {torch.float32}
    assert torch.equal(scores, model.score_clips(clips_of(), TEXTS))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_autocast_reaches_neither_frames_nor_texts(name: str, model: RewardModel, checkpointing: bool) -> None:
    inside = load_reward(name, checkpointing=checkpointing)
    inside.rows = 1
    clips = clips_of().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        score = inside.score_clips(clips, TEXTS)
        assert torch.is_autocast_enabled("cpu")
    (slope,) = torch.autograd.grad(score.sum(), clips)
    model.rows = 1
    assert torch.equal(inside.text_features(TEXTS), model.text_features(TEXTS))
    assert torch.equal(slope, slope_of(model, clips_of()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_clips_of_half_precision_get_their_gradient(model: RewardModel, dtype: torch.dtype) -> None:
    clips = clips_of(side=29).to(dtype)
    slope = slope_of(model, clips)
    assert slope.dtype is dtype
    torch.testing.assert_close(slope, slope_of(model, clips.float()).to(dtype))


def test_copies_score_alike_and_share_no_texts(model: RewardModel) -> None:
    scores = model.score_clips(clips_of(), TEXTS)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.score_clips(clips_of(), TEXTS), scores)
        other.double()
        assert other.score_clips(clips_of().double(), TEXTS).dtype is torch.float64
        assert model.text_features(TEXTS).dtype is torch.float32
    assert torch.equal(copy.deepcopy(model.use_checkpointing()).score_clips(clips_of(), TEXTS), scores)


def test_checkpointing_twice_computes_again_once(model: RewardModel) -> None:
    layer = next(block for block in model.net.modules() if isinstance(block, model.blocks))
    calls: list[int] = []
    layer.ln_1.register_forward_hook(lambda *_: calls.append(1))
    model.text_features(TEXTS)
    counts = []
    for _ in range(3):
        calls.clear()
        slope_of(model, clips_of())
        counts.append(len(calls))
        model.use_checkpointing()
    assert counts == [1, 2, 2]


def test_a_prompt_said_again_is_read_once_and_meets_all_its_clips(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, rows = type(model).read, []
    monkeypatch.setattr(type(model), "read", lambda self, ids: (rows.append(len(ids)), read(self, ids))[1])
    first, second = TEXTS
    texts: Sequence[str] = (first, second, first, first)
    clips = clips_of(4)
    together = model.score_clips(clips, texts)
    assert rows == [2]
    alone = torch.cat([model.score_clips(clips[i : i + 1], [text]) for i, text in enumerate(texts)])
    assert rows == [2]
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    model.rows = 1
    torch.testing.assert_close(model.score_clips(clips, texts), alone, atol=1e-6, rtol=0)


def test_many_prompts_are_read_in_pieces(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a {colour} circle rests on a {ground} background" for colour in ("red", "blue") for ground in GROUNDS]
    together = model.text_features(texts)
    model.float()  # forgets them
    monkeypatch.setattr(base, "TEXTS_AT_ONCE", 4)
    torch.testing.assert_close(model.text_features(texts), together, atol=1e-6, rtol=0)
    assert len({tuple(row.tolist()) for row in together}) == len(texts) == 6


def test_what_does_not_fit_is_said_before_anything_is_computed(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("see", "read"):
        monkeypatch.delattr(type(model), method)
    clips = clips_of()
    kind_needs = "an image reward's features need"
    for call, said in (
        (lambda: model.score_clips(clips[0], TEXTS), "clips|frames are"),
        (lambda: model.score_clips(clips[:, :, None], TEXTS), r"\(2, 8, 1, 3, 32, 32\)"),
        (lambda: model.score(clips if model.kind == "image" else clips[:, 0], TEXTS), kind_needs),
        (lambda: model.features(clips if model.kind == "image" else clips[:, 0]), kind_needs),
        (lambda: model.score_clips(clips[:, :, :1], TEXTS), r"frames are .* \(N, 3, H, W\)"),
        (lambda: model.score_clips(clips.movedim(2, -1), TEXTS), r"frames are .* \(N, 3, H, W\)"),
        (lambda: model.score_clips(clips, TEXTS[:1]), "2 images or clips but 1 texts"),
        (lambda: model.score_clips(clips, TEXTS[0]), "texts is one string"),
        (lambda: model.score_clips(clips[:0], []), "floats in"),
        (lambda: model.score_clips(clips[:, :0], TEXTS), "floats in"),
        (lambda: model.text_features([]), "at least one text"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("crop", ["random", "left"])
def test_a_crop_of_frames_that_are_not_cropped_is_refused(name: str, crop: Any) -> None:
    with pytest.raises(UserError, match=f"found crop '{crop}' for {name}; expected centre: its frames are not cropped"):
        load_reward(name, crop=crop)
    with pytest.raises(UserError, match="found crop 'left' for viclip; expected centre, random"):
        load_reward("viclip", crop="left")  # type: ignore[arg-type]


def test_one_frame_and_a_few_frames(model: RewardModel) -> None:
    clips = clips_of()
    assert model.score_clips(clips[:, :1], TEXTS).shape == (2,)
    if model.kind == "image":
        torch.testing.assert_close(model.score_clips(clips[:, :1], TEXTS), model.score(clips[:, 0], TEXTS))
        assert model.score_clips(clips[:, :5], TEXTS).shape == (2,)
    else:
        with pytest.raises(UserError, match="found clips of 5 frames; expected 8 frames, or one"):
            model.score_clips(clips[:, :5], TEXTS)
