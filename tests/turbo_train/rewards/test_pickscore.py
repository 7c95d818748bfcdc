"""Is our PickScore transformers' own CLIPModel? Names, configs, padding; small, and slowly at the full width."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from tiny_rewards import SMALL_CLIP, Files, new_transformers_clip, shallow, transformers_config, write_pickscore
from torchvision.transforms import functional as tv
from transformers import CLIPModel, CLIPTokenizer

from turbo_train.errors import UserError
from turbo_train.rewards.openclip import VIT_H_14, new_clip
from turbo_train.rewards.pickscore import CONFIG, COUNTS, WEIGHTS, load_pickscore, published_layout, published_names
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD

END = 49407
TEXTS = ["A dog's life, 8k -- high   detailed!", "", "caf\u00e9 \u2014 t\u00eate 100%"]


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    """transformers' own, from CLIP's vocabulary; it pads with the end token, as the published processor does."""
    words = SimpleTokenizer()
    merges = sorted(words.bpe_ranks, key=words.bpe_ranks.get)
    start, end = "<start_of_text>", "<end_of_text>"
    return CLIPTokenizer(words.encoder, merges, bos_token=start, eos_token=end, unk_token=end, pad_token=end)


def ids_of(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    return torch.tensor(tokenizer(list(texts), padding="max_length", truncation=True, max_length=77)["input_ids"])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPModel, Files]:
    own = new_transformers_clip(SMALL_CLIP)
    return own, write_pickscore(tmp_path_factory.mktemp("pickscore"), own)


@pytest.mark.parametrize("model_cfg", [SMALL_CLIP, pytest.param(shallow(VIT_H_14), marks=pytest.mark.slow)])
def test_score_is_transformers_own(model_cfg: Mapping[str, Any], tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    own = new_transformers_clip(model_cfg)
    model = load_pickscore(write_pickscore(tmp_path, own), model_cfg=model_cfg)
    frames = torch.rand(3, 3, 100, 333, generator=torch.Generator().manual_seed(0))
    size = model_cfg["vision_cfg"]["image_size"]
    normal = tv.normalize(
        tv.resize(frames, [size, size], tv.InterpolationMode.BICUBIC, antialias=True), CLIP_MEAN, CLIP_STD
    )
    with torch.no_grad():
        seen = own.get_image_features(normal).pooler_output
        said = own.get_text_features(ids_of(tokenizer, TEXTS)).pooler_output
        torch.testing.assert_close(model.see(normal), seen, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.score(frames, TEXTS), torch.cosine_similarity(seen, said), atol=1e-5, rtol=0)


def test_ids_are_transformers_up_to_the_padding_which_changes_nothing(
    small: tuple[CLIPModel, Files], tokenizer: CLIPTokenizer
) -> None:
    own, files = small
    model = load_pickscore(files, model_cfg=SMALL_CLIP)
    texts = [*TEXTS, "word " * 100]
    zeros, ends = model.tokenizer(texts), ids_of(tokenizer, texts)
    kept = torch.arange(77) <= zeros.argmax(1)[:, None]
    assert torch.equal(zeros[kept], ends[kept])
    assert set(zeros[~kept].tolist()) == {0} and set(ends[~kept].tolist()) == {END}
    with torch.no_grad():
        assert torch.equal(model.read(zeros), model.read(ends))
        torch.testing.assert_close(model.read(ends), own.get_text_features(ends).pooler_output, atol=1e-5, rtol=1e-5)


def test_every_tensor_of_the_full_size_has_one_published_name() -> None:
    with torch.device("meta"):
        net = new_clip(VIT_H_14)
        own = CLIPModel(transformers_config(VIT_H_14))
        layout = published_layout(net)
    assert layout == {key: value.shape for key, value in own.state_dict().items()}
    assert len(layout) == 14 + (32 + 24) * 16 and sum(shape.numel() for shape in layout.values()) == 986_109_441
    assert published_names("visual.transformer.resblocks.31.attn.in_proj_bias") == [
        f"vision_model.encoder.layers.31.self_attn.{part}_proj.bias" for part in "qkv"
    ]
    assert layout["text_projection.weight"] == (1024, 1024)
    assert layout["visual_projection.weight"] == (1024, 1280)


def test_position_counts_of_older_files_are_left_out(small: tuple[CLIPModel, Files], tmp_path: Path) -> None:
    _, files = small
    state = load_file(files[WEIGHTS])
    save_file(state | {name: torch.arange(77)[None] for name in COUNTS}, tmp_path / "model.safetensors")
    older = load_pickscore({**files, WEIGHTS: tmp_path / "model.safetensors"}, model_cfg=SMALL_CLIP)
    newer = load_pickscore(files, model_cfg=SMALL_CLIP)
    assert all(torch.equal(value, newer.net.state_dict()[key]) for key, value in older.net.state_dict().items())


def _set(side: str, field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config[side].update({field: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("vision_config", "hidden_act", "quick_gelu"), "vision hidden_act 'quick_gelu', not 'gelu'"),
        (_set("text_config", "hidden_act", "gelu_new"), "text hidden_act 'gelu_new', not 'gelu'"),
        (lambda config: config["text_config"].pop("hidden_act"), "text hidden_act 'quick_gelu', not 'gelu'"),
        (_set("vision_config", "num_attention_heads", 8), "vision num_attention_heads 8, not 4"),
        (_set("text_config", "layer_norm_eps", 1e-6), "text layer_norm_eps 1e-06, not 1e-05"),
        (lambda config: config.update(projection_dim=512), "projection_dim 512, not 24"),
        (lambda config: config.update(text_config_dict={"hidden_size": 16}), "text hidden_act 'quick_gelu', not"),
        (lambda config: config.pop("vision_config"), r"is no CLIPModel's config\.json"),
        (lambda config: config.update(text_config=3), r"is no CLIPModel's config\.json"),
    ],
)
def test_a_config_of_another_network_is_refused(
    small: tuple[CLIPModel, Files], tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    _, files = small
    config = json.loads(files[CONFIG].read_text(encoding="utf-8"))
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        load_pickscore({**files, CONFIG: tmp_path / "config.json"}, model_cfg=SMALL_CLIP)
    assert caught.value.run_next


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_broken_config_is_refused(small: tuple[CLIPModel, Files], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"is no CLIPModel's config\.json"):
        load_pickscore({**small[1], CONFIG: tmp_path / "config.json"}, model_cfg=SMALL_CLIP)


def test_a_published_config_is_refused_for_another_size(small: tuple[CLIPModel, Files]) -> None:
    with pytest.raises(UserError, match="projection_dim 24, not 1024, text hidden_size 16, not 1024"):
        load_pickscore(small[1])
