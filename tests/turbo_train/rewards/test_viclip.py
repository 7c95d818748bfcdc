"""Is our ViCLIP the published one? Golden numbers, the full-size key list, and what the wrapper promises."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden import fill
from tiny_rewards import SMALL_VICLIP, filled, write_viclip

from turbo_train.errors import UserError
from turbo_train.rewards.base import VideoReward, cosine, unit
from turbo_train.rewards.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from turbo_train.rewards.viclip import ViCLIPModel, load_published_viclip
from turbo_train.rewards.viclip_net import Attention, TextConfig, ViCLIP, VisionConfig, new_viclip

KEYS = Path(__file__).parents[2] / "golden" / "keys" / "viclip_l14_keys.tsv"
NOT_OURS = ("drop_path", "checkpoint_num", "dropout")  # act in ViCLIP's own training only


@pytest.fixture(scope="module")
def golden():
    return fill.load("viclip")


@pytest.fixture(scope="module")
def net(golden) -> ViCLIP:
    meta, _ = golden
    entry = meta["models"]["viclip"]
    vision, text = entry["config"].values()
    model = new_viclip(
        {
            side: {k: v for k, v in cfg.items() if k not in NOT_OURS}
            for side, cfg in (("vision", vision), ("text", text))
        }
    )
    fill.check_layout(meta, "viclip", model)
    assert fill.fill_module(model, left_alone=entry["left_alone"]) == entry["left_alone"]
    return model.eval()


def test_forward_and_gradient_agree_with_the_golden(golden, net) -> None:
    meta, expected = golden
    inputs = fill.inputs_of(meta)
    video = inputs["video"].requires_grad_()
    embeds = net.vision_encoder(video)
    features = unit(embeds)
    said = net.text_encoder(inputs["token_ids"])
    fill.compare(meta, expected, "video/embeds", embeds)
    fill.compare(meta, expected, "video/features", features)
    fill.compare(meta, expected, "one_frame/features", unit(net.vision_encoder(inputs["one_frame"])))
    fill.compare(meta, expected, "text/embeds", said)
    fill.compare(meta, expected, "text/features", unit(said))
    fill.compare(meta, expected, "score", cosine(features, unit(said[:1]).expand(2, -1)))
    (features * inputs["R"]).sum().backward()
    fill.compare(meta, expected, "grad/video", video.grad)


def test_float64_agrees_with_the_golden(golden, net) -> None:
    meta, expected = golden
    inputs = fill.inputs_of(meta)
    double = new_viclip({"vision": vars(net_vision(meta)), "text": vars(net_text(meta))}).double()
    double.load_state_dict(net.state_dict())
    with torch.no_grad():
        fill.compare(meta, expected, "f64/video_features", unit(double.vision_encoder(inputs["video"].double())))
        fill.compare(meta, expected, "f64/text_embeds", double.text_encoder(inputs["token_ids"]))


def net_vision(meta) -> VisionConfig:
    vision, _ = meta["models"]["viclip"]["config"].values()
    return VisionConfig(**{k: v for k, v in vision.items() if k not in NOT_OURS})


def net_text(meta) -> TextConfig:
    _, text = meta["models"]["viclip"]["config"].values()
    return TextConfig(**{k: v for k, v in text.items() if k not in NOT_OURS})


def test_full_size_has_the_published_keys_and_shapes() -> None:
    with torch.device("meta"):
        model = ViCLIP(VisionConfig(), TextConfig())
    with KEYS.open(encoding="utf-8") as file:
        want = {row["key"]: row["shape"] for row in csv.DictReader(file, delimiter="\t")}
    have = {key: "x".join(map(str, value.shape)) for key, value in model.state_dict().items()}
    assert have == want
    assert sum(p.numel() for p in model.parameters()) == 427_590_145
    for tower, layers, heads in ((model.vision_encoder, 24, 16), (model.text_encoder, 12, 12)):  # no shape tells heads
        assert [m.heads for m in tower.modules() if isinstance(m, Attention)] == [heads] * layers


class Letters:
    """A small tokenizer: start 94, one id per letter, end 95 (the largest)."""

    length = 12

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([([94, *(ord(c) % 90 + 1 for c in text[:10]), 95] + [0] * 12)[:12] for text in texts])

    def lost_words(self, text: str) -> str:
        return text[10:]


@pytest.fixture
def model(net) -> ViCLIPModel:
    return ViCLIPModel(net, Preprocess(28, IMAGENET_MEAN, IMAGENET_STD, "shortest"), Letters())


def test_clips_meet_their_own_texts_in_any_batch(model) -> None:
    assert isinstance(model, VideoReward)
    clips = torch.rand(3, 4, 3, 28, 30, generator=torch.Generator().manual_seed(0))
    texts = ["one", "two", "three"]
    together = model.score(clips, texts)
    alone = torch.cat([model.score(clips[i : i + 1], texts[i : i + 1]) for i in range(3)])
    turned = model.score(clips.flip(0), texts[::-1]).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together, turned, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="3 images or clips but 2 texts"):
        model.score(clips, texts[:2])


def test_score_is_differentiable_in_pixels_and_frozen_in_weights(golden, net) -> None:
    meta, _ = golden
    double = new_viclip({"vision": vars(net_vision(meta)), "text": vars(net_text(meta))}).double()
    double.load_state_dict(net.state_dict())
    model = ViCLIPModel(double, Preprocess(28, IMAGENET_MEAN, IMAGENET_STD, "shortest"), Letters()).train()
    assert not model.net.training
    generator = torch.Generator().manual_seed(1)
    clips = torch.rand(1, 4, 3, 30, 34, generator=generator, dtype=torch.float64, requires_grad=True)
    model.score(clips, ["one"]).sum().backward()
    assert clips.grad is not None and all(p.grad is None for p in model.parameters())
    way = torch.randn(clips.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        step = 1e-5
        slope = (model.score(clips + step * way, ["one"]) - model.score(clips - step * way, ["one"])) / (2 * step)
    torch.testing.assert_close(slope.sum(), (clips.grad * way).sum(), rtol=1e-6, atol=1e-10)


def test_wrong_number_of_frames_and_wrong_config_are_user_errors(model) -> None:
    with pytest.raises(UserError, match=r"found clips of 3 frames; expected 4 frames, or one") as caught:
        model.score(torch.rand(1, 3, 3, 28, 28), ["one"])
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="does not fit"):
        new_viclip({"vision": {"depth": 3}, "text": {}})


def test_the_published_layout_loads_as_the_network_that_was_saved(golden, net, tmp_path: Path) -> None:
    meta, expected = golden
    model_cfg = {"vision": vars(net_vision(meta)), "text": vars(net_text(meta))}
    loaded = load_published_viclip(write_viclip(tmp_path, net), model_cfg=model_cfg)
    fill.compare(meta, expected, "video/embeds", loaded.see(fill.inputs_of(meta)["video"]))
    fill.compare(meta, expected, "text/embeds", loaded.read(fill.inputs_of(meta)["token_ids"]))


def test_a_score_is_short_side_crop_normalise_and_the_cosine_of_both_towers(tmp_path: Path) -> None:
    net = filled(new_viclip(SMALL_VICLIP))
    model = load_published_viclip(write_viclip(tmp_path, net), model_cfg=SMALL_VICLIP)
    clips = torch.rand(2, 8, 3, 28, 50, generator=torch.Generator().manual_seed(0))
    texts = ["A dog's life, 8k!", "a red ball"]
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        seen = net.vision_encoder((clips[..., 11:39] - mean) / std)
        said = net.text_encoder(model.tokenizer(texts))
        torch.testing.assert_close(model.score(clips, texts), torch.cosine_similarity(seen, said), atol=1e-6, rtol=0)
        model.preprocess = replace(model.preprocess, crop="random")
        drawn = [model.score(clips, texts, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
