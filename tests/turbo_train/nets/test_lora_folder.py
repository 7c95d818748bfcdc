"""Does PEFT read our folder as the same network, layer by layer, with the right rank and alpha in each?"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import tiny_models
import tiny_vc2
import torch
from diffusers import UNet3DConditionModel
from golden import fill
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.nets.lora import lora_targets, lora_weights
from turbo_train.nets.lora_folder import peft_config, save_peft
from turbo_train.nets.lora_list import from_list, list_shapes, merge_list
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.student import new_student, trainable_weights
from turbo_train.nets.teacher import load_teacher
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet

RANK = 6
KEYS = Path(fill.HERE) / "keys"
Made = Callable[[], UNetDenoiser]


def vc2() -> UNetDenoiser:
    net = tiny_vc2.unet(256)
    net.load_state_dict(tiny_vc2.unet_state(None))
    return VideoCrafter2Denoiser(net.eval())


def ms() -> UNetDenoiser:
    made = ModelScopeDenoiser(tiny_models.unet(), "epsilon").with_guidance_condition(256)
    made.unet.load_state_dict(tiny_vc2.random({name: v.shape for name, v in made.unet.state_dict().items()}, 3))
    return made


def call(net: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    cond = torch.randn(1, 256, generator=generator)
    x, t = torch.randn(1, 4, 3, 4, 4, generator=generator), torch.tensor([300])
    inner = net.get_base_model() if isinstance(net, peft.PeftModel) else net
    with torch.no_grad():
        if isinstance(inner, VideoCrafterUNet):
            made: Tensor = net(x, t, torch.randn(1, 8, 32, generator=generator), 16, cond)
            return made
        out: Tensor = net(x, t, torch.randn(1, 8, 12, generator=generator), timestep_cond=cond, return_dict=False)[0]
        return out


@pytest.mark.parametrize("make", [vc2, ms])
def test_peft_reads_the_folder_as_the_merged_network(make: Made, tmp_path: Path) -> None:
    denoiser = make()
    net = denoiser.unet
    generator = torch.Generator().manual_seed(2)
    shapes = [shape for _, *both in list_shapes(net, RANK) for shape in both]
    tensors = [0.1 * torch.randn(shape, generator=generator) for shape in shapes]
    save_peft(tmp_path, from_list(tensors, net, RANK), denoiser, RANK)
    before = call(net)
    merge_list(net, tensors, RANK)
    read = peft.PeftModel.from_pretrained(make().unet, str(tmp_path))
    assert not torch.allclose(call(net), before, atol=1e-2)
    assert_close(call(read), call(net), atol=2e-5, rtol=1e-4)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert set(stored) == {f"base_model.model.{name}" for name in from_list(tensors, net, RANK)}


def test_a_student_of_ours_brings_its_projection_in_a_file_of_its_own(teacher_folder: Path, tmp_path: Path) -> None:
    student = new_student(load_teacher(teacher_folder), rank=RANK, time_cond_dim=256)
    with torch.no_grad():
        for parameter in trainable_weights(student).values():
            parameter.normal_(std=0.1)
    denoiser = unet_denoiser_of(student)
    plain = unet_denoiser_of(load_teacher(teacher_folder)).with_guidance_condition(256)
    weights, projection = lora_weights(denoiser.unet), denoiser.projection.weight
    with pytest.raises(ValueError, match=r"no LoRA of time_embedding.cond_proj: .* lose the guidance scale"):
        save_peft(tmp_path / "without", weights, plain, RANK)
    with pytest.raises(ValueError, match=r"cond_proj.weight of shape \(8, 16\), the network's is \(8, 256\)"):
        save_peft(tmp_path / "without", weights, plain, RANK, projection[:, :16])
    assert not (tmp_path / "without").exists()
    save_peft(tmp_path, weights, plain, RANK, projection)
    beside = load_file(tmp_path / "guidance_projection.safetensors")
    plain.unet.load_state_dict(beside, strict=False)
    read = peft.PeftModel.from_pretrained(plain.unet, str(tmp_path))
    assert list(beside) == ["time_embedding.cond_proj.weight"]
    assert_close(call(read), call(denoiser.unet), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("table,rank", [("vc2", 64), ("ms", 32)])
def test_at_full_size_the_575_layers_of_the_tables_have_their_rank_and_nothing_else_has(
    table: str, rank: int, tmp_path: Path
) -> None:
    with torch.device("meta"):
        net: nn.Module = VideoCrafterUNet(UNetConfig(time_cond_proj_dim=256))
        if table == "ms":
            net = UNet3DConditionModel(
                sample_size=32, cross_attention_dim=1024, attention_head_dim=64, time_cond_proj_dim=256
            )
        tensors = [torch.empty(shape) for _, *both in list_shapes(net, rank) for shape in both]
    peft_config(from_list(tensors, net, rank), net, rank).save_pretrained(str(tmp_path))
    config: dict[str, Any] = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    with (KEYS / f"{table}_lora_modules.tsv").open(encoding="utf-8") as stream:
        rows = {row["module"]: int(row[f"rank{rank}"]) for row in csv.DictReader(stream, delimiter="\t")}
    assert len(rows) == 575
    assert [n for n, _ in net.named_modules() if re.fullmatch(config["target_modules"], n)] == list(rows)
    narrow = {f"^{re.escape(name)}": r for name, r in rows.items() if r != rank}
    assert config["rank_pattern"] == config["alpha_pattern"] == narrow and set(narrow.values()) == {4}
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (rank, rank, True)


def test_half_a_layer_an_unknown_one_and_another_rank_are_refused(tmp_path: Path) -> None:
    net = tiny_vc2.unet(256, device="meta")
    denoiser, weights = VideoCrafter2Denoiser(net), from_list(tiny_vc2.lora_list(RANK), net, RANK)
    half = {name: value for name, value in weights.items() if name != "time_embed.0.lora_B.weight"}
    for wrong, said in ((half, "1 LoRA weights"), (weights | {"x.lora_A.weight": torch.ones(1)}, "x.lora_A")):
        with pytest.raises(ValueError, match=said):
            save_peft(tmp_path / "out", wrong, denoiser, RANK)
    with pytest.raises(ValueError, match=f"LoRA of time_embed.0 has rank {RANK} and {RANK}, not {RANK - 1}"):
        save_peft(tmp_path / "out", weights, denoiser, RANK - 1)
    assert not (tmp_path / "out").exists() and len(lora_targets(net)) * 2 == len(weights)
