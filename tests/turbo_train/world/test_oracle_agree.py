"""Does agreement name exactly what a caption gets wrong?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from turbo_train.world.captions import Said, truth
from turbo_train.world.oracle import Reading, read
from turbo_train.world.oracle_agree import agree
from turbo_train.world.render import render
from turbo_train.world.scene import Scene, Thing

Clip = NDArray[np.uint8]


def bytes_of(frames: NDArray[np.floating]) -> Clip:
    return np.clip(np.round(frames * 255), 0, 255).astype(np.uint8)


def pair_reading() -> tuple[Reading, Said]:
    things = (Thing("circle", "red", "still", 8, 16, 5.5, 0), Thing("square", "blue", "still", 24, 16, 5.5, 0))
    scene = Scene("white", things, "left")
    return read(bytes_of(render([scene]).frames_BTHWC[0])), truth(scene)


def test_agreement_names_what_is_wrong_and_nothing_else() -> None:
    reading, said = pair_reading()
    assert agree(reading, said) == dict.fromkeys(("count", "colour", "shape", "background", "relation"), True)
    first, second = said.things
    wrong = {
        "background": Said(said.things, None, "black", "left"),
        "relation": Said(said.things, None, "white", "above"),
        "colour": Said((first, ("square", "green")), None, "white", "left"),
        "shape": Said((first, ("triangle", "blue")), None, "white", "left"),
    }
    for name, other in wrong.items():
        assert [k for k, v in agree(reading, other).items() if v is not True] == [name]
    swapped = agree(reading, Said((second, first), None, "white", "left"))
    assert [k for k, v in swapped.items() if not v] == ["relation"]
    assert agree(reading, Said((("circle", "blue"), ("square", "red")), None, None, None)) == {
        "count": True,
        "colour": True,
        "shape": False,
    }


def test_agreement_covers_only_what_is_said() -> None:
    reading, _ = pair_reading()
    assert agree(reading, Said(((None, None),), None, None, None)) == {"count": False}
    assert set(agree(reading, Said(((None, "red"),), "still", None, None))) == {"count", "colour", "motion"}
