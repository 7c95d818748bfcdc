"""Does a run that was stopped or killed end where an undisturbed one ends, and does its log say what happened?"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import check_same, logged, quietly, recipe

from turbo_train.checkpoint import checkpoints, last_checkpoint, read_state
from turbo_train.nets.source import teacher_at
from turbo_train.nets.student import load_student
from turbo_train.runlog import LOG_FILE, read_log

KEYS = {
    *("event", "unix_s", "step", "steps", "loss", "loss_cd", "rewards", "grad_norm", "lr", "nonfinite", "skipped"),
    *("step_s", "data_wait_s", "network_s"),
}

CHILD = Path(__file__).parent / "drills" / "child.py"


def test_a_run_leaves_its_log_checkpoints_and_student(undisturbed: Path, loop_teacher: Path) -> None:
    assert [path.name for path in checkpoints(undisturbed)] == ["step-000002", "step-000004"]
    events = [entry["event"] for entry in read_log(undisturbed / LOG_FILE)]
    assert events == ["start", "step", "step", "checkpoint", "step", "step", "checkpoint", "end"]
    places = [undisturbed / "student", checkpoints(undisturbed)[-1] / "student"]
    assert len({(place / "adapter.safetensors").read_bytes() for place in places}) == 1
    assert load_student(places[0], teacher_at(loop_teacher)).timestep_cond_dim == 256


def test_the_log_has_units_and_means(undisturbed: Path) -> None:
    for entry in logged(undisturbed, "step"):
        assert entry.keys() == KEYS
        assert 0 < entry["network_s"] < entry["step_s"] and entry["steps"] == 1 and entry["loss"] == entry["loss_cd"]
    start = logged(undisturbed, "start")[0]
    assert (start["processes"], start["passes_per_step"], start["preset"]) == (1, 2, "tiny")


def test_a_signal_saves_and_the_next_run_goes_on(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    config, seen = recipe(loop_teacher, save_every=0), []

    def stop_after_the_first(done: int, steps: int, figures: Any) -> None:
        seen.append((done, steps))
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    ended = quietly(config, tmp_path, stop_after_the_first)
    assert ended.stopped and ended.step == 2 and signal.getsignal(signal.SIGTERM) is handler
    assert not (tmp_path / "student").exists() and [e["step"] for e in logged(tmp_path, "stop")] == [2]
    ended = quietly(config, tmp_path, lambda done, steps, figures: seen.append((done, steps)))
    assert not ended.stopped and seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    check_same(undisturbed, tmp_path)
    lines = {
        folder: [(e["step"], e["loss"], e["grad_norm"]) for e in logged(folder, "step")]
        for folder in (undisturbed, tmp_path)
    }
    assert lines[undisturbed] == lines[tmp_path]


def test_a_killed_run_ends_where_an_undisturbed_one_ends(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    """Killed in a process of its own, since one with threads cannot be forked."""
    config, job = recipe(loop_teacher), tmp_path.with_suffix(".json")
    threads = torch.get_num_threads()
    job.write_text(json.dumps({"recipe": asdict(config), "folder": str(tmp_path), "threads": threads, "kill_at": 2}))
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(threads),
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run([sys.executable, CHILD, job], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [e["step"] for e in logged(tmp_path, "step")] == [1, 2]
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"event": "step", "step": 3}\n{"event": "step", "st')
    assert quietly(config, tmp_path).step == 4
    check_same(undisturbed, tmp_path)
    assert [e["step"] for e in logged(tmp_path, "step")] == [1, 2, 3, 4]
    assert [e["step"] for e in logged(tmp_path, "start")] == [0, 2]


@pytest.mark.slow
def test_a_finished_run_again_changes_nothing_of_worth(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    took: list[int] = []
    ended = quietly(recipe(loop_teacher), tmp_path / "run", lambda done, steps, figures: took.append(done))
    assert (ended.step, ended.stopped, took) == (4, False, [])
    check_same(undisturbed, tmp_path / "run")
    assert logged(undisturbed, "step") == logged(tmp_path / "run", "step")
    assert not list((tmp_path / "run").rglob("*partial*"))


def test_a_checkpoint_holds_only_where_its_own_lanes_stand(undisturbed: Path) -> None:
    found = last_checkpoint(undisturbed)
    assert found is not None
    state = read_state(found)
    assert state["positions"] == [(0, {"turn": 4}), (1, {"turn": 4})]
    assert json.loads(state["recipe"])["preset"] == "tiny"


@pytest.mark.slow
def test_curves_hold_what_the_log_holds(loop_teacher: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = recipe(loop_teacher, steps=2, save_every=1, tensorboard=True)
    quietly(config, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "loss_cd", "grad_norm", "lr", "step_s"} <= set(events.Tags()["scalars"])
    logged_losses = [(e["step"], e["loss"]) for e in logged(tmp_path, "step")]
    assert [(p.step, p.value) for p in events.Scalars("loss")] == [(s, pytest.approx(v)) for s, v in logged_losses]
    shutil.rmtree(checkpoints(tmp_path)[-1])  # as if a kill had come before it: its step is taken again
    quietly(replace(config, steps=3), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [p.step for p in events.Scalars("loss")] == [1, 2, 3]


@pytest.mark.slow
def test_clips_are_made_with_the_averaged_weights(loop_teacher: Path, tmp_path: Path) -> None:
    from turbo_train.trainer import Trainer
    from turbo_train.video_io import read_video

    prompts = ("a red circle", "a blue/square")
    config = recipe(loop_teacher, steps=1, validate_every=1, validation_prompts=prompts, validation_steps=1)
    quietly(config, tmp_path / "run")
    folder = tmp_path / "run" / "validation" / "step-000001"
    names = ["00 a red circle.mp4", "01 a blue_square.mp4"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert logged(tmp_path / "run", "validation")[0]["clips"] == 2
    trainer = Trainer(config)
    trainer.restore(read_state(checkpoints(tmp_path / "run")[-1]))
    trainer.make_clips(tmp_path / "again")
    assert all((tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert trainer.average is not None and trainer.denoiser.training
    with trainer.average.in_place():  # now the weights are the averages, and so is what is made with them
        before = {name: weight.clone() for name, weight in trainer.weights.items()}
    assert any(not weight.equal(before[name]) for name, weight in trainer.weights.items())
    assert len(read_video(folder / names[0]).frames_THWC) == 8
