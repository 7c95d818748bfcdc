"""Is the table right in its numbers, and the same to the byte in each of its forms?"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from turbo_eval.records import ScoreRecord
from turbo_eval.reward_table import RewardCell
from turbo_eval.table_text import to_csv, to_markdown, to_rich
from turbo_eval.tables import Table, build_table
from turbo_train.errors import UserError

GOLDEN = Path(__file__).parent.parent / "golden" / "tables"
GROUPS = {"sharpness": "quality", "motion": "quality", "taste": "quality", "fidelity": "semantic", "story": "semantic"}


@dataclass(frozen=True)
class Times:
    median_s: float
    low_s: float
    high_s: float


def scores() -> list[ScoreRecord]:
    """Two models on ten prompts: all of sharpness, motion with gaps, taste only unscored, oracle on three prompts."""
    records = []
    for m, model in enumerate(("fast", "slow")):
        for p in range(10):
            key = (model, f"p{p}", 0)
            records.append(ScoreRecord(*key, "sharpness", "tower/1", 0.5 + 0.03125 * p - 0.125 * m))
            still = m == 0 and p < 2
            value = None if still else 1.0 - 0.0625 * (p % 3)
            records.append(ScoreRecord(*key, "motion", "flow/2", value, "one frame" if still else None))
            records.append(ScoreRecord(*key, "taste", "none", unscored="no weights"))
            if p < 3:
                records.append(ScoreRecord(*key, "oracle", "eye/1", float(p > m)))
    return records


def full_table() -> Table:
    return build_table(
        scores(),
        models=["fast", "slow"],
        suite="toy",
        groups=GROUPS,
        unscored={"story": "no honest | encoder", "fidelity": "needs words"},
        latency={"slow": Times(6.0, 5.5, 6.5), "fast": Times(0.5, 0.45, 0.5625)},
        speed_up=(12.0, 11.25, 12.5),
        note="of no meaning",
    )


def as_text(table: Table, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(to_rich(table))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("name", ["table.txt", "table.md", "table.csv"])
def test_the_whole_output_is_the_golden_file(name: str) -> None:
    forms = {"table.txt": as_text, "table.md": to_markdown, "table.csv": to_csv}
    assert forms[name](full_table()) == (GOLDEN / name).read_text(encoding="utf-8")


def test_rows_and_counts() -> None:
    table = full_table()
    assert [row.metric for row in table.rows] == ["sharpness", "motion", "oracle"]
    assert [row.group for row in table.rows] == ["quality", "quality", "other"]
    sharpness, _, oracle = table.rows
    assert sharpness.cells[0].interval is not None and sharpness.cells[0].interval.mean == pytest.approx(0.640625)
    assert sharpness.difference is not None and sharpness.difference.mean == pytest.approx(0.125)
    assert oracle.cells[0].interval is not None and oracle.cells[0].interval.low is None
    assert dict(table.unscored) == {
        "motion": "one frame (2 clips)",
        "taste": "no weights (20 clips)",
        "fidelity": "needs words",
        "story": "no honest | encoder",
    }
    assert table.speed_up == 12.0


def test_an_unscored_clip_never_enters_a_mean_as_0() -> None:
    motion = full_table().rows[1]
    fast, slow = motion.cells
    assert fast.interval is not None and slow.interval is not None and motion.difference is not None
    assert (fast.interval.n, fast.unscored, slow.interval.n, slow.unscored) == (8, 2, 10, 0)
    assert fast.interval.mean == pytest.approx(sum(1.0 - 0.0625 * (p % 3) for p in range(2, 10)) / 8)
    assert motion.difference.mean == 0.0 and motion.difference.n == 8


def test_the_title_has_the_note_that_was_given_and_no_other() -> None:
    assert full_table().title == "fast against slow on toy (of no meaning)"
    assert build_table(scores(), models=["fast"], suite="toy", groups=GROUPS).title == "fast on toy"


def test_weighted_clips_give_the_weighted_mean_and_the_difference_of_two_of_them() -> None:
    weights = {s.clip_id: 1.0 + int(s.prompt_id[1:]) % 4 + (s.model == "slow") for s in scores()}
    (row, *_) = build_table(
        scores(), models=["fast", "slow"], suite="toy", groups=GROUPS, weights={"sharpness": weights}
    ).rows
    means = []
    for cell, model in zip(row.cells, ("fast", "slow"), strict=True):
        own = [(weights[s.clip_id], s.value) for s in scores() if s.model == model and s.metric == "sharpness"]
        means.append(sum(w * v for w, v in own if v is not None) / sum(w for w, _ in own))
        assert cell.interval is not None and cell.interval.mean == pytest.approx(means[-1], rel=1e-15)
    assert row.difference is not None and row.difference.mean == pytest.approx(means[0] - means[1])
    assert row.difference.low is not None and row.difference.low < row.difference.mean


def test_scores_of_different_scorers_are_not_put_side_by_side() -> None:
    pair = [ScoreRecord("fast", "p", 0, "a", "tower/1", 0.5), ScoreRecord("slow", "p", 0, "a", "tower/2", 0.5)]
    with pytest.raises(UserError, match=r"different scorers: tower/1 for fast; tower/2 for slow") as caught:
        build_table(pair, models=["fast", "slow"], suite="toy", groups={})
    assert caught.value.exit_code == 2
    assert len(build_table(pair, models=["fast"], suite="toy", groups={}).rows) == 1


def test_a_clip_scored_twice_is_a_mistake_of_ours() -> None:
    score = ScoreRecord("fast", "p", 0, "a", "tower/1", 0.5)
    with pytest.raises(ValueError, match="two scores"):
        build_table([score, score], models=["fast"], suite="toy", groups={})


def test_without_a_race_the_speed_up_is_the_ratio_of_medians_and_has_no_interval() -> None:
    times = {"slow": Times(6.0, 5.5, 6.5), "fast": Times(0.5, 0.45, 0.5625)}
    table = build_table(scores(), models=["fast", "slow"], suite="toy", groups=GROUPS, latency=times)
    assert (table.speed_up, table.speed_up_interval) == (12.0, None)


def test_one_model_alone_has_no_difference() -> None:
    table = build_table(scores(), models=["fast"], suite="toy", groups=GROUPS)
    assert table.title.startswith("fast on toy") and all(row.difference is None for row in table.rows)
    assert "difference" not in as_text(table) + to_markdown(table) + to_csv(table)


def test_columns_of_a_csv_stand_under_their_names_when_a_cell_has_more() -> None:
    table = full_table()
    rows = tuple(replace(r, cells=tuple(RewardCell(c.interval, c.unscored) for c in r.cells)) for r in table.rows)
    lines = list(csv.DictReader(io.StringIO(to_csv(replace(table, rows=rows)))))
    (speed,) = [line for line in lines if line["group"] == "speed"]
    assert (speed["fast mean"], speed["slow mean"], speed["slow low"]) == ("0.5", "6.0", "5.5")


def test_nothing_is_lost_on_a_narrow_terminal() -> None:
    words = as_text(full_table(), width=60).split()
    assert "0.6406" in words and "+0.1250" in words
