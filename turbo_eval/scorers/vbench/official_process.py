"""What does the vbench package itself say of these clips? A script for a process of its own, with the overlay in front.

    python -P official_process.py REQUEST.json ANSWER.json

It imports nothing of ours: official.py runs it by its path, in an environment where HOME, VBENCH_CACHE_DIR and
TORCH_HOME name folders in VBench's own layout. REQUEST: dimension, device, info (a list of clips as VBench writes it),
notes (whether the weights' file holds more than tensors), overwritten (a folder for weights that VBench loads in vain,
or nothing), graph (whether PyTorch keeps what gradients would need, as in VBench; of scene that is more than 22 GB a
clip). ANSWER: score (of the dimension), videos (clip by clip),
load_s, score_s, cpu_s, peak_bytes, errors.

The package's own init_submodules and compute_* functions are called as its command line calls them in local mode;
nothing of them is replaced. Where loading ends and scoring begins is read off VBench's progress bar over the clips:
its first line is written when the network is there, before the first clip is opened.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
BAR_BEGINS = re.compile(r"\s0/\d+ \[")  # tqdm's first line


class Watch(io.TextIOBase):
    """Stderr that notes when VBench's bar over the clips was drawn first."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.began_s = self.began_cpu_s = 0.0

    def write(self, text: str) -> int:
        if not self.began_s and BAR_BEGINS.search(text):
            self.began_s, self.began_cpu_s = time.perf_counter(), time.process_time()
        return int(self.stream.write(text))

    def flush(self) -> None:
        self.stream.flush()


def measure(request: dict[str, Any], info: Path) -> dict[str, Any]:
    """One call of VBench's function over the clips of a list."""
    import torch
    from vbench.utils import init_submodules

    dimension = request["dimension"]
    package = importlib.import_module(f"vbench.{dimension}")
    compute = getattr(package, f"compute_{dimension}")
    device = torch.device(request["device"])  # as its command line gives it
    torch.set_grad_enabled(request["graph"])
    started_s = time.perf_counter()
    watch = sys.stderr = Watch(sys.__stderr__)
    try:
        submodules = init_submodules([dimension], local=True, read_frame=False)[dimension]
        # Every option that VBench's command line passes on, at its default.
        score, videos = compute(str(info), device, submodules, imaging_quality_preprocessing_mode="longer")
    finally:
        sys.stderr = sys.__stderr__
    ended_s, ended_cpu_s = time.perf_counter(), time.process_time()
    began_s = watch.began_s or started_s
    return {
        "score": float(score),
        "videos": [[video["video_path"], float(video["video_results"])] for video in videos],
        "load_s": began_s - started_s,
        "score_s": ended_s - began_s,
        "cpu_s": ended_cpu_s - watch.began_cpu_s,
    }


def one_by_one(request: dict[str, Any], entries: list[Any], first: str, info: Path) -> dict[str, Any]:
    """Clip by clip, after VBench gave up on all of them: which ones does it refuse?

    A single refusal ends its whole dimension; no time and no dimension's score is stated then.
    """
    videos: list[Any] = []
    errors: dict[str, str] = {}
    for entry in entries:
        path = entry["video_list"][0]
        info.write_text(json.dumps([entry]), encoding="utf-8")
        try:
            videos += measure(request, info)["videos"]
        except Exception as error:
            errors[path] = _said(error)
    if not videos:
        raise RuntimeError(first)
    return {"score": None, "videos": videos, "load_s": None, "score_s": None, "cpu_s": None, "errors": errors}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What is written for official.py."""
    if request["notes"]:
        with_notes_of_a_trainer()
    if request["overwritten"]:
        with_weights_to_overwrite(Path(request["overwritten"]))
    info = Path(request["info"])
    entries = json.loads(info.read_text(encoding="utf-8"))
    try:
        found = {**measure(request, info), "errors": {}}
    except Exception as error:
        if len(entries) < 2:
            raise
        traceback.print_exc()
        found = one_by_one(request, entries, _said(error), info.with_name("one.json"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT_BYTES
    return {**found, "peak_bytes": peak}


def with_notes_of_a_trainer() -> None:
    """Let torch.load read AMT's published file, which holds numpy's scalars beside its tensors: data, no code.

    Of VBench's files it is the one that PyTorch 2.6 and later refuse, as vbench 0.1.5 opens it.
    """
    import numpy as np
    import torch

    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    data: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, *dtypes]
    torch.serialization.add_safe_globals(data)


def with_weights_to_overwrite(folder: Path) -> None:
    """BERT as the hub has it, but without a tensor: Tag2Text's own file brings every one that is used."""
    import torch

    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    torch.save({}, folder / "pytorch_model.bin")


def main(request_file: str, answer_file: str) -> int:
    """Writes the answer, or why there is none; 1 in the latter case."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        found = answer(request)
    except Exception as error:
        traceback.print_exc()
        found = {"error": _said(error)}
    Path(answer_file).write_text(json.dumps(found), encoding="utf-8")
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
