"""Are the rates of this machine those of products and copies, and is the product neither too short nor too long?"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from turbo_eval.generators.rates import (
    LONGEST_S,
    SHORTEST_S,
    TF32,
    best_s,
    buffer_bytes,
    copy_gb_s,
    fitting_side,
    matmul_tflops,
    measure_rates,
)
from turbo_train.nets.counted import Counted

BUFFER = 2**26


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turbo_eval.generators.rates.BUFFER_BYTES", BUFFER)


@pytest.mark.parametrize("tflops", [1e-3, 0.1, 1.0, 60.0, 800.0, 5000.0])
@pytest.mark.parametrize("launch_s", [0.0, 5e-6])
def test_a_product_of_10_to_50_ms_is_found_on_any_machine(tflops: float, launch_s: float) -> None:
    def seconds(side: int) -> float:
        return launch_s + 2 * side**3 / (tflops * 1e12)

    assert SHORTEST_S <= seconds(fitting_side(seconds)) <= LONGEST_S


def test_the_search_ends_where_no_size_fits() -> None:
    assert fitting_side(lambda side: 1e-9) > 0 and fitting_side(lambda side: 100.0) > 0


def test_the_best_of_several_counts_and_the_first_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now, spent = [0.0], iter([0.001, 0.02, 0.005, 0.03, 0.04, 0.02, 0.004])

    def work() -> None:
        now[0] += next(spent)

    monkeypatch.setattr("turbo_eval.generators.rates.time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert best_s(work, "cpu", 0) == pytest.approx(0.005) and next(spent) == 0.004
    spent = iter([0.02, *[0.03] * 9, 0.01])
    assert best_s(work, "cpu", 0.25) == pytest.approx(0.03) and next(spent) == 0.01


def test_the_rate_is_of_the_operations_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that does 0.05 TFLOP/s, whatever work it is given."""

    def seconds(work: Callable[[], object], *_: object, **__: object) -> float:
        with Counted() as counted:
            work()
        return counted.flops.total() / 0.05e12

    monkeypatch.setattr("turbo_eval.generators.rates.best_s", seconds)
    for dtype in ("float32", "bfloat16"):
        assert matmul_tflops("cpu", dtype, 0.1) == pytest.approx(0.05)


def test_a_copy_counts_what_is_read_and_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[torch.Tensor] = []

    def seconds(work: Callable[[], object], *_: object, **__: object) -> float:
        done = work()
        assert isinstance(done, torch.Tensor) and bool((done == 1).all())
        copied.append(done)
        return 0.01

    monkeypatch.setattr("turbo_eval.generators.rates.best_s", seconds)
    assert copy_gb_s("cpu", 0.1) == pytest.approx(2 * copied[0].nbytes / 0.01 / 1e9)
    assert copied[0].nbytes in (buffer_bytes("cpu"), BUFFER)


def test_one_rate_for_each_dtype_that_is_asked_for() -> None:
    rates = measure_rates("cpu", ("float32", "bfloat16", "float32"), spend_s=0.1)
    assert set(rates.matmul_tflops) == {"float32", "bfloat16"}
    assert all(rate > 0 for rate in (*rates.matmul_tflops.values(), rates.copy_gb_s))


@pytest.mark.gpu
def test_of_a_gpu_16_bits_are_faster_and_precision_is_left_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    rates = measure_rates("cuda", ("float32", "bfloat16"))
    assert rates.matmul_tflops["bfloat16"] > rates.matmul_tflops["float32"]
    assert rates.matmul_tflops[TF32] >= rates.matmul_tflops["float32"] * 0.9
    assert torch.get_float32_matmul_precision() == before and rates.copy_gb_s > 50
