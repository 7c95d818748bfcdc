"""What does a training run say of itself? One JSON line per entry in log.jsonl, with units in its keys.

`event` names an entry: start, step, skipped (a sample that could not be read), nonfinite (a step without a finite
loss), checkpoint, validation, stop, end. Rewards are unscaled; loss is what was minimised.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_FILE = "log.jsonl"


class RunLog:
    """Appends to a run's log. `enabled` False: this process writes nothing."""

    def __init__(self, folder: Path, enabled: bool = True) -> None:
        self.path = folder / LOG_FILE
        self.enabled = enabled

    def write(self, event: str, entry: Mapping[str, Any]) -> None:
        """One line, handed to the system at once. Numbers that are not finite become null."""
        if not self.enabled:
            return
        line = {"event": event, "unix_s": round(time.time(), 3), **entry}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(line), sort_keys=False) + "\n")
            file.flush()
            if event != "step":
                os.fsync(file.fileno())

    def rewind(self, step: int) -> None:
        """Drop what a killed run wrote after its last checkpoint, at `step`: those steps are taken again."""
        if not (self.enabled and self.path.is_file()):
            return
        kept = [line for line in read_log(self.path) if line.get("step", 0) <= step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self.path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a last line that a kill cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise
    return entries


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
