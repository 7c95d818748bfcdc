"""Are the rates of this machine those of products and copies, and is the product neither too short nor too long?"""

from __future__ import annotations

import time

import psutil
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


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turbo_eval.generators.rates.BUFFER_BYTES", 2**26)


@pytest.mark.parametrize("tflops", [1e-3, 0.1, 1.0, 60.0, 800.0, 5000.0])
@pytest.mark.parametrize("launch_s", [0.0, 5e-6])
def test_a_product_of_10_to_50_ms_is_found_on_any_machine(tflops: float, launch_s: float) -> None:
    def seconds(side: int) -> float:
        return launch_s + 2 * side**3 / (tflops * 1e12)

    assert SHORTEST_S <= seconds(fitting_side(seconds)) <= LONGEST_S


def test_the_search_ends_where_no_size_fits() -> None:
    assert fitting_side(lambda side: 1e-9) > 0 and fitting_side(lambda side: 100.0) > 0


def test_the_best_of_several_counts_and_the_first_not() -> None:
    waits = iter([0.0, 0.02, 0.005, 0.02, 0.02, 0.02])
    assert 0.005 <= best_s(lambda: time.sleep(next(waits)), "cpu", 0) < 0.02
    assert next(waits, None) is None


def test_the_rate_is_that_of_a_product_of_ones_own() -> None:
    rate = matmul_tflops("cpu", "float32", 0.1)
    a = torch.rand(768, 768)
    spent = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        spent.append(time.perf_counter() - start)
    own = 2 * 768**3 / min(spent) / 1e12
    assert own / 4 < rate < own * 4  # the machine may be busy with something else now and then


def test_a_copy_counts_what_is_read_and_what_is_written() -> None:
    rate = copy_gb_s("cpu", 0.1)
    source, copied = torch.ones(2**24), torch.ones(2**24)
    spent = best_s(lambda: copied.copy_(source), "cpu", 0.1)
    own = 2 * source.nbytes / spent / 1e9
    assert own / 4 < rate < own * 4
    assert buffer_bytes("cpu") * 16 <= psutil.virtual_memory().available * 1.2


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
