"""What happens in the processes that a drill kills? A fork server, and what may go wrong in its children.

`python drill_child.py` imports everything and does one whole run, so that a worker forked from it begins at once:
importing torch takes seconds, a run of the tiny model a fraction of one. Commands come as JSON lines on stdin:
{"start": plan} answers the child's process id, {"poll": id} its exit code (negative: a signal's number) or null.
A plan holds the fields of a Request and what is to be done to the child: see PATCHES.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

Plan = dict[str, Any]
HALF = "half"
NO_MOUNT = 77  # this machine lets nobody mount
AT_END: list[Callable[[], object]] = []


def request_of(fields: dict[str, Any]) -> Any:
    """The Request of a plan."""
    from turbo_eval.contestants import Request
    from turbo_eval.units import parse_shard, shard_of_rank

    taken = {**fields, "out": Path(fields["out"]), "dimensions": tuple(fields.get("dimensions", ()))}
    if taken.get("videos"):
        taken["videos"] = Path(taken["videos"])
    taken["shard"] = parse_shard(taken["shard"]) if taken.get("shard") else shard_of_rank()
    return Request(**taken)


def work(plan: Plan) -> int:
    """One command, as turbo_eval.cli runs it. The exit code."""
    from turbo_eval.cli import _vbench
    from turbo_train.exits import exit_code_of

    return exit_code_of(lambda: _vbench(request_of(plan["request"]), False))


# ------------------------------------------------------------------------------------------------------- events


class Events:
    """Everything a process does to files of the run folder, in order: numbered, recorded, and killed at one of them.

    fault: {"at": number, "when": "before", "half" or "after"}. record: a file that gets a JSON line per event.
    """

    def __init__(self, folder: Path, fault: dict[str, Any] | None, record: str | None) -> None:
        self.folder = folder.resolve()
        self.at, self.when = (fault["at"], fault["when"]) if fault else (None, None)
        self.record = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if record else None
        self.count = 0
        self.inside = threading.local()
        self.write = os.write

    def wrap(self, owner: Any, name: str, path_of: Callable[..., Any], half: Callable[..., None] | None = None) -> None:
        """Makes `owner.name` an event. path_of: the file that a call concerns. half: does half of the call."""
        real = getattr(owner, name)

        def event(*arguments: Any, **named: Any) -> Any:
            path = None if getattr(self.inside, "event", False) else self._inside(path_of(*arguments, **named))
            if path is None or threading.current_thread() is not threading.main_thread():
                return real(*arguments, **named)
            if name in ("mkdir", "unlink") and (self.folder / path).exists() == (name == "mkdir"):
                return real(*arguments, **named)  # changes nothing
            number = self.count
            self.count += 1
            if self.record is not None:
                line = {"event": name, "path": path, "half": half is not None}
                self.write(self.record, (json.dumps(line) + "\n").encode())
            if number == self.at and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.at and self.when == HALF and half is not None:
                half(*arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)
            self.inside.event = True  # what a call does inside is part of it
            try:
                result = real(*arguments, **named)
            finally:
                self.inside.event = False
            if number == self.at and self.when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, event)

    def _inside(self, path: Any) -> str | None:
        """The path relative to the run folder; None for any other file."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        try:
            return str(Path(path).absolute().relative_to(self.folder))
        except ValueError:
            return None


def first(path: Any, *_: Any, **__: Any) -> Any:
    return path


def second(_: Any, path: Any, **__: Any) -> Any:
    return path


