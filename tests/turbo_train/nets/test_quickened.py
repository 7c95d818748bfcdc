"""Does every option of inference, alone and beside another, leave the latents what they are but for rounding?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
import torch
from tiny_denoisers import KINDS, context, denoiser, model, sample
from tiny_models import FormulaDenoiser
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.fast_path import COMPILES, RANDOM_TINY_VAE, FastPath
from turbo_train.nets.model import Model
from turbo_train.nets.quickened import quicken
from turbo_train.nets.teacher import load_teacher
from turbo_train.nets.tiny_vae import TinyVAE, random_tiny_vae

OPTIONS = {"compile": "default", "channels_last": True, "cached_text": True, "decode_frames": 2}
CHEAP = [name for name in OPTIONS if name != "compile"]
ALONE_AND_PAIRED = [(name,) for name in CHEAP] + list(combinations(CHEAP, 2))
CASES = [  # decode_frames concerns no denoiser, and all together come in bfloat16: one kind of them will do
    pytest.param(kind, names, id=f"{kind}-{'+'.join(names)}")
    for at, names in enumerate(ALONE_AND_PAIRED)
    for kind in (KINDS[at % 4 :][:1] if "decode_frames" in names or len(names) > 1 else KINDS)
]


@pytest.fixture
def own_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that remembers nothing and leaves nothing."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def rest(teacher_folder: Path) -> Model:
    return load_teacher(teacher_folder)


def check(rest: Model, kind: str, names: tuple[str, ...], dtype: torch.dtype = torch.float32) -> None:
    """Two batches in turn. float32: the plain model's latents. bfloat16: as near to float32's as the plain model's."""
    fast = FastPath(**{name: OPTIONS[name] for name in names})  # type: ignore[arg-type]
    quick = quicken(_cast(model(rest, kind), dtype), fast, "cpu")
    truth = _plain(rest, kind, torch.float32)
    for expected, exact in zip(_plain(rest, kind, dtype), truth, strict=True):
        made = sample(quick.model, kind, expected.text)
        frames = quick.model.vae.decode(expected.latents)
        if dtype == torch.float32:
            assert_close(made, expected.latents, atol=1e-4, rtol=1e-4)
            assert_close(frames, expected.frames, atol=1e-5, rtol=1e-5)
        else:
            own = rms(expected.latents - exact.latents)
            assert rms(made - exact.latents) < 1.5 * own < rms(exact.latents)
            assert_close(frames, expected.frames, atol=2e-2, rtol=2e-2)
    assert quick.notes == ()
    assert (quick.compile_s is not None) == ("compile" in names)
    assert quick.compile_s is None or quick.compile_s > 0


@dataclass(frozen=True)
class Clip:
    text: Tensor
    latents: Tensor
    frames: Tensor


@cache
def _plain(rest: Model, kind: str, dtype: torch.dtype) -> tuple[Clip, ...]:
    plain = _cast(model(rest, kind), dtype)
    made = []
    for rows in (2, 1):
        text = context(kind, rows, seed=rows)
        z = sample(plain, kind, text)
        made.append(Clip(text, z, plain.vae.decode(z)))
    return tuple(made)


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _cast(model: Model, dtype: torch.dtype) -> Model:
    for part in (model.denoiser, model.vae):
        assert isinstance(part, nn.Module)
        part.to(dtype)
    return model


@pytest.mark.parametrize(("kind", "names"), CASES)
def test_latents_stay_what_they_are(rest: Model, kind: str, names: tuple[str, ...]) -> None:
    check(rest, kind, names)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_too(rest: Model, kind: str) -> None:
    check(rest, kind, tuple(CHEAP), torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("compile",), *[("compile", name) for name in CHEAP], tuple(OPTIONS)], ids="+".join)
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_beside_each(own_compiler: None, rest: Model, kind: str, names: tuple[str, ...]) -> None:
    check(rest, kind, names)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_in_bfloat16(own_compiler: None, rest: Model, kind: str) -> None:
    check(rest, kind, tuple(OPTIONS), torch.bfloat16)


