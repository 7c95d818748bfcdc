"""Is a published LoRA list read to the right layers, active and merged, and written back as it was?"""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet3DConditionModel
from golden import fill
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.lora import inject, load_lora, lora_targets, lora_weights, merge
from turbo_train.nets.lora_list import from_list, list_shapes, to_list
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet

KEYS = Path(fill.HERE) / "keys"
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
        merge(net)
        fill.compare(meta, expected, f"{label}/collapsed", call(net, label, inputs))
    for part, name in (("first", "time_embed.0"), ("last", "out.2")) if label == "vc2" else (("last", "conv_out"),):
        fill.compare(meta, expected, f"{label}/merged_weight_{part}", net.get_submodule(name).weight)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("table,rank,column", [("vc2", 64, "rank64"), ("ms", 32, "rank32")])
def test_the_full_lists_have_the_published_shapes(table: str, rank: int, column: str) -> None:
    with torch.device("meta"):
        net: nn.Module = VideoCrafterUNet(UNetConfig(time_cond_proj_dim=256))
        if table == "ms":
            net = UNet3DConditionModel(
                sample_size=32, cross_attention_dim=1024, attention_head_dim=64, time_cond_proj_dim=256
            )
    with (KEYS / f"{table}_lora_modules.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    shapes = [(name, "x".join(map(str, up)), "x".join(map(str, down))) for name, up, down in list_shapes(net, rank)]
    assert shapes == [(row["module"], row["up_shape"], row["down_shape"]) for row in rows]
    assert len(shapes) == 575 and {int(row[column]) for row in rows} == {4, rank}


def test_another_length_or_shape_is_refused(golden: Any) -> None:
    meta = golden[0]
    net, tensors = base(meta, "vc2"), published(meta, "vc2")
    with pytest.raises(UserError, match="747 tensors in the list; expected 748: up and down of 374 layers"):
        from_list(tensors[:-1], net, RANK)
    with pytest.raises(UserError, match=r"entry 0 of mine.pt has shape .* the up of time_embed.0 at rank 4"):
        from_list(tensors[1:] + tensors[:1], net, RANK, "mine.pt")
    assert UserError(found="").exit_code == 2
