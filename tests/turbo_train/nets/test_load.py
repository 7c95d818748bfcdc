"""Does every layout become the network that its files describe, for both families, and is what does not fit refused?"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import tiny_vc2
import torch
from torch import Tensor
from torch.testing import assert_close

from turbo_train.errors import UserError
from turbo_train.nets.base import load_base
from turbo_train.nets.load import load_model
from turbo_train.nets.lora_list import list_layers, list_shapes
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.projection import replayed, seeded
from turbo_train.nets.source import ClipFormat, Source, teacher_at
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.nets.videocrafter2.unet import UNetConfig

FAMILIES = ("vc2", "ms")
CONTEXT = {"vc2": (77, 32), "ms": (8, 12)}


def load(source: Source) -> Model:
    return load_model(source, tiny_vc2.SIZES)


@pytest.fixture(scope="module")
def bases(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    path = tiny_vc2.write_checkpoint(tmp_path_factory.mktemp("vc2") / "model.ckpt")
    return {"vc2": Source("videocrafter2", path), "ms": Source("diffusers", teacher_folder)}


def weights(model: Model) -> dict[str, Tensor]:
    return dict(unet_denoiser_of(model).unet.state_dict())


def call(model: Model, family: str, motion: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 4, 3, 4, 4, generator=generator)
    context = torch.randn(2, *CONTEXT[family], generator=generator)
    cond = torch.randn(2, 256, generator=generator) if model.timestep_cond_dim else None
    with torch.no_grad():
        return model.denoiser(x, torch.tensor([20, 700]), context, fps=8, timestep_cond_BE=cond, motion_cond_BE=motion)


def files(source: Source) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in source.files()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teacher_is_what_its_own_loader_reads_and_its_clip_can_be_replaced(
    bases: dict[str, Source], family: str
) -> None:
    plain, other = load(bases[family]), load(replace(bases[family], clip=ClipFormat(5, 24)))
    assert plain.timestep_cond_dim is None and plain.motion_cond_dim is None
    assert (other.latent_shape[1], other.fps) == (5, 24) and plain.fps != 24
    assert other.latent_shape[2:] == plain.latent_shape[2:]
    assert_close(call(plain, family), call(other, family))


def random_list(source: Source, which: int) -> tuple[list[Tensor], list[str]]:
    empty = unet_denoiser_of(load(source)).empty_with(256, None).unet
    layers = list_layers(empty)[which]
    generator = torch.Generator().manual_seed(2)
    shapes = [shape for _, *both in list_shapes(empty, 6, layers) for shape in both]
    return [0.1 * torch.randn(shape, generator=generator) for shape in shapes], layers


@pytest.mark.parametrize("family,which,projection", [("vc2", 0, None), ("ms", 0, None), ("ms", 1, "seeded")])
def test_a_list_is_merged_into_every_layer_and_the_files_stay_as_they_are(
    bases: dict[str, Source], tmp_path: Path, family: str, which: int, projection: Any
) -> None:
    tensors, layers = random_list(bases[family], which)
    path = tiny_vc2.write(tmp_path / "unet_lora.pt", tensors)
    source = Source("lora_list", path, base=bases[family], rank=6, projection=projection)
    before, base = files(source), weights(load(bases[family]))
    made = load(source)
    name = f"{unet_denoiser_of(made).cond_proj}.weight"
    expected = base | {name: seeded(weights(made)[name].shape)}
    for index, layer in enumerate(layers):
        up, down = tensors[2 * index], tensors[2 * index + 1]
        weight = expected[f"{layer}.weight"]
        expected[f"{layer}.weight"] = weight + (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    assert weights(made).keys() == expected.keys() and name.removesuffix(".weight") in layers
    for key, value in weights(made).items():
        assert_close(value, expected[key], atol=1e-5, rtol=1e-5)
    assert files(source) == before
    assert_close(call(load(replace(source, rank=None)), family), call(made, family))
    assert (made.name, made.path, made.timestep_cond_dim) == ("unet_lora", path, 256)
    assert not any(p.requires_grad for p in unet_denoiser_of(made).parameters())
    assert {type(m).__module__.split(".")[0] for m in unet_denoiser_of(made).modules()}.isdisjoint({"peft"})


def test_the_projection_under_a_list_can_be_chosen(bases: dict[str, Source], tmp_path: Path) -> None:
    """On a network as wide as the published one: the replayed matrix fits no other."""
    narrow = tiny_vc2.write_lora_list(tmp_path / "narrow.pt")
    with pytest.raises(UserError, match=r"for time_cond_proj of shape \(32, 256\); expected .*\(320, 256\)"):
        load(Source("lora_list", narrow, base=bases["vc2"], rank=tiny_vc2.RANK, projection="replayed"))
    unet = UNetConfig(channel_mult=(1,), num_res_blocks=1, attention_resolutions=(), context_dim=32)
    sizes = replace(tiny_vc2.SIZES, unet=unet)
    base = Source("videocrafter2", tiny_vc2.write_checkpoint(tmp_path / "wide.ckpt", sizes=sizes))
    path = tiny_vc2.write_lora_list(tmp_path / "wide.pt", sizes=sizes)
    found = {
        choice: weights(load_model(Source("lora_list", path, base=base, projection=choice), sizes))
        for choice in (None, "seeded", "replayed")
    }
    one, other = (found[choice]["time_cond_proj.weight"] for choice in ("replayed", "seeded"))
    assert_close(one - other, replayed() - seeded((320, 256)), atol=1e-6, rtol=0)
    assert torch.equal(found[None]["time_cond_proj.weight"], other)


def parallel_latent_diffusion(path: Path) -> Path:
    whole = torch.load(tiny_vc2.write_latent_diffusion(path))["state_dict"]
    return tiny_vc2.write(path, {"state_dict": {f"module.{name}": value for name, value in whole.items()}})


WHOLE: dict[str, tuple[Callable[[Path], Path], int | None]] = {
    "unet_mg": (tiny_vc2.write_unet, 256),
    "unet_no_mg": (lambda p: tiny_vc2.write_unet(p, motion=None), None),
    "prefixed": (lambda p: tiny_vc2.write_unet(p, None, "model.diffusion_model."), None),
    "wrapped": (lambda p: tiny_vc2.write(p, {"model": {"unet": tiny_vc2.unet_state(None)}, "step": 1}), None),
    "parallel": (lambda p: tiny_vc2.write_unet(p, None, "module."), None),
    "latent diffusion": (tiny_vc2.write_latent_diffusion, None),
    "parallel latent diffusion": (parallel_latent_diffusion, None),
    "parallel and compiled": (lambda p: tiny_vc2.write_unet(p, None, "module._orig_mod."), None),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_unet_takes_the_place_of_the_teachers(bases: dict[str, Source], tmp_path: Path, name: str) -> None:
    write, motion = WHOLE[name]
    path = write(tmp_path / "unet.pt")
    source = Source("unet", path, base=bases["vc2"], clip=ClipFormat(16, 8))
    made, base, want = load(source), load(bases["vc2"]), tiny_vc2.unet_state(motion)
    assert weights(made).keys() == want.keys()
    assert all(torch.equal(value, want[key]) for key, value in weights(made).items())
    assert (made.timestep_cond_dim, made.motion_cond_dim, made.fps) == (256, motion, 8)
    z = torch.randn(1, *base.latent_shape)
    assert torch.equal(made.vae.decode(z), base.vae.decode(z))
    assert torch.equal(made.text(["a cat"]), base.text(["a cat"]))
    embedding = torch.randn(2, 256, generator=torch.Generator().manual_seed(7))
    if motion:
        assert not torch.allclose(call(made, "vc2", embedding), call(made, "vc2"), atol=1e-4)
    else:
        with pytest.raises(ValueError, match="motion embedding of width 256, the network knows None"):
            call(made, "vc2", embedding)


def test_a_modelscope_student_can_be_a_whole_state_dict_in_half_precision_too(
    bases: dict[str, Source], tmp_path: Path
) -> None:
    donor = ModelScopeDenoiser(tiny_models.unet(), "v_prediction").with_guidance_condition(256)
    want = tiny_vc2.random({name: v.shape for name, v in donor.unet.state_dict().items()}, 3)
    path = tiny_vc2.write(tmp_path / "unet.pt", {f"unet.{k}": v.half() for k, v in want.items()})
    made = load(Source("unet", path, base=bases["ms"]))
    assert made.timestep_cond_dim == 256 and made.motion_cond_dim is None
    assert all(torch.equal(value, want[key].half().float()) for key, value in weights(made).items())
    assert torch.isfinite(call(made, "ms")).all()


def test_the_teachers_unet_is_left_alone_where_a_student_brings_its_own(bases: dict[str, Source]) -> None:
    base = load_base(bases["vc2"], tiny_vc2.SIZES, with_unet=False)
    assert {p.device.type for p in unet_denoiser_of(base).parameters()} == {"meta"}
    assert {p.device.type for p in base.vae.parameters()} == {"cpu"}  # type: ignore[attr-defined]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def wrong_state(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        state = tiny_vc2.unet_state()
        change(state)
        torch.save(state, path)

    return write


REFUSED: dict[str, tuple[Any, Callable[[Path], object], str]] = {
    "short list": ("lora_list", lambda p: torch.save(tiny_vc2.lora_list()[:-1], p), "747 tensors in .*expected 748"),
    "other rank": ("lora_list", lambda p: torch.save(tiny_vc2.lora_list(4), p), "entry 0 of .* at rank 8"),
    "no list": ("lora_list", lambda p: torch.save({"a": torch.ones(1)}, p), "no list"),
    "cut list": ("lora_list", cut, "cannot be read"),
    "code in the list": ("lora_list", lambda p: p.write_bytes(pickle.dumps([Evil()], 2)), "holds more than tensors"),
    "no file of the list": ("lora_list", Path.unlink, "no file"),
    "missing key": ("unet", wrong_state(lambda s: s.pop("out.2.bias")), "missing out.2.bias"),
    "unknown key": ("unet", wrong_state(lambda s: s.update(extra=torch.ones(1))), "unknown extra"),
    "other shape": (
        "unet",
        wrong_state(lambda s: s.update({"out.2.bias": torch.ones(3)})),
        r"bias of shape \(3,",
    ),
    "half a motion condition": ("unet", wrong_state(lambda s: s.pop("combine_proj.weight")), "missing combine_proj"),
    "a teacher's": ("unet", wrong_state(lambda s: s.pop("time_cond_proj.weight")), "no time_cond_proj.weight among"),
    "a list as unet": ("unet", lambda p: torch.save(tiny_vc2.lora_list(), p), "no state dict"),
    "cut unet": ("unet", cut, "cannot be read"),
    "code in the unet": ("unet", lambda p: p.write_bytes(pickle.dumps({"a": Evil()}, 2)), "holds more than tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_do_not_fit_are_refused_by_name(bases: dict[str, Source], tmp_path: Path, name: str) -> None:
    layout, damage, says = REFUSED[name]
    path = tiny_vc2.write_unet(tmp_path / "weights.pt")
    damage(path)
    with pytest.raises(UserError, match=says) as caught:
        load(Source(layout, path, base=bases["vc2"], rank=tiny_vc2.RANK))
    assert caught.value.exit_code == 2 and str(path) in str(caught.value)


@pytest.mark.parametrize("layout", ["lora_list", "unet"])
def test_a_student_without_a_teacher_or_with_a_student_in_its_place_is_refused(tmp_path: Path, layout: Any) -> None:
    path = tmp_path / "weights.pt"
    torch.save(tiny_vc2.lora_list() if layout == "lora_list" else tiny_vc2.unet_state(), path)
    with pytest.raises(UserError, match=f"of layout {layout} without a teacher.*; try: turbo-eval list models"):
        load(Source(layout, path))
    with pytest.raises(UserError, match="of layout unet in the place of a teacher"):
        load(Source(layout, path, base=Source("unet", path)))
    with pytest.raises(UserError, match="no file"):
        load(Source(layout, path, base=Source("videocrafter2", tmp_path / "absent.ckpt")))


def test_what_no_part_is_known_of_is_named(bases: dict[str, Source], tmp_path: Path) -> None:
    state = {f"module.unet.{name}": value for name, value in tiny_vc2.unet_state(None).items()}
    path = tiny_vc2.write(tmp_path / "unet.pt", state | {"module.extra.weight": torch.ones(1)})
    want = len(state)
    with pytest.raises(UserError, match=rf"1 keys of .*unet.pt differ from the {want} expected: unknown extra.weight;"):
        load(Source("unet", path, base=bases["vc2"]))


def test_another_file_in_a_checkpoints_place_is_counted_once(tmp_path: Path) -> None:
    path = tiny_vc2.write(tmp_path / "model.ckpt", {f"a{k}": torch.zeros(1) for k in range(5)})
    want = len(tiny_vc2.state())
    with pytest.raises(UserError, match=f"{want + 5} keys of .* differ from the {want} expected") as caught:
        load(Source("videocrafter2", path))
    assert caught.value.run_next == "another model, or copy this one again"
    pulled = tmp_path / "weights" / "VideoCrafter" / "VideoCrafter2" / "model.ckpt"
    pulled.parent.mkdir(parents=True)
    path.rename(pulled)
    with pytest.raises(UserError, match="try: turbo-eval weights verify"):
        load(Source("videocrafter2", pulled))


def test_what_lies_at_a_path_says_which_kind_of_teacher_it_is(bases: dict[str, Source]) -> None:
    assert [teacher_at(base.path) for base in bases.values()] == list(bases.values())
