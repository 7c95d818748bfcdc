"""On what hardware and with which software was something timed? Two timings are compared only where these agree.

In a fingerprint is what may change a time. Not in it is what only says which machine or which checkout it was: names
of hosts, serial numbers, and our own code, for a regression is looked for between two commits of ours (`code`).
Of Python and the kernel the first two numbers, for their patches come weekly and mend. Plain JSON values alone.
Imports nothing heavy: torch is asked only if it is loaded already.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

import psutil

from turbo_eval.provenance import cores, environment
from turbo_eval.timing.gpu_watch import Gpu, find_gpu

GIB = 2**30
PACKAGES = ("torch", "triton", "diffusers", "transformers", "numpy", "av")  # av: its FFmpeg encodes the clips
VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
OURS = "turbo-video"


def hardware(device: str) -> dict[str, object]:
    """Of the machine as this process may use it. device: torch's name. KeyError: a GPU, but torch is not loaded."""
    env = environment()
    found: dict[str, object] = {
        "device": device.partition(":")[0],
        "cpu": env.cpu,
        "cores": cores(),
        "threads": env.threads,
        "memory_gib": round(psutil.virtual_memory().total / GIB),
    }
    if not device.startswith("cuda"):
        return found
    properties = sys.modules["torch"].cuda.get_device_properties(device)
    gpu = find_gpu(device)
    return {
        **found,
        "gpu": str(properties.name),
        "gpu_memory_gib": round(properties.total_memory / GIB),
        "gpu_multiprocessors": int(properties.multi_processor_count),  # fewer in a part of a GPU (MIG)
        "gpu_max_mhz": gpu.max_mhz() if isinstance(gpu, Gpu) else None,
        "gpu_power_limit_w": power_limit_w(gpu) if isinstance(gpu, Gpu) else None,
    }


def software() -> dict[str, object]:
    """Of everything below our own code. None: not installed, not loaded, or not asked for (CUDA on a CPU)."""
    torch: Any = sys.modules.get("torch")
    return {
        "python": f"{sys.implementation.name} {_first_two(platform.python_version())}",
        "system": f"{platform.system()} {_first_two(platform.release())} {platform.machine()}",
        **{package: _version(package) for package in PACKAGES},
        "cuda": torch and torch.version.cuda,
        "cudnn": torch and torch.backends.cudnn.version(),
        "driver": _driver(torch),
        "matmul_precision": torch and torch.get_float32_matmul_precision(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def code() -> dict[str, object]:
    """Of ours: version, commit, and a hash of what differs from it. Recorded beside, in no fingerprint."""
    env = environment()
    return {
        "version": _version(OURS),
        "git_commit": env.git_commit,
        "git_dirty_sha256": env.git_dirty_sha256,
    }


def power_limit_w(gpu: Gpu) -> float | None:
    """The limit in force, in watts."""
    limit_mw = gpu.ask("EnforcedPowerLimit")
    return None if limit_mw is None else round(limit_mw / 1000)


def _driver(torch: Any) -> str | None:
    """NVIDIA's, where it is used."""
    if torch is None or not torch.cuda.is_available():
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _first_two(version: str) -> str:
    return ".".join(version.split(".")[:2])
