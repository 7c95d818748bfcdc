"""Where, with what and by which command was a result made? Recorded beside the scores, never among them.

Imports nothing heavy: package versions come from their metadata, and torch is asked only if it is loaded already.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Environment:
    """The machine, the software and the command line. git_* are None outside a checkout of this project."""

    python: str
    platform: str
    cpu: str
    cores: int
    threads: int
    gpus: tuple[str, ...]
    packages: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    argv: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for results.json."""
        return asdict(self)


def environment() -> Environment:
    """What is true of this process now."""
    commit, dirty = _git()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        cores=_cores(),
        threads=_threads(),
        gpus=_gpus(),
        packages=_versions(),
        git_commit=commit,
        git_dirty=dirty,
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


def _git() -> tuple[str | None, bool | None]:
    """(commit, dirty). Asked only where this very file is tracked: an environment inside another project is not."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here.parent), *arguments], capture_output=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None, None
    commit, status = git("rev-parse", "--verify", "HEAD"), git("status", "--porcelain")
    return commit, None if status is None else bool(status)
