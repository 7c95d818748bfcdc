"""What is a row of a timing called, and which contestant of a scored run is it?

A row's name is its contestant's (contestants.py, without the precision, which is one for all rows), then what tells it
from the other rows of that model: world-turbo, world-turbo-8steps-batch4, world-turbo-compiled-cached-text.
"""

from __future__ import annotations

import re

from turbo_train.nets.fast_path import FastPath
from turbo_train.sampling.setting import DTYPES

SUFFIXES = (r"batch\d+", "eager", "compiled-max", "compiled", "cuda-graphs", "channels-last", "cached-text")
SUFFIXES += (r"decode\d+", "tiny-vae", "all-options")
SUFFIX = re.compile(rf"(-({'|'.join(SUFFIXES)}))+$")
DTYPE = re.compile(rf"-({'|'.join(DTYPES)})(?=-|$)")


def options_of(fast: FastPath) -> tuple[str, ...]:
    """The options that are on, as a name says them; (): none."""
    compiled = {"off": "", "default": "compiled", "max": "compiled-max"}[fast.compile]
    decode = f"decode{fast.decode_frames}" if fast.decode_frames is not None else ""
    named = {"cuda-graphs": fast.cuda_graphs, "channels-last": fast.channels_last, "cached-text": fast.cached_text}
    on = (name for name, wanted in named.items() if wanted)
    return tuple(filter(None, (compiled, *on, decode, "tiny-vae" if fast.tiny_vae is not None else "")))


def contestant_of(row: str) -> str:
    """The name of the contestant whose clips a row makes: without batch and options.

    A row with the tiny VAE makes other clips than its contestant: that is for the caller to know (Recipe.vae).
    """
    return SUFFIX.sub("", row)


def without_dtype(contestant: str) -> str:
    """A contestant's name without the precision that contestants.py puts into it."""
    return DTYPE.sub("", contestant)
