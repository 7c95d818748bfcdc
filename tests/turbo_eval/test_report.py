"""What do the files of a run hold, and is the contact sheet made of the frames it was given?"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from turbo_eval.keys import ModelIdentity, content_key, key_fields
from turbo_eval.manifest import Manifest, RunIdentity, Scope
from turbo_eval.provenance import changes_sha256, environment
from turbo_eval.records import Prompt, ScoreRecord, canonical_line
from turbo_eval.report import frame_indices, write_contact_sheet, write_results
from turbo_eval.tables import build_table
from turbo_train.sampling.setting import Setting

FIELDS = key_fields(
    ModelIdentity("fast", "student", Setting("consistency", 4, 7.5), "cd" * 32),
    seed=0,
    batch=4,
    threads=1,
    lossless=True,
    device="cpu AVX2",
)
MANIFEST = Manifest(RunIdentity("toy", "ab" * 32, 4, 1), Scope(("fast",)), {"fast": FIELDS}, {})
SCORES = [ScoreRecord("fast", f"p{i}", 0, metric, "s/1", 0.1 * i) for i in (2, 0, 1) for metric in ("b", "a")]


def write(folder: Path, scores: list[ScoreRecord], missing: dict[str, int] | None = None) -> dict[str, Path]:
    partial = "PARTIAL: 2 of 3 clips" if missing else ""
    table = build_table(scores, models=["fast"], suite="toy", groups={}, partial=partial)
    paths = write_results(
        folder,
        scores=scores,
        table=table,
        manifest=MANIFEST,
        environment=environment(),
        timings={"generate_s": 1.5},
        missing=missing,
    )
    return {path.name: path for path in paths}


def test_scores_are_canonical_whatever_the_order(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", SCORES), write(tmp_path / "b", SCORES[::-1])
    text = first["scores.jsonl"].read_text()
    assert text == second["scores.jsonl"].read_text()
    assert text.splitlines() == [canonical_line(s) for s in sorted(SCORES, key=lambda s: s.sort_key)]
    assert platform.node() not in text and "time" not in text and str(tmp_path) not in text


def test_results_hold_identity_environment_timings_and_rows(tmp_path: Path) -> None:
    results = json.loads(write(tmp_path, SCORES)["results.json"].read_text())
    assert results["schema_version"] == 2 and results["partial"] is None and results["timings"] == {"generate_s": 1.5}
    assert (results["models"]["fast"]["num_steps"], results["identity"]["batch"]) == (4, 4)
    assert results["keys"] == {"fast": content_key(FIELDS)}
    assert [row["metric"] for row in results["table"]["rows"]] == ["a", "b"]
    assert results["table"]["rows"][0]["cells"][0]["interval"]["mean"] == pytest.approx(0.1)
    assert results["environment"]["argv"] == sys.argv


def test_a_partial_result_says_so_in_every_file_and_leaves_a_whole_one_alone(tmp_path: Path) -> None:
    whole = write(tmp_path, SCORES)
    before = {name: path.read_bytes() for name, path in whole.items()}
    partial = write(tmp_path, SCORES[:4], {"wanted": 3})
    assert sorted(partial) == sorted(f"PARTIAL-{name}" for name in whole)
    assert {name: path.read_bytes() for name, path in whole.items()} == before
    assert partial["PARTIAL-table.md"].read_text().startswith("## PARTIAL: 2 of 3 clips: fast on toy")
    lines = partial["PARTIAL-table.csv"].read_text().splitlines()
    assert lines[0].endswith(",partial") and all(line.endswith("PARTIAL: 2 of 3 clips") for line in lines[1:])
    assert json.loads(partial["PARTIAL-results.json"].read_text())["partial"] == {"wanted": 3}
    write(tmp_path, SCORES)  # the whole result ends the partial one
    assert not list(tmp_path.glob("PARTIAL-*"))


def test_the_environment_says_what_runs_here() -> None:
    found = environment()
    assert found.python == platform.python_version() and found.cores >= 1 and found.threads >= 1
    assert found.packages["numpy"] == np.__version__ and found.cpu
    assert found.git_commit is None or len(found.git_commit) == 40


def test_every_change_of_a_checkout_changes_its_hash(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    (tmp_path / "turbo_eval").mkdir()
    (tmp_path / "turbo_eval" / "old.py").write_text("a = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first", "--no-verify")
    assert changes_sha256(tmp_path) is None
    found = set()
    for name, text in (("old.py", "a = 2\n"), ("new.py", "b = 1\n"), ("new.py", "b = 2\n"), ("ä b.py", "")):
        (tmp_path / "turbo_eval" / name).write_text(text)
        assert changes_sha256(tmp_path) == changes_sha256(tmp_path)
        found.add(changes_sha256(tmp_path))
    assert len(found) == 4 and None not in found
    assert changes_sha256(tmp_path.parent / "nowhere") is None


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    assert frame_indices(8, 8) == list(range(8)) and frame_indices(1, 8) == [0]
    assert frame_indices(16, 4) == [0, 5, 10, 15]


def test_the_sheet_shows_each_frame_three_times_as_large_and_says_what_is_missing(tmp_path: Path) -> None:
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    frames[:, :, :, 0] = 100 + 15 * np.arange(8)[:, None, None]
    rows = [
        (Prompt("p0", "a red disc rests " * 40, held_out=True), {"fast": frames, "slow": frames[:4]}),
        (Prompt("p1", "a disc"), {"slow": frames}),
    ]
    path = write_contact_sheet(tmp_path / "1", rows, models=["fast", "slow"])
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for level in 100 + 15 * np.arange(8):
        shown = int((sheet == [level, 0, 0]).all(axis=-1).sum())
        assert shown == 96 * 96 * (3 if level < 160 else 2)
    assert path.read_bytes() == write_contact_sheet(tmp_path / "2", rows, models=["fast", "slow"]).read_bytes()


def test_a_large_clip_is_made_smaller(tmp_path: Path) -> None:
    frames = np.full((16, 320, 512, 3), 200, np.uint8)
    path = write_contact_sheet(
        tmp_path / "s.png", [(Prompt("p", "x"), {"m": frames})], models=["m"], max_frames=4, scale=0.25
    )
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert int((sheet == 200).all(axis=-1).sum()) == pytest.approx(4 * 80 * 128, rel=0.01)


def test_a_sheet_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clip"):
        write_contact_sheet(tmp_path / "s.png", [], models=["m"])
