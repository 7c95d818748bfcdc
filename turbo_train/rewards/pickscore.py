"""Which image of a text would people pick? PickScore (arXiv 2305.01569): CLIP ViT-H-14, tuned on Pick-a-Pic.

score = cosine(image, text); the paper multiplies it by a constant. Frames are squashed to 224 x 224, as T2V-Turbo does.
It is published under transformers' names. The same tensors are given open_clip's names here, q, k and v of each layer
joined, so that one network serves all three image rewards. transformers pads a text with its end token, open_clip with
zeros; both read the features at the first end token and attend causally, so padding does not matter.
Differs: open_clip's tokenizer, which also mends broken Unicode and HTML entities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import remedy
from turbo_train.nets.key_layout import check_layout
from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.openclip import VIT_H_14, OpenClipModel, new_clip, published_clip

WEIGHTS, CONFIG = "pickscore/model.safetensors", "pickscore/config.json"  # their rows of weights.lock
WHAT = "PickScore v1 (transformers' CLIPModel, ViT-H-14)"
# open_clip's names and transformers' (modeling_clip.py), replaced in this order; pre_layrnorm is spelled so.
NAMES = (
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.proj", "visual_projection.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
    ("text_projection", "text_projection.weight"),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.out_proj.", ".self_attn.out_proj."),
)
JOINED = {f".attn.in_proj_{kind}": [f".self_attn.{part}_proj.{kind}" for part in "qkv"] for kind in ("weight", "bias")}
TRANSPOSED = ("visual.proj", "text_projection")
COUNTS = (
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
)  # 0, 1, ...: kept by older files
# What transformers' CLIPTextConfig and CLIPVisionConfig take where a config.json is silent.
SILENT = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
SILENT_TEXT = SILENT | {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
}
SILENT_VISION = SILENT | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}


def load_pickscore(files: Mapping[str, Path], *, model_cfg: Mapping[str, Any] = VIT_H_14) -> OpenClipModel:
    """PickScore from the published files, weights as stored. files: paths by their names in weights.lock.

    UserError: a file that cannot be read, a config.json of another model, names or shapes that differ.
    """
    check_config(files[CONFIG], model_cfg)
    state = read_tensors(files[WEIGHTS])
    for name in COUNTS:
        state.pop(name, None)
    with torch.device("meta"):
        want = new_clip(model_cfg)
    check_layout(state, published_layout(want), files[WEIGHTS], WHAT)
    renamed = {key: _take(key, state) for key in want.state_dict()}
    return published_clip(renamed, files[WEIGHTS], WHAT, model_cfg, "squash")


def published_names(key: str) -> list[str]:
    """The published tensors that one of open_clip's is made of: one, or three that are joined."""
    for ours, theirs in NAMES:
        key = key.replace(ours, theirs)
    for ours, parts in JOINED.items():
        if key.endswith(ours):
            return [key.removesuffix(ours) + part for part in parts]
    return [key]


def published_layout(net: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes that the published file should have for this network of open_clip's."""
    layout: dict[str, torch.Size] = {}
    for key, value in net.state_dict().items():
        names = published_names(key)
        whole = value.T if key in TRANSPOSED else value
        parts = whole.chunk(len(names)) if len(names) > 1 else [whole]
        layout |= {name: part.shape for name, part in zip(names, parts, strict=True)}
    return layout


def _take(key: str, state: dict[str, Tensor]) -> Tensor:
    """One tensor of open_clip's; what it is made of leaves the dict, so that no second copy of the weights is kept."""
    parts = [state.pop(name) for name in published_names(key)]
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole.T.contiguous() if key in TRANSPOSED else whole


def check_config(path: Path, model_cfg: Mapping[str, Any]) -> None:
    """UserError where config.json describes another network: sizes, heads and activation, which no tensor tells."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        text, vision = (config.get(f"{side}_config_dict") or config[f"{side}_config"] for side in ("text", "vision"))
        have = {"projection_dim": config.get("projection_dim", 512)}
        have |= {f"text {field}": text.get(field, value) for field, value in SILENT_TEXT.items()}
        have |= {f"vision {field}": vision.get(field, value) for field, value in SILENT_VISION.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            found=f"{path} is no CLIPModel's config.json ({error})", expected=WHAT, run_next=remedy(path)
        ) from error
    want = _expected_config(model_cfg)
    wrong = [f"{name} {have[name]!r}, not {value!r}" for name, value in want.items() if have[name] != value]
    if wrong:
        raise UserError(found=f"{path} with {', '.join(wrong)}", expected=WHAT, run_next=remedy(path))


def _expected_config(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers calls the sizes of open_clip's `model_cfg`."""
    text, vision = model_cfg["text_cfg"], model_cfg["vision_cfg"]
    want = {"projection_dim": model_cfg["embed_dim"]}
    for side, cfg in (("text", text), ("vision", vision)):
        want |= {
            f"{side} hidden_act": "gelu",  # the exact one, as open_clip's
            f"{side} layer_norm_eps": 1e-5,  # torch's default, which open_clip keeps
            f"{side} hidden_size": cfg["width"],
            f"{side} intermediate_size": 4 * cfg["width"],
            f"{side} num_hidden_layers": cfg["layers"],
        }
    return want | {
        "text num_attention_heads": text["heads"],
        "text max_position_embeddings": text["context_length"],
        "text vocab_size": text["vocab_size"],
        "vision num_attention_heads": vision["width"] // vision["head_width"],
        "vision image_size": vision["image_size"],
        "vision patch_size": vision["patch_size"],
    }
