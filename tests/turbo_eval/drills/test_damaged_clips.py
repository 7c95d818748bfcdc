"""A clip's file that was changed, cut off or removed: is it noticed before a number is printed, and made again?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill


def change(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damage", [change, cut, Path.unlink])
def test_a_damaged_clip_is_made_again_once(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes], damage: Callable[[Path], None], workers: int
) -> None:
    """By one of the processes that notice it; the scores are of these bytes, so none is asked again."""
    drill = new_drill("damage")
    assert drill.run().code == 0
    first = drill.starts()
    clip = sorted((drill.out / "clips").rglob("*.mp4"))[2]
    data = clip.read_bytes()
    damage(clip)
    again = [drill.start(patches={"slow": {"seconds": 0.1}}) for _ in range(workers)]
    assert [worker.wait() for worker in again] == [0] * workers, "\n".join(worker.log for worker in again)
    assert clip.read_bytes() == data
    assert drill.scores() == undisturbed(4)
    assert drill.starts() - first == {"world-002 0": 1}
    assert len(drill.rows("score")) == len({(r["clip_sha256"], r["metric"]) for r in drill.rows("score")})
