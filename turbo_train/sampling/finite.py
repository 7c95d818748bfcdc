"""Did a clip break on the way? Where its latents first stopped being numbers, found without asking in each step.

On an accelerator the host runs ahead of the device; reading "all finite?" in each step would make it wait for the
network. The answers stay on the device and are read once, when the last step has been asked for. The samplers' own
waits are not this file's: fresh noise comes from the CPU, and its copy to the device may wait for all asked before.
"""

from __future__ import annotations

import torch
from torch import Tensor


class NonFiniteLatents(ArithmeticError):
    """Latents with infinities or no numbers. step counts from 1; rows: of the batch, from 0, broken in any step."""

    def __init__(self, step: int, num_steps: int, time: int, rows: tuple[int, ...], batch: int, dtype: str) -> None:
        super().__init__(step, num_steps, time, rows, batch, dtype)
        self.step, self.num_steps, self.time = step, num_steps, time
        self.rows, self.batch, self.dtype = rows, batch, dtype

    def __str__(self) -> str:
        rows = f"row{'s' * (len(self.rows) > 1)} {', '.join(map(str, self.rows))}"
        remedies = "another seed, or a guidance scale nearer to the model's default"
        if self.dtype != "float32":
            remedies = f"the network in float32, {remedies}"
        return (
            f"latents are not finite from step {self.step} of {self.num_steps} on (time {self.time}), "
            f"in {rows} of a batch of {self.batch}, the network in {self.dtype}; try {remedies}"
        )


class FiniteWatch:
    """Which rows were finite after which step."""

    def __init__(self, times: tuple[int, ...]) -> None:
        self.times = times
        self._finite: list[Tensor] = []

    def look(self, latents_BCTHW: Tensor) -> None:
        """Note the latents after the next step. The note itself does not wait for the device."""
        self._finite.append(torch.isfinite(latents_BCTHW).flatten(1).all(1))

    def check(self, dtype: torch.dtype) -> None:
        """Read all notes at once. NonFiniteLatents, naming the network's dtype, if a row was broken in any step."""
        broken_SB = ~torch.stack(self._finite).cpu()
        if not bool(broken_SB.any()):
            return
        first = int(broken_SB.any(1).int().argmax())
        rows = tuple(broken_SB.any(0).nonzero().flatten().tolist())
        name = str(dtype).removeprefix("torch.")
        raise NonFiniteLatents(first + 1, len(self.times), self.times[first], rows, broken_SB.shape[1], name)
