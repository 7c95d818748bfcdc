"""How is a scene said in words, and how are the words read back?

Grammar (one object):  {a COLOUR SHAPE} {MOTION} [on a BACKGROUND background], in three templates;
(two objects):         {a COLOUR SHAPE} {RELATION} {a COLOUR SHAPE} [on a BACKGROUND background].
Every word of a synonym list belongs to one value, so `parse` is exact: parse(caption(scene)) is the scene's kind.
Noise, as in captions scraped from the web: with probability `wrong` one attribute is replaced by another
value, with probability `missing` one is left out (shape -> "shape", the others vanish).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, RELATIONS, SHAPES, Scene

SHAPE_WORDS = {"circle": ("circle", "disc"), "square": ("square", "box"), "triangle": ("triangle", "wedge")}
COLOUR_WORDS = {c: (c,) for c in COLOURS} | {"red": ("red", "crimson"), "purple": ("purple", "violet")}
MOTION_WORDS = {
    "still": ("stays still", "does not move", "rests"),
    "left": ("moves to the left", "slides left", "drifts leftwards"),
    "right": ("moves to the right", "slides right", "drifts rightwards"),
    "up": ("moves up", "rises", "drifts upwards"),
    "down": ("moves down", "falls", "drifts downwards"),
}
BACKGROUND_WORDS = {"black": ("black", "dark"), "gray": ("gray", "grey"), "white": ("white", "bright")}
RELATION_WORDS = {"left": ("left of", "beside and left of"), "above": ("above", "on top of")}
TEMPLATES = (
    "a {thing} {motion} on a {background} background",
    "on a {background} background a {thing} {motion}",
    "{background} background : a {thing} {motion}",
)
PAIR_TEMPLATE = "a {thing} {relation} a {other} on a {background} background"


@dataclass(frozen=True)
class Said:
    """What a caption says. An attribute that is not said is None. `things` are (shape, colour) pairs."""

    things: tuple[tuple[str | None, str | None], ...]
    motion: str | None
    background: str | None
    relation: str | None


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _other(rng: np.random.Generator, values: tuple[str, ...], value: str) -> str:
    rest = [v for v in values if v != value]
    return rest[int(rng.integers(len(rest)))]


def _thing_words(rng: np.random.Generator, shape: str | None, colour: str | None) -> str:
    noun = _pick(rng, SHAPE_WORDS[shape]) if shape else "shape"
    return f"{_pick(rng, COLOUR_WORDS[colour])} {noun}" if colour else noun


def say(rng: np.random.Generator, said: Said) -> str:
    """One of the ways to say it."""
    first = _thing_words(rng, *said.things[0])
    background = _pick(rng, BACKGROUND_WORDS[said.background]) if said.background else ""
    if len(said.things) == 2:
        relation = _pick(rng, RELATION_WORDS[said.relation]) if said.relation else "and"
        text = PAIR_TEMPLATE.format(
            thing=first, relation=relation, other=_thing_words(rng, *said.things[1]), background=background
        )
    else:
        motion = _pick(rng, MOTION_WORDS[said.motion]) if said.motion else ""
        text = _pick(rng, TEMPLATES).format(thing=first, motion=motion, background=background)
    if not said.background:
        text = text.replace("on a  background", "").replace("background :", "")
    return " ".join(text.split())


def truth(scene: Scene) -> Said:
    """What a correct and complete caption of the scene says."""
    motion = scene.things[0].motion if scene.count == 1 else None
    return Said(tuple((t.shape, t.colour) for t in scene.things), motion, scene.background, scene.relation)


def corrupt(rng: np.random.Generator, said: Said, wrong: float, missing: float) -> Said:
    """Web-like noise on what a caption says: one attribute wrong, one attribute missing."""
    fields: dict[str, str | None] = {"shape": said.things[0][0], "colour": said.things[0][1]}
    fields["background"] = said.background
    fields["motion" if len(said.things) == 1 else "relation"] = said.motion or said.relation
    values: dict[str, tuple[str, ...]] = {"shape": SHAPES, "colour": COLOURS, "background": BACKGROUNDS}
    values |= {"motion": MOTIONS, "relation": RELATIONS}
    names = sorted(fields)
    if rng.random() < wrong:
        name = names[int(rng.integers(len(names)))]
        fields[name] = _other(rng, values[name], str(fields[name]))
    if rng.random() < missing:
        fields[names[int(rng.integers(len(names)))]] = None
    things = ((fields["shape"], fields["colour"]), *said.things[1:])
    return Said(things, fields.get("motion"), fields["background"], fields.get("relation"))


def caption(rng: np.random.Generator, scene: Scene, wrong: float = 0.0, missing: float = 0.0) -> str:
    """A caption of a scene; clean unless noise is asked for."""
    return say(rng, corrupt(rng, truth(scene), wrong, missing))


def _value(text: str, table: Mapping[str, tuple[str, ...]]) -> str | None:
    for value, words in table.items():
        if any(re.search(rf"\b{re.escape(w)}\b", text) for w in words):
            return value
    return None


def parse(text: str) -> Said:
    """Read a caption back. Attributes that are not said come back as None."""
    background = re.search(r"(\w+) background", text)
    ground = _value(background.group(1), BACKGROUND_WORDS) if background else None
    body = re.sub(r"(on a )?\w+ background( :)?", " ", text)
    for relation, words in RELATION_WORDS.items():
        for word in sorted(words, key=len, reverse=True):
            if f" {word} a " in body:
                parts = body.split(f" {word} a ", 1)
                return Said(tuple(_thing(p) for p in parts), None, ground, relation)
    if " and a " in body:
        return Said(tuple(_thing(p) for p in body.split(" and a ", 1)), None, ground, None)
    return Said((_thing(body),), _value(body, MOTION_WORDS), ground, None)


def _thing(text: str) -> tuple[str | None, str | None]:
    return _value(text, SHAPE_WORDS), _value(text, COLOUR_WORDS)


def vocabulary() -> list[str]:
    """Every word that a caption can hold, sorted."""
    tables = (SHAPE_WORDS, COLOUR_WORDS, MOTION_WORDS, BACKGROUND_WORDS, RELATION_WORDS)
    phrases = [w for table in tables for words in table.values() for w in words]
    text = " ".join([*phrases, *TEMPLATES, PAIR_TEMPLATE, "shape and"])
    return sorted(set(re.sub(r"\{\w+\}", " ", text).split()))
