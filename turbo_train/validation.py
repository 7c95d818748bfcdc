"""What does a student make of a few prompts while it is trained? Clips with the weights that would be saved.

The noise is the evaluation's own (sampling/noise.py): seed, prompt and sample decide it, so that clips of different
steps differ by the weights alone. Differs: T2V-Turbo (code at eaae323) keeps dropout on here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from turbo_train.errors import UserError
from turbo_train.nets.model import Model
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.finite import NonFiniteLatents
from turbo_train.sampling.noise import clip_noise
from turbo_train.video_io import write_mp4


@torch.no_grad()
def make_validation_clips(
    student: Model, prompts: Sequence[tuple[int, str]], folder: Path, *, num_steps: int, guidance_scale: float
) -> list[Path]:
    """One mp4 for each (number, prompt): `03 a red circle.mp4`. The student is in eval mode.

    A clip that is not finite is left out, with a warning: training goes on. UserError: a disk without room.
    """
    device = student.schedule.alphas_cumprod.device
    paths = []
    for number, prompt in prompts:

        def noise(purpose: str, text: str = prompt) -> torch.Tensor:
            return clip_noise(0, text, 0, student.latent_shape, purpose)[None].to(device)

        try:
            z = sample_consistency(
                student,
                student.text([prompt]),
                noise("initial"),
                lambda k, draw=noise: draw(f"step-{k}"),  # type: ignore[misc]
                num_steps=num_steps,
                guidance_scale=guidance_scale,
            )
        except NonFiniteLatents as error:
            warnings.warn(f"no clip of {prompt!r}: {error}", UserWarning, stacklevel=2)
            continue
        frames = student.vae.decode(z)[0].float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        words = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in prompt)[:80].strip()
        path = folder / f"{number:02d} {words}.mp4"
        try:
            write_mp4(path, frames.permute(0, 2, 3, 1).contiguous().cpu().numpy(), student.fps)
        except OSError as error:  # a full disk, of which write_mp4 says nothing for users
            raise UserError(
                found=f"{path} cannot be written ({error.strerror})",
                expected="a writable disk with room",
                run_next="free some room, then the same command again, which goes on from the last checkpoint",
            ) from error
        paths.append(path)
    return paths
