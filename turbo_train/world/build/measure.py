"""How good is a model of the world? The share of its clips on which the oracle sees what the caption says.

Held-out combinations only: the validation triples to choose by, the test triples to report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from turbo_train.nets.model import Model
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.sampling.noise import clip_noise
from turbo_train.world.captions import caption, parse
from turbo_train.world.oracle import read
from turbo_train.world.oracle_agree import agree
from turbo_train.world.scene import BACKGROUNDS, sample_single, triples

ATTRIBUTES = ("shape", "colour", "motion", "background", "count")
WORDING_SEED = 7001
CHUNK = 18
Sampler = Callable[[Model, Tensor, list[tuple[str, int]]], Tensor]


def held_out_captions(split: str) -> list[str]:
    """One clean caption for each triple of a split on each background."""
    rng = np.random.default_rng(WORDING_SEED)
    return [caption(rng, sample_single(rng, triple, ground)) for triple, ground in product(triples(split), BACKGROUNDS)]


def _noise(model: Model, clips: list[tuple[str, int]], purpose: str) -> Tensor:
    return torch.stack([clip_noise(0, name, k, model.latent_shape, purpose) for name, k in clips])


def teacher_sampler(num_steps: int, guidance_scale: float) -> Sampler:
    """DDIM with classifier-free guidance."""

    def sample(model: Model, context: Tensor, clips: list[tuple[str, int]]) -> Tensor:
        noise = _noise(model, clips, "initial")
        return sample_ddim(model, context, model.text([""]), noise, num_steps=num_steps, guidance_scale=guidance_scale)

    return sample


def student_sampler(num_steps: int, guidance_scale: float) -> Sampler:
    """Consistency steps, the guidance scale as a condition."""

    def sample(model: Model, context: Tensor, clips: list[tuple[str, int]]) -> Tensor:
        noise = _noise(model, clips, "initial")

        def fresh(k: int) -> Tensor:
            return _noise(model, clips, f"step-{k}")

        return sample_consistency(model, context, noise, fresh, num_steps=num_steps, guidance_scale=guidance_scale)

    return sample


@torch.no_grad()
def make(model: Model, captions: list[str], samples: int, sampler: Sampler) -> list[tuple[str, NDArray[np.uint8]]]:
    """(caption, frames) pairs: `samples` clips of each caption."""
    wanted = [(text, k) for text in captions for k in range(samples)]
    made: list[tuple[str, NDArray[np.uint8]]] = []
    for start in range(0, len(wanted), CHUNK):
        clips = wanted[start : start + CHUNK]
        z = sampler(model, model.text([text for text, _ in clips]), clips)
        frames = model.vae.decode(z).clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        arrays = frames.permute(0, 1, 3, 4, 2).contiguous().numpy()
        made += [(text, array) for (text, _), array in zip(clips, arrays, strict=True)]
    return made


def oracle_accuracy(made: list[tuple[str, NDArray[np.uint8]]]) -> Mapping[str, float]:
    """Share of clips that show each attribute, and all of them. What the oracle cannot read is a miss."""
    hits = {name: 0 for name in (*ATTRIBUTES, "all")}
    for text, frames in made:
        verdict = agree(read(frames), parse(text))
        for name in ATTRIBUTES:
            hits[name] += verdict[name] is True
        hits["all"] += all(verdict[name] is True for name in ATTRIBUTES)
    return {name: count / len(made) for name, count in hits.items()}
