"""What does a timing say, and about what? Typed records of `turbo-eval speed`, free of torch, read and written as JSON.

A row is one recipe on one machine: every run in seconds, stage by stage, and what was counted beside. Medians,
intervals and speed-ups are functions of it (intervals.py), so that a table can be made again from the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

SCHEMA_VERSION = 1
TEXT, FIRST, REMAINING, DECODE, ENCODE = (
    "text_encode",
    "first_step",
    "remaining_steps",
    "vae_decode",
    "video_encode",
)
STAGES = (TEXT, FIRST, REMAINING, DECODE, ENCODE)
"""Of one call, in order. first_step: with the drawing of its noise; vae_decode: to 8-bit frames in main memory."""
DENOISING = (FIRST, REMAINING)
NOT_COMPILED = "not compiled"
"""How a note begins that says why a network runs uncompiled (turbo_train/nets/compiled.py)."""
WALL = "wall"
"""The whole call by the host's clock, from text to finished files, the device waited for."""


@dataclass(frozen=True)
class Recipe:
    """What was declared to be timed: all that a time may depend on but for machine and software.

    model: its name without its setting. batch: clips in a call. decode_frames: frames decoded at a time. vae: full,
    or tiny and which. guidance_scale 1 (ddim) halves the calls. Weights are not among it: no time depends on their
    values.
    """

    model: str
    sampler: str
    num_steps: int
    guidance_scale: float
    batch: int
    frames: int
    height_px: int
    width_px: int
    dtype: str
    compile: str
    cuda_graphs: bool
    channels_last: bool
    cached_text: bool
    decode_frames: int
    vae: str

    @property
    def fingerprint(self) -> str:
        """12 hex digits over all fields."""
        return fingerprint(asdict(self))


def fingerprint(fields: Mapping[str, object]) -> str:
    """12 hex digits over fields and their values, whatever their order."""
    text = json.dumps(dict(fields), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Reason:
    """Why a measurement is not valid. code: one of validity.py's; text: what was found against what was allowed."""

    code: str
    text: str


@dataclass(frozen=True)
class Peak:
    """Most memory at one time in a stage. allocated, reserved: of torch on the GPU; None on a CPU, and the reverse."""

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    rss_bytes: int | None = None


@dataclass(frozen=True)
class Difference:
    """How clips of the same noise differ from those of the row `than`, in 8-bit levels. psnr_db None: equal."""

    than: str
    max_levels: int
    mean_levels: float
    psnr_db: float | None


@dataclass(frozen=True)
class SpeedRow:
    """One recipe, measured. `*_s` in seconds.

    runs_s: stage (STAGES) or WALL -> each run in measured order; runs 2k and 2k + 1 are of round k, and round k of all
    rows was measured interleaved. warmups_s: WALL of the runs before, in order; the first call is not among them.
    load_s: until the networks lie on the device. first_call_s: the first call, with all that happens once.
    compile_s: what compiling took of it, 0 where an earlier row had them compiled; None: nothing was compiled.
    network_calls: of the denoiser for one clip.
    tflop, floor_s: stage -> of one call (floors.py). memory: stage -> peaks. notes: what a reader must know, such as
    that a network could not be compiled. reasons: why it is INVALID; (): VALID.
    """

    name: str
    recipe: Recipe
    runs_s: Mapping[str, tuple[float, ...]]
    warmups_s: tuple[float, ...]
    stopped_by: str
    load_s: float
    first_call_s: float
    compile_s: float | None
    network_calls: int
    tflop: Mapping[str, float]
    floor_s: Mapping[str, float]
    memory: Mapping[str, Peak]
    difference: Difference | None = None
    notes: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether it may be quoted, and be a baseline."""
        return not self.reasons

    @property
    def denoising_s(self) -> tuple[float, ...]:
        """First and remaining steps together, of each run."""
        return tuple(first + rest for first, rest in zip(*(self.runs_s[stage] for stage in DENOISING), strict=True))

    @property
    def frames_s(self) -> tuple[float, ...]:
        """From text to frames in main memory, of each run: all but the encoding of the files."""
        return tuple(wall - files for wall, files in zip(self.runs_s[WALL], self.runs_s[ENCODE], strict=True))


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeedUp:
    """How many times faster is `row` than `against`? calls: ratio of network calls, which no machine changes.

    to_frames: from text to frames in main memory, as papers time it; end_to_end: to finished files.
    """

    row: str
    against: str
    denoising: Ratio
    calls: float
    to_frames: Ratio
    end_to_end: Ratio


@dataclass(frozen=True)
class Rates:
    """What this machine reached, measured beside the rows: the best of several, in the rows' dtype -> TFLOP/s; GB/s."""

    matmul_tflops: Mapping[str, float]
    copy_gb_s: float


@dataclass(frozen=True)
class SpeedRecord:
    """A whole measurement. harness_s: what measuring itself adds to a call. interrupted: by a signal, rows kept.

    hardware, software: what two records must share to be compared (fingerprints.py). stamp: what a forced comparison
    or a partial measurement has to carry in every output; empty otherwise. code: our own version and commit, which two
    records need not share.
    """

    command: str
    began: str
    rows: tuple[SpeedRow, ...]
    speed_ups: tuple[SpeedUp, ...]
    rates: Rates
    harness_s: float
    hardware: Mapping[str, object]
    software: Mapping[str, object]
    notes: tuple[str, ...] = ()
    stamp: str = ""
    code: Mapping[str, object] = field(default_factory=dict)
