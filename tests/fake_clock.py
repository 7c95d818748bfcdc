"""A clock that only work moves, and works with noise of a known kind, for simulations through the real engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from turbo_eval.timing.measure import Measured, Work, measure_rounds
from turbo_eval.timing.record import WALL
from turbo_eval.timing.stop_rule import Rules

Array = NDArray[np.float64]


class FakeClock:
    """Seconds since the first call; `order`: who worked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def staged(self, seconds: Iterable[float]) -> Work:
        """A call that takes the given seconds in turn."""
        left = iter(seconds)

        def call() -> Mapping[str, float]:
            taken = next(left)
            self.now += taken
            return {WALL: taken}

        return call

    def plain(self, name: str, seconds: Sequence[float], drift: float = 0.0) -> Callable[[], None]:
        """Work for `clocked`: the given seconds in turn, the last for ever; with each call of any, `drift` more."""
        left = list(seconds)

        def run() -> None:
            self.order.append(name)
            self.now += (left.pop(0) if len(left) > 1 else left[0]) * (1 + drift * len(self.order))

        return run


@dataclass(frozen=True)
class Noise:
    """normal, lognormal, or spiky: normal, and 5 % of the runs take 30 % longer. `cv`: without the spikes."""

    kind: str
    cv: float

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Seconds around 1."""
        if self.kind == "lognormal":
            return np.asarray(np.exp(math.sqrt(math.log1p(self.cv**2)) * rng.standard_normal(shape)))
        spikes = rng.random(shape) < 0.05 if self.kind == "spiky" else np.zeros(shape, bool)
        return np.asarray((1 + self.cv * rng.standard_normal(shape)) * np.where(spikes, 1.3, 1.0))

    @property
    def median(self) -> float:
        """Of the distribution."""
        if self.kind != "spiky":
            return 1.0
        bulk, spikes = NormalDist(1, self.cv), NormalDist(1.3, 1.3 * self.cv)
        low, high = 1.0, 1.3
        for _ in range(50):
            middle = (low + high) / 2
            under = 0.95 * bulk.cdf(middle) + 0.05 * spikes.cdf(middle) < 0.5
            low, high = (middle, high) if under else (low, middle)
        return low


def simulate(runs_MRN: Array, rules: Rules, drift: float = 0.0) -> Iterable[Measured]:
    """M measurements of R rows through the engine; N seconds are there for each. Warm-ups are the first ones again.

    drift: how much slower the machine is at call 100 than at call 0 of each row, for all rows alike.
    """
    factors = 1 + drift * np.arange(runs_MRN.shape[-1]) / 100
    for runs_RN in runs_MRN:
        clock = FakeClock()
        works = {str(place): clock.staged(own) for place, own in enumerate((runs_RN * factors).tolist())}
        yield measure_rounds(works, rules, clock)
