"""What does the vbench package say of clips? It runs as it is, in a process of its own with its own packages.

For each dimension a fresh process, a fresh HOME and caches in VBench's layout, whose files are links to where the
weights lie here (weights.lock says where VBench wants each). Clips are linked under the names that VBench reads a
prompt from, each in a folder of its own: a result is known by its path.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.objects import ASKED
from turbo_eval.scorers.vbench.overlay import Overlay
from turbo_eval.scorers.vbench.overlay_code import DINO_FOLDER
from turbo_train.errors import UserError
from turbo_train.weights.missing import wanted
from turbo_train.weights.places import locate
from turbo_train.weights.table import WeightFile, files_for

SCRIPT = Path(__file__).with_name("official_process.py")
LONGEST_NAME = 250  # bytes; a file system takes 255
DINO_IN_VBENCH = "dino_model"
PLACES = {"vbench": "vbench", "torch_hub": "torch/hub/checkpoints"}  # first word of `lands` -> folder of the process
ON_DETECTRON2 = tuple(ASKED)
AUXILIARY = {**ASKED, **{name: (name,) for name in (spec.SCENE, spec.APPEARANCE_STYLE)}}
NESTED_TWICE = (spec.SCENE, spec.SPATIAL_RELATIONSHIP)
BERT = "bert-base-uncased/vocab.txt"
BERT_IN_HUB = "home/.cache/huggingface/hub/models--bert-base-uncased"
# Which of VBench's results per clip are not what its dimension's mean is taken over.
CLIP_UNITS = {spec.IMAGING_QUALITY: 100.0}


@dataclass(frozen=True)
class ClipFile:
    """A clip on the disk, with the prompt that it was made for."""

    path: Path
    prompt: Prompt
    sample_index: int = 0


@dataclass(frozen=True)
class Measured:
    """What one engine says. values: by the clip's path; unscored: path -> why there is no number.

    load_s, score_s: of the networks, and of decoding and scoring; None where they were not measured. cpu_s: of all
    threads, for scoring. score: the dimension's own number. failed: why there is nothing at all.
    """

    values: Mapping[Path, float]
    unscored: Mapping[Path, str]
    load_s: float | None = None
    score_s: float | None = None
    cpu_s: float | None = None
    peak_bytes: int | None = None
    score: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Official:
    """How the package is run. cache: a folder in VBench's layout; None: the files that weights.lock finds."""

    overlay: Overlay
    device: str = "cpu"
    threads: int = 1
    cache: Path | None = None

    def why_not(self, dimension: str) -> str:
        """Why a dimension cannot be run here; "" where it can."""
        absent = [file for file in files_for(dimension) if self._find(file) is None]
        if absent:
            return f"weights missing: {', '.join(file.name for file in absent)}"
        if dimension == spec.SUBJECT_CONSISTENCY and self.overlay.dino is None:
            return "the code of facebookresearch/dino is missing: turbo-eval parity --setup"
        if dimension in ON_DETECTRON2 and self.overlay.detectron2 is None:
            return "the code of facebookresearch/detectron2 is missing: turbo-eval parity --setup"
        return ""

    def measure(self, dimension: str, clips: Sequence[ClipFile]) -> Measured:
        """VBench's numbers for the clips. UserError: weights are missing."""
        absent = [file for file in files_for(dimension) if self._find(file) is None]
        if absent:
            raise UserError(
                found=f"no {', '.join(file.name for file in absent)}",
                expected=f"what VBench runs for {dimension}",
                run_next=f"turbo-eval weights pull {wanted(absent, dimension)}",
            )
        with tempfile.TemporaryDirectory(prefix="turbo-eval-parity-") as room:
            return self._measure(dimension, clips, Path(room))

    def _measure(self, dimension: str, clips: Sequence[ClipFile], room: Path) -> Measured:
        linked = {str(_link(clip, room / "clips" / f"{number:05d}")): clip for number, clip in enumerate(clips)}
        self._link_weights(dimension, room)
        request = room / "request.json"
        info = room / "full_info.json"
        info.write_text(json.dumps([_entry(dimension, c, path) for path, c in linked.items()]), encoding="utf-8")
        notes = any(file.opens == "amt" for file in files_for(dimension))
        overwritten = str(room / BERT_IN_HUB / "snapshots/here") if dimension == spec.SCENE else ""
        asked = {
            "dimension": dimension,
            "device": self.device,
            "info": str(info),
            "notes": notes,
            "overwritten": overwritten,
            "graph": dimension != spec.SCENE,
        }
        request.write_text(json.dumps(asked), encoding="utf-8")
        answer = room / "answer.json"
        with (room / "log.txt").open("w+b") as log:
            command = [sys.executable, "-P", "-W", "ignore", str(SCRIPT), str(request), str(answer)]
            done = subprocess.run(command, env=self._environment(room), cwd=room, stdout=log, stderr=log)
            log.seek(0)
            last = log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        if not answer.is_file():
            return Measured({}, {}, failed=f"its process ended with {done.returncode}: {' '.join(last)[:300]}")
        return _measured(dimension, json.loads(answer.read_text(encoding="utf-8")), linked)

    def _environment(self, room: Path) -> dict[str, str]:
        """Ours, but for the places of packages and caches; what our own environment names stays out."""
        kept = {name: value for name, value in os.environ.items() if name not in ("TURBO_WEIGHTS", "XDG_CACHE_HOME")}
        return kept | {
            "PYTHONPATH": str(self.overlay.folder),
            "HOME": str(room / "home"),
            "VBENCH_CACHE_DIR": str(room / "vbench"),
            "TORCH_HOME": str(room / "torch"),
            "OMP_NUM_THREADS": str(self.threads),
            "HF_HUB_OFFLINE": "1",
        }

    def _link_weights(self, dimension: str, room: Path) -> None:
        for folder in ("home", "vbench", "torch"):
            (room / folder).mkdir()
        for file in files_for(dimension):
            path = self._find(file)
            assert path is not None
            for text in file.lands:
                place, _, inner = text.partition("/")
                if place in PLACES:
                    _point(room / PLACES[place] / inner, path)
            if file.name == BERT:
                _as_hub_cache(room / BERT_IN_HUB, path)
        if self.overlay.dino is not None:
            _point(room / "vbench" / DINO_IN_VBENCH / DINO_FOLDER, self.overlay.dino)

    def _find(self, file: WeightFile) -> Path | None:
        if self.cache is None:
            return locate(file)
        inner = (text.partition("/")[2] for text in file.lands if text.startswith("vbench/"))
        return next((path for name in inner if (path := self.cache / name).is_file()), None) or _shipped(file)


