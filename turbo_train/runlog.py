"""What does a training run say of itself? One JSON line per entry in log.jsonl, with units in its keys.

`event` names an entry: start, step, skipped (a sample that could not be read), nonfinite (a step without a finite
loss), checkpoint, validation, stop, end. A step entry holds means over the `steps` taken since the one before, and
how many were not (`nonfinite`) and samples passed over (`skipped`) since the run began. Rewards are unscaled; loss is
what was minimised. Of step_s, data_wait_s was spent waiting for samples, network_s in forward and backward passes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError

LOG_FILE = "log.jsonl"


class RunLog:
    """Appends to a run's log. `enabled` False: this process writes nothing."""

    def __init__(self, folder: Path, enabled: bool = True) -> None:
        self.path = folder / LOG_FILE
        self.enabled = enabled

    def write(self, event: str, entry: Mapping[str, Any]) -> None:
        """One line, handed to the system at once. Numbers that are not finite become null. UserError: no room."""
        if not self.enabled:
            return
        line = {"event": event, "unix_s": round(time.time(), 3), **entry}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_plain(line), allow_nan=False) + "\n")
                file.flush()
                if event != "step":
                    os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def rewind(self, step: int) -> None:
        """Drop what a killed run wrote after its last checkpoint, at `step`: those steps are taken again.

        UserError: no room; a log that was damaged.
        """
        if not (self.enabled and self.path.is_file()):
            return
        kept = [line for line in read_log(self.path) if line.get("step", 0) <= step]
        partial = self.path.with_suffix(".partial")
        try:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            partial.replace(self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _unwritable(self.path, error) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a last line that a kill cut off is left out. UserError: another line is no entry."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError(line)
            entries.append(entry)
        except ValueError as error:
            if number < len(lines):
                raise UserError(
                    found=f"line {number} of {path}, which is no entry",
                    expected="a JSON object on every line",
                    run_next="remove that line, then the same command again",
                ) from error
    return entries


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        found=f"{path} cannot be written ({error.strerror})",
        expected="a writable disk with room",
        run_next="free some room, then the same command again, which goes on from the last checkpoint",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
