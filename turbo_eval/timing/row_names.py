"""What is a row of a timing called, and which contestant of a scored run is it?

A row's name is its contestant's (contestants.py, without the precision, which is one for all rows), then what tells it
from the other rows of that model: world-turbo, world-turbo-8steps-batch4, world-turbo-cached-text.
"""

from __future__ import annotations

import re

from turbo_train.sampling.setting import DTYPES

COMPILED, GRAPHS, CHANNELS, CACHED = "compiled", "cuda-graphs", "channels-last", "cached-text"
DECODE, TINY, ALL = "batched-decode", "tiny-vae", "all-options"
SUFFIX = re.compile(rf"(-(batch\d+|{'|'.join((COMPILED, GRAPHS, CHANNELS, CACHED, DECODE, TINY, ALL))}))+$")
DTYPE = re.compile(rf"-({'|'.join(DTYPES)})(?=-|$)")


def with_batch(name: str, batch: int) -> str:
    """The name of a row that is told from others by its batch. A batch of one clip is the usual one."""
    return name if batch == 1 else f"{name}-batch{batch}"


def contestant_of(row: str) -> str:
    """The name of the contestant whose clips a row makes: without batch and options.

    A row with the tiny VAE makes other clips than its contestant: that is for the caller to know (Recipe.vae).
    """
    return SUFFIX.sub("", row)


def without_dtype(contestant: str) -> str:
    """A contestant's name without the precision that contestants.py puts into it."""
    return DTYPE.sub("", contestant)
