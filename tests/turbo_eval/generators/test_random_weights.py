"""Is a model with random weights the model itself in all that takes time, and does it make clips in every type?"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_vc2
import torch
from torch import Tensor, nn

from turbo_eval.generators import cost
from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.generators.random_weights import MOTION_COND_DIM, random_model
from turbo_eval.generators.timed import load_timed
from turbo_eval.model_table import ModelEntry
from turbo_eval.models import find_model
from turbo_eval.outlined import outlined
from turbo_eval.records import Prompt
from turbo_train.nets.load import load_model
from turbo_train.nets.model import Model
from turbo_train.nets.shaped import shaped_videocrafter2
from turbo_train.nets.source import Source
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.sampling.setting import DTYPES

PROMPTS = [Prompt("p-0", "a red circle moves left")]


@pytest.fixture
def small_vc2(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModelEntry]:
    """Entries of the published models, on a checkpoint of small sizes, for clips of 3 frames of 8x16 pixels."""
    monkeypatch.setattr(cost, "shaped_videocrafter2", lambda: shaped_videocrafter2(tiny_vc2.SIZES))

    def entry(name: str, **changed: object) -> ModelEntry:
        found = outlined(name)
        chosen = {"frames": 3, "size": (8, 16), "origin_steps": 50, **changed}
        return replace(found, setting=replace(found.setting, **chosen))  # type: ignore[arg-type]

    return entry


def outline(model: Model) -> dict[str, object]:
    """All that a time can depend on: every tensor's name, shape and type, and how the sampler treats the model."""
    parts = {"unet": unet_denoiser_of(model).unet, "vae": model.vae, "text": tower(model.text)}
    tensors: dict[str, object] = {}
    for part, network in parts.items():
        assert isinstance(network, nn.Module)
        assert not any(p.requires_grad for p in network.parameters()) and not network.training
        tensors |= {f"{part}.{name}": (value.shape, value.dtype) for name, value in network.state_dict().items()}
    scale = None if model.x0_scale is None else model.x0_scale.tolist()
    conditions = model.timestep_cond_dim, model.motion_cond_dim, model.denoiser.prediction_type
    clip = model.latent_shape, model.fps, model.spacing, model.size_multiple
    return {**tensors, "scale": scale, "abar": model.schedule.alphas_cumprod.tolist(), "is": (*conditions, *clip)}


def tower(text: object) -> nn.Module:
    """The network of a text encoder, with a vocabulary or without."""
    for name in ("net", "model", "tower"):
        if isinstance(found := getattr(text, name, None), nn.Module):
            return found.tower if hasattr(found, "tower") else found
    raise AssertionError(text)


def frames(model: Model, entry: ModelEntry) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few steps end early
        return LatentGenerator(model, entry.setting, batch=1).generate(PROMPTS, [0], 0)[0]


@pytest.mark.parametrize("name", ["world-teacher", "world-turbo"])
def test_the_embedded_worlds_models(name: str) -> None:
    entry = outlined(name)
    assert entry.source is not None
    assert outline(random_model(entry, "cpu")) == outline(load_model(entry.source))


def test_a_folders_weights_are_not_read(tiny_teacher: Path, tiny_student: Path, tmp_path: Path) -> None:
    for folder in (tiny_teacher, tiny_student):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("*.safetensors"))
    base = Source("diffusers", tmp_path / tiny_teacher.name)
    whole = find_model(str(tiny_student))
    entry = replace(whole, source=Source("student", tmp_path / tiny_student.name, base))
    assert whole.source is not None
    made = random_model(entry, "cpu")
    assert made.timestep_cond_dim == 8 and outline(made) == outline(load_model(whole.source))
    assert frames(made, entry).std() > 1


