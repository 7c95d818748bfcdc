"""Where, with what and by which command was a result made? Recorded beside the scores, never among them.

Imports nothing heavy: package versions come from their metadata, and torch is asked only if it is loaded already.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "turbo-video",
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "peft",
    "accelerate",
    "safetensors",
    "av",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "scipy",
    "vbench",
)
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RANK",
    "WORLD_SIZE",
    "SLURM_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
)


@dataclass(frozen=True)
class Environment:
    """The machine, the software and the command line. git_* are None outside a checkout of this project.

    git_dirty_sha256: of `git diff HEAD`, None when nothing is changed. variables: environment variables that matter.
    """

    host: str
    pid: int
    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    gpus: tuple[str, ...]
    gpu_driver: str | None
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    git_dirty_sha256: str | None
    variables: dict[str, str]
    argv: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for results.json."""
        return asdict(self)


def environment() -> Environment:
    """What is true of this process now."""
    commit, dirty, changes = _git()
    return Environment(
        host=platform.node(),
        pid=os.getpid(),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        cores=_cores(),
        threads=_threads(),
        gpus=_gpus(),
        gpu_driver=_driver(),
        packages=_versions(),
        git_commit=commit,
        git_dirty=dirty,
        git_dirty_sha256=changes,
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        argv=tuple(sys.argv),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")  # Linux; platform.processor() is empty there
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    declared = os.environ.get("OMP_NUM_THREADS", "")
    return int(declared) if declared.isdigit() else _cores()


def _gpus() -> tuple[str, ...]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _driver() -> str | None:
    """The NVIDIA driver's version, where the kernel module says it."""
    path = Path("/proc/driver/nvidia/version")
    if not path.exists():
        return None
    first = path.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    return first.partition(":")[2].strip()


def _git() -> tuple[str | None, bool | None, str | None]:
    """(commit, dirty, sha256 of the changes). Asked only where this very file is tracked.

    An environment that lies inside another project's checkout is not that project.
    """
    here = Path(__file__).resolve()

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *arguments], capture_output=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None, None, None
    commit, status = git("rev-parse", "--verify", "HEAD"), git("status", "--porcelain")
    changes = git("diff", "HEAD", "--binary") if status else None
    return (
        commit.decode().strip() if commit is not None else None,
        None if status is None else bool(status.strip()),
        hashlib.sha256(changes).hexdigest() if changes else None,
    )
