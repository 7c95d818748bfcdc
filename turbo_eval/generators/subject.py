"""What is loaded, made quick and called once, before anything of it is measured? One subject per row.

Rows that differ only in steps, guidance or batch share their networks. The first call is apart: it compiles, chooses
kernels and takes memory, which later ones find there. All networks are loaded before the first call, so that what a
call finds free is what it will find in the measurement.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from turbo_eval.generators.largest_batch import too_large, trial
from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.generators.out_of_memory import is_out_of_memory
from turbo_eval.generators.timed import TimedCall, load_timed
from turbo_eval.model_table import ModelEntry
from turbo_eval.records import Prompt
from turbo_eval.timing.record import WALL, Recipe, fingerprint
from turbo_train.errors import UserError
from turbo_train.nets.fast_path import RANDOM_TINY_VAE, FastPath
from turbo_train.nets.folder_files import read_json
from turbo_train.nets.quickened import Quickened, quicken
from turbo_train.sampling.finite import NonFiniteLatents


@dataclass(frozen=True)
class Subject:
    """A row's piece of work after its first call. load_s: of its networks, shared or not.

    compiling_s: of its first call; 0 where a row before it compiled what it needs. None: nothing was to be compiled.
    """

    call: TimedCall
    quick: Quickened
    fast: FastPath
    load_s: float
    first_call_s: float
    compiling_s: float | None

    @property
    def recipe(self) -> Recipe:
        """What is run. A network that could not be compiled is run as it is: `notes` says so."""
        generator = self.call.generator
        setting, model = generator.setting, generator.model
        _, frames, height, width = model.latent_shape
        return Recipe(
            model=model.name,
            sampler=setting.sampler,
            num_steps=setting.num_steps,
            guidance_scale=setting.guidance_scale,
            batch=generator.batch,
            frames=frames,
            height_px=height * model.vae.factor,
            width_px=width * model.vae.factor,
            dtype=setting.dtype,
            compile="off" if self.quick.fell_back else self.fast.compile,
            cuda_graphs=self.fast.cuda_graphs,
            channels_last=self.fast.channels_last,
            cached_text=self.fast.cached_text,
            decode_frames=model.vae.chunk_frames,
            vae=_vae_name(self.fast.tiny_vae),
        )

    @property
    def compile_s(self) -> float | None:
        """compiling_s; None where the network is run as it is."""
        return None if self.quick.fell_back else self.compiling_s


class Loading:
    """Loads each set of networks once. random_weights: in place of files."""

    def __init__(self, device: str, seed: int, folder: Path, *, random_weights: bool) -> None:
        self._device, self._seed, self._folder, self._random = device, seed, folder, random_weights
        self._quick: dict[Hashable, tuple[Quickened, float]] = {}

    def load(self, entry: ModelEntry, fast: FastPath, name: str) -> None:
        """The row's networks, unless they are there. UserError: too large for the memory."""
        key = _networks(entry, fast)
        if key in self._quick:
            return
        try:
            loaded = load_timed(entry, self._device, random_weights=self._random, seed=self._seed)
            model = replace(loaded.model, name=entry.label)
            self._quick[key] = quicken(model, fast, self._device), loaded.load_s
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                found=f"{name}: out of memory while its networks were loaded",
                expected="a device with more free memory, or less to load",
                run_next="fewer rows at a time, or --dtype bfloat16",
            ) from None

    def subject(self, entry: ModelEntry, fast: FastPath, prompts: Sequence[Prompt], name: str) -> Subject:
        """The row's, loaded and called once. prompts: one per clip. UserError: too large for the memory; not finite."""
        self.load(entry, fast, name)
        setting = entry.setting
        quick, load_s = self._quick[_networks(entry, fast)]
        before_s = quick.compile_s
        try:
            call = TimedCall(LatentGenerator(quick.model, setting, len(prompts)), prompts, self._seed, self._folder)
            first_call_s = call()[WALL]
            after_s = quick.compile_s
            compiling_s = None if before_s is None or after_s is None else after_s - before_s
            return Subject(call, quick, fast, load_s, first_call_s, compiling_s)
        except NonFiniteLatents as error:
            found, expected = f"{name}: {error}", "latents that are finite"
            raise UserError(found=found, expected=expected, run_next="--dtype float32") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of `except`, whose traceback would hold what the call held.
        raise too_large(name, len(prompts), trial(quick.model, setting, prompts[0], self._folder))


def _networks(entry: ModelEntry, fast: FastPath) -> Hashable:
    """Equal for rows that share their networks."""
    same = replace(entry.setting, num_steps=1, guidance_scale=0.0, eta=0.0, motion_gs=None)
    return entry.source, entry.recipe, entry.name, same, fast


def _vae_name(tiny: Path | None) -> str:
    """Of a recipe. Tiny ones of other sizes take other times."""
    if tiny is None:
        return "full"
    return "tiny random" if tiny == RANDOM_TINY_VAE else f"tiny {fingerprint(read_json(tiny / 'config.json'))}"
