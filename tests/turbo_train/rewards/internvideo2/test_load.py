"""Are the published files read as they are, without what the score does not need, and are others refused?"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden import fill
from torch import nn

from turbo_train.errors import UserError
from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.base import unit
from turbo_train.rewards.internvideo2 import load
from turbo_train.rewards.internvideo2.layers import Attention, Mlp
from turbo_train.rewards.internvideo2.load import CLIP_TABLE, IMAGE_TABLE, WEIGHTS, load_internvideo2
from turbo_train.rewards.internvideo2.model import InternVideo2, InternVideo2Config
from turbo_train.rewards.internvideo2.positions import Grid, refit
from turbo_train.rewards.internvideo2.text import TextConfig
from turbo_train.rewards.internvideo2.vision import CrossAttention, VisionConfig
from turbo_train.rewards.table import find_reward, load_reward
from turbo_train.weights.places import path_below_root
from turbo_train.weights.table import find_file

KEYS = Path(__file__).parents[3] / "golden" / "keys"
NOT_RUN = (
    "vision_encoder.clip_decoder.",
    "vision_encoder.final_clip_decoder.",
    "vision_encoder.clip_pos_embed",
    "vision_encoder.clip_img_pos_embed",
    "text_encoder.embeddings.position_ids",
    *(f"text_encoder.encoder.layer.{i}." for i in range(19, 24)),
)
WHOLE = 1_411_946_368  # numbers in the official f8 build, all branches, 512 of them position ids


def rows_of(frames: int) -> dict[str, tuple[int, ...]]:
    with (KEYS / f"internvideo2_s2_1b_f{frames}_keys.tsv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["key"]: tuple(map(int, row["shape"].split("x"))) for row in rows}


@pytest.mark.parametrize("frames", [4, 8])
def test_full_size_has_the_published_names_and_shapes(frames: int) -> None:
    with torch.device("meta"):
        net = InternVideo2(InternVideo2Config(VisionConfig(num_frames=frames)))
    table = rows_of(frames)
    assert len(table) == 1013
    have = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert have == {key: shape for key, shape in table.items() if not key.startswith(NOT_RUN)}
    assert {m.eps for m in net.modules() if isinstance(m, nn.RMSNorm)} == {1e-6}
    assert {m.eps for m in net.vision_encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    assert {m.eps for m in net.text_encoder.modules() if isinstance(m, nn.LayerNorm)} == {1e-12}
    # What no shape tells.
    assert {m.gelu for m in net.modules() if isinstance(m, Mlp)} == {"tanh"}
    heads = {name: m.heads for name, m in net.named_modules() if isinstance(m, Attention | CrossAttention)}
    assert set(heads.values()) == {16} and len(heads) == 40 + 1
    assert (net.text_encoder.config.num_attention_heads, net.text_encoder.config.hidden_act) == (16, "gelu")
    if frames == 8:
        entry = find_reward("internvideo2")
        assert sum(p.numel() for p in net.parameters()) == entry.parameters
        assert sum(torch.Size(shape).numel() for shape in table.values()) == WHOLE
        assert (entry.frames, entry.size_px, entry.tokens) == (8, VisionConfig().img_size, TextConfig().max_text_length)


def test_a_published_file_gives_the_recorded_features(golden, model) -> None:
    meta, expected = golden
    inputs = fill.inputs_of(meta)
    fill.compare(meta, expected, "video/features", unit(model.see(inputs["video"])))
    fill.compare(meta, expected, "text/features", unit(model.read(inputs["input_ids"])))
    assert model.frames == 4 and not model.net.training
    assert not any(p.requires_grad or p.is_meta for p in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())


def test_weights_stay_as_stored_and_are_not_copied(published, write, config, monkeypatch) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in published.items()}
    files = write(half)
    mapped = read_tensors(files[WEIGHTS])
    with monkeypatch.context() as patch:
        patch.setattr(load, "read_tensors", lambda path: mapped)
        model = load_internvideo2(files, config=config)
    assert {p.dtype for p in model.parameters()} == {torch.float16}
    assert {p.data_ptr() for p in model.parameters()} <= {value.data_ptr() for value in mapped.values()}
    half["vision_encoder.blocks.0.norm1.weight"] = published["vision_encoder.blocks.0.norm1.weight"]
    assert {p.dtype for p in load_internvideo2(write(half), config=config).parameters()} == {torch.float32}


def test_positions_of_four_frames_serve_eight(golden, published, write, config) -> None:
    meta, expected = golden
    stored = fill.inputs_of(meta)["pos_embed_4_frames"]
    files = write(published | {CLIP_TABLE: stored})
    longer = load_internvideo2(files, frames=8, config=config)
    fill.compare(meta, expected, "interp/pos_embed_8_frames", longer.net.vision_encoder.pos_embed)
    assert torch.equal(longer.net.vision_encoder.img_pos_embed, published[IMAGE_TABLE])
    assert longer.frames == 8 and longer.see(torch.zeros(1, 8, 3, 28, 28)).shape == (1, 20)
    assert torch.equal(load_internvideo2(files, frames=4, config=config).net.vision_encoder.pos_embed, stored)
    larger = load_internvideo2(files, config=replace(config, vision=replace(config.vision, img_size=42)))
    assert torch.equal(larger.net.vision_encoder.pos_embed, refit(stored, Grid(4, 2), Grid(4, 3)))
    assert larger.see(torch.zeros(1, 1, 3, 42, 42)).shape == (1, 20)


@pytest.mark.parametrize("frames", [None, 4, 8])
def test_load_reward_finds_the_files_and_loads_for_the_frames_asked_for(
    frames: int | None, published, write, config, tmp_path: Path, monkeypatch
) -> None:
    """The config is the loader's own option; everything else is what a user calls."""
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path / "root"))
    monkeypatch.setattr(load_internvideo2, "__kwdefaults__", {"config": config})
    for name, path in write(published).items():
        place = tmp_path / "root" / path_below_root(find_file(name))
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    state = torch.get_rng_state()
    model = load_reward("internvideo2", frames=frames)
    assert torch.equal(torch.get_rng_state(), state)
    wanted = frames or config.vision.num_frames
    assert (model.frames, model.rows, model.dtype) == (wanted, find_reward("internvideo2").rows, torch.float32)
    assert model.score_clips(torch.rand(2, wanted, 3, 28, 30), ["red", "up"]).shape == (2,)
    assert find_reward("internvideo2").missing() == []
    damaged = tmp_path / "root" / path_below_root(find_file(WEIGHTS))
    damaged.write_bytes(b"<html>Log in</html>")
    with pytest.raises(
        UserError,
        match=r"1 damaged file for internvideo2: .*it is a web page: .* pull --for internvideo2",
    ):
        load_reward("internvideo2", frames=frames)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"text_proj.bias": None}, r"1 keys of .*weights\.pt differ from .*: missing text_proj\.bias"),
        ({CLIP_TABLE: None}, "missing vision_encoder.pos_embed"),
        ({CLIP_TABLE: torch.zeros(1, 16, 64)}, r"pos_embed of shape \(1, 16, 64\), not \(1, 17, 64\)"),
        ({CLIP_TABLE: torch.zeros(17, 64)}, r"pos_embed of shape \(17, 64\), not \(1, 17, 64\)"),
        ({"vision_proj.weight": torch.zeros(20, 25)}, r"vision_proj\.weight of shape \(20, 25\), not \(20, 24\)"),
        ({"text_encoder.bert.encoder.layer.2.output.dense.bias": None}, r"missing text_encoder\.encoder\.layer\.2"),
        ({"vision_encoder.blocks.4.norm1.weight": torch.ones(64)}, r"unknown vision_encoder\.blocks\.4"),
        ({"vision_encoder.blocks.0.attn.qkv.bias": torch.ones(192)}, r"unknown .*qkv\.bias"),
        ({"text_encoder.bert.encoder.layer.0.crossattention.x": torch.ones(1)}, "unknown text_encoder.encoder.layer.0"),
    ],
)
def test_weights_that_are_not_those_are_named(published, write, config, change, found: str) -> None:
    weights = {key: value for key, value in (published | change).items() if value is not None}
    with pytest.raises(UserError, match=f"{found}.*; expected InternVideo2 Stage-2 1B") as caught:
        load_internvideo2(write(weights), config=config)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", [(2, 17, 64), (1, 17, 64, 1), (17,)])
