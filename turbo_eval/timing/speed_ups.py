"""How many times faster is one row than another: in denoising, in calls of the network, to frames, to files?

Ratios of medians of rows that were measured interleaved (intervals.ratio_of_medians). They are told apart because text
and decoding cost a student as much as its teacher, and because a machine may run large batches (two guided calls at
once) at a better rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from turbo_eval.timing.intervals import MIN_RUNS, ratio_of_medians
from turbo_eval.timing.record import WALL, Ratio, SpeedRow, SpeedUp

Verdict = Literal["faster", "slower", "no difference"]


def speed_up(row: SpeedRow, against: SpeedRow) -> SpeedUp:
    """Of two interleaved rows, for a clip: where batches differ, times are divided by them.

    ValueError: rows that were not measured interleaved, or with fewer runs than an interval needs.
    """
    clips = row.recipe.batch / against.recipe.batch
    return SpeedUp(
        row=row.name,
        against=against.name,
        denoising=_times(ratio_of_medians(against.denoising_s, row.denoising_s), clips),
        calls=against.network_calls / row.network_calls,
        to_frames=_times(ratio_of_medians(against.frames_s, row.frames_s), clips),
        end_to_end=_times(ratio_of_medians(against.runs_s[WALL], row.runs_s[WALL]), clips),
    )


def speed_ups(rows: Sequence[SpeedRow], against: SpeedRow) -> tuple[SpeedUp, ...]:
    """Of each row but `against` itself; none where an interrupted measurement has too few runs."""
    enough = [row for row in rows if row != against and len(row.runs_s.get(WALL, ())) >= MIN_RUNS]
    return tuple(speed_up(row, against) for row in enough)


def _times(ratio: Ratio, factor: float) -> Ratio:
    return Ratio(ratio.ratio * factor, ratio.low * factor, ratio.high * factor)


def verdict(ratio: Ratio) -> Verdict:
    """What a speed-up says: a ratio of times, the other's over one's own. A model against itself: 5 % false alarms."""
    if ratio.low > 1:
        return "faster"
    return "slower" if ratio.high < 1 else "no difference"
