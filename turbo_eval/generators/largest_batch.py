"""How many clips in a call fit, where the asked number did not? Found by bisection, each number really tried.

What a call needs grows with its clips, so that what fits is everything up to one number. One more step than the first
is tried: later ones need no more.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.generators.out_of_memory import is_out_of_memory
from turbo_eval.generators.timed import TimedCall
from turbo_eval.records import Prompt
from turbo_train.errors import UserError
from turbo_train.nets.cuda_graph import GraphedDenoiser
from turbo_train.nets.model import Model
from turbo_train.sampling.setting import Setting

TRIED_STEPS = 2


def largest_batch(fits: Callable[[int], bool], asked: int) -> int:
    """The largest number below `asked`, which does not fit, that does; 0: none."""
    low, high = 0, asked
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def trial(model: Model, setting: Setting, prompt: Prompt, folder: Path) -> Callable[[int], bool]:
    """Whether a call of so many clips fits into memory. What it held is given back before it answers."""
    few = replace(setting, num_steps=min(TRIED_STEPS, setting.num_steps))

    def fits(batch: int) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # so few steps would miss an end of the way
                call = TimedCall(LatentGenerator(model, few, batch), [prompt] * batch, 0, folder)
                call.work(lambda stage: None)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        else:
            failed = False
        _forget_recordings(model)
        give_back()
        return not failed

    return fits


def _forget_recordings(model: Model) -> None:
    """CUDA graphs keep the memory of every batch that was tried."""
    for part in model.denoiser.modules() if isinstance(model.denoiser, nn.Module) else ():
        if isinstance(part, GraphedDenoiser):
            part.forget()


def give_back() -> None:
    """What PyTorch keeps of freed memory goes back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def too_large(name: str, asked: int, fits: Callable[[int], bool]) -> UserError:
    """What to say when a call of `asked` clips did not fit.

    To be called when that error is forgotten, for its traceback holds what the call held. fits: `trial`'s.
    """
    give_back()
    found, most = f"{name}: out of memory at --batch {asked}", largest_batch(fits, asked)
    if most:
        clips = "1 clip" if most == 1 else f"{most} clips"
        return UserError(found=found, expected=f"at most {clips} in a call", run_next=f"--batch {most}")
    return UserError(
        found=found if asked == 1 else f"{found}, and at --batch 1",
        expected="a device with more free memory, or less to do",
        run_next="a smaller --size, --dtype bfloat16, or --vae tiny",
    )
