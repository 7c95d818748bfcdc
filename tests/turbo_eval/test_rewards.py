"""Does `turbo-eval rewards` score, resume, compare and say what a model was trained on?"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from turbo_eval import pipeline
from turbo_eval.cli import app
from turbo_eval.contestants import Request, RewardChoice, contestants_of
from turbo_eval.generators.latent import LatentGenerator
from turbo_eval.reward_records import read_rewards
from turbo_eval.runs.status import status_of
from turbo_eval.runs.verify import verify_run
from turbo_eval.scorers import reward as reward_module
from turbo_eval.scorers import reward_choice as choice_module
from turbo_eval.screen import stage
from turbo_eval.stats import cluster_bootstrap_mean, paired_difference
from turbo_train.rewards import table as table_module
from turbo_train.rewards.table import REWARDS as REWARD_TABLE
from turbo_train.rewards.table import WORLD
from turbo_train.video_io import encode_mp4

REWARDS = ("world-image-reward", "world-video-judge")
NAMED = ("--reward", ",".join(reversed(REWARDS)))
PROMPTS = 8  # as many as an interval needs


def rewards(*arguments: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["rewards", "--threads", "1", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def models(tiny_teacher: Path, tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher/, student/ and trained/, the same student, whose config.json says that it was trained on a reward."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_teacher, folder / "teacher")
    for name in ("student", "trained"):
        shutil.copytree(tiny_student, folder / name)
    path = folder / "trained" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rewards": [REWARDS[0]]}))
    return folder


@pytest.fixture(scope="module")
def command(models: Path, repository: Path) -> Callable[[Path], list[str | Path]]:
    """Two models, two rewards, eight clips of four frames each."""
    suite = models / "eight.jsonl"
    lines = (repository / "prompts" / "world.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    suite.write_text("".join(lines[:PROMPTS]), encoding="utf-8")

    def arguments(out: Path) -> list[str | Path]:
        pair = ["--model", models / "trained", "--against", models / "student", "--steps", "1"]
        return [*pair, "--suite", suite, *NAMED, "--repeat-last", "--out", out]

    return arguments


@pytest.fixture(scope="module")
def run(command: Callable[[Path], list[str | Path]], models: Path) -> Path:
    """The folder of that run."""
    done = rewards(*command(models / "run"), "--json")
    assert json.loads(done.stdout) == json.loads((models / "run" / "results.json").read_text())
    return models / "run"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


NUMBERS = ("mean", "low", "high", "clips", "prompts")


def test_the_records_are_what_the_scores_say(run: Path) -> None:
    """Computed again from scores.jsonl; rewards in the table's order, judges last, then the differences."""
    scores: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in lines(run / "scores.jsonl"):
        scores.setdefault((row["metric"], row["model"]), {})[row["prompt_id"], row["sample_index"]] = row["value"]
    records, (first, second) = lines(run / "rewards.jsonl"), ("trained-1steps", "student")
    kinds = [(row["kind"], row["reward"], row["model"]) for row in records]
    means = [("mean", reward, model) for reward in REWARDS for model in (first, second)]
    assert kinds == [*means, *(("difference", reward, first) for reward in REWARDS)]
    for row in records:
        own = scores[row["reward"], row["model"]]
        if row["kind"] == "mean":
            interval = cluster_bootstrap_mean(list(own.values()), [prompt for prompt, _ in own])
            assert row["unscored"] == 0
            assert row["role"] == row["reward"].rsplit("-", 1)[1]
        else:
            found = paired_difference(own, scores[row["reward"], row["against"]])
            assert found is not None and row["against"] == second
            interval = found
        assert row["scorer"].startswith(f"reward/{row['reward']}@1-")
        assert row["suite_sha256"] == results(run)["identity"]["suite_sha256"]
        expected = (interval.mean, interval.low, interval.high, interval.n, interval.clusters)
        assert tuple(row[name] for name in NUMBERS) == expected and interval.n == PROMPTS
    assert results(run)["rewards"] == records
    means_read, differences_read = read_rewards(run / "rewards.jsonl")
    assert [record.to_json() for record in (*means_read, *differences_read)] == records


