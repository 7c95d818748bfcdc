"""What does a run do when its reward, its data or its processes go wrong? It says so and keeps the last good state."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_training import check_same, logged, quietly, recipe
from torch import Tensor

from turbo_train import loop, validation
from turbo_train.checkpoint import checkpoints, damage, last_checkpoint, read_state, step_of
from turbo_train.data.sample import Drawn, NoData, Position
from turbo_train.errors import UserError
from turbo_train.exits import StopRequest
from turbo_train.loop import Run
from turbo_train.step import RewardTerm
from turbo_train.step_figures import Figures
from turbo_train.trainer import Trainer


class Reward:
    """A stand-in for a reward model: the mean of the pixels, or no number in some steps."""

    def __init__(self, run: Run, broken: Sequence[int]) -> None:
        self.run, self.broken = run, broken

    def score_clips(self, clips_BTCHW: Tensor, texts: Sequence[str], generator: Any = None) -> Tensor:
        wrong = self.run.trainer.done in self.broken
        return clips_BTCHW.mean((1, 2, 3, 4)) * (float("nan") if wrong else 1.0)


def run_with_reward(folder: Path, teacher: Path, broken: Sequence[int], **changes: Any) -> Run:
    """A run whose reward is no number in these steps, counted from 0."""
    run = Run(recipe(teacher, **changes), folder)
    trainer = run.trainer
    terms = (RewardTerm("stand-in", Reward(run, broken), "img", 1.0, 2),)
    trainer.parts = replace(trainer.parts, objective=replace(trainer.parts.objective, rewards=terms))
    trainer.rewards = ["stand-in"]
    return run


def test_a_reward_that_is_no_number_costs_its_steps_alone(loop_teacher: Path, tmp_path: Path) -> None:
    run = run_with_reward(tmp_path, loop_teacher, [0, 2], steps=4, save_every=1, log_every=4, max_nonfinite=2)
    wrong: list[list[str]] = []

    def watch(done: int, steps: int, figures: Figures) -> None:
        wrong.append(figures.wrong())

    assert run.to_the_end(StopRequest(), watch).step == 4
    named = ["loss", "stand-in"]
    assert wrong == [named, [], named, []]
    assert [(e["step"], e["wrong"]) for e in logged(tmp_path, "nonfinite")] == [(1, named), (3, named)]
    (entry,) = logged(tmp_path, "step")
    assert (entry["step"], entry["steps"], entry["nonfinite"]) == (4, 2, 2)
    assert all(isinstance(entry[name], float) for name in ("loss", "loss_cd", "grad_norm"))
    states = [read_state(path) for path in checkpoints(tmp_path)]
    assert [state["nonfinite"] for state in states] == [1, 1, 2, 2]
    for before, after, same in ((0, 1, False), (1, 2, True), (2, 3, False)):
        for part in ("weights", "average"):
            pairs = [(states[before][part][name], value) for name, value in states[after][part].items()]
            assert all(was.equal(now) for was, now in pairs) is same, (before, part)


def test_too_many_in_a_row_end_the_run_with_the_last_good_checkpoint(loop_teacher: Path, tmp_path: Path) -> None:
    run = run_with_reward(tmp_path, loop_teacher, range(1, 9), steps=8, save_every=1, max_nonfinite=2)
    with pytest.raises(UserError) as told:
        run.to_the_end(StopRequest())
    assert told.value.exit_code == 2
    assert "2 steps in a row, up to step 3, in which loss, stand-in was not finite" in told.value.found
    last = last_checkpoint(tmp_path)
    assert last is not None and str(last) in told.value.run_next and damage(last) is None
    assert read_state(last)["in_a_row"] == 1  # a resumed run counts on
    assert step_of(last) == 2 and all(weight.isfinite().all() for weight in read_state(last)["weights"].values())
    again = run_with_reward(tmp_path, loop_teacher, [], steps=4, save_every=1, max_nonfinite=2)
    assert (again.trainer.done, again.in_a_row) == (2, 1) and again.to_the_end(StopRequest()).step == 4
    assert [(e["step"], e["nonfinite"]) for e in logged(tmp_path, "step")] == [(1, 0), (3, 1), (4, 1)]


class Scarce:
    """The world's stream with a number of samples that cannot be read, and an end."""

    def __init__(self, wanted: Any, end: int) -> None:
        self.inner, self.end = wanted, end

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        for drawn in self.inner.lane(number, lanes, start):
            turn = drawn.position["turn"]
            if turn > self.end:
                raise NoData(found="nothing more to read")
            if (turn, number) in ((1, 0), (2, 1)):
                yield Drawn(drawn.position, skipped=f"shard-{number}.tar/{turn}: no caption")
            else:
                yield drawn


@pytest.mark.slow
def test_skipped_samples_are_counted_and_named_also_after_a_stop(
    loop_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = loop.open_source
    monkeypatch.setattr(loop, "open_source", lambda config, teacher: Scarce(whole(config, teacher), 4))
    config = recipe(loop_teacher, steps=3, save_every=1)
    quietly(replace(config, steps=1), tmp_path)
    named = ["shard-0.tar/1: no caption", "shard-1.tar/2: no caption"]
    assert [(e["step"], e["sample"]) for e in logged(tmp_path, "skipped")] == [(1, named[0])]
    quietly(config, tmp_path)
    assert [(e["step"], e["sample"]) for e in logged(tmp_path, "skipped")] == list(zip((1, 2), named, strict=True))
    assert [e["skipped"] for e in logged(tmp_path, "step")] == [1, 2, 2]
    assert logged(tmp_path, "end")[-1]["skipped"] == 2
    with pytest.raises(NoData, match="nothing more to read"):
        quietly(replace(config, steps=5), tmp_path)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_its_steps_alone(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    broken = checkpoints(tmp_path / "run")[-1] / "state.pt"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="step-000004 is damaged"):
        assert quietly(recipe(loop_teacher), tmp_path / "run").step == 4
    assert all(damage(path) is None for path in checkpoints(tmp_path / "run"))
    check_same(undisturbed, tmp_path / "run")


def test_processes_that_see_different_checkpoints_are_told(
    undisturbed: Path, loop_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "gather_object", lambda mine: [*mine, "none"])
    with pytest.raises(UserError, match="last checkpoints step-000004, none, each seen by one process"):
        Run(recipe(loop_teacher), undisturbed)


def test_processes_that_see_other_shards_are_told(
    loop_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "gather_object", lambda mine: [None, "5 units (ab)"] if mine == [None] else mine)
    with pytest.raises(UserError, match=r"data that differs between processes: None, 5 units \(ab\)"):
        quietly(recipe(loop_teacher), tmp_path)


def test_a_clip_that_is_no_number_is_left_out_with_a_warning(loop_teacher: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(loop_teacher, validation_prompts=("a red circle",), validation_steps=1))
    assert trainer.average is not None
    for value in trainer.average.values.values():
        value.fill_(float("nan"))
    with pytest.warns(UserWarning, match="no clip of 'a red circle': latents are not finite"):
        trainer.make_clips(tmp_path)
    assert list(tmp_path.iterdir()) == [] and trainer.denoiser.training


def test_a_disk_without_room_for_clips_is_a_message(
    loop_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *rest: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(validation, "write_mp4", full)
    trainer = Trainer(recipe(loop_teacher, validation_prompts=("a red circle",), validation_steps=1))
    with pytest.raises(UserError, match=r"00 a red circle.mp4 cannot be written \(No space left on device\)"):
        trainer.make_clips(tmp_path)
