"""Are the chains that `turbo-train memory` measures the samplers' own, and what it counts what autograd keeps?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from typer.testing import CliRunner

from turbo_train.assembly import Parts, assemble
from turbo_train.cli import app
from turbo_train.errors import UserError
from turbo_train.memory import WORLD, Chain, Inputs, check_steps, inputs_of, measure_world, reward_loss, shapes_of
from turbo_train.nets.counted import Counted
from turbo_train.nets.student import trainable_weights


@pytest.fixture(scope="module")
def world() -> tuple[Parts, Inputs]:
    parts = assemble(WORLD)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # LoRA's B starts at zero, which would hide half of the gradients
        for weight in trainable_weights(parts.student).values():
            weight.add_(0.01 * torch.randn(weight.shape, generator=generator))
    return parts, inputs_of(parts, 1)


def slopes(world: tuple[Parts, Inputs], chain: Chain, steps: int, recomputed: bool = False) -> Tensor:
    parts, inputs = world
    loss = reward_loss(parts, inputs, chain, steps, recomputed=recomputed)
    grads = torch.autograd.grad(loss, list(trainable_weights(parts.student).values()))
    return torch.cat([grad.flatten() for grad in grads])


def test_a_chain_of_one_step_is_the_single_step_prediction(world: tuple[Parts, Inputs]) -> None:
    single, chain = slopes(world, "single", 1), slopes(world, "consistency", 1)
    assert single.norm() > 0
    assert_close(chain, single, atol=1e-6 * single.abs().max().item(), rtol=1e-4)
    assert (slopes(world, "consistency", 2) - single).norm() > 0.1 * single.norm()


@pytest.mark.parametrize("chain", ["single", "consistency", pytest.param("ddim", marks=pytest.mark.slow)])
def test_recomputing_changes_no_gradient(world: tuple[Parts, Inputs], chain: Chain) -> None:
    steps = 1 if chain == "single" else 2
    plain = slopes(world, chain, steps)
    again = slopes(world, chain, steps, recomputed=True)  # decoded frame by frame: other roundings
    assert_close(again, plain, atol=1e-5 * plain.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("chain", [pytest.param("consistency", marks=pytest.mark.slow), "ddim"])
def test_a_chains_gradient_is_its_slope(world: tuple[Parts, Inputs], chain: Chain) -> None:
    parts, inputs = world
    weight = trainable_weights(parts.student)[WEIGHT]
    (slope,) = torch.autograd.grad(reward_loss(parts, inputs, chain, 2), weight)
    direction = slope / slope.norm()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * 3e-3 * direction)
            values.append(reward_loss(parts, inputs, chain, 2).item())
            weight.sub_(sign * 3e-3 * direction)
    assert (values[0] - values[1]) / 6e-3 == pytest.approx(slope.norm().item(), rel=0.03)


WEIGHT = "conv_in.lora_B.weight"


def kept_by_autograd(make: Callable[[], Tensor], without: list[Tensor]) -> int:
    """Bytes of the storages that autograd saves, each once."""
    known = {tensor.untyped_storage()._cdata for tensor in without}
    sizes: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            sizes[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = make()
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in sizes.values())


def test_what_is_alive_after_the_forward_pass_is_what_autograd_saved(world: tuple[Parts, Inputs]) -> None:
    from turbo_train.cost import weights_of

    parts, inputs = world
    make = lambda: reward_loss(parts, inputs, "single", 1)  # noqa: E731
    saved = kept_by_autograd(make, weights_of(parts))
    with Counted(weights_of(parts)) as counted:
        loss = make()
        assert loss.requires_grad
        assert counted.now == pytest.approx(saved, rel=0.02)


@pytest.mark.slow
def test_the_chain_grows_with_its_steps_and_the_single_step_does_not() -> None:
    rows = measure_world((1, 2, 4))
    peak = {(row.chain, row.num_steps, row.recomputed): row.peak_bytes for row in rows}
    assert not any(row.shapes_only for row in rows)
    assert peak["consistency", 1, False] == pytest.approx(peak["single", 1, False], rel=0.02)
    step = peak["consistency", 2, False] - peak["consistency", 1, False]
    assert peak["consistency", 4, False] - peak["consistency", 2, False] == pytest.approx(2 * step, rel=0.05)
    guided = peak["ddim", 4, False] - peak["ddim", 2, False]
    assert guided == pytest.approx(4 * step, rel=0.15)  # two branches
    assert peak["consistency", 4, True] < 0.5 * peak["consistency", 4, False]
    for row in rows[:4]:  # in shape alone: the same bytes
        counted = shapes_of(WORLD, 1, row.chain, row.num_steps, row.recomputed)
        assert counted.peak_bytes == pytest.approx(row.peak_bytes, rel=0.05)


@pytest.mark.parametrize("text", ["", "0", "4,x", "3", "-4", "4,,8"])
def test_steps_that_make_no_chain_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="whole numbers that divide 1000"):
        check_steps(text)


@pytest.mark.slow
def test_the_command_writes_its_figures_and_the_plot(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["memory", "--steps", "2", "--limit-gib", "0", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert json.loads(done.stdout) == document
    assert [row["chain"] for row in document["world"]] == ["single"] * 2 + ["consistency"] * 2 + ["ddim"] * 2
    assert [row["shapes_only"] for row in document["world"]] == [True, False] * 3  # recomputed ones always fit
    assert document["full_size"] == []
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert "| single-step prediction | 1 | no |" in (tmp_path / "memory.md").read_text(encoding="utf-8")
    assert CliRunner().invoke(app, ["memory", "--steps", "7"]).exit_code == 2
