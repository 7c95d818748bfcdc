"""Where do the networks run, and what kind of machine is that, as far as pixels are concerned?"""

from __future__ import annotations

import os
import platform

import torch

from turbo_eval.provenance import cpu_field
from turbo_train.errors import UserError

AUTO = "auto"


def find_device(name: str = AUTO) -> str:
    """`cpu`, or `cuda:N`. auto: a GPU if there is one, under torchrun the LOCAL_RANK-th. UserError: it is not there."""
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind != "cuda" or not count or not (number.isdigit() or name == "cuda"):
        raise _no_device(name)
    index = int(number) if number else int(os.environ.get("LOCAL_RANK", "0")) % count
    if index >= count:
        raise _no_device(name)
    return f"cuda:{index}"


def _no_device(name: str) -> UserError:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return UserError(
        found=f"--device {name}, and {count} GPUs that PyTorch can use",
        expected="auto, cpu" + "".join(f", cuda:{i}" for i in range(count)),
        run_next="the same command without --device",
    )


def device_class(device: str) -> str:
    """The kind of device in a content key: `cpu AuthenticAMD AVX512`, `cuda NVIDIA H200`.

    Other kernels round differently, and oneDNN and MKL choose theirs by the CPU's maker too.
    """
    if device == "cpu":
        maker = cpu_field("vendor_id") or platform.machine()
        return f"cpu {maker} {torch.backends.cpu.get_cpu_capability()}"
    return f"cuda {torch.cuda.get_device_name(torch.device(device))}"
