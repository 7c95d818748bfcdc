"""Do the world's rewards and judges learn from what they should, and come back from disk as trained?"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.rewards.openclip import load_openclip
from turbo_train.rewards.tokens import Pieces
from turbo_train.rewards.viclip import load_viclip
from turbo_train.world.build import contrastive, contrastive_data, retrieval
from turbo_train.world.build.fit import Fit
from turbo_train.world.captions import parse, say, truth
from turbo_train.world.scene import sample_scene, split_of
from turbo_train.world.tokenizer import MAX_TOKENS, build_tokenizer


@pytest.mark.parametrize("motion_seen", [True, False])
def test_nearly_right_captions_are_wrong_once_and_never_held_out(motion_seen: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        said = truth(sample_scene(rng, "train", pair_share=0.3))
        wrongs = contrastive_data.nearly_right(rng, said, motion_seen)
        assert len(wrongs) == contrastive_data.HARD_NEGATIVES
        for wrong in wrongs:
            assert parse(say(rng, wrong)) == wrong
            known = contrastive_data.meaning_of(said, motion_seen)
            assert contrastive_data.meaning_of(wrong, motion_seen) != known
            if len(wrong.things) == 1:
                (shape, colour), motion = wrong.things[0], wrong.motion
                assert split_of(str(shape), str(colour), str(motion)) == "train"
                flat = [(*s.things[0], s.motion, s.background) for s in (said, wrong)]
                assert sum(a != b for a, b in zip(*flat, strict=True)) == 1


def test_equal_meanings_are_never_negatives() -> None:
    seen = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    said = torch.cat([seen, seen[:1]])
    apart = contrastive.info_nce(seen, said, torch.tensor([0, 1, 2, 3]))
    twins = contrastive.info_nce(seen, said, torch.tensor([0, 1, 2, 0]))
    without = contrastive.info_nce(seen, seen, torch.tensor([0, 1, 2]))
    assert float(twins["loss"]) < float(apart["loss"])
    torch.testing.assert_close(twins["loss"], (_rows(seen, said) + without["loss"] * 2) / 2, atol=1e-5, rtol=1e-5)


def _rows(seen: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """What row-wise cross entropy differs by when caption 3 counts for clips 1 and 2 but not for clip 0."""
    logits = seen @ said.T / contrastive.TEMPERATURE
    with_twin = torch.logsumexp(logits[1:], 1).sum()
    without = torch.logsumexp(logits[1:, :3], 1).sum()
    return (with_twin - without) / len(seen)


def test_augmented_frames_stay_in_range_and_follow_the_generator() -> None:
    frames = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, two = (contrastive_data.augment(frames, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two) and one.shape == frames.shape
    assert float(one.min()) >= 0 and float(one.max()) <= 1 and not torch.equal(one, frames)


def test_the_table_keeps_judges_and_rewards_apart() -> None:
    plans = contrastive.MODELS
    assert set(plans) == {"reward_image", "reward_video", "judge_image", "judge_video"}
    seeds = sorted(seed for plan in plans.values() for seed in (plan.data_seed, plan.fit.seed))
    assert all(a != b for a, b in pairwise(seeds))
    parameters = 0
    for kind in ("image", "video"):
        reward, judge = plans[f"reward_{kind}"], plans[f"judge_{kind}"]
        assert (reward.towers.width, reward.towers.patch) != (judge.towers.width, judge.towers.patch)
        parameters += sum(
            p.numel() for plan in (reward, judge) for p in contrastive.TwoTowers(plan.towers).parameters()
        )
    assert parameters * 2 <= 4_500_000  # bytes in fp16
    with pytest.raises(UserError, match="found model 'reward_sound'; expected one of reward_image"):
        contrastive.plan_of("reward_sound")


def test_meanings_number_what_a_model_can_see() -> None:
    tokenize = Pieces(build_tokenizer(), MAX_TOKENS)
    clip = contrastive_data.make_pairs(24, 7, tokenize, motion_seen=True)
    frame = contrastive_data.make_pairs(24, 7, tokenize, motion_seen=False)
    assert torch.equal(clip.frames_NTCHW, frame.frames_NTCHW)
    assert clip.ids_NKL.shape == (24, 1 + contrastive_data.HARD_NEGATIVES, MAX_TOKENS)
    assert len(frame.meaning_NK[:, 0].unique()) <= len(clip.meaning_NK[:, 0].unique())
    assert bool((frame.meaning_NK[:, 1:] != frame.meaning_NK[:, :1]).all())


@pytest.mark.parametrize("name", ["reward_image", "judge_video"])
def test_training_resumes_lowers_the_loss_and_comes_back_from_disk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "CLIPS", 8)
    towers = replace(contrastive.MODELS[name].towers, width=16, heads=2, layers=1, text_width=16, features=8)
    plan = replace(contrastive.MODELS[name], towers=towers, batch=8, fit=Fit(12, 3e-3, seed=5, warmup=2))
    losses: list[float] = []
    net, figures = contrastive.train_contrastive(
        name, tmp_path / "fit", lambda done, steps, terms: losses.append(terms["loss"]), plan, clips=24
    )
    assert len(losses) == 12 and np.mean(losses[-4:]) < np.mean(losses[:4])
    assert {"top1", "noised", "shape", "colour", "background", "relation"} <= set(figures)
    assert ("motion" in figures) == net.video
    resumed, again = contrastive.train_contrastive(name, tmp_path / "fit", None, plan, clips=24)
    assert again == figures
    contrastive.save_contrastive(resumed, tmp_path / "saved")
    loaded = load_viclip(tmp_path / "saved") if net.video else load_openclip(tmp_path / "saved")
    assert retrieval.measure_retrieval(loaded, clips=8) == figures
