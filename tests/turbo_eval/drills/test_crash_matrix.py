"""A worker dies at every step of its work, one after the other. Is anything lost, doubled, or left behind?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drill import Drill

UNITS = 2


def events(path: Path) -> list[dict[str, Any]]:
    """What a recorded process did to the run's folder."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_clip_is_on_the_disk_before_its_row(new_drill: Callable[..., Drill]) -> None:
    """SIGKILL cannot show a missing fsync: the order of the calls is the proof."""
    drill = new_drill("order")
    assert drill.run(record=str(drill.folder / "events")).code == 0
    recorded = [(event["event"], event["path"]) for event in events(drill.folder / "events")]
    rows = drill.rows("clip")
    assert len(rows) == 4
    (ledger,) = (drill.out / "ledger").iterdir()
    row_at = [
        i for i, (name, path) in enumerate(recorded) if (name, path) == ("write", f"ledger/{ledger.name}")
    ]  # clips, scores, clips, scores
    for row, appended in zip(rows, (row_at[0], row_at[0], row_at[2], row_at[2]), strict=True):
        folder, name = row["path"].rsplit("/", 1)
        index, sample, _ = name.split("-")
        renamed = recorded.index(("replace", row["path"]))
        partial = next(p for _, p in recorded if p.startswith(f"{folder}/.{index}-{sample}.mp4."))
        steps = [n for n, p in recorded[:renamed] if p == partial]
        assert steps == ["encode_mp4", "fsync", "read_video", "sha256_of"]
        synced = recorded.index(("fsync", folder), renamed)
        assert renamed < synced < appended
        assert recorded[appended + 1] == ("fsync", f"ledger/{ledger.name}")
    # The first rows: the names of the folders and of the ledger are on the disk, too.
    before_rows = recorded[: row_at[0]]
    for made, name_in in ((rows[0]["path"].rsplit("/", 1)[0], "clips"), ("clips", "."), ("ledger", ".")):
        assert ("fsync", name_in) in before_rows[before_rows.index(("mkdir", made)) :]
    assert recorded[row_at[0] + 2] == ("fsync", "ledger")
    for name in ("suite.jsonl", "manifest.json", "scores.jsonl", f"sessions/{ledger.stem}.json"):
        at = recorded.index(("replace", name))
        parent = os.path.dirname(name)  # noqa: PTH120 - of a name, not of a file
        assert [n for n, p in recorded[at - 2 : at] if f".{Path(name).name}." in p] == ["_write", "fsync"]
        assert ("fsync", parent or ".") in recorded[at : at + 3]


@pytest.mark.slow
def test_a_kill_at_every_step_of_a_run_harms_nothing(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """Every call that changes the folder, of the first command to the last: killed before it, and in its middle."""
    counted = new_drill("counted")
    assert counted.run(record=str(counted.folder / "events")).code == 0
    steps = events(counted.folder / "events")
    faults = [(at, "before") for at in range(len(steps))]
    faults += [(at, "half") for at, event in enumerate(steps) if event["half"]]
    assert {"encode_mp4", "fsync", "read_video", "sha256_of", "replace", "write", "link", "unlink"} <= {
        event["event"] for event in steps
    }

    def survive(fault: tuple[int, str]) -> str:
        at, when = fault
        drill = new_drill(f"{at}-{when}")
        killed = drill.run(fault={"at": at, "when": when})
        if killed.code != -9:
            return f"{fault} {steps[at]}: not killed but {killed.code}\n{killed.log}"
        drill.kills += 1
        again = drill.run()
        if again.code:
            return f"{fault} {steps[at]}: resumed with {again.code}\n{again.log}"
        try:
            drill.check(undisturbed(4), UNITS)
        except AssertionError as error:
            return f"{fault} {steps[at]}: {error}"
        return ""

    undisturbed(4)
    with ThreadPoolExecutor(2) as pool:
        problems = [problem for problem in pool.map(survive, faults) if problem]
    print(f"{len(faults)} kills")
    assert not problems, "\n".join(problems)
