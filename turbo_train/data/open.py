"""Which source do a recipe's `data` mean?"""

from __future__ import annotations

from turbo_train.config import TrainConfig
from turbo_train.data.sample import NoData, Source
from turbo_train.data.world_stream import WorldStream
from turbo_train.nets.model import Model


def open_source(config: TrainConfig, teacher: Model) -> Source:
    """The source of `config.data` for clips of the teacher's shape. UserError: there is none."""
    if config.data == "world":
        return WorldStream(config.seed)
    raise NoData(found=f"data {config.data!r}", expected="world")
