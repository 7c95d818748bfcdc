"""How often must something be measured to find a slow-down, before anything is measured? For `speed --plan`.

Two-sided, at POWER, for runs whose times scatter by a coefficient of variation (power.py).
"""

from __future__ import annotations

from turbo_eval.timing.cells import Grid, Line
from turbo_eval.timing.power import MOST_RUNS, runs_needed
from turbo_eval.timing.sentences import POWER

CVS = (0.01, 0.02, 0.05)
SLOW_DOWNS = (0.01, 0.02, 0.03, 0.05, 0.10)


def needed() -> dict[float, dict[float, int | None]]:
    """Coefficient of variation -> slow-down -> runs of each of the two that are compared; None: over MOST_RUNS."""
    return {cv: {slow_down: runs_needed(cv, slow_down, POWER) for slow_down in SLOW_DOWNS} for cv in CVS}


def needed_grid() -> Grid:
    """The same as a table, in percent."""
    heads = ("CV of a run", *(f"{100 * slow_down:g} % slower" for slow_down in SLOW_DOWNS))
    many = f"over {MOST_RUNS}"
    lines = tuple(
        Line((f"{100 * cv:g} %", *(many if n is None else str(n) for n in runs.values())), True)
        for cv, runs in needed().items()
    )
    return Grid(f"runs of each row to find a slow-down with {100 * POWER:.0f} % power", heads, lines)