def test_tables_that_cannot_be_refitted_are_named(published, write, config, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"pos_embed of shape .*, not \(1, 33, 64\)"):
        load_internvideo2(write(published | {CLIP_TABLE: torch.zeros(shape)}), frames=8, config=config)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda words: words[:-1], "119 word pieces in"),
        (lambda words: [*words[:-1], words[0]], "119 word pieces in"),
        (lambda words: [*words[1:], words[0]], r"120 word pieces in .*vocab\.txt; expected 120, \[PAD\] as number 0"),
        (lambda words: ["[sep]" if word == "[SEP]" else word for word in words], r"120 word pieces without \[SEP\] in"),
    ],
)
def test_another_vocabulary_is_refused(published, write, config, words, spoil, found: str) -> None:
    with pytest.raises(UserError, match=found):
        load_internvideo2(write(published, spoil(words)), config=config)


def test_missing_files_are_named_with_where_to_get_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("TURBO_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError) as caught:
        load_reward("internvideo2", frames=4)
    message = str(caught.value)
    assert "internvideo2/stage2_1b-224p-f4.pt (about 2.8 GB" in message and "bert-large-uncased/vocab.txt" in message
    assert "huggingface.co/OpenGVLab/InternVideo2-Stage2_1B-224p-f4" in message
    assert "turbo-eval weights pull --for internvideo2" in message
