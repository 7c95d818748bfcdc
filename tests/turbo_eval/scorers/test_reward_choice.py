"""Which rewards score a run: those that were named, or those that can?"""

from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins

from turbo_eval.scorers.reward import reward_scorers
from turbo_eval.scorers.reward_choice import choose_rewards, left_out_line, unknown_words
from turbo_train.errors import UserError
from turbo_train.rewards.table import REWARDS, find_reward, load_reward
from turbo_train.weights.table import files_for

KNOWN, FOREIGN = "a red circle moves right on a black background", "a Red fox moves; in snow"
WORLD = [entry.name for entry in REWARDS if entry.place is not None]


@pytest.fixture(autouse=True)
def nothing_published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of this machine is found."""
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "XDG_CACHE_HOME", "TURBO_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path))


def test_without_names_all_are_taken_that_can_score_the_prompts() -> None:
    chosen = choose_rewards([], [KNOWN])
    assert [entry.name for entry in chosen.entries] == WORLD
    published = [entry.name for entry in REWARDS if entry.name not in WORLD]
    assert left_out_line(chosen.left_out) == (
        f"left out: {', '.join(published)} (weights missing: turbo-eval weights pull "
        f"{' '.join(f'--for {name}' for name in published)})"
    )
    assert left_out_line({}) == ""


def test_unknown_words_are_the_ones_that_the_models_tokenizer_does_not_know() -> None:
    entry = find_reward(WORLD[0])
    assert unknown_words(entry, [KNOWN, FOREIGN, FOREIGN]) == ["fox", ";", "in", "snow"]
    tokenizer = load_reward(entry.name).tokenizer
    for word in f"{KNOWN} {FOREIGN}".replace(";", " ;").split():
        assert (1 in tokenizer([word])) == bool(unknown_words(entry, [word])), word


def test_a_file_that_is_not_the_published_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path))
    for file in files_for("viclip"):
        stand_ins.put(file)
    scorers, _ = reward_scorers(["viclip"], [KNOWN], device="cpu")
    assert [scorer.metric for scorer in scorers] == ["viclip"]
    said = capsys.readouterr().err
    assert "viclip: viclip/ViClip-InternVid-10M-FLT.pth is not the published file" in " ".join(said.split())


def test_a_closed_vocabulary_is_left_out_for_other_words() -> None:
    with pytest.raises(UserError, match="no reward that can score these prompts") as caught:
        choose_rewards([], [FOREIGN])
    for name in WORLD:
        assert f"{name} (does not know fox" in caught.value.found


def test_a_named_reward_is_used_anyway_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = choose_rewards(["world-video-judge", WORLD[0], WORLD[0]], [FOREIGN])
    assert [entry.name for entry in chosen.entries] == [WORLD[0], "world-video-judge"]
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in warnings] == [["warning:", WORLD[0]], ["warning:", "world-video-judge"]]
    assert "fox" in warnings[0]


def test_names_and_weights_are_checked_all_at_once() -> None:
    with pytest.raises(UserError, match=r"did you mean pickscore\?"):
        choose_rewards(["pikscore"], [KNOWN])
    with pytest.raises(UserError) as caught:
        choose_rewards(["hpsv2.1", "viclip", WORLD[0]], [KNOWN])
    assert "for hpsv2.1: hpsv2/" in caught.value.found and "for viclip: viclip/" in caught.value.found
    assert "--for hpsv2.1" in caught.value.run_next and "--for viclip" in caught.value.run_next
