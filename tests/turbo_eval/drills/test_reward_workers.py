"""Reward scores by many workers, by killed ones, bit by bit: are they the same bytes?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drill import Drill, Server

NAMES = ("world-image-reward", "world-video-judge")
ASKED = {"dimensions": (), "rewards": {"names": NAMES, "repeat_last": True}}  # the tiny clips have 4 frames
PROMPTS, UNITS = 6, 3
MakeDrill = Callable[..., Drill]


@pytest.fixture(scope="module")
def undisturbed_rewards(
    server: Server, tiny_student: Path, suites: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, bytes]:
    """scores.jsonl and rewards.jsonl of a run in the server itself, whose children then find everything imported."""
    drill = Drill(server, tiny_student, tmp_path_factory.mktemp("rewards"), suites(PROMPTS), dict(ASKED))
    server.ask(prepare={"request": drill.fields()})
    scores = drill.scores()
    rows = [json.loads(line) for line in scores.splitlines()]
    assert len(rows) == PROMPTS * len(NAMES) and all(row["value"] is not None for row in rows)
    return scores, (drill.out / "rewards.jsonl").read_bytes()


def check(drill: Drill, expected: tuple[bytes, bytes]) -> None:
    drill.check(expected[0], UNITS)
    assert (drill.out / "rewards.jsonl").read_bytes() == expected[1]


def test_three_workers_give_the_bytes_of_one(undisturbed_rewards: tuple[bytes, bytes], new_drill: MakeDrill) -> None:
    drill = new_drill("three", PROMPTS, **ASKED)
    workers = [drill.start(patches={"slow": {"seconds": 0.05}}) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0] * 3, "\n".join(worker.log for worker in workers)
    check(drill, undisturbed_rewards)
    assert len(list((drill.out / "ledger").iterdir())) > 1


def test_killed_around_every_row_and_resumed(undisturbed_rewards: tuple[bytes, bytes], new_drill: MakeDrill) -> None:
    counted = new_drill("counted", PROMPTS, **ASKED)
    assert counted.run(record=str(counted.folder / "events")).code == 0
    recorded = [json.loads(line) for line in (counted.folder / "events").read_text().splitlines()]
    rows = [i for i, e in enumerate(recorded) if e["event"] == "write" and e["path"].startswith("ledger/")]
    assert len(rows) == 2 * UNITS  # clips, scores; clips, scores; ...
    for at, when in [(rows[1], "before"), (rows[1], "half"), (rows[3], "before"), (rows[4], "after")]:
        drill = new_drill(f"{at}-{when}", PROMPTS, **ASKED)
        drill.kill(drill.start(fault={"at": at, "when": when}))
        assert drill.kills == 1 and drill.run().code == 0
        check(drill, undisturbed_rewards)


def test_the_first_prompts_first_then_more(undisturbed_rewards: tuple[bytes, bytes], new_drill: MakeDrill) -> None:
    """A prompt of each dimension leaves two micro-batches half done; then VBench's turn, then one reward, then all."""
    drill = new_drill("limit", PROMPTS, **ASKED)
    requests: list[dict[str, Any]] = [
        {"limit": 1},
        {"rewards": None, "dimensions": ["temporal_flickering"]},
        {"rewards": {"names": NAMES[:1], "repeat_last": True}},
        {},
    ]
    for request in requests:
        done = drill.run(request=request)
        assert done.code == 0, done.log
    assert drill.scores() == undisturbed_rewards[0]
    assert (drill.out / "rewards.jsonl").read_bytes() == undisturbed_rewards[1]
