"""How does the host stop being the bottleneck? The denoiser's kernels are recorded once and replayed as one CUDA graph.

torch's documentation, "CUDA Graphs": warm up on a side stream, record with fixed inputs, then copy into these and
replay. A recording holds for one set of shapes, dtypes and conditions; each other set gets its own. All recordings of
a denoiser share one pool of memory: no two are replayed at once, and nothing in it outlives a replay but the output,
which is copied before the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.around import AroundDenoiser
from turbo_train.nets.unet_denoiser import UNetDenoiser

WARM_UPS = 3  # as in torch's documentation; the first compiles, the others settle cuDNN's and cuBLAS's choices


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: dict[str, Any]
    out: Tensor


class GraphedDenoiser(AroundDenoiser):
    """A denoiser whose calls are replayed. Inference alone: nothing of it has gradients.

    ValueError for tensors that are not on a GPU.
    """

    def __init__(self, denoiser: UNetDenoiser | AroundDenoiser) -> None:
        super().__init__(denoiser)
        self._recordings: dict[tuple[Any, ...], _Recording] = {}
        self._side: torch.cuda.Stream | None = None  # one for all recordings, or their pool would not be shared

    @torch.no_grad()
    def forward(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
        """The denoiser's output, the caller's own; its errors."""
        given = {"x_BCTHW": x_BCTHW, "t_B": t_B, "context_BLD": context_BLD, **conditions}
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        if any(not value.is_cuda for value in tensors.values()):
            raise ValueError("a CUDA graph of tensors that are not on a GPU")
        key = tuple(
            (name, (value.shape, value.dtype, value.device) if name in tensors else value)
            for name, value in sorted(given.items())
        )
        if key not in self._recordings:
            with torch.cuda.device(x_BCTHW.device):  # streams and recordings are of the current one
                self._recordings[key] = self._record(given)
        recording = self._recordings[key]
        for name, value in tensors.items():
            recording.inputs[name].copy_(value)
        recording.graph.replay()
        return recording.out.clone()  # the next replay writes over it

    def forget(self) -> None:
        """Give up what was recorded, and its memory."""
        self._recordings.clear()
        self._side = None

    def _record(self, given: dict[str, Any]) -> _Recording:
        inputs = {name: value.clone() if isinstance(value, Tensor) else value for name, value in given.items()}
        self._side = side = self._side or torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.denoiser(**inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph, others = torch.cuda.CUDAGraph(), [recording.graph for recording in self._recordings.values()]
        with torch.cuda.graph(graph, pool=others[0].pool() if others else None, stream=side):
            out = self.denoiser(**inputs)
        return _Recording(graph, inputs, out)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GraphedDenoiser:
        self.forget()  # it is of weights that are about to lie elsewhere
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def check_gpu(device: str) -> None:
    """UserError for CUDA graphs on anything but a GPU of CUDA's."""
    if torch.device(device).type != "cuda":
        raise UserError(found=f"--cuda-graphs on {device}", expected="a GPU", run_next="--device cuda, or without it")
