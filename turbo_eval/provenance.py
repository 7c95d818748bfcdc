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

CODE = ("turbo_eval", "turbo_train")  # untracked files in these folders may run
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

    git_dirty_sha256: of everything that differs from the commit (changes_sha256), None when nothing does.
    variables: environment variables that matter.
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
        cores=cores(),
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


def cpu_field(name: str) -> str | None:
    """What Linux says of the first processor, such as its `vendor_id`; None where it does not say it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return None


def _cpu() -> str:
    return cpu_field("model name") or platform.processor() or platform.machine()  # processor() is empty on Linux


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    declared = os.environ.get("OMP_NUM_THREADS", "")
    return int(declared) if declared.isdigit() else cores()


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
    if _ask_git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None, None, None
    commit, top = _ask_git(here.parent, "rev-parse", "HEAD"), _ask_git(here.parent, "rev-parse", "--show-toplevel")
    if commit is None or top is None:
        return None, None, None
    root = Path(os.fsdecode(top).rstrip("\n"))
    status = _status(root)
    return commit.decode().strip(), None if status is None else bool(status), changes_sha256(root)


def changes_sha256(root: Path) -> str | None:
    """Of what differs from the commit of a checkout; None when nothing does, or git does not say.

    The status with every untracked file's name, the diff, and the bytes of the untracked files among the CODE.
    """
    status, diff = _status(root), _ask_git(root, "diff", "HEAD", "--binary")
    untracked = _ask_git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *CODE)
    if not status or diff is None or untracked is None:
        return None
    digest = hashlib.sha256(status + b"\0" + diff)
    for name in sorted(filter(None, untracked.split(b"\0"))):
        path = root / os.fsdecode(name)
        content = path.read_bytes() if path.is_file() else b""  # it may be gone by now
        digest.update(b"%s\0%d\0" % (name, len(content)) + content)
    return digest.hexdigest()


def _status(root: Path) -> bytes | None:
    return _ask_git(root, "status", "--porcelain", "-z", "--untracked-files=all")


def _ask_git(folder: Path, *arguments: str) -> bytes | None:
    """What git prints, or None where it cannot answer."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
