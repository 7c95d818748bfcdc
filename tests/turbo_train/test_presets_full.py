"""Does each full-size preset train, stop, go on, export, generate and get a score, its own networks made narrow?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_rewards
import tiny_students
import torch
from tiny_students import Family

from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.model_table import student as few_steps
from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features
from turbo_eval.scorers.reward import RewardScorer
from turbo_train.checkpoint import checkpoints
from turbo_train.config import TrainConfig, with_settings
from turbo_train.exits import StopRequest
from turbo_train.export import export
from turbo_train.loop import Run, train
from turbo_train.nets.load import load_model
from turbo_train.nets.source import ClipFormat, Source
from turbo_train.nets.student_config import read_student_config
from turbo_train.presets import find_preset
from turbo_train.rewards.internvideo2.load import VOCABULARY, WEIGHTS
from turbo_train.rewards.internvideo2.model import InternVideo2, InternVideo2Config
from turbo_train.rewards.internvideo2.text import TextConfig
from turbo_train.rewards.internvideo2.vision import VisionConfig
from turbo_train.rewards.table import PACKAGE, RewardEntry, find_reward
from turbo_train.rewards.word_pieces import SPECIAL
from turbo_train.video_io import write_mp4

PRESETS = ("ms-vcm", "ms-turbo", "vc2-vcm", "vc2-turbo")
FRAMES = 8  # as many as the video rewards see
VOCABULARY_SIZE = 64
SMALL_INTERNVIDEO2 = InternVideo2Config(
    VisionConfig(
        img_size=28, embed_dim=32, depth=2, num_heads=4, attn_pool_num_heads=4, clip_embed_dim=24, num_frames=FRAMES
    ),
    TextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=32,
        fusion_layer=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    ),
    16,
)
pytestmark = pytest.mark.slow


def write_internvideo2(folder: Path) -> tiny_rewards.Files:
    """As it is published: under "module", the text tower's names with `bert.`."""
    net = tiny_rewards.filled(InternVideo2(SMALL_INTERNVIDEO2))
    state = {key.replace("text_encoder.", "text_encoder.bert."): value for key, value in net.state_dict().items()}
    torch.save({"module": state}, folder / "f4.pt")
    words = [*SPECIAL, "red", "fox", "a", "boat"]
    words += [f"[unused{i}]" for i in range(VOCABULARY_SIZE - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return {WEIGHTS: folder / "f4.pt", VOCABULARY: folder / "vocab.txt"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tiny_rewards.Files]:
    folder = tmp_path_factory.mktemp("rewards")
    files = {name: tiny_rewards.write_small(name, folder) for name in ("hpsv2.1", "viclip")}
    return files | {"internvideo2": write_internvideo2(folder)}


@pytest.fixture
def narrow(written: Mapping[str, tiny_rewards.Files], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rewards' files lie where they were written, and the loaders' own options say their sizes."""
    monkeypatch.setattr(RewardEntry, "files", lambda entry: dict(written[entry.name]))
    sizes: dict[str, dict[str, Any]] = {
        "hpsv2.1": {"model_cfg": tiny_rewards.SMALL_CLIP},
        "viclip": {"model_cfg": tiny_rewards.SMALL_VICLIP},
        "internvideo2": {"config": SMALL_INTERNVIDEO2},
    }
    for name, options in sizes.items():
        module, function = f"{PACKAGE}.{find_reward(name).loader}".rsplit(".", 1)
        monkeypatch.setattr(getattr(import_module(module), function), "__kwdefaults__", options)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 24 frames at 16 fps with their captions."""
    folder = tmp_path_factory.mktemp("clips")
    for number, text in enumerate(("a red fox", "a boat", "a blue square moving")):
        frames = np.random.default_rng(number).integers(0, 256, (24, 24, 32, 3), dtype=np.uint8)
        write_mp4(folder / f"{number}.mp4", frames, 16)
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def recipe(preset: str, family: Family, clips: Path) -> TrainConfig:
    """The preset for two steps on those files; what it trains, and how, is its own."""
    size = "8x16" if family.sizes else "8x8"
    chosen = {"teacher": family.source.path, "data": clips, "size": size, "frames": FRAMES, "steps": 2, "batch_size": 2}
    chosen |= {"validation_steps": 1, "prefetch": 1, "validation_prompts": "a red square"}
    return with_settings(find_preset(preset).config, [f"{key}={value}" for key, value in chosen.items()])


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("preset", PRESETS)
def test_train_stop_resume_export_generate_and_score(preset: str, clips: Path, narrow: None, tmp_path: Path) -> None:
    family = tiny_students.write_family(preset.partition("-")[0], tmp_path)
    config, run = recipe(preset, family, clips), tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(config.to_json(), encoding="utf-8")

    stop = StopRequest()
    stop.requested = True  # as a signal during the first step says
    first = Run(config, run, family.sizes).to_the_end(stop)
    assert (first.step, first.stopped) == (1, True)
    assert [path.name for path in checkpoints(run)] == ["step-000001"] and not (run / "student").exists()
    second = train(config, run, sizes=family.sizes)
    assert (second.step, second.stopped) == (2, False)
    steps = [entry for entry in log(run) if entry.get("event") == "step"]
    assert [entry["step"] for entry in steps] == [1, 2]
    assert set(steps[-1]["rewards"]) == {term.name for term in config.rewards}
    assert read_student_config(run / "student").rewards == tuple(term.name for term in config.rewards)

    made = {form: export(run, form, tmp_path / form, sizes=family.sizes) for form in ("peft", "merged", "list")}
    clip = ClipFormat(FRAMES, 8)
    base = family.source
    sources = (
        Source("student", run / "student", base, clip=clip),
        Source("unet", made["merged"] / "unet.safetensors", base, clip=clip),
        Source("lora_list", made["list"] / "unet_lora.pt", base, projection="beside", clip=clip),
    )
    prompt = Prompt("fox", "a red fox")
    frames = []
    for source in sources:
        generator = LatentGenerator(load_model(source, family.sizes), few_steps(), batch=1)
        frames += generator.generate([prompt], [0], seed=0)
    assert frames[0].shape[0] == FRAMES and frames[0].std() > 0
    for other in frames[1:]:
        assert np.abs(other.astype(int) - frames[0].astype(int)).max() <= 1
    for name in ("hpsv2.1", "internvideo2" if family.sizes else "viclip"):
        seen = Clip((preset, prompt.prompt_id, 0), prompt, frames[0], clip.fps)
        value = RewardScorer(find_reward(name), [prompt.prompt]).score(seen, Features(seen)).value
        assert value is not None and -1 <= value <= 1
