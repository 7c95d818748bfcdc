"""Is every results file that VBench does not write refused, with the file and the place?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbo_eval.runs.vbench_results import read_results
from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "vbench" / "eleven_dimensions_four_clips.json"
GOOD = {"video_path": "a red car-0.mp4", "video_results": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object of dimensions"),
        ("[" * 100_000, "not JSON"),
        (json.dumps({"colour": [0.5, [GOOD]]}), "unknown dimension 'colour' .did you mean color"),
        ('{"scene": [0.5, []], "scene": [0.6, []]}', "'scene' stands twice"),
        (json.dumps({"scene": 0.5}), r"scene is not \[score, "),
        (json.dumps({"scene": [0.5]}), r"scene is not \[score, "),
        (json.dumps({"scene": [0.5, {}]}), r"scene is not \[score, "),
        (json.dumps({"scene": [float("nan"), []]}), "scene's score is not a finite number"),
        (json.dumps({"scene": [[0.5], []]}), r"scene's score is not a number but \[0.5\]"),
        (json.dumps({"scene": [0.5, [GOOD, 3]]}), "scene, clip 2 is not an object with a video_path"),
        (json.dumps({"scene": [0.5, [GOOD, GOOD]]}), r"scene, clip 2 \(a red car-0.mp4\) again, first as clip 1"),
        (json.dumps({"scene": [0.5, [{"video_path": "x"}]]}), r"scene, clip 1 \(x\) has no video_results"),
        (json.dumps({"scene": [0.5, [{**GOOD, "video_results": float("nan")}]]}), "clip 1 .*not a finite number"),
        (json.dumps({"scene": [0.5, [{**GOOD, "video_results": "0.5"}]]}), "clip 1 .*not a number"),
        ('{"scene": [1' + "0" * 400 + ", []]}", "not a finite number"),
        (b"\xff\xfe{}", "not JSON"),
    ],
)
def test_results_that_are_none_name_the_place(tmp_path: Path, text: str | bytes, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=f"r.json: .*{reason}"):
        read_results(path)


def test_the_official_results_of_eleven_dimensions_are_read(tmp_path: Path) -> None:
    """Scores that the official functions gave four clips of 16, 16, 25 and 12 frames, put into VBench's format."""
    golden = json.loads(GOLDEN.read_text())
    path = tmp_path / "x_eval_results.json"
    path.write_text(json.dumps({name: [entry["score"], entry["videos"]] for name, entry in golden.items()}, indent=4))
    found = read_results(path)
    assert found.reported == {name: entry["score"] for name, entry in golden.items()}
    for name, results in found.dimensions.items():
        if spec.dimension(name).averaging == "clips":
            mean = sum(video.value for video in results.videos) / 4
            assert mean == pytest.approx(results.reported, abs=1e-12), name
