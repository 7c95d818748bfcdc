"""Where can a run's figures be watched as curves? In TensorBoard, from the folder `tensorboard` of the run.

The numbers are those of log.jsonl's step entries, under the same names: loss, rewards/NAME, lr, step_s and so on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError

FOLDER = "tensorboard"


def check_installed() -> None:
    """UserError: the package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            found="tensorboard true without the package tensorboard",
            expected="that package, or tensorboard false",
            run_next='pip install "turbo-video[tensorboard]", or --set tensorboard=false',
        )


class TensorBoardCurves:
    """Appends to a run's curves. done: steps taken so far; what a killed run wrote of later ones is left out."""

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=done + 1)

    def add(self, step: int, entry: Mapping[str, Any]) -> None:
        """One step entry of the log. What has no value there is left out here."""
        for name, value in _flat(entry).items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self._writer.close()


def _flat(entry: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= _flat(value, f"{before}{name}/") if isinstance(value, Mapping) else {before + name: value}
    return flat
