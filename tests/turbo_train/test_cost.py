"""Is what `turbo-train dry-run` counts what a step does? At full size by shape, on the world against a real step."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from turbo_train.assembly import assemble
from turbo_train.cli import app
from turbo_train.config import TrainConfig, parse_reward
from turbo_train.cost import Cost, cost_of, run_step, weights_of, zero_gradients
from turbo_train.cost_networks import shaped_reward, shaped_teacher
from turbo_train.cost_report import modes_of
from turbo_train.draws import draw
from turbo_train.nets.counted import Counted, size_bytes
from turbo_train.nets.student import trainable_weights
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.presets import find_preset
from turbo_train.step import Batch

KEYS = Path(__file__).parents[1] / "golden" / "keys"
TERA = 1e12
WORLD = replace(find_preset("world-turbo").config, batch_size=2, micro_batch_size=2)
KEPT = {"gradient_checkpointing": False, "checkpoint_decode": False}


def by_part(cost: Cost) -> dict[str, dict[str, float]]:
    """TFLOP per sample: part -> phase -> number."""
    out: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in cost.work:
        out[row.part][row.phase] += row.flops / TERA
    return out


def published(file: str) -> dict[str, tuple[int, ...]]:
    with (KEYS / file).open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    rows = [row for row in rows if row.get("in_teacher", "1") == "1"]
    return {row["key"]: tuple(map(int, filter(None, row["shape"].replace("scalar", "").split("x")))) for row in rows}


@pytest.mark.parametrize(("name", "file"), [("vc2", "vc2_unet_keys.tsv"), ("ms", "ms_unet_keys.tsv")])
def test_counted_teachers_are_the_published_ones(name: str, file: str) -> None:
    with torch.device("meta"):
        unet = unet_denoiser_of(shaped_teacher(name)).unet
    assert {key: tuple(value.shape) for key, value in unet.state_dict().items()} == published(file)


@pytest.mark.parametrize("text", ["hpsv2.1:1", "viclip:1", "internvideo2:1:8", "world-video-reward:1"])
def test_counted_rewards_are_the_published_ones(text: str) -> None:
    from turbo_train.rewards.table import find_reward

    term = parse_reward(text)
    with torch.device("meta"):
        model = shaped_reward(term)
    assert sum(weight.numel() for weight in model.net.parameters()) == find_reward(term.name).parameters


@pytest.fixture(scope="module")
def world_cost() -> Cost:
    return cost_of(WORLD)


def real_step(config: TrainConfig) -> tuple[Counted, dict[str, int], int, int]:
    """A real pass on the world with everything counted: what each part kept; bytes of weights; what learns."""
    parts = assemble(config)
    learnt, weights = trainable_weights(parts.student), weights_of(parts)
    gradients = zero_gradients(learnt.values())
    frozen = [weight for weight in weights if not weight.requires_grad]
    texts = ("a red circle moves up on a black background", "a blue square rests on a white background")
    for term in parts.objective.rewards:
        term.model.text_features(texts)  # type: ignore[attr-defined]
    draws = draw(0, 0, (0, 1), parts.teacher.latent_shape, num_ddim_steps=25, guidance_range=(0.5, 3.0))
    with Counted([*weights, *gradients]) as counted:
        with torch.no_grad():
            batch = Batch(torch.randn(draws.noise_BCTHW.shape), parts.teacher.text(texts), parts.empty_1LD, texts)
        kept = run_step(counted, parts, batch, draws, config.precision)
    assert all(weight.grad is None for weight in frozen)
    return counted, kept, size_bytes(weights), sum(weight.numel() for weight in learnt.values())


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_worlds_estimate_is_what_a_real_step_needs(again: bool, world_cost: Cost) -> None:
    config = replace(WORLD, gradient_checkpointing=again, checkpoint_decode=again)
    cost = cost_of(config) if again else world_cost
    counted, kept, weights, learnt = real_step(config)
    assert cost.memory.frozen + cost.memory.trainable == weights and cost.parameters == learnt
    assert sum(cost.memory.worst.values()) == pytest.approx(counted.peak, rel=0.03)
    assert sum(cost.memory.graph.values()) == pytest.approx(sum(kept.values()), rel=0.03)
    real = {key: flops / TERA / 2 for key, flops in counted.flops.items()}
    assert real.pop(("other", "forward")) < 1e-3 * cost.flops_per_sample() / TERA  # the captions' contexts
    for (part, phase), flops in real.items():
        assert by_part(cost)[part][phase] == pytest.approx(flops, rel=0.02), (part, phase)


def test_frozen_networks_get_no_gradients_of_their_weights(world_cost: Cost) -> None:
    found = by_part(world_cost)
    for part, phases in found.items():
        if part.startswith(("decode", "reward")):  # attention's backward pass computes its scores again
            assert 0.9 * phases["forward"] < phases["backward"] < 1.4 * phases["forward"], part
    assert found["teacher"].keys() == found["target"].keys() == {"forward"}
    assert found["student"]["forward"] == pytest.approx(found["target"]["forward"], rel=1e-6)
    learnt = found["student"]["forward"] - found["teacher"]["forward"] / 2  # LoRA's own branches
    assert found["student"]["backward"] < found["teacher"]["forward"] / 2 * 1.3 + 2 * learnt


def test_a_steps_work_is_its_samples(world_cost: Cost) -> None:
    assert world_cost.flops_per_step() == 2 * world_cost.flops_per_sample()
    assert world_cost.flops_per_sample(cached_latents=False) > world_cost.flops_per_sample()
    assert world_cost.memory.optimizer == 8 * world_cost.parameters == 2 * world_cost.memory.gradients
    assert world_cost.memory.average == 4 * world_cost.parameters


def test_modes_are_every_kind_of_reward_without_and_with_recomputation() -> None:
    modes = dict(modes_of(find_preset("vc2-turbo").config))
    assert [name for name in modes if name.endswith("kept")] == [
        f"{kind}, kept" for kind in ("no reward", "image rewards", "video rewards", "all rewards")
    ]
    assert [term.name for term in modes["image rewards, recomputed"].rewards] == ["hpsv2.1"]
    assert len(dict(modes_of(find_preset("world-vcm").config))) == 2


@pytest.mark.slow
def test_videocrafter2_with_the_image_reward_costs_at_most_95_tflop_per_sample() -> None:
    config = replace(find_preset("vc2-turbo").config, rewards=(parse_reward("hpsv2.1:1:6"),), **KEPT)
    cost = cost_of(config)
    found = by_part(cost)
    assert cost.flops_per_sample() <= 95 * TERA
    assert found["teacher"]["forward"] == pytest.approx(25.2, rel=0.01)
    assert found["decode"]["forward"] == pytest.approx(9.4, rel=0.01)
    assert sum(found["reward hpsv2.1"].values()) == pytest.approx(4.0, rel=0.05)
    assert found["vae encode"]["forward"] == pytest.approx(11.04, rel=0.01)
    branches = found["target"]["forward"] - found["teacher"]["forward"] / 2
    assert branches == pytest.approx(1.77, rel=0.02)  # LoRA of rank 64, unmerged
    assert not any(row.phase == "again" for row in cost.work)
    recomputed = cost_of(replace(config, gradient_checkpointing=True, checkpoint_decode=True))
    again = by_part(recomputed)
    assert again["decode"]["again"] == pytest.approx(found["decode"]["forward"], rel=0.01)
    assert 0.9 < again["student"]["again"] / found["student"]["forward"] <= 1  # what saves nothing is not repeated
    assert recomputed.memory.peak < cost.memory.peak / 3
    assert recomputed.memory.worst.get("decode", 0) < cost.memory.graph["decode"] / 4  # one frame of six


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["vc2-turbo", "ms-turbo"])
def test_both_rewards_are_counted_at_full_size(preset: str) -> None:
    config = replace(find_preset(preset).config, **KEPT)
    cost = cost_of(config)
    image, video = config.rewards
    found = by_part(cost)
    for term in (image, video):
        phases = found[f"reward {term.name}"]
        assert 0 < phases["forward"] < phases["backward"] < 1.4 * phases["forward"]
    assert cost.memory.peak > cost.memory.weights > 4 * 2**30


def test_mistakes_are_named(tmp_path: Path) -> None:
    run: Callable[..., object] = lambda *arguments: CliRunner().invoke(app, ["dry-run", *arguments])  # noqa: E731
    for arguments, text in (
        (("--preset", "world-turb"), "did you mean world-turbo"),
        (("--preset", "world-turbo", "--set", "rnk=3"), "did you mean rank"),
        (("--preset", "world-turbo", "--set", "rewards=hpsv2"), "unknown reward"),
        (("--preset", "world-turbo", "--set", f"teacher={tmp_path / 'none'}"), "neither a name nor a path"),
        (("--preset", "world-turbo", "--set", "num_ddim_steps=7"), "a divisor of 1000"),
        (("--preset", "world-turbo", "--set", "rewards=world-video-reward:1:4"), "4 frames for world-video-reward"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2 and text in done.stderr, (arguments, done.output)  # type: ignore[attr-defined]


def test_the_command_prints_tables_and_json() -> None:
    runner = CliRunner()
    arguments = ["dry-run", "--preset", "world-vcm", "--set", "micro_batch_size=1"]
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["flops_per_step"] == 8 * document["flops_per_sample"]
    memory = document["memory"]
    weights = sum(memory[f"{name}_bytes"] for name in ("frozen", "trainable", "gradients", "optimizer", "average"))
    assert weights + sum(memory["alive_at_the_worst_moment_bytes"].values()) == memory["peak_bytes"]
    shown = runner.invoke(app, arguments)
    for text in ("trainable parameters: 771,616", "TFLOP per sample", "optimizer", "8 passes of 1", '"rank": 16'):
        assert text in shown.stdout, text
