"""Do the presets state what the paper's recipe is, and what each of them reached?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbo_train.config import config_of
from turbo_train.errors import UserError
from turbo_train.presets import NOT_RUN, PRESETS, find_preset

NAMES = "world-vcm world-rimg world-rvid world-turbo ms-vcm ms-turbo vc2-vcm vc2-turbo"


def test_every_preset_is_there_under_its_own_name() -> None:
    assert set(PRESETS) == set(NAMES.split())
    assert all(name == preset.name == preset.config.preset for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", NAMES.split())
def test_every_preset_is_sound_and_comes_back_from_its_file(name: str) -> None:
    config = PRESETS[name].config
    assert config.problems() == []
    assert config_of(json.loads(config.to_json()), "a file") == config


def test_what_was_reached_is_a_report_or_that_it_was_not_run(repository: Path) -> None:
    for name, preset in PRESETS.items():
        if not name.startswith("world"):
            assert preset.reached == NOT_RUN == "not run: needs weights"
        elif "reports/" in preset.reached:
            told = next(word for word in preset.reached.split() if word.startswith("reports/")).rstrip(".,;)")
            assert (repository / told).exists()


def test_the_full_size_recipes_are_the_papers() -> None:
    """arXiv 2405.18750, section 5."""
    rewards = {name: [str(term) for term in PRESETS[name].config.rewards] for name in ("vc2-turbo", "ms-turbo")}
    assert rewards == {
        "vc2-turbo": ["hpsv2.1:1:6", "internvideo2:2:8"],
        "ms-turbo": ["hpsv2.1:2:6", "viclip:3:8"],
    }
    for name in ("vc2-turbo", "ms-turbo", "vc2-vcm", "ms-vcm"):
        config = PRESETS[name].config
        assert (config.steps, config.batch_size, config.lr, config.loss_placement) == (10_000, 8, 1e-5, "every")
        assert (config.guidance_min, config.guidance_max, config.num_ddim_steps) == (5.0, 15.0, 50)
        vc2 = name.startswith("vc2")
        assert (config.rank, config.fps, config.cond_fps) == ((64, 16, 16) if vc2 else (32, 8, None))
        assert (config.frames, config.size) == (16, (320, 512) if vc2 else (256, 256))
        assert (config.distance, config.huber_c, config.max_grad_norm) == ("huber", 0.001, 1.0)
        assert (config.precision, config.validation_steps) == ("bf16", 4)
        adam = (config.optimizer, config.adam_beta1, config.adam_beta2, config.adam_eps, config.weight_decay)
        assert adam == ("adamw", 0.9, 0.999, 1e-8, 0.0) and config.lr_schedule == "constant"
        assert (config.warmup_steps, config.ema_decay, config.dropout, config.random_crop) == (0, 0.0, 0.0, True)


def test_world_presets_differ_by_their_rewards_alone() -> None:
    configs = [PRESETS[f"world-{name}"].config for name in ("vcm", "rimg", "rvid", "turbo")]
    alike = [json.loads(config.to_json()) | {"preset": "", "rewards": []} for config in configs]
    assert all(fields == alike[0] for fields in alike)
    assert [len(config.rewards) for config in configs] == [0, 1, 1, 2]
    assert set(configs[3].rewards) == {*configs[1].rewards, *configs[2].rewards}


def test_an_unknown_preset_is_a_message() -> None:
    with pytest.raises(UserError, match=r"unknown preset 'world-tubro' \(did you mean world-turbo\?\)"):
        find_preset("world-tubro")
