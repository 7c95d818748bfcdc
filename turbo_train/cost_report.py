"""How is a counted recipe shown? One JSON document for programs, tables for people; and the modes beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from turbo_train.config import TrainConfig
from turbo_train.cost import ENCODE, Cost

SCHEMA = 1
GIB, TERA = 2**30, 1e12


def modes_of(config: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    """The recipe's objectives without and with recomputation: consistency alone, each kind of reward, all of them."""
    kinds = {"no reward": (), "image rewards": ("img",), "video rewards": ("vid",), "all rewards": ("img", "vid")}
    seen = set()
    for name, parts in kinds.items():
        rewards = tuple(term for term in config.rewards if term.part in parts)
        if rewards in seen:
            continue
        seen.add(rewards)
        for again in (False, True):
            mode = f"{name}, {'recomputed' if again else 'kept'}"
            yield mode, replace(config, rewards=rewards, gradient_checkpointing=again, checkpoint_decode=again)


def document_of(cost: Cost) -> dict[str, Any]:
    """For programs. Numbers carry their units in their names."""
    config, memory = cost.config, cost.memory
    return {
        "schema": SCHEMA,
        "config": asdict(config),
        "effective_reward_weights": config.effective_betas(),
        "trainable_parameters": cost.parameters,
        "frozen_parameters": cost.frozen_parameters,
        "flops": [{"part": row.part, "phase": row.phase, "flops_per_sample": row.flops} for row in cost.work],
        "flops_per_sample": cost.flops_per_sample(),
        "flops_per_sample_with_encoding": cost.flops_per_sample(cached_latents=False),
        "flops_per_step": cost.flops_per_step(),
        "flops_per_step_with_encoding": cost.flops_per_step(cached_latents=False),
        "memory": {
            "samples_in_a_pass": config.micro_batch_size,
            **{f"{name}_bytes": getattr(memory, name) for name in WEIGHTS},
            "kept_for_backward_bytes": memory.graph,
            "alive_at_the_worst_moment_bytes": memory.worst,
            "peak_bytes": memory.peak,
        },
    }


WEIGHTS = ("frozen", "trainable", "gradients", "optimizer", "average")


def mode_row(name: str, cost: Cost) -> dict[str, Any]:
    """One mode: what it costs and holds."""
    kept = sum(cost.memory.graph.values())
    return {
        "mode": name,
        "flops_per_sample": cost.flops_per_sample(),
        "kept_for_backward_bytes": kept,
        "peak_bytes": cost.memory.peak,
    }


def show(cost: Cost, modes: list[dict[str, Any]], console: Console) -> None:
    """Tables: the recipe, the arithmetic by part, the memory by part, the modes."""
    config = cost.config
    passes = config.batch_size // config.micro_batch_size
    console.print(
        f"[bold]{config.preset}[/bold]: teacher {config.teacher}, {config.steps} steps of {config.batch_size}"
    )
    console.print(f"a step is {passes} passes of {config.micro_batch_size}, spread over the processes")
    betas = ", ".join(f"{name} {beta:.3g}" for name, beta in config.effective_betas().items()) or "none"
    console.print(f"effective reward weights: {betas} (loss_placement {config.loss_placement})")
    console.print(f"trainable parameters: {cost.parameters:,} beside {cost.frozen_parameters:,} frozen ones")
    console.print(_work(cost), _memory(cost))
    if modes:
        console.print(_modes(modes))


def _work(cost: Cost) -> Table:
    table = _table("TFLOP per sample", "part", "forward", "backward", "recomputed")
    for part in dict.fromkeys(row.part for row in cost.work):
        each = {row.phase: row.flops for row in cost.work if row.part == part}
        name = f"{part} (nothing with cached latents)" if part == ENCODE else part
        table.add_row(name, *(_tera(each.get(phase, 0)) for phase in ("forward", "backward", "again")))
    for cached in (True, False):
        sample, step = cost.flops_per_sample(cached_latents=cached), cost.flops_per_step(cached_latents=cached)
        name = "cached latents" if cached else "clips"
        table.add_row(f"total, {name}", _tera(sample), f"per step: {_tera(step)}", "")
    return table


def _memory(cost: Cost) -> Table:
    memory = cost.memory
    table = _table(f"GiB for a pass of {cost.config.micro_batch_size}", "part", "kept for backward", "at the peak")
    for name in WEIGHTS:
        if size := getattr(memory, name):
            table.add_row({"average": "averaged weights"}.get(name, name), "", f"{size / GIB:.2f}")
    for part in sorted(memory.graph | memory.worst, key=lambda part: -memory.worst.get(part, 0)):
        kept, worst = (sizes.get(part, 0) / GIB for sizes in (memory.graph, memory.worst))
        if max(kept, worst) >= 0.005:
            table.add_row(f"activations: {part}", f"{kept:.2f}", f"{worst:.2f}")
    table.add_row("total", f"{sum(memory.graph.values()) / GIB:.2f}", f"{memory.peak / GIB:.2f}")
    return table


def _modes(modes: list[dict[str, Any]]) -> Table:
    table = _table("modes (cached latents)", "mode", "TFLOP per sample", "kept for backward, GiB", "peak, GiB")
    for row in modes:
        kept, peak = row["kept_for_backward_bytes"] / GIB, row["peak_bytes"] / GIB
        table.add_row(row["mode"], _tera(row["flops_per_sample"]), f"{kept:.2f}", f"{peak:.2f}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=None, title_justify="left", header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _tera(flops: float) -> str:
    return f"{flops / TERA:.4g}" if flops else ""
