"""Are VAE and text tower those of the checkpoint, under other names? And is a checkpoint read strictly?"""

from __future__ import annotations

import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_vc2
import torch
from golden import fill
from torch import nn

from turbo_train.errors import UserError
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig, layout, load_checkpoint
from turbo_train.nets.videocrafter2.text import OpenCLIPText, TextConfig, new_tower, text_of
from turbo_train.nets.videocrafter2.vae import VAEConfig, vae_of

KEYS = Path(fill.HERE) / "keys"
TINY_VAE = VAEConfig((32, 64, 128, 128))
TINY = tiny_vc2.SIZES


def filled(meta: dict[str, Any], label: str) -> dict[str, torch.Tensor]:
    entry = meta["models"][label]
    return dict(fill.filled_state_dict(entry["state_dict"], left_alone=entry["left_alone"] or ()))


def test_the_autoencoder_gives_the_originals_numbers() -> None:
    meta, expected = fill.load("vc2_vae")
    inputs = fill.inputs_of(meta)
    vae = vae_of(filled(meta, "vae"), TINY_VAE)
    with torch.no_grad():
        posterior = vae.encode(inputs["images"]).latent_dist
        fill.compare(meta, expected, "encode/mean", posterior.mean)
        fill.compare(meta, expected, "encode/logvar", posterior.logvar)
        fill.compare(meta, expected, "encode/mode", posterior.mode())
        fill.compare(meta, expected, "encode/sample", posterior.mean + posterior.std * inputs["posterior_noise"])
        fill.compare(meta, expected, "decode", vae.decode(inputs["z"]).sample)
        vae.double()
        fill.compare(meta, expected, "f64/mean", vae.encode(inputs["images"].double()).latent_dist.mean)
        fill.compare(meta, expected, "f64/decode", vae.decode(inputs["z"].double()).sample)


def test_clips_become_latents_and_frames_as_in_the_original() -> None:
    meta, expected = fill.load("vc2_vae")
    vae = FrameVAE(vae_of(filled(meta, "vae"), TINY_VAE))
    with torch.no_grad():
        frames = vae.decode(fill.inputs_of(meta)["video_latents"])
        fill.compare(meta, expected, "decode_video", frames.transpose(1, 2))
        fill.compare(meta, expected, "encode_video", vae.encode(frames))


def test_the_autoencoders_gradients_are_the_originals() -> None:
    meta, expected = fill.load("vc2_vae")
    inputs = fill.inputs_of(meta)
    vae = vae_of(filled(meta, "vae"), TINY_VAE)
    z, images = inputs["z"].requires_grad_(), inputs["images"].requires_grad_()
    (grad_z,) = torch.autograd.grad((vae.decode(z).sample * inputs["R"]).sum(), z)
    mean = vae.encode(images).latent_dist.mean
    (grad_images,) = torch.autograd.grad((mean * inputs["posterior_noise"]).sum(), images)
    fill.compare(meta, expected, "grad/z", grad_z)
    fill.compare(meta, expected, "grad/images", grad_images)


def test_log_variances_are_cut_as_in_the_original() -> None:
    meta, expected = fill.load("vc2_vae")
    vae = vae_of(filled(meta, "vae"), TINY_VAE)
    with torch.no_grad():
        vae.quant_conv.weight.zero_()
        vae.quant_conv.bias[4:] = torch.tensor([-40.0, -30.5, 0.0, 25.0])
        fill.compare(meta, expected, "clamp/logvar", vae.encode(torch.zeros(1, 3, 16, 16)).latent_dist.logvar)


def test_the_text_tower_gives_the_originals_numbers_and_tokens() -> None:
    meta, expected = fill.load("text_encoder")
    inputs, config = fill.inputs_of(meta), meta["models"]["text"]["config"]
    weights = {key.removeprefix("model."): value for key, value in filled(meta, "text").items()}
    sizes = {name: config["text_cfg"][name] for name in ("context_length", "vocab_size", "width", "heads", "layers")}
    text = text_of(weights, TextConfig(**sizes, output_dim=config["embed_dim"]))
    with torch.no_grad():
        fill.compare(meta, expected, "penultimate", text.of_ids(inputs["token_ids"]))
        blocks = text.tower.transformer.resblocks
        blocks.append(nn.Identity())  # one more, which is then the one left out
        fill.compare(meta, expected, "last", text.of_ids(inputs["token_ids"]))
        del blocks[-1]
        fill.compare(meta, expected, "f64/penultimate", text.double().of_ids(inputs["token_ids"]))
    real = OpenCLIPText(new_tower(TextConfig(width=32, heads=4, layers=2, output_dim=16)))
    assert torch.equal(real.tokenize(meta["prompts"]), expected["tokens"])


def test_a_prompt_over_the_limit_is_cut_with_a_warning_that_names_the_loss() -> None:
    text = OpenCLIPText(new_tower(TextConfig(width=32, heads=4, layers=2, output_dim=16)))
    with pytest.warns(UserWarning, match="prompt cut at 77 tokens; lost: 'dog dog'"):
        text.tokenize(["cat " * 75 + "dog dog"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text.tokenize(["cat " * 75])


def test_the_full_checkpoint_has_the_published_2039_keys() -> None:
    lines = (KEYS / "vc2_full_ckpt_keys.tsv").read_text(encoding="utf-8").splitlines()[1:]
    published = {line.split("\t")[0]: line.split("\t")[1] for line in lines}
    own = {key: "x".join(map(str, shape)) for key, shape in layout(CheckpointConfig()).items()}
    assert own == published and len(own) == 2039


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return {key: torch.zeros(shape) for key, shape in layout(TINY).items()} | dict(
        fill.filled_state_dict(layout(TINY).items())
    )


def test_a_checkpoint_becomes_a_teacher(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    teacher = load_checkpoint(tmp_path / "model.ckpt", TINY)
    context = teacher.text(["a cat"])
    x = torch.randn(1, *teacher.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = teacher.denoiser(x, torch.tensor([500]), context, fps=teacher.fps)
        frames = teacher.vae.decode(out)
    assert out.shape == x.shape and frames.shape == (1, 16, 3, 8, 16) and torch.isfinite(frames).all()


@pytest.mark.parametrize("damage", ["missing", "unknown", "misshapen", "cut off", "code", "a list", "absent"])
def test_a_broken_checkpoint_is_refused_and_says_why(
    state: dict[str, torch.Tensor], tmp_path: Path, damage: str
) -> None:
    path, broken, key = tmp_path / "model.ckpt", dict(state), "model.diffusion_model.out.2.bias"
    if damage == "missing":
        del broken[key]
    elif damage == "unknown":
        broken["extra.weight"] = torch.zeros(1)
    elif damage == "misshapen":
        broken[key] = torch.zeros(3)
    torch.save({"state_dict": broken} if damage != "a list" else [torch.zeros(1)], path)
    said = {
        "missing": f"1 keys of .* missing {key}",
        "unknown": "unknown extra.weight",
        "misshapen": r"out.2.bias of shape \(3,\), not \(4,\)",
        "cut off": "cannot be read",
        "code": "holds more than tensors",
        "a list": "holds no state dict",
        "absent": "no file",
    }
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "code":

        class Evil:
            def __reduce__(self) -> Any:
                return os.system, ("exit 1",)

        path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=2))
    elif damage == "absent":
        path.unlink()
    with pytest.raises(UserError, match=said[damage]) as caught:
        load_checkpoint(path, replace(TINY))
    assert caught.value.exit_code == 2
