"""Is a teacher read from disk whole, frozen and in float32, and is a broken folder refused by name?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.source import ClipFormat
from turbo_train.nets.teacher import load_teacher, weights_sha256
from turbo_train.nets.text import CLIPText
from turbo_train.nets.vae import FrameVAE

UNET = "unet/diffusion_pytorch_model.safetensors"


def test_a_teacher_is_frozen_float32_and_has_the_written_weights(teacher_folder: Path) -> None:
    model = load_teacher(teacher_folder)
    assert (model.name, model.latent_shape, model.fps) == ("teacher", (4, 3, 4, 4), 8)
    assert model.denoiser.prediction_type == "v_prediction" and model.timestep_cond_dim is None
    for part in (model.denoiser, model.text, model.vae):
        assert isinstance(part, nn.Module)
        assert not any(module.training for module in part.modules())
        assert {(p.dtype, p.requires_grad) for p in part.parameters()} == {(torch.float32, False)}
    assert isinstance(model.denoiser, ModelScopeDenoiser)
    stored = load_file(teacher_folder / UNET)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    own = model.denoiser.unet.state_dict()
    assert own.keys() == stored.keys() and all(torch.equal(own[key], stored[key].float()) for key in stored)


def test_the_clip_of_a_folder_can_be_replaced(teacher_folder: Path) -> None:
    model = load_teacher(teacher_folder, ClipFormat(frames=5, fps=24))
    assert (model.latent_shape, model.fps) == ((4, 5, 4, 4), 24)


def test_the_hash_is_of_the_weights_alone(teacher_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(teacher_folder, tmp_path / "elsewhere")
    (copy / "README.md").write_text("hello")
    assert weights_sha256(copy) == weights_sha256(teacher_folder)
    weights = load_file(copy / UNET)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, copy / UNET)
    assert weights_sha256(copy) != weights_sha256(teacher_folder)


def test_a_text_depends_on_nothing_but_itself(teacher_folder: Path) -> None:
    text = load_teacher(teacher_folder).text
    both = text(["a red circle", "a blue square moving"])
    assert both.shape == (2, 8, 12)
    assert_close(both[:1], text(["a red circle"]), atol=1e-5, rtol=0)
    assert not torch.allclose(both[0], both[1])


def test_a_long_prompt_is_cut_with_a_warning_that_names_the_loss(teacher_folder: Path) -> None:
    text = load_teacher(teacher_folder).text
    assert isinstance(text, CLIPText) and text.max_tokens == 8
    with pytest.warns(UserWarning, match="prompt cut at 8 tokens; lost: 'square unheard'"):
        cut = text(["a red circle a still blue square unheard"])
    assert_close(cut, text(["a red circle a still blue"]), atol=1e-6, rtol=0)


def test_frames_go_through_the_vae_one_by_one_whatever_the_chunk(teacher_folder: Path) -> None:
    vae = load_teacher(teacher_folder).vae
    assert isinstance(vae, FrameVAE) and (vae.latent_channels, vae.factor) == (4, 2)
    frames = torch.rand(2, 3, 3, 8, 8) * 2 - 1
    z = vae.encode(frames)
    decoded = vae.decode(z)
    assert z.shape == (2, 4, 3, 4, 4) and decoded.shape == frames.shape
    direct = vae.vae.encode(frames[1, 2:3]).latent_dist.mean * 0.5
    assert_close(z[1:, :, 2], direct, atol=1e-5, rtol=0)
    vae.chunk_frames = 2
    assert_close(vae.encode(frames), z, atol=1e-5, rtol=0)
    assert_close(vae.decode(z), decoded, atol=1e-5, rtol=0)
    sampled = vae.encode(frames, torch.Generator().manual_seed(0))
    assert not torch.allclose(sampled, z)


def test_decoding_passes_gradients_to_the_latents(teacher_folder: Path) -> None:
    z = torch.randn(1, 4, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(load_teacher(teacher_folder).vae.decode(z).square().mean(), z)
    assert gradient.abs().flatten(3).sum(-1).min() > 0


def test_the_denoiser_refuses_a_guidance_embedding_it_cannot_use(teacher_folder: Path) -> None:
    denoiser = load_teacher(teacher_folder).denoiser
    x, t, context = torch.zeros(1, 4, 3, 4, 4), torch.tensor([5]), torch.zeros(1, 8, 12)
    with pytest.raises(ValueError, match="guidance embedding of width 256, the network wants None"):
        denoiser(x, t, context, timestep_cond_BE=torch.zeros(1, 256))


def test_a_teacher_in_half_precision_takes_float32_inputs(teacher_folder: Path) -> None:
    denoiser = load_teacher(teacher_folder).denoiser
    assert isinstance(denoiser, ModelScopeDenoiser)
    x, t, context = torch.randn(1, 4, 3, 4, 4), torch.tensor([5]), torch.randn(1, 8, 12)
    full = denoiser(x, t, context)
    half = denoiser.to(torch.bfloat16)(x, t, context)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), full, atol=0.05, rtol=0.05)


def cut_file(folder: Path) -> None:
    content = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(content[: len(content) // 2])


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / UNET)
    change(weights)
    save_file(weights, folder / UNET, metadata={"format": "pt"})


def edit_scheduler(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_schedule": "linear"}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no folder"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "no unet/config.json"),
    "no vae": (lambda f: shutil.rmtree(f / "vae"), "no vae/config.json"),
    "no weights": (lambda f: (f / UNET).unlink(), "no weights in"),
    "no clip.json": (lambda f: (f / "clip.json").unlink(), "clip.json cannot be read"),
    "clip.json without numbers": (lambda f: (f / "clip.json").write_text('{"frames": "8"}'), "frames 8, fps None"),
    "clip.json a list": (lambda f: (f / "clip.json").write_text("[8, 8]"), "holds list"),
    "cut weights": (cut_file, "cannot be read"),
    "missing key": (lambda f: edit_weights(f, lambda w: w.pop("conv_in.weight")), "missing conv_in.weight"),
    "extra key": (lambda f: edit_weights(f, lambda w: w.update(extra=torch.zeros(2))), "unexpected extra"),
    "wrong shape": (lambda f: edit_weights(f, lambda w: w.update({"conv_in.bias": torch.zeros(3)})), "conv_in.bias"),
    "wrong schedule": (edit_scheduler, "beta_schedule 'linear'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_by_name(teacher_folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(teacher_folder, tmp_path / "copy")
    harm, message = BROKEN[name]
    harm(copy)
    with pytest.raises(UserError) as caught:
        load_teacher(copy)
    assert message in str(caught.value) and "turbo-train world build" in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_wrappers_say_what_diffusers_says(teacher_folder: Path) -> None:
    from diffusers import UNet3DConditionModel

    theirs = UNet3DConditionModel.from_pretrained(teacher_folder / "unet", torch_dtype=torch.float32)
    x, t, context = torch.randn(2, 4, 3, 4, 4), torch.tensor([5, 999]), torch.randn(2, 8, 12)
    ours = load_teacher(teacher_folder).denoiser(x, t, context, fps=tiny_models.CLIP.fps)
    assert_close(ours, theirs.eval()(x, t, context).sample.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [("timestep_spacing", "linspace", "leading or trailing"), ("prediction_type", "epsilon", "zero terminal SNR")],
)
def test_a_scheduler_that_cannot_be_honoured_is_refused(
    teacher_folder: Path, tmp_path: Path, field: str, value: str, says: str
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(teacher_folder, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"rescale_betas_zero_snr": True, field: value}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        load_teacher(folder)
