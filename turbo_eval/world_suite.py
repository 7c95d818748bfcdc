"""How are the embedded world's two suites made? Written once and committed; a test compares the bytes.

world.jsonl             the 18 held-out test triples on each of 3 backgrounds, and 18 seen combinations: 72 prompts
world-validation.jsonl  the 9 validation triples on each of 3 backgrounds, and 9 seen combinations: 36 prompts

Tags follow VBench's own suite: temporal_flickering has prompts of static scenes only, and dynamic_degree prompts
of things that move; the consistencies and motion_smoothness apply to all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from turbo_eval.durable import write_atomically
from turbo_eval.records import Prompt, canonical_line
from turbo_eval.scorers.vbench import spec
from turbo_train.world.captions import Said, say
from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, triples

SEED = 20250101  # of the wording alone; the combinations are enumerated
Kind = tuple[str, str, str, str]  # shape, colour, motion, background

CHOICES = (len(SHAPES), len(COLOURS), len(MOTIONS), len(BACKGROUNDS))
ALWAYS = (
    spec.SUBJECT_CONSISTENCY,
    spec.BACKGROUND_CONSISTENCY,
    spec.MOTION_SMOOTHNESS,
    spec.OVERALL_CONSISTENCY,
)


def dimensions_of(kind: Kind) -> tuple[str, ...]:
    """The dimensions that a prompt of this kind is meant for, in VBench's order."""
    by_motion = spec.TEMPORAL_FLICKERING if kind[2] == "still" else spec.DYNAMIC_DEGREE
    return tuple(name for name in spec.NAMES if name in ALWAYS or name == by_motion)


def seen_kinds(count: int, avoid: Sequence[Kind] = ()) -> list[Kind]:
    """`count` kinds with different training triples, spread evenly: each takes the values used least so far."""
    used: Counter[str] = Counter()
    avoided = {kind[:3] for kind in avoid}
    rest = [(*t, ground) for t, ground in product(triples("train"), BACKGROUNDS) if t not in avoided]
    kinds: list[Kind] = []
    while len(kinds) < count:
        # No two attributes share a value, so one counter serves; a value's use counts relative to its fair share.
        kind = min(rest, key=lambda kind: sum((used[v] * n) ** 2 for v, n in zip(kind, CHOICES, strict=True)))
        kinds.append(kind)
        used.update(kind)
        rest = [other for other in rest if other[:3] != kind[:3]]
    return kinds


def prompts_of(kinds: Sequence[Kind], held_out: int, name: str, seed: int) -> list[Prompt]:
    """Clean captions of the kinds, the first `held_out` of which never occur in training."""
    rng = np.random.default_rng(seed)
    prompts = []
    for index, kind in enumerate(kinds):
        shape, colour, motion, background = kind
        text = say(rng, Said(((shape, colour),), motion, background, None))
        attributes = {"shape": shape, "colour": colour, "motion": motion, "background": background}
        prompts.append(Prompt(f"{name}-{index:03d}", text, dimensions_of(kind), attributes, index < held_out))
    return prompts


def world_prompts() -> dict[str, list[Prompt]]:
    """File stem -> prompts. The seen combinations of the two suites differ as well."""
    test = [(*triple, ground) for triple, ground in product(triples("test"), BACKGROUNDS)]
    validation = [(*triple, ground) for triple, ground in product(triples("validation"), BACKGROUNDS)]
    seen = seen_kinds(18)
    return {
        "world": prompts_of([*test, *seen], len(test), "world", SEED),
        "world-validation": prompts_of(
            [*validation, *seen_kinds(9, avoid=seen)], len(validation), "validation", SEED + 1
        ),
    }


def write_suites(folder: Path) -> tuple[Path, ...]:
    """Writes both suites as canonical lines; returns their paths."""
    return tuple(
        write_atomically(folder / f"{stem}.jsonl", "".join(canonical_line(p) + "\n" for p in prompts).encode())
        for stem, prompts in world_prompts().items()
    )
