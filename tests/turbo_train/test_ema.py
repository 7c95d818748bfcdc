"""Is the average the one of the formula, and does the averaged student answer with it?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import fill
from torch import nn
from torch.testing import assert_close

from turbo_train.ema import Average


class Net(nn.Module):
    """A denoiser of one weight that learns and one that does not."""

    prediction_type = "epsilon"

    def __init__(self) -> None:
        super().__init__()
        self.learnt = nn.Linear(3, 2, bias=False)
        self.frozen = nn.Linear(2, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.frozen(self.learnt(x)) * scale


def average(decay: float) -> tuple[Net, Average]:
    torch.manual_seed(0)
    net = Net()
    return net, Average(net, {"a name of its own": net.learnt.weight}, decay)


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.9])
def test_it_is_the_weighted_mean_of_all_weights_that_were(decay: float) -> None:
    """Each weight that was counts (1 - d_k) times the product of all later d, the first one the product of all."""
    net, averaged = average(decay)
    history = [net.learnt.weight.detach().double()]
    for step in range(12):
        with torch.no_grad():
            net.learnt.weight += torch.randn(2, 3)
        averaged.update(step)
        history.append(net.learnt.weight.detach().double())
    decays = [min(decay, (1 + k) / (10 + k)) for k in range(12)]
    shares = [torch.tensor(decays[k:], dtype=torch.float64).prod() * (1 - decays[k - 1] if k else 1) for k in range(13)]
    assert sum(shares).item() == pytest.approx(1)
    expected = sum(share * weight for share, weight in zip(shares, history, strict=True))
    assert_close(averaged.values["a name of its own"].double(), expected, atol=1e-6, rtol=1e-5)


def test_its_answer_is_that_of_the_network_with_the_averages_in_place() -> None:
    net, averaged = average(0.9)
    with torch.no_grad():
        net.learnt.weight += 1
    own, x = net.learnt.weight.detach().clone(), torch.randn(4, 3)
    assert averaged.prediction_type == "epsilon"
    assert not torch.allclose(net(x), averaged(x))
    answer = averaged(x, scale=2.0)
    with averaged.in_place():
        assert torch.equal(net(x, scale=2.0), answer)
    assert torch.equal(net.learnt.weight, own)
    with pytest.raises(KeyError), averaged.in_place():
        raise KeyError
    assert torch.equal(net.learnt.weight, own)


def test_it_is_the_official_update() -> None:
    """With the rate 0.95, where the early, smaller ones are over."""
    golden, outputs = fill.load("solver")
    inputs = fill.inputs_of(golden)
    net = Net()
    net.learnt.weight = nn.Parameter(inputs["ema_target"].clone())
    averaged = Average(net, {"w": net.learnt.weight}, 0.95)
    with torch.no_grad():
        net.learnt.weight.copy_(inputs["ema_source"])
    averaged.update(1000)
    fill.compare(golden, outputs, "ema", averaged.values["w"])
