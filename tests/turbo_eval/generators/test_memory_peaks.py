"""Is the most memory of a stage that stage's?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from turbo_eval.generators import memory_peaks as module
from turbo_eval.generators.latent import Mark
from turbo_eval.generators.memory_peaks import SINCE_BEGUN, memory_peaks
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, TEXT, WALL

MB = 1 << 20
CPU = torch.device("cpu")


def work(hold: Callable[[int], object]) -> Callable[[Mark], None]:
    """64 MB in the first step, 128 in the others, none in the decoding; the text twice, with 32 at first."""

    def call(mark: Mark) -> None:
        for stage, size in ((TEXT, 32), (FIRST, 64), (REMAINING, 128), (DECODE, 0), (TEXT, 0)):
            mark(stage)
            held = hold(size * MB)
            del held
        mark(None)

    return call


def can_count_anew() -> bool:
    try:
        module.CLEAR.write_text("5")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not can_count_anew(), reason="this system does not let a process reset VmHWM")
def test_the_most_of_a_process_in_each_stage() -> None:
    peaks = memory_peaks(work(lambda size: np.ones(size, np.uint8)), CPU)
    assert peaks.note == "" and list(peaks.by_stage) == [TEXT, FIRST, REMAINING, DECODE]
    sizes = {stage: peak.rss_bytes or 0 for stage, peak in peaks.by_stage.items()}
    least = sizes[DECODE]
    for stage, size in ((TEXT, 32), (FIRST, 64), (REMAINING, 128)):
        assert (sizes[stage] - least) / MB == pytest.approx(size, abs=8)
    assert all(peak.reserved_bytes is None and peak.allocated_bytes is None for peak in peaks.by_stage.values())


def test_where_the_system_does_not_count_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLEAR", tmp_path / "none" / "clear_refs")
    done: list[str | None] = []
    peaks = memory_peaks(lambda mark: done.append("called"), CPU)
    assert done == ["called"] and peaks.note == SINCE_BEGUN
    (peak,) = peaks.by_stage.values()
    assert list(peaks.by_stage) == [WALL] and (peak.rss_bytes or 0) > 30 * MB


@pytest.mark.gpu
def test_the_most_of_a_gpu_in_each_stage() -> None:
    device = torch.device("cuda")
    peaks = memory_peaks(work(lambda size: torch.ones(size, dtype=torch.uint8, device=device)), device).by_stage
    least = peaks[DECODE].allocated_bytes or 0
    for stage, size in ((TEXT, 32), (FIRST, 64), (REMAINING, 128)):
        assert (peaks[stage].allocated_bytes or 0) - least == size * MB
        assert (peaks[stage].reserved_bytes or 0) >= (peaks[stage].allocated_bytes or 0)
        assert peaks[stage].rss_bytes is None
