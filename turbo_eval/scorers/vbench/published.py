"""Which VBench scores were published, of which models? Percent, as their papers print them; nothing here is measured.

published.csv: T2V-Turbo's table 1 (arXiv 2405.18750; T2V-Turbo and VCM with 4 steps, others from VBench's leaderboard)
and T2V-Turbo-v2's (arXiv 2410.05677). Its abstract's total of 85.13 is the quality score; the total is 83.52.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from turbo_eval.scorers.vbench.spec import NAMES

FILE = Path(__file__).with_name("published.csv")
TOTALS = ("total_score", "quality_score", "semantic_score")


@dataclass(frozen=True)
class PublishedRow:
    """scores: total_score, quality_score, semantic_score and the sixteen dimensions, in percent."""

    model: str
    scores: Mapping[str, float]
    source: str


@cache
def published() -> dict[str, PublishedRow]:
    """Every published row by its model's name there."""
    with FILE.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["model"]: PublishedRow(row["model"], {name: float(row[name]) for name in (*TOTALS, *NAMES)}, row["source"])
        for row in rows
    }