def test_what_a_model_was_trained_on_stands_beside_its_numbers(run: Path) -> None:
    table = results(run)["table"]
    marks = {row["metric"]: [cell["in_loop"] for cell in row["cells"]] for row in table["rows"]}
    assert marks == {REWARDS[0]: [True, None], REWARDS[1]: [False, None]}
    assert [row["group"] for row in table["rows"]] == ["image rewards", "judges"]
    assert "in_loop: the model was trained on this reward" in table["notes"]
    assert any(note.startswith("not known: the rewards that student was trained on") for note in table["notes"])
    assert results(run)["trained_on"] == {"trained-1steps": [REWARDS[0]], "student": None}
    records = {(row["kind"], row["reward"], row["model"]): row for row in lines(run / "rewards.jsonl")}
    assert records["mean", REWARDS[0], "trained-1steps"]["in_loop"] is True
    assert records["mean", REWARDS[0], "student"]["in_loop"] is None
    pair = records["difference", REWARDS[0], "trained-1steps"]
    assert (pair["in_loop"], pair["against_in_loop"]) == (True, None)
    rows = list(csv.DictReader((run / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["trained-1steps in_loop"] for row in rows] == ["true", "false"]
    assert {row["student in_loop"] for row in rows} == {""}
    printed = (run / "table.md").read_text(encoding="utf-8")
    assert [line.count("] in_loop |") for line in printed.splitlines() if REWARDS[0] in line and "|" in line] == [1]
    assert "(reward scores: cosines, comparable within a row)" in printed
    short = f"clips with fewer than 8 frames whose last one was repeated: {2 * PROMPTS} (--repeat-last)"
    assert short in table["notes"] and not any("reward networks in" in note for note in table["notes"])


def test_a_second_call_loads_nothing_and_adds_nothing(
    run: Path, command: Callable[[Path], list[str | Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a network is loaded")

    monkeypatch.setattr(reward_module, "load_reward", forbidden)
    monkeypatch.setattr(pipeline.Job, "generator", forbidden)
    before = {path.name: path.read_bytes() for path in run.glob("*.jsonl")}
    rows = sum(len(lines(path)) for path in (run / "ledger").glob("*.jsonl"))
    printed = rewards(*command(run)).stdout
    assert "in_loop" in printed and "rewards.jsonl" in printed
    assert {path.name: path.read_bytes() for path in run.glob("*.jsonl")} == before
    assert sum(len(lines(path)) for path in (run / "ledger").glob("*.jsonl")) == rows


def test_runs_commands_know_what_a_reward_command_wanted(
    run: Path, command: Callable[[Path], list[str | Path]], tmp_path: Path
) -> None:
    """And VBench's command on the same folder uses its clips, and is complete without rewards of all of them."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    found = status_of(folder)
    assert found.state == "complete" and [row["metric"] for row in found.score_rows()] == list(REWARDS)
    assert verify_run(folder, lambda total: stage("checked", total)).sound
    clips = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    own = [str(part) for part in command(folder)]
    shared = [part for part in own if part not in (*NAMED, "--repeat-last")]
    options = ["--dimensions", "temporal_flickering,oracle_colour", "--no-latency", "--threads", "1"]
    done = CliRunner().invoke(app, ["vbench", *shared, *options])
    assert done.exit_code == 0, done.output
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")} == clips
    found = status_of(folder)
    assert found.state == "complete" and len(found.score_rows()) == 2
    assert verify_run(folder, lambda total: stage("checked", total)).sound
    scores = (run / "scores.jsonl").read_bytes()
    assert (folder / "scores.jsonl").read_bytes() != scores
    rewards(*command(folder))
    assert (folder / "scores.jsonl").read_bytes() == scores
    rewards(*command(folder), "--limit", "3")
    done = CliRunner().invoke(app, ["vbench", *shared, *options, "--limit", "8"])
    assert done.exit_code == 0 and status_of(folder).state == "complete"


def test_a_reward_that_nobody_has_scored_yet_is_wanted(
    run: Path, command: Callable[[Path], list[str | Path]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["scope"]["dimensions"] = ["world-image-reward", "world-image-judge"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = status_of(folder)
    assert found.state != "complete"
    assert [row["trained-1steps"] for row in found.score_rows()] == ["8/8", "0/8"]


@pytest.fixture
def videos(tmp_path: Path) -> list[str | Path]:
    """A clip of ten frames and one of three, of two sizes."""
    folder, suite = tmp_path / "clips", tmp_path / "two.txt"
    folder.mkdir()
    chance = np.random.default_rng(0)
    for text, shape in (("a red circle", (10, 24, 32, 3)), ("a blue square", (3, 48, 32, 3))):
        encode_mp4(folder / f"{text}-0.mp4", chance.integers(0, 256, shape, dtype=np.uint8), 8.0)
    suite.write_text("a red circle\na blue square\n")
    return ["--videos", folder, "--suite", suite]


def test_finished_clips_and_one_that_is_too_short(videos: list[str | Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run")
    shown = rewards(*videos, *NAMED, *out).stdout
    assert "1 (+1 unscored)" in shown
    assert "world-video-judge: 3 frames; expected at least 8, or --repeat-last (1 clips)" in shown
    image, video = lines(tmp_path / "run" / "rewards.jsonl")
    assert (image["clips"], image["unscored"], video["clips"], video["unscored"]) == (2, 0, 1, 1)
    assert (image["model"], image["in_loop"], image["low"]) == ("clips", None, None)
    repeated = json.loads(rewards(*videos, *NAMED, *out, "--repeat-last", "--in-loop", REWARDS[0], "--json").stdout)
    image, video = repeated["rewards"]
    assert (image["clips"], image["in_loop"], video["clips"], video["in_loop"]) == (2, True, 2, False)
    assert repeated["warnings"] == []
    assert "clips with fewer than 8 frames whose last one was repeated: 1 (--repeat-last)" in repeated["table"]["notes"]
    only = json.loads(rewards(*videos, *out, "--reward", REWARDS[0], "--in-loop", REWARDS[0], "--json").stdout)
    assert only["warnings"] == [f"no held-out reward was scored: clips was trained on {REWARDS[0]}"]
    assert "- warning: no held-out reward" in (tmp_path / "run" / "table.md").read_text(encoding="utf-8")


def test_what_is_unusual_about_the_numbers_stands_under_them_every_time(tmp_path: Path) -> None:
    """The dtype, words that a reward does not know, and scores of the run that this command leaves out."""
    folder, suite = tmp_path / "clips", tmp_path / "one.txt"
    folder.mkdir()
    encode_mp4(folder / "a red fox-0.mp4", np.full((8, 24, 32, 3), 99, np.uint8), 8.0)
    suite.write_text("a red fox\n")
    command = ["--videos", folder, "--suite", suite, "--out", tmp_path / "run", *NAMED, "--repeat-last", "--json"]
    strange = f"{REWARDS[0]} does not know fox: its scores of their prompts mean little"
    for _ in range(2):
        notes = json.loads(rewards(*command, "--reward-dtype", "bfloat16").stdout)["table"]["notes"]
        assert strange in notes and "reward networks in bfloat16" in notes
        assert not any("repeated" in note for note in notes)  # eight frames are enough


def test_scores_whose_weights_are_gone_are_told_of(
    videos: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*videos, "--out", tmp_path / "run"]
    assert REWARDS[0] in rewards(*command).stdout
    weights = shutil.copytree(WORLD, tmp_path / "weights")
    (weights / "reward_image" / "model.safetensors").unlink()
    places = [replace(e, place=weights / e.place.name) if e.place else e for e in REWARD_TABLE]
    monkeypatch.setattr(table_module, "REWARDS", tuple(places))
    monkeypatch.setattr(choice_module, "REWARDS", tuple(places))
    again = rewards(*command).stdout
    assert f"not shown: scores of {REWARDS[0]}, left out here, that this run holds of 2 clips" in " ".join(
        again.split()
    )
    done = rewards(*command, "--reward", REWARDS[0], code=2)
    assert "model.safetensors" in done.stderr and "turbo-train world build" in done.stderr


def test_missing_clips_are_stamped(videos: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "clips" / "a blue square-0.mp4").unlink()
    command = [*videos, *NAMED, "--out", tmp_path / "run"]
    rewards(*command, code=3)
    assert not (tmp_path / "run" / "rewards.jsonl").exists()
    rewards(*command, "--allow-missing")
    image, _ = lines(tmp_path / "run" / "PARTIAL-rewards.jsonl")
    assert (image["clips"], image["unscored"]) == (1, 1)


def test_out_of_memory_while_scoring_halves_the_pass(
    videos: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = reward_module.RewardScorer.score, []

    def score(self: Any, clip: Any, features: Any) -> Any:
        calls.append(None if self._model is None else self._model.rows)
        found = real(self, clip, features)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("of this test")
        return found

    monkeypatch.setattr(reward_module.RewardScorer, "score", score)
    done = rewards(*videos, "--reward", REWARDS[0], "--out", tmp_path / "run")
    assert f"out of memory: {REWARDS[0]} looks at 5 frames at a time" in done.stderr
    assert calls == [64, 64, 5, 5]
    assert [what for _, what in status_of(tmp_path / "run").reliefs] == [f"{REWARDS[0]} looks at 5 frames at a time"]


def test_out_of_memory_while_generating_is_not_the_rewards_fault(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its network is loaded by then, and could be made to look at fewer frames."""
    suite = tmp_path / "two.txt"
    suite.write_text("a red circle\na blue square\n")
    real, calls = LatentGenerator.generate, []

    def generate(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("of this test")
        return real(self, *arguments)

    monkeypatch.setattr(LatentGenerator, "generate", generate)
    options = ["--suite", suite, "--steps", "1", "--batch", "1", "--reward", REWARDS[0], "--out", tmp_path / "run"]
    rewards("--model", models / "student", *options)
    [(_, what)] = status_of(tmp_path / "run").reliefs
    assert len(calls) == 3 and REWARDS[0] not in what


def test_none_states_that_a_folder_was_trained_on_no_reward(models: Path, tmp_path: Path) -> None:
    suite = tmp_path / "one.txt"
    suite.write_text("a red circle\n")
    options = ["--suite", suite, "--steps", "1", "--reward", REWARDS[0], "--out", tmp_path / "run", "--json"]
    found = json.loads(rewards("--model", models / "student", *options, "--in-loop", "none").stdout)
    assert found["trained_on"] == {"student-1steps": []} and found["rewards"][0]["in_loop"] is False


def test_both_models_say_what_they_were_trained_on(models: Path) -> None:
    """--in-loop speaks of the first."""
    trained, student = str(models / "trained"), str(models / "student")
    asked = Request(model=student, against=trained, rewards=RewardChoice(in_loop=()))
    assert [c.rewards for c in contestants_of(asked)] == [(), (REWARDS[0],)]
    assert [c.rewards for c in contestants_of(Request(model=trained, against=student))] == [(REWARDS[0],), None]


def test_rewards_and_vbench_find_the_same_folder(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("a red circle\n")
    shared = ["--model", str(models / "trained"), "--suite", "one.txt", "--steps", "1"]
    rewards(*shared, "--reward", REWARDS[0])
    assert CliRunner().invoke(app, ["generate", *shared, "--threads", "1"]).exit_code == 0
    options = ["--dimensions", "temporal_flickering", "--no-latency", "--threads", "1"]
    assert CliRunner().invoke(app, ["vbench", *shared, *options]).exit_code == 0
    assert len(list(Path("runs").rglob("manifest.json"))) == len(list(Path("runs").rglob("*.mp4"))) == 1


def test_no_reward_asks_for_the_clips_of_one_dimension(models: Path) -> None:
    """VBench takes 25 clips of a prompt for temporal_flickering and 5 for the others."""
    asked = Request(model=str(models / "student"), suite="vbench:temporal_flickering", limit=2)
    found = pipeline.draft(replace(asked, rewards=RewardChoice((REWARDS[0],))))
    assert (pipeline.draft(asked).plan.clips_per_model(), found.plan.clips_per_model()) == (50, 10)
    assert found.folder == pipeline.draft(asked).folder
