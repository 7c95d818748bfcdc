"""Workers die at random moments. Does whoever comes next finish the same run, and redo no more than was in hand?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drill import Drill, Server, moments

SEED = 20240607
WORLD_UNITS, WORLD_KILLS = 18, 50  # 72 prompts, 4 at a time


def test_twelve_kills_at_random_moments(new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]) -> None:
    """A run is killed again and again until a worker gets through; then the next one."""
    reference = undisturbed(16)
    timed = new_drill("timed", 16)
    begun = time.monotonic()
    assert timed.run().code == 0
    duration_s = time.monotonic() - begun
    kills = 0
    for number in range(100):
        drill = new_drill(f"kills-{number}", 16)
        for moment_s in moments(SEED + number, 12, duration_s / 2):
            worker = drill.start()
            time.sleep(moment_s)
            drill.kill(worker)
            if worker.code != -9 or kills + drill.kills >= 12:
                break
        last = drill.run()
        assert (worker.code in (0, -9), last.code) == (True, 0), worker.log + last.log
        drill.check(reference, 8)
        kills += drill.kills
        if kills >= 12:
            break
    assert kills >= 12


def test_one_then_three_then_two_workers_with_kills(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """A spot machine, then a bigger allocation that loses two of three, then what is left: the same bytes."""
    chance = random.Random(SEED)
    drill = new_drill("1-3-2", 16)
    slow = {"slow": {"seconds": 0.05}}
    one = drill.start(patches=slow)
    time.sleep(chance.uniform(0.1, 0.3))
    drill.kill(one)
    three = [drill.start(patches=slow) for _ in range(3)]
    for worker in three[:2]:
        time.sleep(chance.uniform(0.05, 0.15))
        drill.kill(worker)
    two = [drill.start(patches=slow) for _ in range(2)]
    assert [worker.wait() for worker in (three[2], *two)] == [0, 0, 0], "\n".join(w.log for w in (three[2], *two))
    assert drill.kills
    drill.check(undisturbed(16), 8)


def test_a_dead_workers_batch_is_taken_over_at_once(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """On one machine a lock says who is alive: nobody waits for a heartbeat of five minutes to run out."""
    drill = new_drill("takeover")
    stuck = drill.start(patches={"slow": {"seconds": 600}})
    while not drill.starts():
        time.sleep(0.005)
        assert stuck.is_running(), stuck.log
    waiting = drill.start(request={"lease_s": 3600.0})
    while "waiting for 1 micro-batches" not in waiting.log:
        time.sleep(0.005)
        assert waiting.is_running(), waiting.log
    drill.kill(stuck)
    begun = time.monotonic()
    assert waiting.wait() == 0, waiting.log
    assert time.monotonic() - begun < 300  # a hundredth of that, unless it waits for the heartbeat
    assert drill.kills == 1
    drill.check(undisturbed(4), 2)


def test_a_batch_that_was_taken_over_meanwhile_is_not_published(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """This process slept, another took its unit: what it has made is thrown away, and the unit is asked for again."""
    drill = new_drill("lost")
    done = drill.run(patches={"lost_lease": {"leases": str(drill.out / "leases")}})
    assert done.code == 0, done.log
    drill.kills = 1
    drill.check(undisturbed(4), 2)
    assert drill.starts() == {"world-000 0": 2, "world-002 0": 1}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_of_a_world_run(server: Server, repository: Path, tmp_path: Path) -> None:
    """The embedded student with every scorer. A run is killed at random moments until a worker gets through.

    Two runs at a time; each worker's moment is drawn from the duration of a whole run.
    """
    suite = repository / "prompts" / "world.jsonl"

    def world(name: str) -> Drill:
        (tmp_path / name).mkdir()
        whole = {"batch": 4, "num_steps": None, "dimensions": ()}
        return Drill(server, Path("world-vcm"), tmp_path / name, suite, whole)

    server.ask(prepare={"request": world("warm").fields(limit=1)})
    reference = world("reference")
    begun = time.monotonic()
    assert reference.run().code == 0
    duration_s = time.monotonic() - begun
    reference.check(reference.scores(), WORLD_UNITS)
    drills: list[Drill] = []

    def kills() -> int:
        return sum(drill.kills for drill in drills)

    def kill_until_done(number: int) -> None:
        drill = world(f"run{number}")
        drills.append(drill)
        for moment_s in moments(SEED + number, WORLD_KILLS, duration_s):
            worker = drill.start()
            time.sleep(moment_s)
            drill.kill(worker)
            if worker.code != -9 or kills() >= WORLD_KILLS:
                break
        last = drill.run()
        assert (worker.code in (0, -9), last.code) == (True, 0), worker.log + last.log
        drill.check(reference.scores(), WORLD_UNITS)

    with ThreadPoolExecutor(2) as pool:
        for first in range(0, 2 * WORLD_KILLS, 2):
            list(pool.map(kill_until_done, (first, first + 1)))
            if kills() >= WORLD_KILLS:
                break
    begun_again = sum(sum(drill.starts().values()) - WORLD_UNITS for drill in drills)
    print(f"\nundisturbed {duration_s:.1f} s; {kills()} kills in {len(drills)} runs; {begun_again} batches begun again")
    assert kills() >= WORLD_KILLS
    assert begun_again <= kills()
