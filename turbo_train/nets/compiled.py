"""What if the denoiser's UNet is compiled, and what if it cannot be? torch.compile, or the network as it was, and why.

The whole UNet is one graph (fullgraph) of fixed shapes (dynamic=False): kernels for sizes known in advance are faster,
a sampler's steps all have one shape, and another shape is compiled for itself. Whole, not block by block, by
measurement (reports/LOG.md). "max" is torch's "max-autotune-no-cudagraphs": CUDA graphs are cuda_graph.py's.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch._dynamo.utils import compile_times, counters

from turbo_train.nets.around import AroundDenoiser
from turbo_train.nets.fast_path import Compile
from turbo_train.nets.unet_denoiser import UNetDenoiser

MODES: dict[Compile, str] = {"default": "default", "max": "max-autotune-no-cudagraphs"}
_WHOLE = "_compile.compile_inner"  # torch's name for all of a graph's compilation, from bytecode to kernels


class CompiledDenoiser(AroundDenoiser):
    """A denoiser whose `unet` is compiled, in place, when it is first called.

    Where torch cannot compile it, the call and all later ones are the uncompiled network's; `note` says why, and a
    UserWarning does. What the network itself refuses it still refuses, and that is no reason to give up compiling.
    compile_s: seconds spent compiling so far, by torch's own account; from_cache: kernels that an earlier compilation
    had left on the disk (TORCHINDUCTOR_CACHE_DIR), which makes them fewer.
    """

    def __init__(self, denoiser: UNetDenoiser | AroundDenoiser, unet: nn.Module, mode: Compile = "default") -> None:
        super().__init__(denoiser)
        self.compile_s, self.from_cache = 0.0, False
        self.note = ""
        self._unet = (unet,)  # in a tuple: it is a module of the denoiser
        unet.compile(fullgraph=True, dynamic=False, mode=MODES[mode])

    def forward(self, x_BCTHW: Tensor, t_B: Tensor, context_BLD: Tensor, **conditions: Any) -> Tensor:
        """The denoiser's output; its errors."""
        before, hits = _seconds_compiling(), _cache_hits()
        try:
            out: Tensor = self.denoiser(x_BCTHW, t_B, context_BLD, **conditions)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            out = self._without(error, x_BCTHW, t_B, context_BLD, **conditions)
        self.compile_s += _seconds_compiling() - before
        self.from_cache |= _cache_hits() > hits
        return out

    def _without(self, error: Exception, *given: Tensor, **conditions: Any) -> Tensor:
        unet = self._unet[0]
        compiled, unet._compiled_call_impl = unet._compiled_call_impl, None
        try:
            out: Tensor = self.denoiser(*given, **conditions)
        except Exception:  # the caller's mistake, not the compiler's
            unet._compiled_call_impl = compiled
            raise
        self.note = f"not compiled: {_reason(error)}"
        warnings.warn(f"the denoiser runs uncompiled; {self.note}", UserWarning, stacklevel=3)
        return out


def _seconds_compiling() -> float:
    times = compile_times(repr="csv", aggregate=True)
    assert isinstance(times, tuple)
    names, seconds = times
    return float(str(dict(zip(names, seconds, strict=True)).get(_WHOLE, 0.0)))


def _cache_hits() -> int:
    return int(counters["inductor"]["fxgraph_cache_hit"])


def _reason(error: Exception) -> str:
    """The first line of what torch says, or of what it says it was caused by."""
    inner = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()] or [""]
    return f"{type(inner).__name__}: {lines[0]}"[:300]
