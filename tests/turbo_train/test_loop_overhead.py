"""How much of a step on the world's preset is not spent in its networks?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import logged, quietly

from turbo_train.presets import find_preset


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loop_costs_less_than_a_twentieth_of_a_step(tmp_path: Path) -> None:
    """A ratio of one run, whose networks and loop share the machine's load; the first step warms up."""
    config = replace(find_preset("world-turbo").config, steps=4, save_every=0, log_every=1)
    quietly(config, tmp_path)
    steps = logged(tmp_path, "step")[1:]
    outside_s = sum(entry["step_s"] - entry["network_s"] for entry in steps)
    assert outside_s < 0.05 * sum(entry["step_s"] for entry in steps)
