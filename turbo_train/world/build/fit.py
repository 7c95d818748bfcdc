"""How is one small network trained so that a killed build loses nothing and a resumed one changes nothing?

AdamW, linear warm-up then cosine decay to 2 %, gradient clip 1, optional exponential moving average.
All randomness of step k comes from a generator seeded with (seed, k), so a resumed run draws what an
uninterrupted run would have drawn. Checkpoints are written to a temporary name and renamed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from turbo_train.learning_rate import learning_rate

Loss = Callable[[int, torch.Generator], Mapping[str, Tensor]]
Report = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Fit:
    """How long and how fast to train. `ema` 0 means no averaging."""

    steps: int
    lr: float
    seed: int
    warmup: int = 60
    weight_decay: float = 0.01
    ema: float = 0.0
    save_every_s: float = 45.0
    log_every: int = 25


def generator_of(seed: int, step: int) -> torch.Generator:
    """The generator of one step: a function of (seed, step) only."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _save(path: Path, state: Mapping[str, object]) -> None:
    temporary = path.with_suffix(".partial")
    torch.save(dict(state), temporary)
    temporary.replace(path)


def _average(shadow: dict[str, Tensor], module: nn.Module, decay: float, step: int) -> None:
    rate = min(decay, (1 + step) / (10 + step))
    for name, value in module.state_dict().items():
        if value.dtype.is_floating_point:
            shadow[name].lerp_(value, 1 - rate)


def fit(
    plan: Fit,
    module: nn.Module,
    loss: Loss,
    folder: Path,
    report: Report | None = None,
) -> nn.Module:
    """Train `module` in place (and leave the averaged weights in it). Returns it in eval mode.

    loss(step, generator) gives a dict whose entry "loss" is minimised; the rest is logged to
    folder/log.jsonl. folder/state.pt lets a second call go on where the first one was stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "state.pt"
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.lr, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
    first = 0
    shadow = {k: v.detach().clone() for k, v in module.state_dict().items()} if plan.ema else {}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        first, shadow = int(state["step"]), state["shadow"]
    saved = time.monotonic()
    module.train()
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        for step in range(first, plan.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(plan.lr, step, plan.steps, plan.warmup, "cosine")
            terms = loss(step, generator_of(plan.seed, step))
            optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            if plan.ema:
                _average(shadow, module, plan.ema, step)
            done = step + 1
            figures = {name: float(value.detach()) for name, value in terms.items()}
            if done % plan.log_every == 0 or done == plan.steps:
                log.write(json.dumps({"step": done, "time": time.time(), **figures}) + "\n")
                log.flush()
            if report:
                report(done, plan.steps, figures)
            if time.monotonic() - saved > plan.save_every_s or done == plan.steps:
                _save(checkpoint, _state(module, optimizer, shadow, done))
                saved = time.monotonic()
    if plan.ema:
        module.load_state_dict(shadow)
    return module.eval()


def _state(
    module: nn.Module, optimizer: torch.optim.Optimizer, shadow: dict[str, Tensor], step: int
) -> dict[str, object]:
    return {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "shadow": shadow, "step": step}
