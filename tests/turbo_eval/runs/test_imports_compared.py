"""Can two models be compared by scores of VBench that were made elsewhere?"""

from __future__ import annotations

from pathlib import Path

import pytest
from vbench_folders import FPS, noise, write_results, write_suite_file

from turbo_eval.runs.import_vbench import ImportRequest, import_vbench
from turbo_eval.scorers.vbench import spec
from turbo_train.video_io import write_mp4

TEXTS = ("a red car", "a cat", "a dog")


def imported(folder: Path, model: str, first: int, values: list[float]) -> ImportRequest:
    """Clips and a results file of one model, to be imported into the common run."""
    clips = folder / model
    for index, text in enumerate(TEXTS):
        write_mp4(clips / f"{text}-0.mp4", noise(first + index), FPS)
    rows = [{"video_path": str(clips / f"{t}-0.mp4"), "video_results": v} for t, v in zip(TEXTS, values, strict=True)]
    results = write_results(folder / f"{model}_eval_results.json", {spec.HUMAN_ACTION: (sum(values) / 3, rows)})
    suite = write_suite_file(folder / "mine.jsonl", TEXTS)
    return ImportRequest(clips, folder / "run", (results,), model, str(suite))


def test_the_second_import_sets_both_models_side_by_side(tmp_path: Path) -> None:
    first = import_vbench(imported(tmp_path, "ours", 0, [1.0, 1.0, 0.0]))
    assert first.table is not None and first.table.models == ("ours",)
    second = import_vbench(imported(tmp_path, "theirs", 10, [1.0, 0.0, 0.0]))
    assert second.table is not None and second.table.models == ("theirs", "ours") and not second.table.partial
    (row,) = second.table.rows
    assert [cell.interval.mean for cell in row.cells if cell.interval] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert row.difference is not None and row.difference.mean == pytest.approx(-1 / 3)
