"""Is a teacher read from disk whole, frozen and in float32, and is a broken folder refused by name?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from turbo_train.world import WEIGHTS

UNET = "unet/diffusion_pytorch_model.safetensors"
TOKENIZER = "tokenizer/tokenizer.json"
PARTS = "unet", "vae", "text_encoder"


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


def edit_json(folder: Path, file: str, **values: object) -> None:
    """Change fields of a JSON file; `...` takes one out."""
    path = folder / file
    fields = {**json.loads(path.read_text(encoding="utf-8")), **values}
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not ...}), encoding="utf-8")


class Evil:
    """What a pickle with code in it would do when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "opened"

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def pickled(part: str, content: Callable[[Path], object]) -> Callable[[Path], None]:
    """Replaces a part's weights by a .bin file: what `content` returns, as it is if it is bytes."""

    def harm(folder: Path) -> None:
        whole = next((folder / part).glob("*.safetensors"))
        name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
        value = content(folder)
        if isinstance(value, bytes):
            (folder / part / name).write_bytes(value)
        else:
            torch.save(value, folder / part / name)
        whole.unlink()

    return harm


def broken_vocabulary(folder: Path) -> None:
    (folder / TOKENIZER).unlink()
    edit_json(folder, "tokenizer/tokenizer_config.json", tokenizer_class="CLIPTokenizer")
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).write_text("<html>")


def tokenizer_with_code(folder: Path) -> None:
    code = {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}, "tokenizer_class": "Mine"}
    edit_json(folder, "tokenizer/tokenizer_config.json", **code)


def more_tokens(folder: Path) -> None:
    content = json.loads((folder / TOKENIZER).read_text())
    content["model"]["vocab"]["purple"] = 11
    (folder / TOKENIZER).write_text(json.dumps(content))


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
    "only half-precision weights": (
        lambda f: (f / UNET).rename((f / UNET).with_suffix(".fp16.safetensors")),
        "no file named diffusion_pytorch_model.safetensors",
    ),
    "wrong shape": (lambda f: edit_weights(f, lambda w: w.update({"conv_in.bias": torch.zeros(3)})), "conv_in.bias"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "no tokenizer/tokenizer_config.json"),
    "no vocabulary": (lambda f: (f / TOKENIZER).unlink(), "no vocabulary in"),
    "a web page as tokenizer": (lambda f: (f / TOKENIZER).write_text("<html>"), "tokenizer cannot be read"),
    "an empty tokenizer": (lambda f: (f / TOKENIZER).write_text("{}"), "tokenizer cannot be read"),
    "a list as tokenizer": (lambda f: (f / TOKENIZER).write_text("[]"), "tokenizer cannot be read"),
    "a broken vocabulary": (broken_vocabulary, "tokenizer cannot be read"),
    "a tokenizer with code": (tokenizer_with_code, "contains custom code"),
    "too many tokens": (more_tokens, "12 tokens; expected at most the 11"),
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), "no text_encoder/config.json"),
    "a cut text encoder": (
        lambda f: next((f / "text_encoder").glob("*.safetensors")).write_bytes(b"x"),
        "cannot be read",
    ),
    "a broken unet config": (lambda f: (f / "unet/config.json").write_text("{"), "unet cannot be read"),
    "a unet config of other types": (
        lambda f: edit_json(f, "unet/config.json", cross_attention_dim="x"),
        "cannot be read",
    ),
    "a text config of other types": (
        lambda f: edit_json(f, "text_encoder/config.json", hidden_size="x"),
        "cannot be read",
    ),
    "no latent size": (lambda f: edit_json(f, "unet/config.json", sample_size=None), "sample_size None"),
    **{f"code in {part}": (pickled(part, lambda f: {"a": Evil(f)}), "holds more than tensors") for part in PARTS},
    **{f"a web page as {part}": (pickled(part, lambda _: b"<html>"), "cannot be read") for part in PARTS},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_by_name(
    teacher_folder: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(teacher_folder, tmp_path / "copy")
    harm, message = BROKEN[name]
    harm(copy)
    with pytest.raises(UserError) as caught:
        load_teacher(copy)
    said = str(caught.value)
    assert message in said and "; try: " in said and caught.value.exit_code == 2
    assert "world build" not in said and "weights_only" not in said and "trust_remote_code" not in said
    assert not (copy / "opened").exists() and "unsafe" not in capfd.readouterr().err


@pytest.mark.parametrize("part", PARTS)
def test_a_part_can_be_a_pickle_of_tensors(
    teacher_folder: Path, tmp_path: Path, part: str, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(teacher_folder, tmp_path / "copy")
    pickled(part, lambda f: load_file(next((f / part).glob("*.safetensors"))))(copy)
    one, other = load_teacher(copy), load_teacher(teacher_folder)
    for ours, theirs in ((one.denoiser, other.denoiser), (one.vae, other.vae), (one.text, other.text)):
        assert isinstance(ours, nn.Module) and isinstance(theirs, nn.Module)
        want = theirs.state_dict()
        assert all(torch.equal(value, want[name]) for name, value in ours.state_dict().items())
    assert "unsafe" not in capfd.readouterr().err


def test_who_put_a_folder_there_decides_how_it_is_mended(teacher_folder: Path, tmp_path: Path) -> None:
    world, pulled = tmp_path / "world" / "teacher", tmp_path / "weights" / "ali-vilab" / "text-to-video-ms-1.7b"
    cached = tmp_path / "hub" / "models--ali-vilab--text-to-video-ms-1.7b" / "snapshots" / "8227ddd"
    for folder, said in (
        (world, "turbo-train world build"),
        (pulled, "turbo-eval weights verify"),
        (cached, "turbo-eval weights verify"),
        (tmp_path / "mine", "another model, or copy this one again"),
    ):
        for harm in (cut_file, lambda f: (f / "scheduler" / "scheduler_config.json").write_text("<html>")):
            shutil.copytree(teacher_folder, folder)
            (tmp_path / "world" / "built.json").write_text("{}")
            harm(folder)
            with pytest.raises(UserError) as caught:
                load_teacher(folder)
            assert caught.value.run_next == said
            shutil.rmtree(folder)


def test_the_wrappers_say_what_diffusers_says(teacher_folder: Path) -> None:
    from diffusers import UNet3DConditionModel

    theirs = UNet3DConditionModel.from_pretrained(teacher_folder / "unet", torch_dtype=torch.float32)
    x, t, context = torch.randn(2, 4, 3, 4, 4), torch.tensor([5, 999]), torch.randn(2, 8, 12)
    ours = load_teacher(teacher_folder).denoiser(x, t, context, fps=tiny_models.CLIP.fps)
    assert_close(ours, theirs.eval()(x, t, context).sample.detach(), atol=1e-5, rtol=1e-5)


def test_the_hash_of_the_worlds_teacher_is_the_one_its_student_names() -> None:
    named = json.loads((WEIGHTS / "world-turbo" / "config.json").read_text(encoding="utf-8"))["teacher_sha256"]
    assert weights_sha256(WEIGHTS / "teacher") == named
