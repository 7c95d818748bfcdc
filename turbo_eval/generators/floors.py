"""What does a call cost at least, stage by stage? The roofline of what this machine reached (rates.py).

    floor = max(operations / rate, bytes / bandwidth)      (Williams, Waterman and Patterson 2009)

operations: of the matrix products and convolutions of the networks (cost.py), at the rate measured for the row's dtype;
float32 convolutions on a GPU at that of TF32, as torch computes them. bytes: the weights that a network reads, once per
call of it, in the row's dtype; not the activations, which a perfect fusion would keep on the chip.
A floor may be beaten: weights that stay in a cache between two calls come faster than a copy does, and convolutions can
be computed with fewer multiplications than are counted (Winograd). Video encoding has no floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from turbo_eval.generators.cost import Making, making_of
from turbo_eval.generators.rates import TF32
from turbo_eval.model_table import ModelEntry
from turbo_eval.scorers.vbench.operations import Operations
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, TEXT, Rates
from turbo_train.nets.fast_path import FastPath

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # of a number


@dataclass(frozen=True)
class Work:
    """Of one stage of one call. convolutions_tflop: of all, what is no matrix product. weights_bytes: read in all."""

    tflop: float
    convolutions_tflop: float
    weights_bytes: float


def stage_work(entry: ModelEntry, batch: int, fast: FastPath | None = None) -> Mapping[str, Work]:
    """Of a call that makes `batch` clips at once: stage of record.py -> work, in the dtype of the entry's setting.

    Texts are encoded one at a time, as latent.py does; a guided step is one call of two rows for each clip.
    UserError: as making_of's.
    """
    fast, setting = fast or FastPath(), entry.setting
    counted = FastPath(cached_text=fast.cached_text, tiny_vae=fast.tiny_vae)
    made = _making(entry, counted)
    size = BYTES[setting.dtype]
    decodes = ceil(batch * made.shape.frames / (fast.decode_frames or made.decode_frames))
    weights = made.weights
    return {
        TEXT: _work(made.text * batch, weights.text * batch * size),
        FIRST: _work(made.first * batch, weights.first * size),
        REMAINING: _work(made.remaining * batch, weights.step * (setting.num_steps - 1) * size),
        DECODE: _work(made.decode * batch, weights.decode * decodes * size),
    }


@lru_cache(maxsize=64)
def _making(entry: ModelEntry, fast: FastPath) -> Making:
    """Counted once for all rows that differ in nothing that is counted: to build a large network takes seconds."""
    return making_of(entry, fast)


def floor_s(work: Mapping[str, Work], dtype: str, rates: Rates) -> Mapping[str, float]:
    """Stage -> the least seconds. KeyError: a dtype whose rate was not measured."""
    products = rates.matmul_tflops[dtype]
    convolutions = rates.matmul_tflops.get(TF32, products) if dtype == "float32" else products
    return {stage: max(_computing_s(one, products, convolutions), _moving_s(one, rates)) for stage, one in work.items()}


def tflop_of(work: Mapping[str, Work]) -> Mapping[str, float]:
    """Stage -> TFLOP of one call, for a row."""
    return {stage: one.tflop for stage, one in work.items()}


def _computing_s(work: Work, products: float, convolutions: float) -> float:
    return (work.tflop - work.convolutions_tflop) / products + work.convolutions_tflop / convolutions


def _moving_s(work: Work, rates: Rates) -> float:
    return work.weights_bytes / 1e9 / rates.copy_gb_s


def _work(operations: Operations, weights_bytes: float) -> Work:
    return Work(operations.total / 1e12, operations.convolutions / 1e12, float(weights_bytes))
