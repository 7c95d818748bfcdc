"""What does this machine reach at best: operations a second in a matrix product, bytes a second in a copy?

    TFLOP/s = 2 n^3 / t of an n x n product, n such that t is 10 to 50 ms
    GB/s = 2 x bytes / t of a copy (read and written)

The best of several after a warm-up, for a rate is a bound; CUDA events on a GPU, perf_counter on a CPU. Against the
measured rate a network is judged, not against a data sheet's, which no clock and no power limit reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import psutil
import torch

from turbo_eval.timing.record import Rates

TF32 = "tf32"
SHORTEST_S, LONGEST_S, AIMED_S = 0.010, 0.050, 0.025
FIRST_SIDE, STEP = 256, 64  # of the product; sides are multiples of STEP, as tensor cores want them
SIZINGS = 8  # attempts to find the side
RUNS = 5  # at least, of which the best counts
BUFFER_BYTES = 2**30  # of a copy's source: more than the caches (an H200's L2: 50 MB; L3 of CPUs: up to 1.1 GB in all)
BUFFER_SHARE = 32  # at most 1 / BUFFER_SHARE of the free memory
CopyOrProduct = Callable[[], object]


def measure_rates(device: str, dtypes: Sequence[str], spend_s: float = 2.0) -> Rates:
    """Of torch's device, for networks in these dtypes (float32, bfloat16, float16); about spend_s in all.

    With the present number of threads and torch's present precision of float32 products. Where networks are in float32
    on a GPU, TF32 besides: torch computes their convolutions in it, unless it is told not to.
    """
    dtypes = tuple(dict.fromkeys(dtypes))
    each_s = spend_s / (len(dtypes) + 1)
    matmul = {dtype: matmul_tflops(device, dtype, each_s) for dtype in dtypes}
    if device.startswith("cuda") and "float32" in dtypes and torch.backends.cudnn.allow_tf32:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            matmul[TF32] = matmul_tflops(device, "float32", each_s)
        finally:
            torch.set_float32_matmul_precision(precision)
    copy = copy_gb_s(device, each_s)
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # or the rows' reserved memory would begin with what was reserved here
    return Rates(matmul, copy)


def matmul_tflops(device: str, dtype: str, spend_s: float) -> float:
    """TFLOP/s of the best product. The search for its size is not in spend_s."""

    def product(side: int) -> CopyOrProduct:
        a, b, out = (torch.rand(side, side, device=device).to(getattr(torch, dtype)) for _ in range(3))
        return lambda: torch.mm(a, b, out=out)

    with torch.inference_mode():
        side = fitting_side(lambda side: best_s(product(side), device, 0, runs=2))
        return 2 * side**3 / best_s(product(side), device, spend_s) / 1e12


def copy_gb_s(device: str, spend_s: float) -> float:
    """GB/s, read and written ones counted both."""
    numbers = buffer_bytes(device) // 4
    with torch.inference_mode():
        # ones: pages of zeros may all be one page, which lies in the cache
        source, copied = (torch.ones(numbers, device=device) for _ in range(2))
        return 2 * 4 * numbers / best_s(lambda: copied.copy_(source), device, spend_s) / 1e9


def buffer_bytes(device: str) -> int:
    """Of a copy's source."""
    on_gpu = device.startswith("cuda")
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else psutil.virtual_memory().available
    return min(BUFFER_BYTES, int(free) // BUFFER_SHARE)


def fitting_side(seconds_of: Callable[[int], float]) -> int:
    """The side of a product that takes SHORTEST_S to LONGEST_S, or as near as SIZINGS attempts come."""
    side = FIRST_SIDE
    for _ in range(SIZINGS):
        spent_s = seconds_of(side)
        if SHORTEST_S <= spent_s <= LONGEST_S:
            break
        factor = min(4.0, max(0.25, (AIMED_S / spent_s) ** (1 / 3)))  # a tiny product's time is mostly its launch
        side = max(STEP, round(side * factor / STEP) * STEP)
    return side


def best_s(work: CopyOrProduct, device: str, spend_s: float, runs: int = RUNS) -> float:
    """Seconds of the fastest of at least `runs` runs, after one that does not count."""
    seconds = _event_s if device.startswith("cuda") else _clock_s
    work()
    best = float("inf")
    done, until_s = 0, time.perf_counter() + spend_s
    while done < runs or time.perf_counter() < until_s:
        best = min(best, seconds(work, device))
        done += 1
    return best


def _clock_s(work: CopyOrProduct, device: str) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _event_s(work: CopyOrProduct, device: str) -> float:
    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3