def test_without_options_the_model_is_the_same_object_s_parts(rest: Model) -> None:
    given = model(rest, KINDS[0])
    quick = quicken(given, FastPath(), "cpu")
    assert quick.model is given
    assert quick.notes == () and quick.compile_s is None


def test_channels_last_is_the_order_of_all_convolutions(rest: Model) -> None:
    quick = quicken(model(rest, KINDS[0]), FastPath(channels_last=True), "cpu")
    for part in (quick.model.denoiser, quick.model.vae):
        assert isinstance(part, nn.Module)
        weights = [layer.weight for layer in part.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)]
        orders = {4: torch.channels_last, 5: torch.channels_last_3d}
        assert weights and all(w.is_contiguous(memory_format=orders[w.ndim]) for w in weights)


def test_a_tiny_vae_takes_the_place_of_the_full_one_in_its_dtype(rest: Model, tmp_path: Path) -> None:
    given = _cast(model(rest, KINDS[0]), torch.bfloat16)
    random_tiny_vae(4, given.vae.factor).vae.save_pretrained(tmp_path)
    quick = quicken(given, FastPath(tiny_vae=tmp_path, decode_frames=3, channels_last=True), "cpu")
    z = torch.zeros(1, *given.latent_shape)
    frames = quick.model.vae.decode(z)
    assert frames.shape == given.vae.decode(z).shape and frames.dtype == torch.bfloat16
    assert quick.model.vae.chunk_frames == 3 and given.vae.chunk_frames == 16
    assert quick.model.denoiser is given.denoiser


def test_a_random_tiny_vae_fits_the_model_s_latents(rest: Model) -> None:
    quick = quicken(model(rest, KINDS[0]), FastPath(tiny_vae=RANDOM_TINY_VAE), "cpu")
    assert isinstance(quick.model.vae, TinyVAE)
    assert (quick.model.vae.latent_channels, quick.model.vae.factor) == (rest.vae.latent_channels, rest.vae.factor)


@pytest.mark.parametrize("frames", [0, -2])
def test_fewer_than_one_frame_at_a_time_is_refused(rest: Model, frames: int) -> None:
    with pytest.raises(UserError, match=f"{frames} frames decoded at a time"):
        quicken(model(rest, KINDS[0]), FastPath(decode_frames=frames), "cpu")


def test_cuda_graphs_without_a_gpu_are_refused(rest: Model) -> None:
    with pytest.raises(UserError, match="found --cuda-graphs on cpu; expected a GPU"):
        quicken(model(rest, KINDS[0]), FastPath(cuda_graphs=True), "cpu")


@pytest.mark.parametrize("fast", [FastPath(compile="default"), FastPath(cached_text=True)])
def test_a_denoiser_of_no_known_family_is_refused(rest: Model, fast: FastPath) -> None:
    other = replace(model(rest, KINDS[0]), denoiser=FormulaDenoiser("epsilon"))
    with pytest.raises(TypeError, match="for a denoiser of class FormulaDenoiser"):
        quicken(other, fast, "cpu")


def test_the_wrapped_denoiser_says_what_it_predicts(rest: Model) -> None:
    for kind in KINDS[::2]:
        net = denoiser(kind)
        quick = quicken(model(rest, kind, net), FastPath(compile="default", cached_text=True), "cpu")
        assert quick.model.denoiser.prediction_type == net.prediction_type
        assert isinstance(quick.compile_s, float) and quick.compile_s == 0  # nothing is compiled before the first call
    assert set(COMPILES) == {"off", "default", "max"}


def test_tensors_of_the_plain_model_are_not_copied(rest: Model) -> None:
    given = model(rest, KINDS[0])
    assert isinstance(given.denoiser, nn.Module)
    before = {weight.data_ptr() for weight in given.denoiser.parameters()}
    quick = quicken(given, FastPath(cached_text=True), "cpu")
    assert isinstance(quick.model.denoiser, nn.Module)
    after: set[int] = {Tensor.data_ptr(weight) for weight in quick.model.denoiser.parameters()}
    assert after == before
