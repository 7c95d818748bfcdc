"""Which times does a sampler visit, and does it miss an end of the way?"""

from __future__ import annotations

from turbo_train.errors import UserError
from turbo_train.nets.model import Spacing

STEPS_OFFSET = 1  # of Stable Diffusion's schedulers, with "leading"


def consistency_timesteps(num_steps: int, origin_steps: int = 50, num_train_steps: int = 1000) -> tuple[int, ...]:
    """Falling times from the grid of `origin_steps`: 4 of 50 are 999, 759, 519, 279; 4 of 200: 999, 749, 499, 249.

    Students of the first version were trained on the grid of 50, of the second on that of 200. A num_steps that does
    not divide origin_steps stops early: 32 of 50 end at 379 (`early_end`). UserError unless
    1 <= num_steps <= origin_steps <= num_train_steps, and for an origin_steps that does not divide num_train_steps,
    whose grid would not reach pure noise.
    """
    if not 1 <= num_steps <= origin_steps <= num_train_steps:
        most = min(origin_steps, num_train_steps)
        raise UserError(
            found=f"{num_steps} consistency steps of a grid of {origin_steps}",
            expected=f"1 to {most} steps",
            run_next=f"{min(4, most)} steps",
        )
    skip_k, stride = num_train_steps // origin_steps, origin_steps // num_steps
    if num_train_steps % origin_steps:
        raise UserError(
            found=f"a grid of {origin_steps} steps, which begins at time {origin_steps * skip_k - 1}",
            expected=f"a divisor of the {num_train_steps} times of the training",
            run_next="the grid that the student was trained on: 50 for T2V-Turbo, 200 for T2V-Turbo-v2",
        )
    return tuple((origin_steps - k * stride) * skip_k - 1 for k in range(num_steps))


def early_end(num_steps: int, origin_steps: int = 50, num_train_steps: int = 1000) -> str | None:
    """A sentence that warns of a last time far from 0 and says what to choose instead; None where nothing is lost.

    Far: another step of the same stride would still fit below the last time.
    """
    times = consistency_timesteps(num_steps, origin_steps, num_train_steps)
    if not _ends_early(num_steps, origin_steps):
        return None
    fewer = max(n for n in range(1, num_steps) if not _ends_early(n, origin_steps))
    more = min(n for n in range(num_steps, origin_steps + 1) if not _ends_early(n, origin_steps))
    return (
        f"{num_steps} steps of a grid of {origin_steps} end at time {times[-1]}, far from 0: choose {fewer} or {more}"
    )


def _ends_early(num_steps: int, origin_steps: int) -> bool:
    stride = origin_steps // num_steps
    return origin_steps - (num_steps - 1) * stride >= 2 * stride


def ddim_timesteps(num_steps: int, spacing: Spacing = "leading", num_train_steps: int = 1000) -> tuple[int, ...]:
    """Falling times. 50 steps: leading 981, 961, ..., 1; trailing 999, 979, ..., 19 (Lin et al. 2023, table 2).

    UserError if num_steps is not in 1..num_train_steps - 1.
    """
    if not 1 <= num_steps < num_train_steps:
        expected = f"1 to {num_train_steps - 1} steps"
        raise UserError(found=f"{num_steps} DDIM steps", expected=expected, run_next="50 steps")
    if spacing == "leading":
        stride = num_train_steps // num_steps
        return tuple(k * stride + STEPS_OFFSET for k in reversed(range(num_steps)))
    return tuple(round(num_train_steps - k * num_train_steps / num_steps) - 1 for k in range(num_steps))


def late_start(num_steps: int, spacing: Spacing = "leading", num_train_steps: int = 1000) -> str | None:
    """A sentence that warns of a first time far from the last training time, since samplers begin with pure noise.

    Far: a tenth of the training times and more lies above the first step, whose own length does not count: 334 leading
    steps start at 667, 501 at 501. None where nothing is lost, as with every trailing spacing.
    """
    first = ddim_timesteps(num_steps, spacing, num_train_steps)[0]
    if spacing == "trailing" or not _starts_late(num_steps, num_train_steps):
        return None
    fewer = max(n for n in range(1, num_steps) if not _starts_late(n, num_train_steps))
    more = min(n for n in range(num_steps, num_train_steps) if not _starts_late(n, num_train_steps))
    return (
        f"{num_steps} leading steps start at time {first}, far from {num_train_steps - 1}, "
        f"though from pure noise: choose {fewer} or {more}"
    )


def _starts_late(num_steps: int, num_train_steps: int) -> bool:
    return num_steps * (num_train_steps // num_steps) + STEPS_OFFSET <= 0.9 * num_train_steps
