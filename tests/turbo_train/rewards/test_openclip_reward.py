"""Does an open_clip folder load as it was saved, score the right pairs, and say what is wrong with a bad one?"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from turbo_train.errors import UserError
from turbo_train.rewards.base import ImageReward
from turbo_train.rewards.folder import write_folder
from turbo_train.rewards.openclip import KIND, VIT_H_14, OpenClipModel, load_openclip, new_clip
from turbo_train.rewards.table import CLIP_H_PARAMETERS
from turbo_train.rewards.text_cache import TextCache
from turbo_train.rewards.viclip import load_viclip
from turbo_train.world.tokenizer import MAX_TOKENS, build_tokenizer, token_ids

KEYS = Path(__file__).parents[2] / "golden" / "keys" / "hpsv2_vith14_keys.tsv"
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8},
    "text_cfg": {
        "context_length": MAX_TOKENS,
        "vocab_size": len(token_ids()),
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3], "resize_mode": "squash"}
TEXTS = ["a red circle moves up on a black background", "a blue square rests on a white background"]


def test_full_size_has_the_published_keys_and_shapes() -> None:
    assert open_clip.get_model_config("ViT-H-14") == VIT_H_14
    with torch.device("meta"):
        net = new_clip(VIT_H_14)
    with KEYS.open(encoding="utf-8") as file:
        want = {row["key"]: (row["shape"], int(row["numel"])) for row in csv.DictReader(file, delimiter="\t")}
    have = {key: ("x".join(map(str, value.shape)), value.numel()) for key, value in net.state_dict().items()}
    assert have == want and len(have) == 686
    assert sum(p.numel() for p in net.parameters()) == CLIP_H_PARAMETERS == 986_109_441


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    where = tmp_path / "model"
    write_folder(where, KIND, new_clip(CONFIG), CONFIG, PREPROCESS, build_tokenizer())
    return where


def test_a_folder_is_the_model_that_was_saved(folder: Path, tmp_path: Path) -> None:
    model = load_openclip(folder)
    assert isinstance(model, ImageReward)
    stored = load_file(folder / "model.safetensors")
    assert {v.dtype for v in stored.values()} == {torch.float16}
    assert all(torch.equal(value.half(), stored[key]) for key, value in model.net.state_dict().items())
    again = tmp_path / "again"
    write_folder(again, KIND, model.net, CONFIG, PREPROCESS, build_tokenizer())
    for file in ("config.json", "model.safetensors", "tokenizer/tokenizer.json"):
        assert (again / file).read_bytes() == (folder / file).read_bytes()


def test_score_is_open_clips_own_cosine(folder: Path) -> None:
    model = load_openclip(folder)
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, _ = model.net.get_logits((frames - 0.5) / 0.3, model.tokenizer(TEXTS))
        score = model.score(frames, TEXTS)
    torch.testing.assert_close(score, logits.diagonal() / model.net.logit_scale.exp(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.score(frames.flip(0), TEXTS[::-1]).flip(0), score, atol=1e-6, rtol=1e-5)


def test_gradients_go_to_pixels_only(folder: Path) -> None:
    model = load_openclip(folder)
    frames = torch.rand(2, 3, 20, 24, requires_grad=True)
    score = model.score(frames, TEXTS)
    score.sum().backward()
    assert frames.grad is not None and bool((frames.grad != 0).any())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not model.text_features(TEXTS).requires_grad


def test_finite_differences_agree_with_the_gradient(folder: Path) -> None:
    model: OpenClipModel = load_openclip(folder).double()
    generator = torch.Generator().manual_seed(2)
    frames = torch.rand(1, 3, 16, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.score(frames, TEXTS[:1]).sum(), frames)
    way = torch.randn(frames.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        up, down = (model.score(frames + s * way, TEXTS[:1]) for s in (1e-5, -1e-5))
    torch.testing.assert_close((up - down).sum() / 2e-5, (slope * way).sum(), rtol=1e-6, atol=1e-10)


def test_each_prompt_is_encoded_once_and_the_cache_is_bounded() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    cache = TextCache(encode, keep=2)
    assert cache(["a", "bb", "a"]).flatten().tolist() == [1.0, 2.0, 1.0]
    assert cache(["bb", "a"]).flatten().tolist() == [2.0, 1.0]
    assert asked == ["a", "bb"]
    assert cache(["ccc", "dddd", "a"]).flatten().tolist() == [3.0, 4.0, 1.0]
    cache(["ccc"])
    assert asked == ["a", "bb", "ccc", "dddd"]
    cache(["bb"])
    assert asked[-1] == "bb"
    cache(["ccc"])  # of bb and ccc, the one used last
    cache(["eeeee"])
    cache(["ccc"])
    assert asked[-1] == "eeeee"
    for texts in ("a", []):
        with pytest.raises(ValueError, match="a sequence of at least one text"):
            cache(texts)


def test_features_cached_under_inference_mode_still_meet_autograd(folder: Path) -> None:
    model = load_openclip(folder)
    with torch.inference_mode():
        model.text_features(TEXTS)
    frames = torch.rand(2, 3, 16, 16, requires_grad=True)
    model.score(frames, TEXTS).sum().backward()
    assert frames.grad is not None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer/tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"found no {name} in .*; expected .*; try: turbo-train world build") as caught:
        load_openclip(folder)
    assert caught.value.exit_code == 2


def test_a_foreign_or_broken_folder_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"class open_clip\.CLIP; expected format 1, class ViCLIP"):
        load_viclip(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["ln_final.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"1 weights in .*: ln_final\.bias missing"):
        load_openclip(folder)
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        load_openclip(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load_openclip(folder)
    (folder / "config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="is not a JSON object"):
        load_openclip(folder)
