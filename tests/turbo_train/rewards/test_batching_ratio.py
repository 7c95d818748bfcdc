"""Is scoring clips together faster than one after the other? Ratios of one run, on one thread, in CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytest
import tiny_rewards
import torch

from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.clip import load_clip
from turbo_train.rewards.openclip import VIT_H_14, new_clip
from turbo_train.rewards.table import load_reward

pytestmark = pytest.mark.slow
CLIPS, TEXT = 4, "a red circle moves up on a black background"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    """ViT-H-14 at its full width, two layers deep."""
    cfg = tiny_rewards.shallow(VIT_H_14)
    files = tiny_rewards.write_clip(tmp_path_factory.mktemp("wide"), tiny_rewards.filled(new_clip(cfg)))
    model = load_clip(files, model_cfg=cfg)
    model.rows = 16
    return model


@pytest.mark.parametrize("name", ["world-image-reward", "world-video-reward", "ViT-H-14, 2 layers"])
def test_clips_together_are_not_slower_than_one_by_one(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    is_world = name.startswith("world")
    model = load_reward(name) if is_world else request.getfixturevalue("wide")
    side, pairs = (32, 21) if is_world else (224, 5)
    clips = torch.rand(CLIPS, 8, 3, side, side, generator=torch.Generator().manual_seed(0))

    def one_by_one() -> torch.Tensor:
        return torch.cat([model.score_clips(clip[None], [TEXT]) for clip in clips])

    def together() -> torch.Tensor:
        return model.score_clips(clips, [TEXT] * CLIPS)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            torch.testing.assert_close(together(), one_by_one(), atol=1e-6, rtol=0)
            ratios = []
            for pair in range(pairs):
                order = (one_by_one, together) if pair % 2 else (together, one_by_one)
                spent = {run: cpu_s(run) for run in order}
                ratios.append(spent[one_by_one] / spent[together])
    finally:
        torch.set_num_threads(threads)
    with capsys.disabled():
        print(f"\n{name}: one by one over together {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    assert median(ratios) > 0.9


def cpu_s(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin
