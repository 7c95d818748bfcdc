"""How many operations a second does a GPU do? Published dense peaks, of which one share is assumed, or --tflops.

The share is an assumption, not a measurement: what is published of video models lies around it, all in 16 bits. 15 % of
the peak: T2V-Turbo of VideoCrafter2 in 1.41 s on an RTX 6000 Ada (NoisEasier); 38 %: Wan2.1-1.3B on an H200, 72 % after
compilation (FastWan). Networks that wait for memory, such as RAFT's updates, and small batches stay below.
float32 on a GPU is two rates, as torch has it by default: matrix products in float32, convolutions in TF32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from turbo_eval.provenance import cores
from turbo_train.errors import UserError, near

ASSUMED_SHARE = 0.4
CPU = "cpu"


@dataclass(frozen=True)
class Gpu:
    """Peaks in TFLOP/s without sparsity, of the data sheet. half: bfloat16 and float16 with float32 sums."""

    title: str
    float32: float
    tf32: float
    half: float


# NVIDIA's data sheets of H100 SXM, H200 SXM, A100 80 GB, L40S; white papers of Ada and Ampere for the others.
GPUS = {
    "h100": Gpu("H100 SXM", 67, 494, 989),
    "h200": Gpu("H200 SXM", 67, 494, 989),
    "a100": Gpu("A100", 19.5, 156, 312),
    "l40s": Gpu("L40S", 91.6, 183, 362),
    "rtx6000ada": Gpu("RTX 6000 Ada", 91.1, 182, 364),
    "rtx4090": Gpu("RTX 4090", 82.6, 82.6, 165),
    "rtx3090": Gpu("RTX 3090", 35.6, 35.6, 71),
}
CPU_CORE_TFLOPS = 0.19  # AVX-512 with two units: 64 operations a cycle at 3 GHz; bfloat16 gains nothing for certain


@dataclass(frozen=True)
class Rate:
    """TFLOP/s that are reckoned with. basis: the assumption behind them, for people."""

    products: float
    convolutions: float
    basis: str


@dataclass(frozen=True)
class Machine:
    """What hours are asked for: a GPU of the table or cpu, or a rate. Either may be missing, not both."""

    gpu: str | None = None
    tflops: float | None = None
    threads: int | None = None

    @property
    def at_once(self) -> int:
        """Pairs of frames in one pass of RAFT, as raft.py has it."""
        return 1 if self.gpu == CPU else 8

    def rate(self, dtype: str) -> Rate:
        """Of networks in that dtype (float32, or any of 16 bits)."""
        if self.tflops is not None:
            return Rate(self.tflops, self.tflops, f"counted operations at {self.tflops:g} TFLOP/s, as --tflops says")
        assert self.gpu is not None
        if self.gpu == CPU:
            count = self.threads or cores()
            products = convolutions = CPU_CORE_TFLOPS * count
            what = f"{count} core{'s' if count > 1 else ''} of {CPU_CORE_TFLOPS:g} TFLOP/s with AVX-512"
        elif dtype == "float32":
            gpu = GPUS[self.gpu]
            products, convolutions = gpu.float32, gpu.tf32
            what = f"{gpu.title}: {products:g} TFLOP/s float32, {convolutions:g} TF32 for convolutions"
        else:
            gpu = GPUS[self.gpu]
            products = convolutions = gpu.half
            what = f"{gpu.title}: {gpu.half:g} TFLOP/s in 16 bits"
        share = f"{ASSUMED_SHARE:.0%}".replace("%", " %")
        basis = f"counted operations; {share} of the peak assumed, not measured here ({what})"
        return Rate(ASSUMED_SHARE * products, ASSUMED_SHARE * convolutions, basis)


def machine_of(gpu: str | None, tflops: float | None, threads: int | None = None) -> Machine | None:
    """Of --gpu and --tflops; None where neither was given. UserError: an unknown GPU, no positive rate."""
    if gpu is None and tflops is None:
        return None
    name = None if gpu is None else gpu.strip().lower().replace(" ", "").replace("-", "").replace("_", "")
    if name is not None and name != CPU and name not in GPUS:
        names = (*GPUS, CPU)
        raise UserError(
            found=f"unknown GPU {gpu!r}{near(name, names)}",
            expected=f"one of {', '.join(names)}",
            run_next="--tflops X with the TFLOP/s that your GPU reaches, for any other",
        )
    if tflops is not None and not (math.isfinite(tflops) and tflops > 0):
        raise UserError(
            found=f"--tflops {tflops:g}",
            expected="the TFLOP/s that the networks reach, more than 0",
            run_next="--gpu h200 for an assumption instead",
        )
    return Machine(name, tflops, threads)
