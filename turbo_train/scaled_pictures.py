"""How do a decoder's own pictures become RGB frames of another size? By libavfilter, in one step from their own format.

    upright -> scale=WIDTH:HEIGHT:flags=bilinear -> rgb24
This is how decord decodes at a given size. Frames at full size that are resized afterwards are others: chroma is then
scaled twice, and rounded between.
Shape legend: T frames, H W px, C = 3 (RGB, uint8).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from turbo_train.video_io import Frames

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame

# By the turns to the left that a display matrix asks for, as a player shows it.
TURNS: dict[int, list[tuple[str, str]]] = {
    0: [],
    1: [("transpose", "cclock")],
    2: [("vflip", ""), ("hflip", "")],
    3: [("transpose", "clock")],
}


def scale_pictures(pictures: Sequence[VideoFrame], height_px: int, width_px: int) -> Frames:
    """(T, height_px, width_px, C) of one clip's pictures (video_io.Video), turned as `frames_THWC` are; T >= 1."""
    graph = _graph(pictures[0], height_px, width_px)
    frames = []
    for number, picture in enumerate(pictures):
        stamp, picture.pts = picture.pts, number  # a picture may come twice, and a filter wants them in order
        graph.vpush(picture)
        picture.pts = stamp
        frames.append(graph.vpull().to_ndarray(format="rgb24"))
    return np.stack(frames)


def _graph(picture: VideoFrame, height_px: int, width_px: int) -> Graph:
    import av

    graph = av.filter.Graph()
    graph.threads = 1  # the same pixels, and to start more takes longer than a clip's frames do
    nodes = [
        graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25))
    ]
    turns = TURNS[round(picture.rotation / 90) % 4]
    steps = [*turns, ("scale", f"{width_px}:{height_px}:flags=bilinear"), ("format", "rgb24"), ("buffersink", "")]
    nodes += [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in steps]
    graph.link_nodes(*nodes).configure()
    return graph
