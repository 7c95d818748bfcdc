"""What do these tests share? The golden's sizes, a network filled by its recipe, and files as they are published."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import fill
from torch import Tensor

from turbo_train.rewards.internvideo2.load import VOCABULARY, WEIGHTS, load_internvideo2
from turbo_train.rewards.internvideo2.model import InternVideo2, InternVideo2Config, InternVideo2Model
from turbo_train.rewards.internvideo2.text import TextConfig
from turbo_train.rewards.internvideo2.vision import VisionConfig
from turbo_train.rewards.word_pieces import SPECIAL

Golden = tuple[dict[str, Any], dict[str, Tensor]]
HEADS = {  # named in no table of ours: what the published file is said to hold besides
    "temp": torch.tensor(0.07),
    "itm_head.weight": torch.zeros(2, 48),
    "text_encoder.bert.pooler.dense.weight": torch.zeros(48, 48),
    "text_encoder.cls.predictions.bias": torch.zeros(120),
}


@pytest.fixture(scope="session")
def golden() -> Golden:
    return fill.load("internvideo2")


@pytest.fixture(scope="session")
def config(golden: Golden) -> InternVideo2Config:
    """The golden's, with the exact GELU that most of it was recorded with."""
    vision, text, embed_dim = golden[0]["models"]["model"]["config"].values()
    return InternVideo2Config(
        VisionConfig(**_known(VisionConfig, vision), mlp_gelu="none"),
        TextConfig(**_known(TextConfig, text), max_text_length=10),
        embed_dim,
    )


def _known(kind: type, official: dict[str, Any]) -> dict[str, Any]:
    return {field.name: official[field.name] for field in fields(kind) if field.name in official}


@pytest.fixture(scope="session")
def make(config: InternVideo2Config) -> Callable[..., InternVideo2]:
    def make(mlp_gelu: str = "none", gamma: float = 1.0, dtype: torch.dtype = torch.float32) -> InternVideo2:
        """A network filled by the recipe, its gammas multiplied."""
        vision = replace(config.vision, mlp_gelu=mlp_gelu)
        net = InternVideo2(replace(config, vision=vision)).eval().requires_grad_(False)
        assert fill.fill_module(net) == []
        for name, value in net.named_parameters():
            if name.endswith(".gamma"):
                value.mul_(gamma)
        return net.to(dtype)

    return make


@pytest.fixture(scope="session")
def published(golden: Golden) -> dict[str, Tensor]:
    """Names and weights of the golden's whole official model, as the published file writes them, and its heads."""
    entry = golden[0]["models"]["model"]
    weights = fill.filled_state_dict(entry["state_dict"], entry["left_alone"])
    weights["text_encoder.embeddings.position_ids"] = torch.arange(32)[None]
    return {key.replace("text_encoder.", "text_encoder.bert."): value for key, value in weights.items()} | HEADS


@pytest.fixture(scope="session")
def words() -> list[str]:
    """120 word pieces: the special ones, the alphabet twice, some that nobody says."""
    alphabet = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    pieces = [*SPECIAL, "red", "circle", "up", *alphabet]
    return pieces + [f"[unused{i}]" for i in range(120 - len(pieces))]


@pytest.fixture
def write(tmp_path: Path, words: list[str]) -> Callable[..., dict[str, Path]]:
    def write(weights: dict[str, Tensor], pieces: list[str] = words) -> dict[str, Path]:
        """Files in the published layout, by their names."""
        torch.save({"module": weights}, tmp_path / "weights.pt")
        (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        return {WEIGHTS: tmp_path / "weights.pt", VOCABULARY: tmp_path / "vocab.txt"}

    return write


@pytest.fixture
def model(write: Callable[..., dict[str, Path]], published: dict[str, Tensor], config) -> InternVideo2Model:
    """The golden's weights, read from files."""
    return load_internvideo2(write(published), config=config)
