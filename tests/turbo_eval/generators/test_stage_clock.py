"""Do marks become seconds, and does the wall clock know what nobody marked?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.generators.stage_clock import DeviceClock, HostClock, clock_for, harness_s
from turbo_eval.generators.timed import TimedCall, load_timed
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_eval.timing.record import DECODE, DENOISING, ENCODE, FIRST, REMAINING, STAGES, TEXT, WALL

PROMPT = Prompt("p-0", "a red circle moves left")
CPU = torch.device("cpu")


def clock_at(*times_s: float) -> HostClock:
    """A clock whose readings are these."""
    readings: Iterator[float] = iter(times_s)
    return HostClock(lambda: next(readings))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> TimedCall:
    entry = find_model("world-turbo")
    generator = LatentGenerator(load_timed(entry, "cpu").model, entry.setting, batch=1)
    return TimedCall(generator, [PROMPT], 0, tmp_path_factory.mktemp("clips"))


def test_stages_last_from_mark_to_mark() -> None:
    clock = clock_at(10, 10, 11, 13, 17, 25, 41, 41)
    clock.start()
    for stage in (*STAGES, None):
        clock.mark(stage)
    assert clock.stop() == {TEXT: 1, FIRST: 2, REMAINING: 4, DECODE: 8, ENCODE: 16, WALL: 31}


def test_what_nobody_marked_is_a_gap_between_the_stages_and_the_wall() -> None:
    clock = clock_at(0, 1, 2, 5, 6, 8)
    clock.start()
    for stage in (TEXT, None, ENCODE, None):
        clock.mark(stage)
    spent = clock.stop()
    assert spent == {TEXT: 1, FIRST: 0, REMAINING: 0, DECODE: 0, ENCODE: 1, WALL: 8}


def test_a_stage_that_comes_twice_is_summed_and_the_next_call_begins_anew() -> None:
    clock = clock_at(0, 0, 1, 4, 9, 9, 20, 21)
    clock.start()
    for stage in (TEXT, FIRST, TEXT, None):
        clock.mark(stage)
    spent = clock.stop()
    assert (spent[TEXT], spent[FIRST], spent[WALL]) == (1 + 5, 3, 9)
    clock.start()
    assert clock.stop() == {**dict.fromkeys(STAGES, 0), WALL: 1}


def test_a_stage_that_is_not_ended_lasts_to_the_end() -> None:
    clock = clock_at(0, 1, 3)
    clock.start()
    clock.mark(DECODE)
    assert clock.stop()[DECODE] == 2


def test_stages_of_the_embedded_student_add_up_to_the_wall(student: TimedCall) -> None:
    student()
    runs = [student() for _ in range(4)]
    for run in runs:
        assert list(run) == [*STAGES, WALL]
        assert all(run[stage] > 0 for stage in STAGES)
        assert sum(run[stage] for stage in STAGES) <= run[WALL]
    # another process may take the processor between two marks, hardly four times in a row
    assert max(sum(run[stage] for stage in STAGES) / run[WALL] for run in runs) >= 0.98
    assert max(run[REMAINING] / run[FIRST] for run in runs) > 1.5  # three steps against one


def test_measuring_costs_less_than_half_a_percent_of_a_call(student: TimedCall) -> None:
    assert 0 < harness_s(CPU) < 0.005 * min(student()[WALL] for _ in range(2))


def slowed(function: Callable[..., object], delay_s: float) -> Callable[..., object]:
    def late(*arguments: object, **options: object) -> object:
        time.sleep(delay_s)
        return function(*arguments, **options)

    return late


@pytest.mark.parametrize("stage", [TEXT, DECODE, ENCODE])
def test_slow_work_is_found_in_its_stage_alone(
    tiny_student: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, delay_s = find_model(str(tiny_student)), 0.15
    model = load_timed(entry, "cpu").model
    tiny = TimedCall(LatentGenerator(model, entry.setting, batch=1), [PROMPT], 0, tmp_path)
    tiny()
    before = tiny()
    if stage == ENCODE:
        from turbo_eval.generators import timed

        monkeypatch.setattr(timed, "encode_mp4", slowed(timed.encode_mp4, delay_s))
    else:
        part, name = (model.text, "forward") if stage == TEXT else (model.vae, "decode")
        monkeypatch.setattr(part, name, slowed(getattr(part, name), delay_s))
    after = tiny()
    grown = {name: after[name] - before[name] for name in STAGES}
    assert max(grown, key=lambda name: grown[name]) == stage
    assert grown[stage] > 0.9 * delay_s and sum(after[name] for name in STAGES) / after[WALL] > 0.9


def test_a_cpu_has_no_events() -> None:
    assert type(clock_for(CPU)) is HostClock


@pytest.mark.gpu
def test_events_add_up_to_the_wall_on_a_gpu(tmp_path: Path) -> None:
    entry = find_model("world-turbo")
    model = load_timed(entry, "cuda").model
    call = TimedCall(LatentGenerator(model, entry.setting, batch=1), [PROMPT], 0, tmp_path)
    assert isinstance(clock_for(call.device), DeviceClock)
    for _ in range(3):
        call()
    runs = [call() for _ in range(5)]
    for run in runs:
        assert all(run[stage] > 0 for stage in STAGES)
    assert min(abs(sum(run[stage] for stage in STAGES) / run[WALL] - 1) for run in runs) <= 0.02
    denoising = [sum(run[stage] for stage in DENOISING) for run in runs]
    assert harness_s(call.device) < 0.005 * min(run[WALL] for run in runs) and min(denoising) > 0


@pytest.mark.gpu
def test_events_time_the_device_and_not_the_host() -> None:
    device = torch.device("cuda")
    x = torch.randn(4096, 4096, device=device)
    clock = DeviceClock(device)
    x @ x
    clock.start()
    clock.mark(FIRST)
    asked_s = time.perf_counter()
    for _ in range(20):
        x @ x  # asked for in microseconds
    asked_s = time.perf_counter() - asked_s
    clock.mark(None)
    spent = clock.stop()
    assert spent[FIRST] > 2 * asked_s and spent[FIRST] > 0.9 * spent[WALL]
