"""How do workers begin that a drill kills? A fork server, and every step of its children as a numbered event.

`python drill_child.py` imports everything and does one whole run, so that a worker forked from it begins at once:
importing torch takes seconds, a run of the tiny model a fraction of one. Commands come as JSON lines on stdin:
{"start": plan} answers the child's process id, {"poll": id} its exit code (negative: a signal's number) or null.
A plan holds the fields of a Request and what is to be done to the child: drill_faults.py.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from drill_faults import AT_END, PATCHES

Plan = dict[str, Any]
HALF = "half"


def request_of(fields: dict[str, Any]) -> Any:
    """The Request of a plan."""
    from turbo_eval.contestants import Request, RewardChoice
    from turbo_eval.units import parse_shard, shard_of_rank

    taken = {**fields, "out": Path(fields["out"]), "dimensions": tuple(fields.get("dimensions", ()))}
    if taken.get("videos"):
        taken["videos"] = Path(taken["videos"])
    if taken.get("rewards"):
        taken["rewards"] = RewardChoice(**taken["rewards"])
    taken["shard"] = parse_shard(taken["shard"]) if taken.get("shard") else shard_of_rank()
    return Request(**taken)


def work(plan: Plan) -> int:
    """One command, as turbo_eval.cli runs it. The exit code."""
    from turbo_eval.cli import _vbench
    from turbo_eval.cli_rewards import run_and_print
    from turbo_train.exits import exit_code_of

    run = run_and_print if plan["request"].get("rewards") else _vbench
    return exit_code_of(lambda: run(request_of(plan["request"]), False))


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
            path = Path(f"/proc/self/fd/{path}").readlink()
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

    def load(source: Any, setting: Any, batch: int, device: str = "cpu") -> Any:
        name = (source, setting, batch, device)
        if name not in loaded:
            loaded[name] = real(source, setting, batch, device)
        return loaded[name]

    latent.load_generator = load


def prepare(plan: Plan) -> None:
    """Imports the rest of what a run needs, by running one."""
    code = work(plan)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if code or threads != 1:
        raise SystemExit(f"exit code {code}, {threads} threads: nothing can be forked from here")
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page


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
