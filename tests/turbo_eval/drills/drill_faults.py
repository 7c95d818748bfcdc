"""What may go wrong in a worker? Each function changes the process that it is called in; plans name them."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NO_MOUNT = 77  # this machine lets nobody mount
AT_END: list[Callable[[], object]] = []


def slow(seconds: float) -> None:
    """Each micro-batch takes so much longer."""
    from turbo_eval.generators.latent import LatentGenerator

    real = LatentGenerator.generate

    def generate(*arguments: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return real(*arguments, **named)

    LatentGenerator.generate = generate  # type: ignore[method-assign]


def signals(numbers: list[int], at: int) -> None:
    """The at-th micro-batch (from 1) begins with these signals to its own process."""
    from turbo_eval.generators.latent import LatentGenerator

    real, calls = LatentGenerator.generate, [0]

    def generate(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        for number in numbers if calls[0] == at else ():
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # a handler runs between two steps of the interpreter
        return real(*arguments, **named)

    LatentGenerator.generate = generate  # type: ignore[method-assign]


def lost_lease(leases: str) -> None:
    """While the first micro-batch is made its lease is taken by somebody else, who then dies."""
    from turbo_eval.generators.latent import LatentGenerator

    real, left = LatentGenerator.generate, [1]

    def generate(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] = 0
            (lease,) = Path(leases).glob("*.1")
            lease.with_suffix(".2").write_text("gone-1-ab", encoding="ascii")
        return real(*arguments, **named)

    LatentGenerator.generate = generate  # type: ignore[method-assign]


def signal_in(place: str, number: int) -> None:
    """The first call of `module.function` begins with this signal to its own process."""
    module_name, _, name = place.rpartition(".")
    module = importlib.import_module(module_name)
    real, left = getattr(module, name), [1]

    def call(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] = 0
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        return real(*arguments, **named)

    setattr(module, name, call)


def failing(times: int, prompt: str = "", error: str = "RuntimeError", message: str = "a bug") -> None:
    """The first `times` micro-batches that hold this prompt (default: any) raise."""
    import torch

    from turbo_eval.generators.latent import LatentGenerator

    kind = {"RuntimeError": RuntimeError, "MemoryError": MemoryError, "torch": torch.OutOfMemoryError}[error]
    real, left = LatentGenerator.generate, [times]

    def generate(self: Any, prompts: Any, samples: Any, seed: int) -> Any:
        if left[0] and (not prompt or prompt in {p.prompt_id for p in prompts}):
            left[0] -= 1
            raise kind(message)
        return real(self, prompts, samples, seed)

    LatentGenerator.generate = generate  # type: ignore[method-assign]


def scoring_fails(metric: str, times: int) -> None:
    """The first `times` scorings of the metric raise."""
    from turbo_eval import encoder_choice

    real, left = encoder_choice.build_scorers, [times]

    def build(*asked: Any, **named: Any) -> Any:
        built = real(*asked, **named)
        for scorer in built.scorers:
            if scorer.metric == metric:
                score = scorer.score

                def raising(clip: Any, features: Any, score: Any = score) -> Any:
                    if left[0]:
                        left[0] -= 1
                        raise RuntimeError("a broken scorer")
                    return score(clip, features)

                scorer.score = raising
        return built

    encoder_choice.build_scorers = build  # type: ignore[assignment]


def decoder_memory(frames: int) -> None:
    """The decoder runs out of memory when it is given more than so many frames at a time."""
    import torch
    from diffusers import AutoencoderKL

    real = AutoencoderKL.decode

    def decode(self: Any, z: Any, *arguments: Any, **named: Any) -> Any:
        if len(z) > frames:
            raise torch.OutOfMemoryError(f"no memory for {len(z)} frames")
        return real(self, z, *arguments, **named)

    AutoencoderKL.decode = decode


def refuse(call: str, code: int, at: int, part: str) -> None:
    """The at-th call (from 0) of os.CALL on a file with `part` in its path raises OSError(code), and all after it.

    A write first writes half of its bytes, as a disk that fills up does.
    """
    real, seen = getattr(os, call), [0]

    def call_or_refuse(target: Any, *arguments: Any, **named: Any) -> Any:
        path = str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else os.fspath(target)
        if part not in path:
            return real(target, *arguments, **named)
        seen[0] += 1
        if seen[0] <= at:
            return real(target, *arguments, **named)
        if call == "write" and seen[0] == at + 1:
            data = bytes(arguments[0])
            return real(target, data[: len(data) // 2])
        raise OSError(code, os.strerror(code), path)

    setattr(os, call, call_or_refuse)


def file_limit(size_bytes: int) -> None:
    """No file may grow beyond this."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def small_disk(path: str, size_bytes: int, copy: str) -> None:
    """A tmpfs of that size in a mount namespace of this process; `copy` gets what it holds at the end."""
    import ctypes
    import shutil

    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts, private_everywhere = 0x10000000, 0x00020000, (1 << 18) | (1 << 14)
    ids = f"{os.getuid()}", f"{os.getgid()}"
    if libc.unshare(new_mounts) and libc.unshare(new_mounts | new_user):
        os._exit(NO_MOUNT)
    if os.getuid() == 65534:  # a new user namespace: this process becomes its root
        Path("/proc/self/setgroups").write_text("deny")
        for name, own in zip(("uid_map", "gid_map"), ids, strict=True):
            Path(f"/proc/self/{name}").write_text(f"0 {own} 1")
    Path(path).mkdir(parents=True)
    if libc.mount(b"none", b"/", None, private_everywhere, None) or libc.mount(
        b"none", path.encode(), b"tmpfs", 0, f"size={size_bytes}".encode()
    ):
        os._exit(NO_MOUNT)
    AT_END.append(lambda: shutil.copytree(path, copy))


def disk(free_bytes: int, after: int, total_bytes: int = 10**12) -> None:
    """From the after-th question on (from 0) the disk says that so much is free; before, everything."""
    import shutil

    import turbo_eval.disk as disk_module

    asked = [0]

    def usage(path: Any) -> Any:
        asked[0] += 1
        free = free_bytes if asked[0] > after else total_bytes
        return shutil._ntuple_diskusage(total_bytes, total_bytes - free, free)

    class Shutil:
        disk_usage = staticmethod(usage)

    disk_module.shutil = Shutil  # type: ignore[assignment]


def environ(**variables: str) -> None:
    """Environment variables."""
    os.environ.update(variables)


PATCHES: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        slow,
        lost_lease,
        signals,
        signal_in,
        failing,
        scoring_fails,
        decoder_memory,
        refuse,
        file_limit,
        small_disk,
        disk,
        environ,
    )
}
