"""Which published reward files do the tests load? Files of the published layouts with random weights, at any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from golden import fill
from open_clip.model import CLIP
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from turbo_train.rewards import clip, hpsv2, pickscore, viclip
from turbo_train.rewards.viclip_net import ViCLIP, new_viclip

Files = Mapping[str, Path]
# The published sizes with their vocabulary and text lengths, everything else small.
SMALL_CLIP: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 28, "layers": 3, "width": 32, "head_width": 8, "patch_size": 7},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
SMALL_VICLIP: dict[str, Any] = {
    "vision": {"input_resolution": 28, "width": 32, "layers": 3, "heads": 4, "output_dim": 24, "num_frames": 8},
    "text": {
        "embed_dim": 24,
        "context_length": 32,
        "transformer_width": 16,
        "transformer_heads": 2,
        "transformer_layers": 2,
    },
}


def shallow(model_cfg: Mapping[str, Any], layers: int = 2) -> dict[str, Any]:
    """A full-width `model_cfg` of open_clip's with few layers in each tower."""
    return dict(model_cfg) | {side: model_cfg[side] | {"layers": layers} for side in ("vision_cfg", "text_cfg")}


def filled(net: Any) -> Any:
    """Every weight random and none zero, so that each one counts; a function of the names alone."""
    fill.fill_module(net)
    return net.eval()


def write_clip(folder: Path, net: CLIP) -> Files:
    """As LAION publishes it: a bare state dict."""
    path = folder / "open_clip_pytorch_model.bin"
    torch.save(net.state_dict(), path)
    return {clip.WEIGHTS: path}


def write_hpsv2(folder: Path, net: CLIP, dtype: torch.dtype = torch.float16) -> Files:
    """As HPSv2.1 is published: half precision, under "state_dict"."""
    path = folder / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": {key: value.to(dtype) for key, value in net.state_dict().items()}}, path)
    return {hpsv2.WEIGHTS: path}


def write_viclip(folder: Path, net: ViCLIP) -> Files:
    """As ViCLIP is published: under "model"."""
    path = folder / "ViClip-InternVid-10M-FLT.pth"
    torch.save({"model": net.state_dict()}, path)
    return {viclip.WEIGHTS: path}


def write_pickscore(folder: Path, net: CLIPModel) -> Files:
    """As PickScore is published: what transformers saves."""
    net.save_pretrained(folder)
    return {pickscore.WEIGHTS: folder / "model.safetensors", pickscore.CONFIG: folder / "config.json"}


def transformers_config(model_cfg: Mapping[str, Any]) -> CLIPConfig:
    """The config of transformers' CLIPModel with the sizes of open_clip's `model_cfg`."""
    text, vision = model_cfg["text_cfg"], model_cfg["vision_cfg"]
    sides = {
        side: {
            "hidden_size": cfg["width"],
            "intermediate_size": 4 * cfg["width"],
            "num_hidden_layers": cfg["layers"],
            "hidden_act": "gelu",
            "projection_dim": model_cfg["embed_dim"],
        }
        for side, cfg in (("text", text), ("vision", vision))
    }
    sides["text"] |= {"num_attention_heads": text["heads"], "eos_token_id": 2}  # 2: as in PickScore's config.json
    sides["vision"] |= {
        "num_attention_heads": vision["width"] // vision["head_width"],
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
    }
    return CLIPConfig(projection_dim=model_cfg["embed_dim"], text_config=sides["text"], vision_config=sides["vision"])


def new_transformers_clip(model_cfg: Mapping[str, Any]) -> CLIPModel:
    """transformers' CLIPModel with the sizes of open_clip's `model_cfg`, weights filled."""
    return filled(CLIPModel(transformers_config(model_cfg)))


def write_small(name: str, folder: Path) -> Files:
    """The small files of one published reward."""
    if name == "viclip":
        return write_viclip(folder, filled(new_viclip(SMALL_VICLIP)))
    if name == "pickscore":
        return write_pickscore(folder, new_transformers_clip(SMALL_CLIP))
    return {"hpsv2.1": write_hpsv2, "clip": write_clip}[name](folder, filled(CLIP(**SMALL_CLIP)))


def own_open_clip(model_cfg: Mapping[str, Any]) -> CLIP:
    """What open_clip's factory makes of its ViT-H-14 with these sizes, weights filled."""
    return filled(open_clip.create_model("ViT-H-14", pretrained=None, **model_cfg))


def own_score(net: CLIP, normal_NCHW: Tensor, texts: Sequence[str]) -> Tensor:
    """(N,) the score by open_clip's forward pass and tokenizer alone; images are normalised already."""
    ids = open_clip.get_tokenizer("ViT-H-14")(list(texts))
    with torch.no_grad():
        seen, said, _ = net(normal_NCHW, ids)
    return (seen * said).sum(-1)
