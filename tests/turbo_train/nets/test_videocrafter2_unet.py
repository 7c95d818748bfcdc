"""Is this VideoCrafter2's UNet? Numbers of the original on small random networks, and the published layout."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import fill
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.lora import lora_targets
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet, sinusoidal_embedding

KEYS = Path(fill.HERE) / "keys"
Meta = dict[str, Any]


def make(meta: Meta, label: str) -> VideoCrafterUNet:
    """The golden's network, filled by the recipe, its keys and shapes checked."""
    config, known = meta["models"][label]["config"], {field.name for field in fields(UNetConfig)}
    made = VideoCrafterUNet(
        UNetConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in known})
    ).eval()
    fill.check_layout(meta, label, made)
    fill.fill_module(made, left_alone=meta["models"][label]["left_alone"])
    return made


@pytest.fixture(scope="module")
def golden() -> tuple[Meta, dict[str, Tensor], dict[str, Tensor]]:
    meta, expected = fill.load("vc2_unet")
    return meta, expected, fill.inputs_of(meta)


CASES = {
    "tiny/fps16": ("", 16, None, None),
    "tiny/fps8": ("", 8, None, None),
    "tiny/fps_default": ("", None, None, None),
    "tiny/fps_tensor": ("", torch.tensor([16, 8]), None, None),
    "tiny/asym": ("_asym", 24, None, None),
    "tiny_w/cond": ("", 16, "timestep_cond", None),
    "tiny_w/nocond": ("", 16, None, None),
    "tiny_wm/cond": ("", 16, "timestep_cond", "motion_cond"),
    "tiny_wm/nomotion": ("", 16, "timestep_cond", None),
    "layout4/cond": ("_layout4", 8, "timestep_cond", None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_network_gives_the_originals_numbers(golden: Any, name: str) -> None:
    meta, expected, inputs = golden
    suffix, fps, guidance, motion = CASES[name]
    net = make(meta, name.partition("/")[0])
    x = inputs["x" + suffix]
    cond = expected[guidance][: len(x)] if guidance else None
    told = {} if fps is None else {"fps": fps}
    with torch.no_grad():
        out = net(
            x,
            inputs["timesteps" + suffix],
            inputs["context" + suffix],
            **told,
            timestep_cond_BE=cond,
            motion_cond_BE=expected[motion][: len(x)] if motion else None,
        )
    fill.compare(meta, expected, name, out)


def test_in_float64_not_even_an_epsilon_differs(golden: Any) -> None:
    meta, expected, inputs = golden
    net = make(meta, "tiny_w").double()
    with torch.no_grad():
        out = net(
            inputs["x"].double(),
            inputs["timesteps_f64"],
            inputs["context"].double(),
            0,
            inputs["timestep_cond_f64"].double(),
        )
    fill.compare(meta, expected, "tiny_w/f64", out)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_originals(golden: Any, checkpointing: bool) -> None:
    meta, expected, inputs = golden
    net = make(meta, "tiny_w")
    if checkpointing:
        VideoCrafter2Denoiser(net).enable_gradient_checkpointing()
    x, context = inputs["x"].clone().requires_grad_(), inputs["context"].clone().requires_grad_()
    cond = expected["timestep_cond"].clone().requires_grad_()
    (net(x, inputs["timesteps"], context, 16, cond) * inputs["R"]).sum().backward()
    for name, tensor in (("grad/x", x), ("grad/context", context), ("grad/timestep_cond", cond)):
        assert tensor.grad is not None
        fill.compare(meta, expected, name, tensor.grad)
    own = dict(net.named_parameters())
    norms = torch.stack([own[name].grad.norm() for name in meta["grad_param_names"]])  # type: ignore[union-attr]
    fill.compare(meta, expected, "grad/param_norms", norms)


@pytest.mark.parametrize(
    "column,conditions,parameters",
    [
        ("in_teacher", {}, 1_413_284_420),
        ("in_v1_student", {"time_cond_proj_dim": 256}, 1_413_366_340),
        ("in_v2_student", {"time_cond_proj_dim": 256, "motion_cond_proj_dim": 256}, 1_413_653_060),
    ],
)
def test_the_full_network_has_the_published_keys_in_their_order(
    column: str, conditions: dict[str, int], parameters: int
) -> None:
    with torch.device("meta"):
        net = VideoCrafterUNet(UNetConfig(**conditions))  # type: ignore[arg-type]
    with (KEYS / "vc2_unet_keys.tsv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row[column] == "1"]
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert [(k, "x".join(map(str, v.shape))) for k, v in net.state_dict().items()] == [
        (row["key"], row["shape"]) for row in rows
    ]


def test_lora_goes_to_the_published_575_layers_in_their_order() -> None:
    with torch.device("meta"):
        net = VideoCrafterUNet(UNetConfig(time_cond_proj_dim=256))
    with (KEYS / "vc2_lora_modules.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    targets = lora_targets(net)
    assert [(name, min(64, rank)) for name, rank in targets.items()] == [(r["module"], int(r["rank64"])) for r in rows]
    assert len(targets) == 575


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.035), (torch.float16, 0.005)])
def test_in_half_precision_the_network_differs_by_rounding(golden: Any, dtype: torch.dtype, most: float) -> None:
    """0.025 and 0.0031 here; with times in bfloat16, which has 1000 and no 999, it would be 0.055."""
    meta, _, inputs = golden
    net, t_B = make(meta, "tiny"), torch.tensor([999, 519])
    with torch.no_grad():
        exact = net(inputs["x"], t_B, inputs["context"], torch.tensor([28, 271]))
        out = net.to(dtype)(inputs["x"], t_B, inputs["context"], torch.tensor([28, 271]))
    assert out.dtype == dtype
    assert float((out.float() - exact).norm() / exact.norm()) < most


def test_the_embedding_of_times_is_the_originals() -> None:
    meta, expected = fill.load("solver")
    fill.compare(meta, expected, "t_embedding/64", sinusoidal_embedding(fill.inputs_of(meta)["embed_timesteps"], 64))


def test_without_fps_the_network_is_told_16_and_a_broken_number_is_refused(golden: Any) -> None:
    meta, expected, inputs = golden
    denoiser = VideoCrafter2Denoiser(make(meta, "tiny"))
    given = inputs["x"], inputs["timesteps"], inputs["context"]
    with torch.no_grad():
        fill.compare(meta, expected, "tiny/fps_default", denoiser(*given))
        with pytest.raises(TypeError, match="float"):
            denoiser(*given, fps=7.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [1, 4, 8, 16])
def test_every_clip_has_its_own_text(golden: Any, rows: int) -> None:
    meta, _, inputs = golden
    denoiser, context = VideoCrafter2Denoiser(make(meta, "tiny")), inputs["context"][:1].expand(rows, -1, -1)
    with pytest.raises(ValueError, match=f"a context of {rows} rows for 2 clips"):
        denoiser(inputs["x"], inputs["timesteps"], context)


def test_sizes_that_cannot_be_halved_and_a_missing_guidance_are_refused(golden: Any) -> None:
    meta, expected, inputs = golden
    denoiser = VideoCrafter2Denoiser(make(meta, "tiny_w"))
    t, context = inputs["timesteps"], inputs["context"]
    with pytest.raises(UserError, match="latents of 8x7"):
        denoiser(inputs["x"][..., :7], t, context, timestep_cond_BE=expected["timestep_cond"])
    with pytest.raises(ValueError, match="guidance embedding of width None, the network wants 256"):
        denoiser(inputs["x"], t, context)
