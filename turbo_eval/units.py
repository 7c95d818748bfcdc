"""What is done, leased, lost and resumed as one? A micro-batch: one model, one sample, a block of the whole suite.

Block b holds the prompts b*batch .. (b+1)*batch - 1 of the suite as it stands, whatever part of it is wanted: the same
clip is computed in the same company by whoever computes it, with any --limit, --dimensions, --samples and any number
of processes. A unit's wanted clips are the ones that are published.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from turbo_eval.manifest import Scope
from turbo_eval.prompt_suite import Suite, select
from turbo_eval.records import ClipId, Prompt
from turbo_eval.scorers.vbench.spec import NAMES
from turbo_train.errors import UserError


@dataclass(frozen=True)
class Unit:
    """A micro-batch. members: places in the suite that are computed together; wanted: those that are kept."""

    model: str
    key: str
    sample_index: int
    members: tuple[int, ...]
    wanted: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of its lease: content key, sample and first place in the suite."""
        return f"{self.model}-{self.key[:12]}-{self.sample_index:02d}-{self.members[0]:05d}"


class Plan:
    """The clips that a scope wants of a suite, in micro-batches."""

    def __init__(self, suite: Suite, scope: Scope, batch: int) -> None:
        self.suite = suite
        self.scope = scope
        self.batch = batch
        sixteen = tuple(name for name in scope.dimensions if name in NAMES)
        # Metrics that are not VBench's ask every prompt.
        narrow = sixteen if len(sixteen) == len(scope.dimensions) else ()
        kept = {prompt.prompt_id for prompt in select(suite, limit=scope.limit, dimensions=narrow).prompts}
        self._counts = tuple(
            (scope.samples or suite.samples_of(prompt, narrow)) if prompt.prompt_id in kept else 0
            for prompt in suite.prompts
        )

    def samples_of(self, index: int) -> int:
        """How many clips are wanted of a prompt."""
        return self._counts[index]

    def prompts(self) -> list[Prompt]:
        """The prompts of which clips are wanted."""
        return [prompt for prompt, count in zip(self.suite.prompts, self._counts, strict=True) if count]

    def clips_per_model(self) -> int:
        """How many clips are wanted of each model."""
        return sum(self._counts)

    def clip_ids(self, model: str) -> Iterator[tuple[ClipId, Prompt]]:
        """Every wanted clip of a model, by prompt."""
        for prompt, count in zip(self.suite.prompts, self._counts, strict=True):
            for sample_index in range(count):
                yield (model, prompt.prompt_id, sample_index), prompt

    def metric_wants(self, metric: str, sample_index: int) -> bool:
        """Whether a metric is asked of that sample: VBench takes 25 for temporal_flickering, 5 for the others."""
        return self.scope.samples is not None or sample_index < self.suite.samples_for(metric)

    def units(self, keys: Mapping[str, str]) -> Iterator[Unit]:
        """The micro-batches of the models (name -> content key), sample by sample, through the suite."""
        size = len(self.suite.prompts)
        for model, key in keys.items():
            for sample_index in range(max(self._counts, default=0)):
                for start in range(0, size, self.batch):
                    members = tuple(range(start, min(start + self.batch, size)))
                    wanted = tuple(i for i in members if self._counts[i] > sample_index)
                    if wanted:
                        yield Unit(model, key, sample_index, members, wanted)


@dataclass(frozen=True)
class Shard:
    """Every count-th unit, from the index-th on."""

    index: int
    count: int

    def takes(self, number: int) -> bool:
        """Whether the unit of that number is this shard's."""
        return number % self.count == self.index

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """`0/4` to `3/4`. UserError for anything else."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    if not match or not int(match[1]) < int(match[2]):
        raise UserError(
            found=f"--shard {text}",
            expected="INDEX/COUNT, counted from 0: 0/4, 1/4, 2/4 and 3/4 are the four quarters",
            run_next="--shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT in a job array that begins at 0",
        )
    return Shard(int(match[1]), int(match[2]))


def shard_of_rank(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """The shard of a process that torchrun or accelerate has launched (RANK of WORLD_SIZE), else None."""
    world = environment.get("WORLD_SIZE", "")
    rank = environment.get("RANK", "")
    if not (world.isdigit() and rank.isdigit()) or int(world) < 2:
        return None
    return parse_shard(f"{rank}/{world}")
