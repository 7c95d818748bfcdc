"""Does `turbo-eval list rewards` say what each looks at and whether it is here, and a model what it was trained on?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stand_ins import put
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.model_table import MODELS, check_entry
from turbo_train.rewards.table import REWARDS, find_reward
from turbo_train.weights.table import files_for


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TURBO_WEIGHTS is set, and nothing of this machine is found."""
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "XDG_CACHE_HOME", "TURBO_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path))


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(printed("list", "rewards", "--json"))}


def test_every_reward_is_listed_with_what_it_looks_at() -> None:
    found = rows()
    assert list(found) == [entry.name for entry in REWARDS]
    hps, video = found["hpsv2.1"], found["internvideo2"]
    assert (hps["input"], hps["frames"], hps["tokens"], hps["role"]) == ("224x224 letterbox", "every", 77, "reward")
    assert (hps["bytes"], hps["licence"]) == (sum(f.bytes for f in files_for("hpsv2.1")), "apache-2.0")
    assert (video["kind"], video["input"], video["frames"]) == ("video", "224x224 crop", "8 or 4")
    assert hps["lineage"] == found["clip"]["lineage"] != video["lineage"]
    world = found["world-image-judge"]
    assert (world["role"], world["weights"], world["ready"]) == ("judge", "present", True)
    assert world["bytes"] == sum(path.stat().st_size for path in find_reward("world-image-judge").files().values())


def test_missing_weights_are_named_until_they_are_there() -> None:
    before = rows()["pickscore"]
    assert not before["ready"]
    assert before["weights"] == f"missing: {', '.join(file.name for file in files_for('pickscore'))}"
    for file in files_for("pickscore"):
        put(file)
    after = rows()["pickscore"]
    assert (after["ready"], after["weights"]) == (True, "present")


def test_people_see_it_too() -> None:
    done = CliRunner().invoke(app, ["list", "rewards"])
    assert all(entry.name in done.stdout for entry in REWARDS) and "986.1 M" in done.stdout
    assert done.stderr == "not ready: turbo-eval weights pull --for NAME fetches what is missing\n"


def test_a_model_shows_the_rewards_that_it_was_trained_on(tiny_student: Path) -> None:
    expected = {"vc2-turbo": ["hpsv2.1", "internvideo2"], "ms-turbo": ["hpsv2.1", "viclip"], "world-vcm": []}
    expected |= {"vc2-turbo-v2": ["hpsv2.1", "clip", "internvideo2"], "vc2": [], str(tiny_student): None}
    assert {name: json.loads(printed("show", name, "--json"))["rewards"] for name in expected} == expected
    lines = printed("show", "vc2-turbo").splitlines()
    assert [line.split()[1:] for line in lines if line.startswith("rewards")] == [["hpsv2.1,", "internvideo2"]]
    assert "rewards" in printed("show", str(tiny_student)) and "not known" in printed("show", str(tiny_student))


def test_the_table_of_models_names_rewards_that_there_are() -> None:
    names = {entry.name for entry in REWARDS}
    assert all(entry.rewards is not None and set(entry.rewards) <= names for entry in MODELS)
    wrong = replace(MODELS[0], name="theirs", rewards="hpsv2.1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a tuple of names"):
        check_entry(wrong, set())
