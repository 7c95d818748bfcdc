"""How many processes work on a run, in which order and as which shards: do the bytes depend on it?"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill, check_folder

from turbo_eval.manifest import read_manifest

SLOW = {"slow": {"seconds": 0.02}}


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_workers_makes_the_same_bytes(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes], count: int
) -> None:
    """All begin at once on a folder that is not there yet; each micro-batch is begun exactly once."""
    drill = new_drill(f"workers-{count}", 16)
    workers = [drill.start(patches=SLOW) for _ in range(count)]
    assert [worker.wait() for worker in workers] == [0] * count, "\n".join(worker.log for worker in workers)
    drill.check(undisturbed(16), 8)


@pytest.mark.parametrize("seed", range(3))
def test_shards_in_any_order_make_the_same_bytes(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes], seed: int
) -> None:
    """One after the other; only the last one prints the table, and says nothing of others."""
    drill = new_drill(f"shards-{seed}", 16)
    order = random.Random(seed).sample(range(3), 3)
    for place, index in enumerate(order):
        done = drill.run(request={"shard": f"{index}/3"})
        assert done.code == 0, done.log
        is_last = place == len(order) - 1
        assert (f"shard {index}/3 is done" in done.log) == (not is_last), done.log
        assert ("temporal_flickering" in done.log) == is_last
        assert (drill.out / "scores.jsonl").exists() == is_last
    drill.check(undisturbed(16), 8)


def test_a_ranks_environment_is_a_shard(new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]) -> None:
    """As torchrun sets it: RANK of WORLD_SIZE, all at once; no collective, nobody waits for a lost rank."""
    drill = new_drill("ranks", 16)
    ranks = [
        drill.start(patches={**SLOW, "environ": {"RANK": str(rank), "WORLD_SIZE": "3", "LOCAL_RANK": str(rank)}})
        for rank in range(3)
    ]
    assert [rank.wait() for rank in ranks] == [0, 0, 0], "\n".join(rank.log for rank in ranks)
    drill.check(undisturbed(16), 8)
    assert any("temporal_flickering" in rank.log for rank in ranks)


def test_shards_of_a_run_that_was_begun_without_them(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """A shard and a whole worker on one folder, at once: leases keep them apart."""
    drill = new_drill("mixed", 16)
    workers = [drill.start(patches=SLOW), drill.start(patches=SLOW, request={"shard": "1/2"})]
    assert [worker.wait() for worker in workers] == [0, 0], "\n".join(worker.log for worker in workers)
    drill.check(undisturbed(16), 8)


def test_workers_of_different_scopes_share_a_folder(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """Two writers, one of whom wants less: no corruption, and the wider command's result is the undisturbed one."""
    drill = new_drill("two-writers", 16)
    narrow = drill.start(patches=SLOW, request={"limit": 3, "dimensions": ["motion_smoothness"]})
    wide = drill.start(patches=SLOW)
    assert (narrow.wait(), wide.wait()) == (0, 0), narrow.log + wide.log
    again = drill.run()
    assert again.code == 0, again.log
    assert drill.scores() == undisturbed(16)
    check_folder(drill.out)


def test_two_settings_of_one_model_share_nothing(
    new_drill: Callable[..., Drill], undisturbed: Callable[[int], bytes]
) -> None:
    """Another seed is another content key: its clips lie beside the first ones, and each command sees its own."""
    drill = new_drill("two-seeds", 16)
    first, other = drill.start(patches=SLOW), drill.start(patches=SLOW, request={"seed": 1})
    assert (first.wait(), other.wait()) == (0, 0), first.log + other.log
    assert drill.run().code == 0
    assert drill.scores() == undisturbed(16)
    assert len(drill.rows("clip")) == 32
    check_folder(drill.out)


def test_two_configurations_that_begin_at_once(new_drill: Callable[..., Drill], suites: Callable[[int], Path]) -> None:
    """Of two commands that name one new folder and want different runs, one is refused; the other is not disturbed."""
    for turn in range(6):
        drill = new_drill(f"begin-{turn}")
        other = {"suite": str(suites(6))} if turn % 2 else {"batch": 1}
        pair = [drill.start(), drill.start(request=other)][:: 1 if turn < 3 else -1]
        codes = sorted(worker.wait() for worker in pair)
        assert codes == [0, 2], "\n".join(worker.log for worker in pair)
        assert any("was made by another configuration" in worker.log for worker in pair), [w.log for w in pair]
        check_folder(drill.out)


def test_two_models_that_begin_at_once_both_stand_in_the_manifest(new_drill: Callable[..., Drill]) -> None:
    for turn in range(4):
        drill = new_drill(f"models-{turn}")
        pair = [drill.start(), drill.start(request={"num_steps": 2})]
        assert [worker.wait() for worker in pair] == [0, 0], "\n".join(worker.log for worker in pair)
        assert set(read_manifest(drill.out).models) == {"student-1steps", "student-2steps"}
        check_folder(drill.out)


def test_one_run_folder_refuses_another_configuration(new_drill: Callable[..., Drill]) -> None:
    drill = new_drill("other")
    assert drill.run().code == 0
    before = drill.scores()
    other = drill.run(request={"batch": 4})
    assert other.code == 2
    assert "batch: 2 there, 4 here" in other.log
    assert drill.scores() == before