def _shipped(file: WeightFile) -> Path | None:
    """Text that lies here anyway: CLIP's vocabulary."""
    return locate(file) if file.opens == "text" else None


def _point(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.absolute())


def _as_hub_cache(folder: Path, vocabulary: Path) -> None:
    """The hub's layout, so that transformers finds the word pieces without a network."""
    _point(folder / "snapshots" / "here" / "vocab.txt", vocabulary)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("here", encoding="utf-8")
    config = {"do_lower_case": True, "model_max_length": 512}
    (folder / "snapshots" / "here" / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _link(clip: ClipFile, folder: Path) -> Path:
    """The clip as `{prompt}-{index}.mp4`, from which VBench reads the action; its own name where that cannot be."""
    name = f"{clip.prompt.prompt}-{clip.sample_index}{clip.path.suffix}"
    if "/" in name or "\0" in name or len(name.encode()) > LONGEST_NAME:
        name = clip.path.name
    _point(folder / name, clip.path)
    return folder / name


def _entry(dimension: str, clip: ClipFile, path: str) -> dict[str, Any]:
    """A clip as VBench lists it. What the prompt lacks is left out, and VBench says so in its own way."""
    entry: dict[str, Any] = {"prompt_en": clip.prompt.prompt, "dimension": [dimension], "video_list": [path]}
    with suppress(UserError):
        asked: Any = {name: auxiliary(clip.prompt, dimension, name) for name in AUXILIARY.get(dimension, ())}
        asked = {dimension: asked} if dimension in NESTED_TWICE else asked
        entry |= {"auxiliary_info": {dimension: asked}} if asked else {}
    return entry


def _measured(dimension: str, found: Mapping[str, Any], linked: Mapping[str, ClipFile]) -> Measured:
    if "error" in found:
        return Measured({}, {}, failed=str(found["error"]))
    unit = CLIP_UNITS.get(dimension, 1.0)
    values = {linked[path].path: value / unit for path, value in found["videos"] if math.isfinite(value)}
    errors = {linked[path].path: why for path, why in found["errors"].items()}
    errors |= {linked[path].path: f"vbench says {value}" for path, value in found["videos"] if not math.isfinite(value)}
    silent = {clip.path: "vbench left it out" for clip in linked.values() if clip.path not in {*values, *errors}}
    return Measured(
        values=values,
        unscored=errors | silent,
        load_s=found["load_s"],
        score_s=found["score_s"],
        cpu_s=found["cpu_s"],
        peak_bytes=found["peak_bytes"],
        score=None if found["score"] is None or not math.isfinite(found["score"]) else found["score"],
    )
