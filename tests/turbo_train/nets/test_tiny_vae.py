"""Is a tiny VAE read strictly, does it fit the model, and does it decode as diffusers' own class?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.tiny_vae import CONFIG, WEIGHTS, TinyVAE, load_tiny_vae, random_tiny_vae
from turbo_train.nets.vae import FrameVAE

Z = torch.randn(2, 4, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def full() -> FrameVAE:
    return FrameVAE(tiny_models.vae())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    tiny.half().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_reading_prints_nothing(folder: Path, full: FrameVAE, capfd: pytest.CaptureFixture[str]) -> None:
    load_tiny_vae(folder, full)
    assert capfd.readouterr() == ("", "")


def test_it_decodes_scaled_latents_as_diffusers_does(folder: Path, full: FrameVAE) -> None:
    """The full VAE divides by its scaling_factor, 0.5 here; TAESD takes latents as the denoiser gives them."""
    tiny, diffusers_own = load_tiny_vae(folder, full), AutoencoderTiny.from_pretrained(folder).float()
    frames = tiny.decode(Z)
    expected = diffusers_own.decode(Z.transpose(1, 2).flatten(0, 1)).sample.unflatten(0, (2, 3))
    assert_close(frames, expected, atol=1e-5, rtol=0)
    assert frames.shape == full.decode(Z).shape == (2, 3, 3, 8, 10)
    assert frames.dtype == torch.float32 and not any(weight.requires_grad for weight in tiny.parameters())
    assert tiny.bfloat16().decode(Z).dtype == torch.bfloat16


@pytest.mark.parametrize(("chunk", "calls"), [(16, [6]), (4, [4, 2]), (1, [1] * 6)])
def test_no_more_frames_are_in_flight_than_were_asked_for(
    folder: Path, full: FrameVAE, chunk: int, calls: list[int]
) -> None:
    tiny, seen = load_tiny_vae(folder, full), []
    whole = tiny.decode(Z)
    tiny.chunk_frames = chunk
    tiny.vae.decoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    assert_close(tiny.decode(Z), whole, atol=1e-5, rtol=0)
    assert seen == calls


def test_chunks_of_no_frames_and_encoding_are_refused(folder: Path, full: FrameVAE) -> None:
    tiny = load_tiny_vae(folder, full)
    with pytest.raises(UserError, match="a tiny VAE where frames are to be encoded"):
        tiny.encode(torch.zeros(1, 1, 3, 8, 8))
    tiny.chunk_frames = 0
    with pytest.raises(ValueError, match="chunk_frames 0, not 1 or more"):
        tiny.decode(Z)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, full: FrameVAE, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"found no {name} in .*tiny; expected an AutoencoderTiny"):
        load_tiny_vae(folder, full)


def test_a_missing_folder_is_named(tmp_path: Path, full: FrameVAE) -> None:
    with pytest.raises(UserError, match=r"no folder .*absent"):
        load_tiny_vae(tmp_path / "absent", full)


def test_a_full_vae_and_options_that_do_not_agree_are_refused(folder: Path, full: FrameVAE) -> None:
    values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps(values | {"num_decoder_blocks": [1]}), encoding="utf-8")
    with pytest.raises(UserError, match="should have the same length"):
        load_tiny_vae(folder, full)
    (folder / CONFIG).write_text(json.dumps(values | {"_class_name": "AutoencoderKL"}), encoding="utf-8")
    with pytest.raises(UserError, match="of class AutoencoderKL; expected an AutoencoderTiny"):
        load_tiny_vae(folder, full)


def test_weights_are_accounted_for_one_by_one(folder: Path, full: FrameVAE) -> None:
    state = load_file(folder / WEIGHTS)
    name = next(key for key in state if key.startswith("decoder"))
    save_file({key: value for key, value in state.items() if key != name} | {"odd": state[name]}, folder / WEIGHTS)
    with pytest.raises(UserError, match=f"2 keys .*missing {name}, unknown odd"):
        load_tiny_vae(folder, full)
    (folder / WEIGHTS).write_bytes(b"cut off")
    with pytest.raises(UserError, match="diffusion_pytorch_model"):
        load_tiny_vae(folder, full)


@pytest.mark.parametrize(("channels", "factor"), [(4, 4), (8, 2)])
def test_one_for_other_latents_is_refused_with_both_sizes(
    tmp_path: Path, full: FrameVAE, channels: int, factor: int
) -> None:
    random_tiny_vae(channels, factor).vae.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"of {channels} channels, {factor} pixels.*model's 4 channels, 2 pixels"):
        load_tiny_vae(tmp_path, full)


@pytest.mark.parametrize("factor", [1, 4, 8])
def test_a_random_one_is_as_large_as_published(factor: int) -> None:
    tiny = random_tiny_vae(4, factor)
    assert isinstance(tiny, TinyVAE) and (tiny.latent_channels, tiny.factor) == (4, factor)
    assert tiny.decode(Z[:1, :, :1]).shape == (1, 1, 3, 4 * factor, 5 * factor)
    if factor == 8:  # TAESD: diffusers' defaults
        assert {k: v.shape for k, v in tiny.vae.state_dict().items()} == {
            k: v.shape for k, v in AutoencoderTiny().state_dict().items()
        }


@pytest.mark.parametrize("factor", [0, 6])
def test_a_factor_that_no_doubling_reaches_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match=f"a factor of {factor}"):
        random_tiny_vae(4, factor)
