"""How does VBench compare features on a GPU, where openai-clip's are float16? Every step is rounded to float16.

    background   u = f / |f|,  then  sum(u_a / |u_a| * u_b / |u_b|)      torch's normalize, then its cosine_similarity
    style        (100 f / |f|) . t / |t|,  divided by 100 in double      CLIP's logits (Radford et al. 2021)
Lengths are rounded to a float16 step before a division, and near 1 the step below is half the step above: similarities
of 0.90 to 0.99 come out larger by about 2e-4 on average, 1.1e-3 at most, which `--compat vbench-cuda` keeps. Sums are
in float32 and rounded once, as torch and its GPU libraries have it.
Shape legend: N frames, D features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HalfArray = NDArray[np.float16]
SMALLEST = np.float16(6e-8)  # the step at 0: a feature that vanishes stays 0
LOGIT_SCALE = np.float32(100)  # exp(logit_scale) of the published weights, where CLIP's training held it


def is_half(features: NDArray[np.floating]) -> bool:
    """Whether features were computed as openai-clip does on a GPU."""
    return features.dtype == np.float16


def half_cosine(a_ND: NDArray[np.floating], b_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of matching rows as background_consistency has it on a GPU."""
    a, b = (_unit(_unit(x)).astype(np.float32) for x in (a_ND, b_ND))
    products = (a * b).astype(np.float16)
    cosine: NDArray[np.float64] = products.sum(-1, dtype=np.float32).astype(np.float16).astype(np.float64)
    return cosine


def half_logits(pictures_ND: NDArray[np.floating], text_D: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each picture with the text as appearance_style has it on a GPU."""
    scaled = (_unit(pictures_ND).astype(np.float32) * LOGIT_SCALE).astype(np.float16)
    logits = (scaled.astype(np.float32) @ _unit(text_D).astype(np.float32)).astype(np.float16)
    return logits.astype(np.float64) / 100


def _unit(x_ND: NDArray[np.floating]) -> HalfArray:
    """x / |x|, the length rounded before the division."""
    wide = x_ND.astype(np.float32)
    length = np.sqrt((wide * wide).sum(-1, keepdims=True)).astype(np.float16)
    unit: HalfArray = (wide / np.maximum(length, SMALLEST).astype(np.float32)).astype(np.float16)
    return unit
