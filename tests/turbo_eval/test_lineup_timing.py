"""Does one of a kind stand for the others of a line-up, and are its numbers kept?"""

from __future__ import annotations

import math
from pathlib import Path

from turbo_eval.records import Prompt
from turbo_eval.timing.lineup_latency import (
    FILE,
    LineupLatency,
    measure_lineup,
    read_lineup_latency,
    stand_ins,
    write_lineup_latency,
)
from turbo_eval.timing.stop_rule import Rules


class Counting:
    """A generator whose clips take `rows` rows of its network."""

    def __init__(self, rows: int) -> None:
        self.rows, self.each = 0, rows
        self.denoiser = self

    def generate(self, prompts: object, sample_indices: object, seed: int) -> None:
        self.rows += self.each


def test_one_of_a_kind_is_loaded_and_its_numbers_are_kept(tmp_path: Path) -> None:
    names = stand_ins({"teacher": 1, "turbo": 2, "vcm": 2, "vcm-8": 3})
    assert names == {"teacher": "teacher", "turbo": "turbo", "vcm": "turbo", "vcm-8": "vcm-8"}
    loaded: list[str] = []

    def load(name: str) -> Counting:
        loaded.append(name)
        return Counting({"teacher": 100, "turbo": 4, "vcm-8": 8}[name])

    measured = measure_lineup(load, names, Prompt("p", "a prompt"), 0, Rules(half_width=math.inf))
    assert loaded == ["teacher", "turbo", "vcm-8"]
    assert measured.evaluations == {"teacher": 100, "turbo": 4, "vcm-8": 8}
    assert measured.times_faster("vcm", "turbo") == (1.0, 1.0, 1.0)
    write_lineup_latency(tmp_path, measured, {"cpu": "x"})
    again = read_lineup_latency(tmp_path, {"cpu": "x"})
    assert isinstance(again, LineupLatency) and again == measured
    assert read_lineup_latency(tmp_path, {"cpu": "y"}) is None
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("interleaved", "in turn"))
    assert read_lineup_latency(tmp_path, {"cpu": "x"}) is None
    (tmp_path / FILE).write_text('{"machine": {"cpu": "x"}, "per_cl')
    assert read_lineup_latency(tmp_path, {"cpu": "x"}) is None