@pytest.mark.parametrize("name", ["vc2", pytest.param("vc2-turbo", marks=pytest.mark.slow), "vc2-turbo-v2"])
def test_videocrafter2_and_its_students(small_vc2: Callable[..., ModelEntry], tmp_path: Path, name: str) -> None:
    entry = small_vc2(name, num_steps=2)
    made = random_model(entry, "cpu")
    source = Source("videocrafter2", tiny_vc2.write_checkpoint(tmp_path / "model.ckpt"))
    motion = MOTION_COND_DIM if name == "vc2-turbo-v2" else None
    if entry.kind == "student":
        source = Source("unet", tiny_vc2.write_unet(tmp_path / "unet.pt", motion), source)
    kept = load_model(source, tiny_vc2.SIZES)
    real = replace(kept, latent_shape=made.latent_shape, fps=made.fps)
    assert outline(made) == outline(real) and made.motion_cond_dim == motion
    assert frames(made, entry).shape == frames(real, entry).shape == (3, 8, 16, 3)


EACH = [(name, dtype, num_steps) for name, num_steps in (("vc2", 50), ("vc2-turbo-v2", 16)) for dtype in DTYPES]


@pytest.mark.parametrize(
    ("name", "dtype", "num_steps"),
    [("vc2", "bfloat16", 8), *(pytest.param(*each, marks=pytest.mark.slow) for each in EACH)],
)
def test_latents_stay_finite_and_numbers_normal(
    small_vc2: Callable[..., ModelEntry], name: str, dtype: str, num_steps: int
) -> None:
    """A generator raises NonFiniteLatents where they are not."""
    entry = small_vc2(name, dtype=dtype, num_steps=num_steps)
    model = load_timed(entry, "cpu", random_weights=True).model
    subnormal: list[str] = []

    def look(layer: nn.Module, _: object, out: object) -> None:
        if isinstance(out, Tensor) and bool(((out != 0) & (out.abs() < torch.finfo(out.dtype).tiny)).any()):
            subnormal.append(type(layer).__name__)

    networks = [part for part in (model.denoiser, model.text, model.vae) if isinstance(part, nn.Module)]
    weights = [parameter for network in networks for parameter in network.parameters()]
    assert {weight.dtype for weight in weights} == {getattr(torch, dtype)}
    clip = frames(model, entry)
    assert clip.std() > 10 and np.unique(clip).size > 50
    zeros = [weight for weight in weights if weight.ndim > 1 and not weight.any()]
    assert len(zeros) == 1 and zeros[0].shape[0] == model.latent_shape[0]
    if dtype != "float16":  # of float16 numbers below 6e-5 are subnormal, which GPUs take at full speed
        for network in networks:
            for layer in network.modules():
                layer.register_forward_hook(look)
        frames(model, replace(entry, setting=replace(entry.setting, num_steps=2)))
        assert not subnormal


def test_the_seed_decides_the_weights() -> None:
    entry = outlined("world-turbo")
    first, same, other = (unet_denoiser_of(random_model(entry, "cpu", seed)).unet.state_dict() for seed in (1, 1, 2))
    assert all(value.equal(same[name]) for name, value in first.items())
    assert not all(value.equal(other[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vc2", 1_413_284_420),
        ("vc2-turbo-v2", 1_413_653_060),
        ("ms", 1_411_233_860),
        ("ms-turbo", 1_411_233_860 + 256 * 320),
    ],
)
def test_the_published_sizes(name: str, parameters: int) -> None:
    """Two steps of a small clip through all three networks as published; 24 GB of memory do."""
    entry = outlined(name)
    chosen = replace(entry.setting, num_steps=2, frames=2, size=(64, 64), dtype="bfloat16", origin_steps=50)
    entry = replace(entry, setting=chosen)
    model = load_timed(entry, "cpu", random_weights=True).model
    assert sum(parameter.numel() for parameter in unet_denoiser_of(model).unet.parameters()) == parameters
    clip = frames(model, entry)
    assert clip.shape == (2, 64, 64, 3) and clip.std() > 10


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_a_gpu(dtype: str) -> None:
    entry = outlined("vc2-turbo")
    entry = replace(entry, setting=replace(entry.setting, dtype=dtype))
    loaded = load_timed(entry, "cuda", random_weights=True)
    assert loaded.load_s > 0 and frames(loaded.model, entry).shape == (16, 320, 512, 3)
