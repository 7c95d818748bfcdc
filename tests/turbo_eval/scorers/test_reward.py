"""Is a clip's reward score the reward model's own number, whoever was scored before it, and the same every time?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from turbo_eval.scorers import reward as reward_module
from turbo_eval.scorers.base import Clip, Features, OnNetwork, Score, score_clip
from turbo_eval.scorers.reward import RewardScorer, reward_scorers
from turbo_train.errors import UserError
from turbo_train.rewards.frames import spread
from turbo_train.rewards.table import find_reward, load_reward

IMAGE, VIDEO = "world-image-reward", "world-video-judge"
MakeClip = Callable[..., Clip]


def scorer(name: str, **options: Any) -> RewardScorer:
    return RewardScorer(find_reward(name), **options)


@pytest.fixture(scope="module")
def image() -> RewardScorer:
    return scorer(IMAGE)


@pytest.fixture(scope="module")
def video() -> RewardScorer:
    return scorer(VIDEO)


@pytest.fixture
def clips(world_clip: MakeClip) -> list[Clip]:
    things = [("red", "circle", "right"), ("blue", "square", "left"), ("green", "triangle", "up")]
    made = [world_clip(*thing, "black") for thing in things]
    short = replace(made[0], frames_THWC=made[0].frames_THWC[:3])
    large = replace(made[1], frames_THWC=made[1].frames_THWC.repeat(2, 1).repeat(3, 2))
    long = replace(made[2], frames_THWC=np.concatenate([made[2].frames_THWC, made[2].frames_THWC[::-1]]))
    return [*made, short, large, long]


def value(one: RewardScorer, clip: Clip) -> float | None:
    [record] = score_clip([one], clip)
    return record.value


def test_an_image_rewards_score_is_the_mean_over_every_frame(image: RewardScorer, clips: list[Clip]) -> None:
    model = load_reward(IMAGE)
    for clip in clips:
        frames_TCHW = torch.from_numpy(Features(clip).frames_TCHW)
        each_T = model.score(frames_TCHW, [clip.prompt.prompt] * len(frames_TCHW))
        assert value(image, clip) == pytest.approx(float(each_T.mean()), abs=1e-6)


def test_a_video_rewards_score_is_of_evenly_spread_frames(video: RewardScorer, clips: list[Clip]) -> None:
    model, long = load_reward(VIDEO), clips[-1]
    assert model.frames == 8 and len(long.frames_THWC) == 16
    frames_TCHW = torch.from_numpy(Features(long).frames_TCHW[spread(16, 8)])
    assert value(video, long) == float(model.score_clips(frames_TCHW[None], [long.prompt.prompt])[0])


@pytest.mark.parametrize("name", [IMAGE, VIDEO])
def test_a_score_does_not_depend_on_what_was_scored_before(name: str, clips: list[Clip]) -> None:
    """To the last bit: any order, any company, and a process that begins in the middle."""
    forth = {id(clip): value(one, clip) for one in [scorer(name)] for clip in clips}
    back = {id(clip): value(one, clip) for one in [scorer(name)] for clip in reversed(clips)}
    alone = {id(clip): value(scorer(name), clip) for clip in clips[2:4]}
    assert forth == back
    assert alone == {key: forth[key] for key in alone}


def test_too_few_frames_are_unscored_or_repeat_the_last(video: RewardScorer, clips: list[Clip]) -> None:
    short = clips[3]
    [record] = score_clip([video], short)
    assert (record.value, record.unscored) == (None, "3 frames; expected at least 8, or --repeat-last")
    by_hand = replace(short, frames_THWC=short.frames_THWC[[0, 1, 2, 2, 2, 2, 2, 2]])
    assert value(scorer(VIDEO, repeat_last=True), short) == value(video, by_hand)


def test_a_single_frame_has_an_image_score(image: RewardScorer, video: RewardScorer, clips: list[Clip]) -> None:
    picture = replace(clips[0], frames_THWC=clips[0].frames_THWC[:1])
    assert value(image, picture) is not None and value(video, picture) is None


def test_the_id_names_what_decides_the_number() -> None:
    usual = scorer(VIDEO).scorer_id
    digest = find_reward(VIDEO).weights_sha256()[:8]
    assert usual.startswith(f"reward/{VIDEO}@1-{digest}-spread-8+torch")
    others = [scorer(VIDEO, dtype="bfloat16"), scorer(VIDEO, repeat_last=True), scorer(VIDEO, device="cuda:1")]
    assert len({usual, *(other.scorer_id for other in others)}) == 4
    assert scorer(VIDEO, device="cuda:0").scorer_id == scorer(VIDEO, device="cuda:3").scorer_id
    assert scorer(IMAGE, repeat_last=True).scorer_id == scorer(IMAGE).scorer_id  # it changes nothing there


def test_bfloat16_is_near(clips: list[Clip], image: RewardScorer) -> None:
    rounded, exact = value(scorer(IMAGE, dtype="bfloat16"), clips[0]), value(image, clips[0])
    assert rounded is not None and exact is not None
    assert 0 < abs(rounded - exact) < 0.03


def test_out_of_memory_halves_the_frames_of_a_pass(clips: list[Clip]) -> None:
    one = scorer(IMAGE)
    assert isinstance(one, OnNetwork) and one.relieve() == ""  # nothing is loaded
    before = value(one, clips[0])
    assert one.relieve() == f"{IMAGE} looks at 4 frames at a time"  # of a clip of 8
    after = value(one, clips[0])
    assert before is not None and after == pytest.approx(before, abs=1e-6)
    assert one.relieve() and one.relieve() and one.relieve() == ""
    filmed = scorer(VIDEO)
    filmed.load()
    assert filmed.relieve() == ""


def test_a_result_that_is_no_number_is_unscored(clips: list[Clip]) -> None:
    one = scorer(IMAGE)
    one.load()
    assert one._model is not None
    next(one._model.parameters()).data.fill_(float("nan"))
    [record] = score_clip([one], clips[0])
    assert (record.value, record.unscored) == (None, "nan in float32; expected a finite score")


def test_prompts_that_are_cut_are_named_once(clips: list[Clip], capsys: pytest.CaptureFixture[str]) -> None:
    long = "a red circle moves right on a black background and " * 3
    one = scorer(IMAGE, texts=["a red circle", long])
    assert value(one, replace(clips[0], prompt=replace(clips[0].prompt, prompt=long))) is not None
    value(one, clips[0])
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: {IMAGE}: 1 prompt cut at 18 tokens: 'a red circle moves right")


def test_reading_large_files_for_their_hash_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reward_module, "takes_long", lambda path: path.suffix == ".safetensors")
    assert len(reward_scorers([IMAGE], [], device="cpu").scorers) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("reading ") and "model.safetensors once for its sha256 (" in said


def test_a_network_that_cannot_be_loaded_is_no_clips_fault(clips: list[Clip]) -> None:
    class Broken:
        metric = scorer_id = "broken"

        def load(self) -> None:
            raise UserError(found="a broken file")

        def relieve(self) -> str:
            return ""

        def score(self, clip: Clip, features: Features) -> Score:
            return Score.of(1)

    with pytest.raises(UserError, match="broken file"):
        score_clip([Broken()], clips[0])
