"""How does a run get from its first step to its last? Data, step, log, clips and checkpoints, in this order.

Everything random is drawn from (seed, step, place), and a checkpoint says where the data's lanes stand: a resumed run
takes the steps that an uninterrupted one would have taken. A signal to any process stops all after the same step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from turbo_train.checkpoint import STUDENT, last_checkpoint, read_state, save_checkpoint, write_whole
from turbo_train.config import TrainConfig, check_alike, config_of
from turbo_train.data.feed import Feed, Row
from turbo_train.data.open import open_source
from turbo_train.data.sample import Position
from turbo_train.errors import UserError
from turbo_train.exits import StopRequest, finishing
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig
from turbo_train.runlog import RunLog
from turbo_train.step_figures import Figures, Window
from turbo_train.tensorboard_curves import TensorBoardCurves, check_installed
from turbo_train.trainer import Step, Trainer

Watch = Callable[[int, int, Figures], None]


@dataclass(frozen=True)
class Ended:
    """Where a call of `train` ended. stopped: by a signal, with everything kept."""

    step: int
    stopped: bool
    folder: Path


def train(
    config: TrainConfig,
    folder: Path,
    *,
    watch: Watch | None = None,
    say: Callable[[str], None] = print,
    sizes: CheckpointConfig | None = None,
) -> Ended:
    """Train from the last checkpoint of `folder`, or from the beginning, to the last step or the first signal.

    watch(steps done, steps, figures) after each step, in the main process. sizes: as in `assemble`.
    UserError: what is missing, a source without samples, a disk without room, max_nonfinite steps not finite.
    """
    run = Run(config, folder, sizes)
    with finishing(say) as stop:
        return run.to_the_end(stop, watch)


class Run:
    """A training run in one process: its trainer, its log, and where its data stand."""

    def __init__(self, config: TrainConfig, folder: Path, sizes: CheckpointConfig | None = None) -> None:
        self.config, self.folder = config, folder
        if config.tensorboard:
            check_installed()
        self.trainer = Trainer(config, sizes)
        self.main: bool = self.trainer.accelerator.is_main_process
        self.log = RunLog(folder, self.main)
        self.positions: dict[int, Position] = {}
        self.nonfinite = self.skipped = self.in_a_row = 0
        self.window = Window()
        found = last_checkpoint(folder)
        self._check_seen_by_all(found)
        if found is not None:
            self._restore(found)
        self.log.rewind(self.trainer.done)
        self.curves = TensorBoardCurves(folder, self.trainer.done) if config.tensorboard and self.main else None

    def to_the_end(self, stop: StopRequest, watch: Watch | None = None) -> Ended:
        """Every step that is left."""
        config, trainer = self.config, self.trainer
        self._write_start()
        mine = [place for places in trainer.places for place in places]
        self.positions = {place: self.positions[place] for place in mine if place in self.positions}
        source = open_source(config, trainer.parts.teacher)
        with Feed(source, mine, config.batch_size, self.positions, config.prefetch) as feed:
            first = trainer.done
            while trainer.done < config.steps:
                began = time.perf_counter()
                row = feed.next()
                data_wait_s = time.perf_counter() - began
                if trainer.done == first:
                    _check_same_data(row)
                samples = dict(zip(feed.places, row.samples, strict=True))
                step = trainer.step(samples, stop.requested, len(row.skipped))
                self.positions |= row.positions
                if step.figures.flags["skipped"]:
                    self._count_skipped(gather_object(list(row.skipped)))
                times = {"step_s": time.perf_counter() - began, "data_wait_s": data_wait_s}
                self._count(step, times | {"network_s": step.network_s})
                if watch and self.main:
                    watch(trainer.done, config.steps, step.figures)
                stopping = step.figures.flags["stop"] > 0 and trainer.done < config.steps
                self._after(step, stopping)
                if stopping:
                    self.log.write("stop", {"step": trainer.done})
                    if self.curves:
                        self.curves.close()
                    trainer.accelerator.end_training()
                    return Ended(trainer.done, True, self.folder)
        self._finish()
        return Ended(trainer.done, False, self.folder)

    def _count(self, step: Step, times: dict[str, float]) -> None:
        """A step that was taken goes into the log's next line. UserError: too many in a row were not."""
        done = self.trainer.done
        if step.taken:
            self.in_a_row = 0
            self.window.add(step.figures, step.grad_norm, times)
            return
        wrong = step.figures.wrong() or ["the gradient"]
        self.in_a_row += 1
        self.nonfinite += 1
        self.log.write("nonfinite", {"step": done, "wrong": wrong})
        if self.in_a_row >= self.config.max_nonfinite:
            kept = last_checkpoint(self.folder)
            less = "a smaller lr, or without the reward that is not finite"
            raise UserError(
                found=f"{self.in_a_row} steps in a row, up to step {done}, in which {', '.join(wrong)} was not finite",
                expected="finite losses, rewards and gradients",
                run_next=f"{less}; the last good checkpoint is {kept}" if kept else less,
            )

    def _after(self, step: Step, stopping: bool) -> None:
        """What is due after a step: a line of the log, clips, a checkpoint."""
        config, done = self.config, self.trainer.done
        last = done == config.steps
        if self.window.seen and (done % config.log_every == 0 or last or stopping):
            entry = {"step": done, **self.window.entry(), "lr": step.lr}
            self.log.write("step", entry | {"nonfinite": self.nonfinite, "skipped": self.skipped})
            if self.curves:
                self.curves.add(done, entry)
            self.window = Window()
        if config.validate_every and (done % config.validate_every == 0 or last):
            self.trainer.make_clips(self.folder / "validation" / f"step-{done:06d}")
            self.log.write("validation", {"step": done, "clips": len(config.validation_prompts)})
        if stopping or last or (config.save_every and done % config.save_every == 0):
            self._save()

    def _save(self) -> None:
        """A checkpoint, by the main process. UserError in every process: it cannot be written."""
        positions: dict[int, Position] = {}
        for part in gather_object([self.positions]):
            positions |= part
        failed: list[UserError] = []
        if self.main:
            state = self.trainer.state() | {
                "positions": [(place, dict(position)) for place, position in sorted(positions.items())],
                "nonfinite": self.nonfinite,
                "skipped": self.skipped,
                "in_a_row": self.in_a_row,
                "recipe": self.config.to_json(),
            }
            done = self.trainer.done
            try:
                save_checkpoint(self.folder, done, state, self.trainer.write_student, self.config.keep)
                self.log.write("checkpoint", {"step": done})
            except UserError as error:
                failed.append(error)
        failures = gather_object(failed)
        if failures:
            raise failures[0]

    def _finish(self) -> None:
        done = self.trainer.done
        if self.main:
            write_whole(self.folder / STUDENT, self.trainer.write_student, "the last checkpoint holds the same")
        self.log.write("end", {"step": done, "nonfinite": self.nonfinite, "skipped": self.skipped})
        if self.curves:
            self.curves.close()
        self.trainer.accelerator.end_training()

    def _write_start(self) -> None:
        config, accelerator = self.config, self.trainer.accelerator
        entry: dict[str, Any] = {"step": self.trainer.done, "preset": config.preset}
        entry |= {"processes": accelerator.num_processes, "device": str(self.trainer.device)}
        entry |= {"passes_per_step": config.batch_size // config.micro_batch_size}
        entry |= {"loss_placement": config.loss_placement, "effective_betas": config.effective_betas()}
        self.log.write("start", entry | {"torch": torch.__version__})

    def _check_seen_by_all(self, found: Path | None) -> None:
        """UserError: processes that see different checkpoints would train different students."""
        seen = gather_object([found.name if found else "none"])
        if len(set(seen)) > 1:
            raise UserError(
                found=f"last checkpoints {', '.join(seen)}, each seen by one process",
                expected="one folder that all machines share",
                run_next="the same command with --out on a shared disk",
            )

    def _restore(self, checkpoint: Path) -> None:
        """Go on from there. UserError: it belongs to another recipe, or is further on than the last step."""
        state = read_state(checkpoint)
        again = f"turbo-train resume {self.folder}, or another --out"
        check_alike(self.config, config_of(json.loads(state["recipe"]), str(checkpoint)), str(checkpoint), again)
        if state["step"] > self.config.steps:
            raise UserError(
                found=f"steps {self.config.steps}, and {checkpoint} is {state['step']} steps on",
                expected=f"at least {state['step']}",
                run_next=again,
            )
        self.trainer.restore(state)
        self.positions = dict(state["positions"])
        self.nonfinite, self.skipped, self.in_a_row = state["nonfinite"], state["skipped"], state.get("in_a_row", 0)

    def _count_skipped(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.skipped += 1
            self.log.write("skipped", {"step": self.trainer.done, "sample": text})


def _check_same_data(row: Row) -> None:
    """UserError: processes that see other clips or shards, each in an order of its own."""
    seen = gather_object([next(iter(row.positions.values())).get("units")])
    if len(set(seen)) > 1:
        raise UserError(
            found=f"data that differs between processes: {', '.join(map(str, seen))}",
            expected="the same clips or shards on every machine",
            run_next="the same command with --set data= on a shared disk",
        )
