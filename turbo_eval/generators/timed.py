"""What is timed? One call: texts -> frames -> one file per clip, its stages and its wall clock in seconds.

Files are encoded as a run's are (clip_files.py: H.264 without loss, one thread). Not in it: fsync and the decode check
of a run, which are a disk's time and a safeguard's; the file stays in the system's cache and is overwritten by the next
call. x264's time is the one that depends on what the frames show.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from turbo_eval.generators.base import Frames
from turbo_eval.generators.latent import LatentGenerator, Mark, fitted
from turbo_eval.generators.random_weights import random_model
from turbo_eval.generators.stage_clock import clock_for
from turbo_eval.manifest import RunIdentity
from turbo_eval.model_table import ModelEntry
from turbo_eval.records import Prompt
from turbo_eval.timing.record import ENCODE
from turbo_train.nets.load import load_model
from turbo_train.nets.model import Model
from turbo_train.video_io import encode_mp4


class TimedCall:
    """A piece of work for timing/measure.py. prompts: one per clip, the generator's batch at a time.

    folder: where the files go, which must be there. frames: of the last call.
    """

    def __init__(self, generator: LatentGenerator, prompts: Sequence[Prompt], seed: int, folder: Path) -> None:
        self.generator = generator
        self.device = generator.model.schedule.alphas_cumprod.device
        self.frames: Sequence[Frames] = ()
        self._prompts, self._seed, self._folder = prompts, seed, folder
        self._rows = 0

    @property
    def network_calls(self) -> int:
        """Of the denoiser for one clip, counted in the last call: a guided step is two. ValueError: there was none."""
        if not self._rows:
            raise ValueError("no call was made yet")
        passes = -(-len(self._prompts) // self.generator.batch)
        return self._rows // (passes * self.generator.batch)

    def __call__(self) -> Mapping[str, float]:
        """Each stage and WALL -> seconds (timing/record.py)."""
        clock = clock_for(self.device)
        clock.start()
        self.work(clock.mark)
        return clock.stop()

    def work(self, mark: Mark) -> None:
        """The call itself. mark: told which stage begins."""
        before = self.generator.denoiser.rows
        self.frames = self.generator.generate(self._prompts, [0] * len(self._prompts), self._seed, mark)
        mark(ENCODE)
        for index, clip in enumerate(self.frames):
            encode_mp4(self._folder / f"{index}.mp4", clip, self.generator.fps, lossless=RunIdentity.lossless)
        mark(None)
        self._rows = self.generator.denoiser.rows - before


@dataclass(frozen=True)
class Loaded:
    """A model on its device in its setting's dtype and for its clip, and the seconds that it took to get there."""

    model: Model
    load_s: float


def load_timed(entry: ModelEntry, device: str, *, random_weights: bool = False, seed: int = 0) -> Loaded:
    """From files, or with random weights, which need none. Of files those in the system's cache are not read again.

    UserError: as load_generator's.
    """
    assert entry.source is not None
    began_s = time.perf_counter()
    if random_weights:
        model = random_model(entry, device, seed)
    else:
        made = fitted(load_model(entry.source), entry.setting)
        model = made.to(device, getattr(torch, entry.setting.dtype))
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return Loaded(model, time.perf_counter() - began_s)
