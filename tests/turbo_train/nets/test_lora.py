"""Does LoRA add what its factors say, in every kind of layer and only once?"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.nets.lora import inject, load_lora, lora_targets, lora_weights, merge


class Nested(nn.Module):
    """Layers whose names end alike, of every kind that learns and two that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 5)
        self.block = nn.ModuleDict({"out": nn.Linear(5, 7), "norm": nn.LayerNorm(7)})
        self.image = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.video = nn.Conv3d(5, 2, (3, 1, 1), padding=(1, 0, 0))
        self.line = nn.Conv1d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.image(x)
        y = self.video(y.unsqueeze(2).expand(-1, -1, 3, -1, -1))
        flat = self.out(y.flatten(2)[..., :5])
        return self.block["norm"](self.block["out"](flat))


def test_lora_adds_the_product_of_its_factors_in_every_kind_of_layer() -> None:
    torch.manual_seed(0)
    net, x = Nested(), torch.randn(2, 3, 6, 6)
    assert lora_targets(net) == {"out": 5, "block.out": 5, "image": 3, "video": 2}
    plain = {name: value.clone() for name, value in net.state_dict().items()}
    inject(net, rank=4)
    for again in (lambda: inject(net, rank=4), lambda: lora_targets(net)):
        with pytest.raises(ValueError, match="the network has LoRA already"):
            again()
    filled = {name: torch.randn(value.shape) for name, value in lora_weights(net).items()}
    load_lora(net, filled)
    active = net(x)
    merge(net)
    assert_close(net(x), active, atol=1e-5, rtol=1e-5)
    assert net.state_dict().keys() == plain.keys()
    for name in lora_targets(net):
        up, down = filled[f"{name}.lora_B.weight"], filled[f"{name}.lora_A.weight"]
        product = (up.flatten(1) @ down.flatten(1)).reshape(plain[f"{name}.weight"].shape)
        assert_close(net.state_dict()[f"{name}.weight"], plain[f"{name}.weight"] + product, atol=1e-5, rtol=1e-5)
    assert torch.equal(net.line.weight, plain["line.weight"])
