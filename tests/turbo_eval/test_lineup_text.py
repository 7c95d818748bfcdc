"""Does a line-up's page say what its numbers say, and how far they carry?"""

from __future__ import annotations

import csv

from turbo_eval.lineup_numbers import Column, Row, RowDifference, RowMean
from turbo_eval.lineup_text import Cost, LineupTable, to_csv, to_markdown

SEEDS, ALONE = Row("turbo", ("t0", "t1", "t2")), Row("vcm", ("vcm",))
JUDGE, ORACLE = Column("judge", "judges", "j/1"), Column("colour", "oracle", "o/1")


def mean(row: Row, column: Column, value: float, in_loop: bool | None, *each: float, unscored: int = 0) -> RowMean:
    bounds = value - 0.05, value + 0.05
    where = row.name, column.metric, column.group, column.scorer, "all"
    return RowMean(*where, in_loop, value, *bounds, 24, 12, unscored, row.members, each)  # type: ignore[arg-type]


def difference(column: Column, value: float, half: float, *each: float) -> RowDifference:
    where = "turbo", "vcm", column.metric, column.group, "all"
    return RowDifference(*where, value, value - half, value + half, 24, 12, SEEDS.members, each)  # type: ignore[arg-type]


TABLE = LineupTable(
    title="2 models on a | suite",
    rows=(SEEDS, ALONE),
    columns=(JUDGE, ORACLE),
    baselines=("vcm",),
    prompts={"all": 12},
    means=(
        mean(SEEDS, JUDGE, 0.5, True, 0.4, 0.5, 0.6),
        mean(SEEDS, ORACLE, 0.9, False, 0.9, 0.9, 0.9, unscored=2),
        mean(ALONE, JUDGE, 0.4, False),
        mean(ALONE, ORACLE, 0.95, False),
    ),
    differences=(difference(JUDGE, 0.1, 0.02, 0.0, 0.1, 0.2), difference(ORACLE, -0.05, 0.1, -0.05, -0.05, -0.05)),
    costs=(Cost("turbo", 4, 1.0, 4, 0.5, 0.4, 0.6, (("vcm", 2.0, 1.9, 2.1),), "t0"), Cost("vcm", 8, 1.0)),
    warnings=("reward hacking: so it seems",),
)


def test_the_page_holds_means_differences_seeds_and_warnings() -> None:
    page = to_markdown(TABLE)
    for line in (
        "- warning: reward hacking: so it seems",
        "| turbo (3 seeds) | 4 | 0.500 [0.450, 0.550] in_loop |",
        "| turbo (3 seeds) | 4 | 0.900 [0.850, 0.950] (+2 unscored) |",
        "| turbo | 4 | **+0.100 [+0.080, +0.120]** 2/3 |",  # sure over prompts, and one seed shows nothing
        "| turbo | 4 | -0.050 [-0.150, +0.050] 3/3 |",
        "| turbo (3 seeds) | 4 | 4 | 0.500 [0.400, 0.600] | 2.0 [1.9, 2.1] | t0 |",
        "| vcm | 8 | - | - | - | - |",
        "| turbo | judge | 0.400 / 0.500 / 0.600 | 0.400 to 0.600 | 0.500 [0.450, 0.550] |",
        "- turbo: t0, t1, t2",
    ):
        assert line in page.splitlines(), line
    assert "of these 2 about 0 would exclude 0" in page and "not about other seeds" in page
    assert "vcm, all prompts (12)" in page and "| vcm | 8 | -" in page


def test_the_table_for_programs_keeps_every_number() -> None:
    rows = list(csv.DictReader(to_csv(TABLE).splitlines()))
    found = {(row["kind"], row["row"], row["metric"]): row for row in rows}
    assert len(found) == len(rows) == 4 + 2 + 3
    assert found["difference", "turbo", "judge"]["member_means"] == "0.0;0.1;0.2"
    assert float(found["cost", "turbo", "times_faster"]["mean"]) == 2.0
    assert found["mean", "turbo", "colour"]["unscored"] == "2"
