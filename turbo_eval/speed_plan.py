"""What would `turbo-eval speed` time, and how many runs would find which slow-down? Nothing is measured for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_eval.generators.device import find_device
from turbo_eval.speed_choice import Wanted, rows_of
from turbo_eval.speed_request import DeviceKind, SpeedRequest, filled
from turbo_eval.timing.cells import Grid, Line
from turbo_eval.timing.plan import needed, needed_grid
from turbo_eval.timing.sentences import POWER
from turbo_eval.timing.stop_rule import Rules


@dataclass(frozen=True)
class Plan:
    """The rows in their order. request: with the usual models and dtype of the device."""

    request: SpeedRequest
    device: str
    rows: tuple[Wanted, ...]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        runs = {f"{cv:g}": {f"{slow_down:g}": n for slow_down, n in own.items()} for cv, own in needed().items()}
        return {
            "device": self.device,
            "random_weights": self.request.random_weights,
            "max_s": self.request.max_s,
            "rows": [_document(row) for row in self.rows],
            "power": POWER,
            "runs_needed": runs,
        }

    def grids(self) -> tuple[Grid, ...]:
        """For people: the rows, and the runs that a slow-down needs."""
        lines = []
        for row in self.rows:
            own = _document(row)
            options = ", ".join(name if value is True else f"{name} {value}" for name, value in own["options"].items())
            cells = (row.name, str(own["steps"]), str(row.batch), own["dtype"], options or "-", ", ".join(row.against))
            lines.append(Line(tuple(cell or "-" for cell in cells), True))
        heads = ("row", "steps", "batch", "dtype", "options", "against")
        return Grid(f"rows to be timed on {self.device}", heads, tuple(lines)), needed_grid()

    def lines(self) -> tuple[str, ...]:
        """What else is to be known."""
        weights = ("random weights: no files are needed, and none are read",) if self.request.random_weights else ()
        rules = Rules()
        least = f"{rules.min_warmups} warm-ups and {rules.fewest_runs} runs of each row"
        return (f"measuring ends after about {self.request.max_s:g} s, though not before {least}", *weights)


def plan_of(request: SpeedRequest) -> Plan:
    """UserError: as rows_of, and a device that is not there."""
    device = find_device(request.device)
    kind: DeviceKind = "cuda" if device.startswith("cuda") else "cpu"
    return Plan(filled(request, kind), device, rows_of(request, kind))


def _document(row: Wanted) -> dict[str, Any]:
    options = {name: value for name, value in asdict(row.fast).items() if value not in (None, False, "off")}
    return {
        "row": row.name,
        "model": row.entry.label,
        "steps": row.entry.setting.num_steps,
        "batch": row.batch,
        "dtype": row.entry.setting.dtype,
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
        "against": list(row.against),
    }
