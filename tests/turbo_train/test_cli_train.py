"""Do `turbo-train run`, `resume` and `presets` say in one message what is wrong, and end with the right code?"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import Result
from tiny_training import check_same, logged, recipe, settings
from typer.testing import CliRunner

from turbo_train import cli_train
from turbo_train.cli import app
from turbo_train.config import TrainConfig, config_of, with_settings
from turbo_train.presets import PRESETS
from turbo_train.weights.alone import alone


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words: str | Path) -> str:
    """What stderr says; no traceback, code 2, nothing on stdout."""
    done = invoke(*words)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert done.stderr.startswith("error: found ") and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def stop_at_its_first_step(folder: Path) -> threading.Thread:
    """SIGTERM to this process as soon as the run's log has a step."""

    def wait() -> None:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            if (folder / "log.jsonl").is_file() and '"event": "step"' in (folder / "log.jsonl").read_text():
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_signal_ends_with_75_and_resume_goes_on(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> None:
    config, out = recipe(loop_teacher), tmp_path / "run"
    thread = stop_at_its_first_step(out)
    done = invoke("run", "--preset", "world-vcm", "--out", out, *settings(config))
    thread.join()
    assert done.exit_code == 75, done.output
    said = done.stderr.splitlines()
    assert said[0].startswith("world-vcm: 1 of 4, loss_cd 0.") and said[-1] == f"stopped at step 2: {out}"
    assert "then stopping; once more to stop at once" in done.stderr and "\x1b" not in done.stderr
    done = invoke("resume", out)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, f"done at step 4: {out / 'student'}")
    check_same(undisturbed, out)
    assert config_of(json.loads((out / "config.json").read_text()), "") == replace(config, preset="world-vcm")
    assert [entry["step"] for entry in logged(out, "step")] == [1, 2, 3, 4]


@pytest.fixture
def begun(undisturbed: Path, loop_teacher: Path, tmp_path: Path) -> Path:
    """The folder of a run that `turbo-train run` could have left."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "config.json").write_text(replace(recipe(loop_teacher), preset="world-vcm").to_json())
    return folder


def test_another_preset_in_the_folder_of_a_run_is_refused_with_both_values(begun: Path) -> None:
    told = refused("run", "--preset", "world-rimg", "--out", begun)
    assert "preset 'world-rimg'" in told and "expected preset 'world-vcm'" in told
    assert "rewards world-image-reward:1:6" in told and "rewards none" in told
    assert f"turbo-train resume {begun}, or another --out" in told
    told = refused("resume", begun, "--set", "lr=0.5")
    assert f"found lr 0.5 for the run in {begun}; expected lr 0.01, as it was begun" in told
    assert json.loads((begun / "config.json").read_text())["lr"] == 0.01


def test_the_steps_of_a_cosine_may_not_change(begun: Path, loop_teacher: Path) -> None:
    config = replace(recipe(loop_teacher), preset="world-vcm", lr_schedule="cosine")
    (begun / "config.json").write_text(config.to_json())
    assert "found steps 9" in refused("resume", begun, "--set", "steps=9")


def test_a_recipe_that_learnt_nothing_yet_may_be_mended(tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = refused("run", "--preset", "world-vcm", "--out", out, "--set", "teacher=/nowhere")
    assert "teacher '/nowhere', which is neither a name nor a path" in told
    assert json.loads((out / "config.json").read_text())["teacher"] == "/nowhere"
    told = refused("run", "--preset", "world-vcm", "--out", out, "--set", "teacher=/elsewhere")
    assert "teacher '/elsewhere'" in told


def test_mistakes_of_the_command_line(tmp_path: Path) -> None:
    assert "unknown preset 'world-tubro' (did you mean world-turbo?)" in refused("run", "--preset", "world-tubro")
    out = ("run", "--preset", "world-vcm", "--out", tmp_path / "run", "--set")
    assert "found --set 'stpes=3' (did you mean steps?); expected key=value with" in refused(*out, "stpes=3")
    assert "found --set 'steps=many'; expected steps as a whole number" in refused(*out, "steps=many")
    assert "found batch_size 7, no multiple of micro_batch_size 8" in refused(*out, "batch_size=7")
    assert "found seed -1, below 0" in refused(*out, "seed=-1")
    assert not (tmp_path / "run").exists()
    assert f"no config.json in {tmp_path}; expected the folder of a training run" in refused("resume", tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json is no JSON" in refused("resume", tmp_path)
    (tmp_path / "config.json").write_text('{"preset": "a", "teacher": "b", "data": "c", "speed": 1}')
    assert "unknown fields speed" in refused("resume", tmp_path)
    assert invoke("run").exit_code == 2
    (tmp_path / "file").write_text("")
    told = refused("run", "--preset", "world-vcm", "--out", tmp_path / "file" / "run")
    assert "config.json cannot be written (Not a directory)" in told


def test_a_folder_in_which_another_process_trains_is_refused(begun: Path) -> None:
    with alone(begun / ".run.lock"):
        told = refused("resume", begun)
    assert f"another process that trains in {begun}; expected one at a time" in told


def test_presets_are_listed_with_what_they_reached() -> None:
    done = invoke("presets")
    assert done.exit_code == 0 and all(name in done.stdout for name in PRESETS)
    rows = json.loads(invoke("presets", "--json").stdout)
    assert [row["preset"] for row in rows] == list(PRESETS)
    one = invoke("presets", "vc2-turbo").stdout
    assert "reached: not run: needs weights" in one and "rewards = hpsv2.1:1:6,internvideo2:2:8" in one
    assert "size = 320x512" in one
    assert refused("presets", "vc2").startswith("error: found unknown preset 'vc2' (did you mean vc2-")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_shown_as_set_takes_it(name: str) -> None:
    pairs = [line.partition("=") for line in invoke("presets", name).stdout.splitlines()[2:]]
    shown = [f"{key.strip()}={value.strip()}" for key, _, value in pairs]
    assert shown[0] == f"preset={name}" and len(shown) == len(fields(TrainConfig))
    assert with_settings(TrainConfig(name, "", ""), shown[1:]) == PRESETS[name].config


def test_help_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from turbo_train.cli import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "sys.stderr.write(repr([m for m in ('torch', 'diffusers', 'accelerate', 'tensorboard') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]" and "--preset" in done.stdout


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_a_file_gets_lines(
    loop_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "openpty"):
        pytest.skip("this system has no pseudo-terminals")
    master, slave = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    shown: list[bytes] = []

    def drain() -> None:
        with suppress(OSError):  # what a terminal says when the other end has left
            while part := os.read(master, 4096):
                shown.append(part)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stderr", terminal)
        assert cli_train._train(recipe(loop_teacher, steps=1), tmp_path) == 0
    reader.join(10)
    os.close(master)
    text = b"".join(shown).decode()
    assert "\x1b[" in text and "1/1" in text and "loss_cd 0." in text
