"""What is a suite? Prompts in order, their sha256, and how many clips of each its protocol asks for.

The sha256 is that of the prompts' canonical lines: equal prompts have an equal one, whatever file they come from, its
spacing and the order of its fields. The number of clips is no part of it. Where suites come from: suites.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from turbo_eval.records import Prompt, canonical_line
from turbo_train.errors import UserError


@dataclass(frozen=True)
class Suite:
    """Prompts in the order in which they are generated.

    samples: clips of each prompt by the suite's own protocol; samples_by_dimension: where a dimension has another.
    """

    name: str
    prompts: tuple[Prompt, ...]
    sha256: str
    samples: int = 1
    samples_by_dimension: Mapping[str, int] = field(default_factory=dict)

    def samples_for(self, dimension: str) -> int:
        """Clips of each prompt that a dimension asks for."""
        return self.samples_by_dimension.get(dimension, self.samples)

    def samples_of(self, prompt: Prompt, dimensions: Collection[str] = ()) -> int:
        """Clips of one prompt: the most that any of its own dimensions asks for, of those in `dimensions` if given."""
        asked = [name for name in prompt.dimensions if not dimensions or name in dimensions]
        return max(map(self.samples_for, asked), default=self.samples)


def suite_of(
    name: str, prompts: Sequence[Prompt], samples: int = 1, samples_by_dimension: Mapping[str, int] | None = None
) -> Suite:
    """A suite with the sha256 of exactly these prompts."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(f"{canonical_line(prompt)}\n".encode())
    return Suite(name, tuple(prompts), digest.hexdigest(), samples, dict(samples_by_dimension or {}))


def _first(prompts: Sequence[Prompt], limit: int, wanted: Collection[str]) -> Iterator[Prompt]:
    """Those that are among the first `limit` of a wanted dimension."""
    seen: Counter[str] = Counter()
    for prompt in prompts:
        asked = [name for name in prompt.dimensions if not wanted or name in wanted] or [""]
        if any(seen[name] < limit for name in asked):
            yield prompt
        seen.update(asked)


def select(suite: Suite, *, limit: int | None = None, dimensions: Sequence[str] = ()) -> Suite:
    """The prompts meant for any of `dimensions` (all, if none is given); of them the first `limit` of each dimension.

    Prompts that name no dimension are meant for all, and count by themselves. UserError when none is left.
    """
    wanted = set(dimensions)
    kept = [p for p in suite.prompts if not wanted or not p.dimensions or wanted & set(p.dimensions)]
    kept = kept if limit is None else list(_first(kept, limit, wanted))
    if not kept:
        asked = ", ".join(dimensions) or "all"
        raise UserError(
            found=f"no prompt of suite {suite.name!r} left (limit {limit}, dimensions {asked})",
            expected="at least one prompt",
            run_next="the same command with another --limit or --dimensions",
        )
    return suite_of(suite.name, kept, suite.samples, suite.samples_by_dimension)
