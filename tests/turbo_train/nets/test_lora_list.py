"""Is a published LoRA list read to the right layers, active and merged, and written back as it was?"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import tiny_vc2
import torch
from diffusers import UNet3DConditionModel
from golden import fill
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.lora import inject, load_lora, lora_targets, lora_weights, merge
from turbo_train.nets.lora_list import from_list, list_layers, list_shapes, save_list, to_list
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.student import new_student
from turbo_train.nets.teacher import load_teacher
from turbo_train.nets.tensor_files import read_list
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet

KEYS = Path(fill.HERE) / "keys"
OLDER = Path(__file__).parent / "ms_lora_modules_older.tsv"
RANK = 4
NETS = ("vc2", "ms")


@pytest.fixture(scope="module")
def golden() -> Any:
    meta, expected = fill.load("lora")
    return meta, expected, fill.inputs_of(meta)


def base(meta: Any, label: str) -> nn.Module:
    config = meta["models"][label]["config"]
    net: nn.Module
    if label == "ms":
        net = UNet3DConditionModel(**config)
    else:
        known = {field.name for field in fields(UNetConfig)}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in known}
        net = VideoCrafterUNet(UNetConfig(**values))
    fill.fill_module(net, left_alone=meta["models"][label]["left_alone"])
    return net.eval()


def published(meta: Any, label: str) -> list[Tensor]:
    """The list as the original would save it, filled by the recipe."""
    rows = meta[label]["modules"]
    names = [(f"{row[0]}.lora_{part}.weight", row[at]) for row in rows for part, at in (("up", 3), ("down", 4))]
    return [fill.fill_value(name, shape) for name, shape in names]


def call(net: nn.Module, label: str, inputs: Any) -> Tensor:
    if label == "ms":
        out: Tensor = net(
            inputs["x"],
            inputs["timesteps"],
            inputs["context"],
            timestep_cond=inputs["timestep_cond"],
            return_dict=False,
        )[0]
        return out
    made: Tensor = net(inputs["x"], inputs["timesteps"], inputs["context"], 16, inputs["timestep_cond"])
    return made


@pytest.mark.parametrize("label", NETS)
def test_a_list_acts_and_merges_as_in_the_original(golden: Any, label: str) -> None:
    meta, expected, inputs = golden
    net = base(meta, label)
    with torch.no_grad():
        fill.compare(meta, expected, f"{label}/before", call(net, label, inputs))
        weights = from_list(published(meta, label), net, RANK)
        inject(net, RANK)
        load_lora(net, weights)
        fill.compare(meta, expected, f"{label}/active", call(net, label, inputs))
        load_lora(net, {name: value / 2 if ".lora_B." in name else value for name, value in weights.items()})
        fill.compare(meta, expected, f"{label}/scale_half", call(net, label, inputs))
        load_lora(net, weights)
        merge(net)
        fill.compare(meta, expected, f"{label}/collapsed", call(net, label, inputs))
    for name in [name for name in meta["outputs"] if name.startswith(f"{label}/merged_weight_")]:
        layer = meta["outputs"][name]["desc"].removeprefix("merged weight of ")
        fill.compare(meta, expected, name, net.get_submodule(layer).weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", NETS)
def test_a_list_gets_the_originals_gradients(golden: Any, label: str) -> None:
    meta, expected, inputs = golden
    net = base(meta, label)
    weights = from_list(published(meta, label), net, RANK)
    inject(net, RANK)
    load_lora(net, weights)
    (call(net, label, inputs) * inputs[f"{label}_R"]).sum().backward()
    own = lora_weights(net)
    grads = [own[f"{row[0]}.{part}.weight"].grad for row in meta[label]["modules"] for part in ("lora_B", "lora_A")]
    norms = [grad.norm() for grad in grads if grad is not None]
    fill.compare(meta, expected, f"{label}/grad_norms", torch.stack(norms))


@pytest.mark.parametrize("label", NETS)
def test_what_is_read_is_written_back(golden: Any, label: str) -> None:
    meta = golden[0]
    net = base(meta, label)
    tensors = published(meta, label)
    weights = from_list(tensors, net, RANK)
    assert [row[0] for row in meta[label]["modules"]] == list(lora_targets(net))
    assert all(a is b or torch.equal(a, b) for a, b in zip(to_list(weights, net), tensors, strict=True))
    inject(net, RANK)
    assert set(lora_weights(net)) == set(weights)


def full(table: str) -> nn.Module:
    with torch.device("meta"):
        if table == "vc2":
            return VideoCrafterUNet(UNetConfig(time_cond_proj_dim=256))
        net: nn.Module = UNet3DConditionModel(
            sample_size=32, cross_attention_dim=1024, attention_head_dim=64, time_cond_proj_dim=256
        )
        return net


def empty_list(net: nn.Module, rank: int, layers: list[str]) -> list[Tensor]:
    shapes = list_shapes(net, rank, layers)
    return [torch.empty(shape, device="meta") for _, *both in shapes for shape in both]


@pytest.mark.parametrize("table,rank,column", [("vc2", 64, "rank64"), ("ms", 32, "rank32")])
def test_the_full_lists_have_the_published_shapes(table: str, rank: int, column: str) -> None:
    net = full(table)
    with (KEYS / f"{table}_lora_modules.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    shapes = [(name, "x".join(map(str, up)), "x".join(map(str, down))) for name, up, down in list_shapes(net, rank)]
    assert shapes == [(row["module"], row["up_shape"], row["down_shape"]) for row in rows]
    assert len(shapes) == 575 and {int(row[column]) for row in rows} == {4, rank}


def test_the_older_modelscope_list_has_the_layers_that_diffusers_024_left() -> None:
    """The table was made by running diffusers 0.24 without PEFT on the meta device."""
    net = full("ms")
    with OLDER.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    layers = list_layers(net)[1]
    assert [
        (name, "x".join(map(str, net.get_submodule(name).weight.shape)))  # type: ignore[union-attr]
        for name in layers
    ] == [(row["module"], row["weight_shape"]) for row in rows]
    kinds = Counter(type(net.get_submodule(name)).__name__ for name in layers)
    assert kinds == {"Linear": 35, "Conv2d": 2, "Conv3d": 88}


@pytest.mark.parametrize("table,rank,lengths", [("vc2", 64, (1150,)), ("ms", 32, (1150, 250))])
def test_full_lists_are_read_written_and_refused_by_length(table: str, rank: int, lengths: tuple[int, ...]) -> None:
    net = full(table)
    for layers, length in zip(list_layers(net), lengths, strict=True):
        tensors = empty_list(net, rank, layers)
        weights = from_list(tensors, net, rank)
        again = to_list(weights, net)
        assert len(tensors) == len(again) == length
        assert [name for name in weights if ".lora_B." in name] == [f"{layer}.lora_B.weight" for layer in layers]
        assert [value.shape for value in again] == [value.shape for value in tensors]
        del weights[f"{layers[-1]}.lora_A.weight"]
        with pytest.raises(UserError, match=f"none for {layers[-1]}.lora_A.weight; expected up and down of all"):
            to_list(weights, net)
    longest = empty_list(net, rank, list_layers(net)[0])
    for wrong in {1149, 1148, 252, 250, 0} - set(lengths):
        with pytest.raises(UserError, match=rf"{wrong} tensors in the list; expected 1150: up and down of 575 layers"):
            from_list(longest[:wrong], net, rank)
    if table == "ms":
        with pytest.raises(UserError, match="or 250: up and down of 125 layers"):
            from_list(longest[:252], net, rank)
        with pytest.raises(UserError, match="entry 2 of the list"):
            from_list(longest[:250], net, rank)


def test_another_length_or_shape_is_refused(golden: Any) -> None:
    meta = golden[0]
    net, tensors = base(meta, "vc2"), published(meta, "vc2")
    with pytest.raises(UserError, match="747 tensors in the list; expected 748: up and down of 374 layers"):
        from_list(tensors[:-1], net, RANK)
    with pytest.raises(UserError, match=r"entry 0 of mine.pt has shape .* the up of time_embed.0 at rank 4"):
        from_list(tensors[1:] + tensors[:1], net, RANK, "mine.pt")
    assert UserError(found="").exit_code == 2


@pytest.mark.parametrize("bad", ["nan", "inf", "whole numbers"])
def test_an_entry_that_is_no_weight_is_refused(golden: Any, bad: str) -> None:
    net, tensors = base(golden[0], "vc2"), published(golden[0], "vc2")
    tensors[3] = tensors[3].long() if bad == "whole numbers" else tensors[3].clone().fill_(float(bad))
    with pytest.raises(UserError, match=r"entry 3 of mine.pt \(time_embed.2\) with NaN, infinity or whole numbers"):
        from_list(tensors, net, RANK, "mine.pt")


@pytest.mark.parametrize("family", NETS)
def test_a_student_that_trained_its_projection_whole_fits_no_list(family: str, teacher_folder: Path) -> None:
    if family == "vc2":
        teacher: UNetDenoiser = VideoCrafter2Denoiser(tiny_vc2.unet())
    else:
        teacher = ModelScopeDenoiser(tiny_models.unet(), "epsilon")
    student = new_student(replace(load_teacher(teacher_folder), denoiser=teacher), RANK, 256)
    weights = lora_weights(unet_denoiser_of(student).unet)
    plain, name = teacher.with_guidance_condition(256), teacher.cond_proj
    with pytest.raises(UserError) as caught:
        to_list(weights, plain.unet)
    assert f"none for {name}.lora_B.weight, none for {name}.lora_A.weight;" in caught.value.found + ";"
    assert "PEFT's folder, or the merged UNet as a whole state dict" in str(caught.value)


def test_the_writer_checks_shapes_and_names(golden: Any, tmp_path: Path) -> None:
    net = base(golden[0], "vc2")
    weights = from_list(published(golden[0], "vc2"), net, RANK)
    turned = weights | {"time_embed.0.lora_A.weight": weights["time_embed.0.lora_A.weight"][:, :-1]}
    for wrong, says in (
        (turned, r"time_embed.0.lora_A.weight of shape \(4, 63\), not \(4, 64\)"),
        (weights | {"x.lora_A.weight": torch.ones(1, 1)}, "x.lora_A.weight of no such layer"),
    ):
        with pytest.raises(UserError, match=says):
            save_list(tmp_path / "unet_lora.pt", wrong, net)
    assert not list(tmp_path.iterdir())


def test_a_written_file_is_a_plain_list_of_float32(golden: Any, tmp_path: Path) -> None:
    meta = golden[0]
    net, tensors = base(meta, "vc2"), published(meta, "vc2")
    path = tmp_path / "new" / "unet_lora.pt"
    save_list(path, {name: value.double() for name, value in from_list(tensors, net, RANK).items()}, net)
    read = read_list(path)
    assert all(type(tensor) is Tensor and tensor.dtype == torch.float32 for tensor in read)
    assert all(torch.equal(a, b) for a, b in zip(read, tensors, strict=True))