def watch(plan: Plan) -> Events:
    """Makes events of every call that changes the run's folder or checks what lies there."""
    import turbo_eval.clip_files as clip_files

    events = Events(Path(plan["request"]["out"]), plan.get("fault"), plan.get("record"))
    write, encode = os.write, clip_files.encode_mp4

    def half_write(handle: int, data: bytes) -> None:
        write(handle, bytes(data)[: len(data) // 2])

    def half_file(path: Path, *arguments: Any, **named: Any) -> None:
        encode(path, *arguments, **named)
        os.truncate(path, path.stat().st_size // 2)

    def half_text(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])

    def opened(path: Any, mode: str = "r", *_: Any, **__: Any) -> Any:
        return path if isinstance(path, str | os.PathLike) and set(mode) & set("wxa+") else "/"

    import turbo_eval.durable as durable

    events.wrap(os, "write", first, half_write)
    events.wrap(durable, "_write", first, half_text)
    events.wrap(clip_files, "encode_mp4", first, half_file)
    events.wrap(clip_files, "read_video", first)
    events.wrap(clip_files, "sha256_of", first)
    events.wrap(io, "open", opened)
    for name in ("fsync", "ftruncate", "unlink", "mkdir"):
        events.wrap(os, name, first)
    for name in ("replace", "link"):
        events.wrap(os, name, second)
    return events


def note_starts(plan: Plan) -> None:
    """Writes a line before each micro-batch is generated: its first prompt, its sample, this process."""
    from turbo_eval.generators.latent import LatentGenerator

    real = LatentGenerator.generate
    handle = os.open(plan["starts"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    write = os.write

    def generate(self: Any, prompts: Any, samples: Any, seed: int) -> Any:
        write(handle, f"{prompts[0].prompt_id} {samples[0]} {os.getpid()}\n".encode())
        return real(self, prompts, samples, seed)

    LatentGenerator.generate = generate  # type: ignore[method-assign]


# ------------------------------------------------------------------------------------------------------ patches


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
    import turbo_eval.pipeline as pipeline

    real, left = pipeline.build_scorers, [times]

    def build(**named: Any) -> Any:
        built = real(**named)
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

    pipeline.build_scorers = build  # type: ignore[assignment]


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
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
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


# ------------------------------------------------------------------------------------------------------- server


def child(plan: Plan) -> NoReturn:
    """A worker. Its output goes to a file; nothing of the server's ends with it."""
    code = 1
    try:
        log = os.open(plan["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for stream, handle in ((0, null), (1, log), (2, log)):
            os.dup2(handle, stream)
        for name, arguments in plan.get("patches", {}).items():
            PATCHES[name](**arguments)
        note_starts(plan)
        if plan.get("fault") or plan.get("record"):
            watch(plan)
        code = work(plan)
        for step in AT_END:
            step()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def load_once() -> None:
    """Imports the heavy packages; a loaded model is kept for the children."""
    import cv2
    import torch

    import turbo_eval.generators.latent as latent

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    real, loaded = latent.load_generator, {}

    def load(kind: Any, folder: Path, num_steps: int, scale: float, batch: int, device: str = "cpu") -> Any:
        name = (kind, str(folder), num_steps, scale, batch, device)
        if name not in loaded:
            loaded[name] = real(kind, folder, num_steps, scale, batch, device)
        return loaded[name]

    latent.load_generator = load


def prepare(plan: Plan) -> None:
    """Imports the rest of what a run needs, by running one."""
    code = work(plan)
    threads = len(os.listdir("/proc/self/task"))
    if code or threads != 1:
        raise SystemExit(f"exit code {code}, {threads} threads: nothing can be forked from here")


def serve() -> None:
    """Answers commands until stdin ends; then ends the children."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a run's own output is no answer
    load_once()
    children: set[int] = set()
    for line in sys.stdin:
        command, argument = next(iter(json.loads(line).items()))
        result: Any = None
        if command == "prepare":
            prepare(argument)
        elif command == "start":
            result = os.fork()
            if not result:
                child(argument)
            children.add(result)
        elif command == "poll":
            pid, status = os.waitpid(argument, os.WNOHANG)
            if pid:
                children.discard(pid)
                result = os.waitstatus_to_exitcode(status)
        answers.write(json.dumps(result) + "\n")
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    serve()
