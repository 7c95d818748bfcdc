"""Which weights does a student answer with? Its own, or their exponential moving average.

average <- decay * average + (1 - decay) * weights, after every step (Polyak and Juditsky 1992; the target of
arXiv 2405.18750, equation 4). Early decays are smaller, min(decay, (1 + step) / (10 + step)), so that the start is soon
forgotten. Differs: the released code of T2V-Turbo (eaae323) has no average although its paper describes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Average(nn.Module):
    """The averaged student behind the Denoiser protocol: the same layers, called with the averaged weights.

    weights: the denoiser's trainable ones, by any names; `values`, their averages, has the same names and dtypes.
    """

    def __init__(self, denoiser: nn.Module, weights: Mapping[str, nn.Parameter], decay: float) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.decay = decay
        self.prediction_type: str = denoiser.prediction_type  # type: ignore[assignment]
        self.weights = dict(weights)
        self.values = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step`, counted from 0."""
        rate = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in self.values.items():
            value.lerp_(self.weights[name], rate)

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """What the denoiser answers with the averaged weights."""
        out: Tensor = functional_call(self.denoiser, self._in_network(), inputs, options)
        return out

    def _in_network(self) -> dict[str, Tensor]:
        """The averages by the names that the network itself has for these weights."""
        names = {id(weight): name for name, weight in self.denoiser.named_parameters()}
        return {names[id(self.weights[name])]: value for name, value in self.values.items()}

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the student itself has the averaged weights: for saving and for making clips."""
        own = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(values[name])
