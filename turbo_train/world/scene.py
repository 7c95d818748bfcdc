"""What may a clip of the embedded world show? The final grammar of scenes, in one table.

| attribute  | values                                             |
|------------|----------------------------------------------------|
| shape      | circle, square, triangle                           |
| colour     | red, green, blue, yellow, purple, cyan             |
| motion     | still, left, right, up, down                       |
| background | black, gray, white                                 |
| count      | 1, or 2 (two still objects of different colours)   |
| relation   | left (of), above: only between two objects         |

Excluded because nobody could see them: any rotation (a spinning circle looks still), a bounce (over
eight frames it looks like one direction), motion of two-object scenes (the paths would cross), two
objects of one colour (their masks could not be told apart), colours without contrast to a background.

Clips are 8 frames of 32x32 px at 8 fps. Place (anywhere in the frame) and size (radius 5 to 8 px) are not said in
captions: with little left open, two DDIM steps were as good as fifty. What moves begins near the middle and moves
outwards: a direction is then also a place, and every motion has the same order of frames (reports/LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

SIZE_PX = 32
FRAMES = 8
FPS = 8
LEAD = 0.25  # share of a path that lies before the middle

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
MOTIONS = ("still", "left", "right", "up", "down")
BACKGROUNDS = ("black", "gray", "white")
RELATIONS = ("left", "above")

RGB: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (30, 160, 50),
    "blue": (40, 70, 225),
    "yellow": (245, 215, 30),
    "purple": (160, 50, 200),
    "cyan": (30, 205, 220),
    "black": (12, 12, 12),
    "gray": (128, 128, 128),
    "white": (242, 242, 242),
}
DIRECTION: dict[str, tuple[float, float]] = {
    "still": (0.0, 0.0),
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
}


@dataclass(frozen=True)
class Thing:
    """One object: its kind, and its path. (x_px, y_px): its centre when LEAD of travel_px is behind it."""

    shape: str
    colour: str
    motion: str
    x_px: float
    y_px: float
    radius_px: float
    travel_px: float


@dataclass(frozen=True)
class Scene:
    """A background and one or two things. `relation` is how the first thing lies to the second, or None."""

    background: str
    things: tuple[Thing, ...]
    relation: str | None = None

    @property
    def count(self) -> int:
        return len(self.things)


Triple = tuple[str, str, str]


def split_of(shape: str, colour: str, motion: str) -> str:
    """`train`, `validation` or `test`: where a (shape, colour, motion) combination of one object belongs.

    Every value and every pair of values occurs in training; the 18 test and 9 validation triples never do.
    """
    s, c, m = SHAPES.index(shape), COLOURS.index(colour), MOTIONS.index(motion)
    if (s + c + m) % len(MOTIONS) == 0:
        return "test"
    if (s + c + m) % len(MOTIONS) == 2 and c % 2 == 0:
        return "validation"
    return "train"


def triples(split: str | None = None) -> list[Triple]:
    """All (shape, colour, motion) combinations of a split, or of the world."""
    return [t for t in product(SHAPES, COLOURS, MOTIONS) if split is None or split_of(*t) == split]


def sample_single(rng: np.random.Generator, triple: Triple, background: str) -> Scene:
    """A one-object scene with the given kind and a random place, size and path length."""
    shape, colour, motion = triple
    radius = rng.uniform(5.0, 8.0)
    middle, room = SIZE_PX / 2, SIZE_PX / 2 - radius - 0.5
    place = rng.uniform(-room, room, size=2)  # anywhere inside the frame
    travel = 0.0 if motion == "still" else rng.uniform(11.0, 13.0)
    along = [abs(step) > 0 for step in DIRECTION[motion]]  # on its path a thing begins near the middle
    x, y = middle + np.where(along, rng.uniform(-2.5, 2.5, size=2), place)
    thing = Thing(shape, colour, motion, float(x), float(y), float(radius), float(travel))
    return Scene(background, (thing,))


def sample_pair(rng: np.random.Generator, relation: str, background: str) -> Scene:
    """A scene of two still objects of different colours, the first `relation` the second."""
    first, second = rng.choice(len(COLOURS), size=2, replace=False)
    offset = rng.uniform(7.5, 8.5)
    jitter = rng.uniform(-1.0, 1.0, size=4)
    dx, dy = (-offset, 0.0) if relation == "left" else (0.0, -offset)
    centre = SIZE_PX / 2
    things = tuple(
        Thing(
            SHAPES[rng.integers(len(SHAPES))],
            COLOURS[colour],
            "still",
            float(centre + sign * dx + jitter[2 * i]),
            float(centre + sign * dy + jitter[2 * i + 1]),
            float(rng.uniform(5.0, 6.0)),
            0.0,
        )
        for i, (colour, sign) in enumerate(((first, 1.0), (second, -1.0)))
    )
    return Scene(background, things, relation)


def sample_scene(rng: np.random.Generator, split: str = "train", pair_share: float = 0.0) -> Scene:
    """A random scene: two objects with probability `pair_share`, else one whose triple is of `split`."""
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    if rng.random() < pair_share:
        return sample_pair(rng, RELATIONS[rng.integers(len(RELATIONS))], background)
    kinds = triples(split)
    return sample_single(rng, kinds[rng.integers(len(kinds))], background)
