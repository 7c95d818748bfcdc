"""Does the table of rewards keep their order, their marks, and what has no number?"""

from __future__ import annotations

import io

from rich.console import Console

from turbo_eval.in_loop import Trained
from turbo_eval.records import ScoreRecord
from turbo_eval.reward_table import RewardResults, reward_results
from turbo_eval.table_text import to_csv, to_markdown, to_rich
from turbo_train.rewards.table import REWARDS

ENTRIES = {entry.name: entry for entry in REWARDS}
NAMES = ("world-video-judge", "viclip", "clip", "hpsv2.1")


def results(trained: Trained, names: tuple[str, ...] = NAMES, partial: str = "") -> RewardResults:
    """Ten prompts; the first model is better by 0.1 in hpsv2.1 alone; no clip has a score of viclip."""
    scores = []
    for m, model in enumerate(trained):
        for p in range(10):
            for name in names:
                value = None if name == "viclip" else 0.5 + 0.01 * p - 0.1 * (m and name == "hpsv2.1")
                why = "4 frames; expected at least 8" if value is None else None
                scores.append(ScoreRecord(model, f"p{p}", 0, name, f"reward/{name}@1", value, why))
    return reward_results(
        scores,
        {name: ENTRIES[name] for name in names},
        scorers={name: f"reward/{name}@1" for name in names},
        trained=trained,
        lineage={entry.name: entry.lineage for entry in REWARDS},
        suite="toy",
        suite_sha256="0" * 64,
        remarks=["left out: nothing"],
        partial=partial,
    )


def test_rows_come_by_group_and_unscored_rewards_keep_their_record() -> None:
    found = results({"fast": ("hpsv2.1",), "slow": ()})
    assert [(row.group, row.metric) for row in found.table.rows] == [
        ("image rewards", "clip"),
        ("image rewards", "hpsv2.1"),
        ("judges", "world-video-judge"),
    ]
    assert dict(found.table.unscored) == {"viclip": "4 frames; expected at least 8 (20 clips)"}
    [empty] = [mean for mean in found.means if (mean.reward, mean.model) == ("viclip", "slow")]
    assert (empty.mean, empty.low, empty.clips, empty.unscored, empty.in_loop) == (None, None, 0, 10, False)
    assert len(found.means) == 8 and [d.mean is None for d in found.differences] == [False, False, True, False]


def test_warnings_and_notes_stand_under_every_form_of_the_table() -> None:
    found = results({"fast": ("hpsv2.1", "hps-of-ones-own"), "slow": None})
    warnings = (
        "only rewards that fast was trained on improved: hpsv2.1; no other reward or judge did",
        "clip is not independent of hpsv2.1, which fast was trained on: both come from CLIP ViT-H-14 (LAION-2B)",
    )
    assert found.table.warnings == warnings
    text = to_markdown(found.table)
    assert all(f"- warning: {warning}" in text for warning in warnings)
    for note in (
        "in_loop: the model was trained on this reward",
        'not known: the rewards that slow was trained on ("rewards" in its config.json)',  # --in-loop is of the first
        "each interval is 95 % for its row alone: of 20 rewards without a difference one is expected to show one",
        "fast was trained on hps-of-ones-own, which turbo-eval list rewards does not know",
        "left out: nothing",
    ):
        assert note in found.table.notes
    Console(file=(printed := io.StringIO()), width=200).print(to_rich(found.table))
    shown = printed.getvalue().splitlines()
    assert [line.strip() for line in shown if "warning:" in line] == [f"warning: {warning}" for warning in warnings]
    [marked] = [line for line in shown if "] in_loop" in line]
    assert marked.split()[0] == "hpsv2.1" and "0.5450 [" in marked.split("in_loop")[0]
    row = next(line for line in text.splitlines() if "| hpsv2.1 |" in line)
    assert row.count("in_loop") == 1 and "0.5450 [" in row.split("in_loop")[0]
    assert ",true,0.445" in next(line for line in to_csv(found.table).splitlines() if ",hpsv2.1," in line)


def test_one_model_has_no_differences() -> None:
    found = results({"fast": ("hpsv2.1",)}, ("hpsv2.1",))
    assert found.differences == ()
    assert not any("for its row alone" in note for note in found.table.notes)
    [note] = [n for n in results({"fast": None}, ("hpsv2.1",)).table.notes if "not known" in n]
    assert note == "not known: the rewards that fast was trained on (--in-loop NAMES or none)"
    assert found.table.warnings == ("no held-out reward was scored: fast was trained on hpsv2.1",)


def test_two_models_are_compared_over_the_clips_that_are_there() -> None:
    stamp, whole = "PARTIAL: 19 of 20 clips", results({"fast": (), "slow": ()})
    found = results({"fast": (), "slow": ()}, partial=stamp)
    assert found.table.title == f"{stamp}: {whole.table.title}"
    assert found.differences == whole.differences and len(found.differences) == len(NAMES)
