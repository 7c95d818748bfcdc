"""Does a clip show what a caption says? Attribute by attribute: the oracle's reading against the words."""

from __future__ import annotations

from itertools import permutations

from turbo_train.world.captions import Said
from turbo_train.world.oracle import Reading


def agree(reading: Reading, said: Said) -> dict[str, bool | None]:
    """For each attribute that a caption says: does the clip show it? None: the oracle could not read it.

    Who reports accuracy counts None as a miss. The count is always said. Of two things said, colour and shape
    ask that both are there, whichever lies where (shapes must go with their colours); relation asks that
    they also lie as said. A clip with more things than said is judged by its largest.
    """
    seen = sorted(reading.things, key=lambda s: -s.radius_px)[:1] if len(said.things) == 1 else reading.things
    orders = list(permutations(range(len(seen)), len(said.things)))
    wanted_shapes = [i for i, (shape, _) in enumerate(said.things) if shape]
    wanted_colours = [i for i, (_, colour) in enumerate(said.things) if colour]

    def hits(order: tuple[int, ...]) -> tuple[int, int]:
        shapes = sum(seen[order[i]].shape == said.things[i][0] for i in wanted_shapes)
        return sum(seen[order[i]].colour == said.things[i][1] for i in wanted_colours), shapes

    order = max(orders, key=hits, default=())
    colours, shapes = hits(order) if order else (-1, -1)
    unread = reading.count is None
    result: dict[str, bool | None] = {"count": None if unread else reading.count == len(said.things)}
    if wanted_colours:
        result["colour"] = None if unread else colours == len(wanted_colours)
    if wanted_shapes:
        result["shape"] = None if unread else shapes == len(wanted_shapes)
    if said.motion is not None:
        result["motion"] = None if reading.motion is None else reading.motion == said.motion
    if said.background is not None:
        result["background"] = None if reading.background is None else reading.background == said.background
    if said.relation is not None:
        in_order = order == tuple(range(len(said.things)))
        result["relation"] = None if reading.relation is None else reading.relation == said.relation and in_order
    return result
