"""Does a run resume, keep only what is whole, and refuse what it cannot honour?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.records import ScoreRecord
from turbo_eval.store import ModelIdentity, Run, RunIdentity, open_run
from turbo_train.errors import UserError
from turbo_train.video_io import read_video

IDENTITY = RunIdentity("world", "ab" * 32, (ModelIdentity("fast", 4, 7.5), ModelIdentity("slow", 50, 7.5)), 1, 0)
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
CLIP_ID = ("fast", "p-1", 0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(tmp_path / "run", IDENTITY)


def scored(metric: str, value: float = 0.5) -> ScoreRecord:
    return ScoreRecord(*CLIP_ID, metric, "s/1", value)


def test_a_published_clip_and_its_scores_are_there_when_the_run_is_opened_again(run: Run) -> None:
    clip = run.publish_clip(CLIP_ID, FRAMES, 8)
    run.add_scores(clip, [scored("b"), scored("a", 0.25)])
    again = open_run(run.folder, IDENTITY)
    assert again.clip(CLIP_ID) == clip and again.clips() == [clip] and again.notes == []
    assert clip.path == "videos/fast/p-1-0.mp4" and (clip.frames, clip.height_px, clip.width_px) == (8, 32, 32)
    assert np.array_equal(read_video(again.clip_path(clip)).frames_THWC, FRAMES)
    assert again.scores() == [scored("a", 0.25), scored("b")]
    assert again.score(clip, "a", "s/1") == scored("a", 0.25) and again.score(clip, "a", "s/2") is None
    assert again.scores([("b", "s/1")]) == [scored("b")]


def test_nothing_but_finished_files_lies_in_the_folder(run: Run) -> None:
    run.add_scores(run.publish_clip(CLIP_ID, FRAMES, 8), [scored("a")])
    files = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert files == {"manifest.json", "clips.jsonl", "ledger.jsonl", "videos/fast/p-1-0.mp4"}


@pytest.mark.parametrize("damage", ["missing", "changed", "no row"])
def test_a_clip_is_done_only_with_its_row_and_its_bytes(run: Run, damage: str) -> None:
    clip = run.publish_clip(CLIP_ID, FRAMES, 8)
    run.add_scores(clip, [scored("a")])
    path = run.clip_path(clip)
    if damage == "missing":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        (run.folder / "clips.jsonl").unlink()
    again = open_run(run.folder, IDENTITY)
    assert again.clip(CLIP_ID) is None and again.scores() == []
    # The same frames are the same bytes, so the scores that were paid for count again.
    assert again.publish_clip(CLIP_ID, FRAMES, 8) == clip and again.scores() == [scored("a")]


def test_scores_of_other_pixels_do_not_count(run: Run) -> None:
    run.add_scores(run.publish_clip(CLIP_ID, FRAMES, 8), [scored("a")])
    run.publish_clip(CLIP_ID, 255 - FRAMES, 8)
    assert run.scores() == [] and open_run(run.folder, IDENTITY).scores() == []


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_by_a_kill_is_dropped_and_work_goes_on(run: Run, cut: int) -> None:
    clip = run.publish_clip(CLIP_ID, FRAMES, 8)
    run.add_scores(clip, [scored("a")])
    run.add_scores(clip, [scored("b")])
    ledger = run.folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    again = open_run(run.folder, IDENTITY)
    assert again.scores() == [scored("a")] and "ledger.jsonl: cut off an unfinished last line" in again.notes[0]
    again.add_scores(clip, [scored("b")])
    assert open_run(run.folder, IDENTITY).scores() == [scored("a"), scored("b")]


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b"[]\n", b"\n"])
@pytest.mark.parametrize("name", ["clips.jsonl", "ledger.jsonl"])
def test_a_whole_line_that_is_no_row_is_named(run: Run, name: str, line: bytes) -> None:
    (run.folder / name).write_bytes(line)
    with pytest.raises(UserError, match=f"{name} line 1") as caught:
        open_run(run.folder, IDENTITY)
    assert caught.value.exit_code == 2


def test_another_configuration_is_refused_and_says_what_differs(run: Run) -> None:
    models = (replace(IDENTITY.models[0], num_steps=8), IDENTITY.models[1])
    with pytest.raises(UserError) as caught:
        open_run(run.folder, replace(IDENTITY, models=models, seed=3))
    message = str(caught.value)
    assert "models[0].num_steps: 4 there, 8 here; seed: 0 there, 3 here" in message and "--out" in message
    assert "guidance" not in message and caught.value.exit_code == 2
    with pytest.raises(UserError, match=r"models\[1\]: .* there, null here"):
        open_run(run.folder, replace(IDENTITY, models=IDENTITY.models[:1]))


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError, match=r"no manifest\.json.*--out"):
        open_run(tmp_path, IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_manifest_that_is_none_is_refused(run: Run) -> None:
    (run.folder / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="cannot be read as a manifest"):
        open_run(run.folder, IDENTITY)


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        open_run(tmp_path / "run", IDENTITY)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that this process may read but not write, also when the tests run as root."""
    if os.name != "posix":
        pytest.skip("POSIX permissions")
    folder = Path(tempfile.mkdtemp())
    open_run(folder / "made", IDENTITY)
    for path in (folder / "made", folder):
        path.chmod(0o555)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield folder
    if was_root:
        os.seteuid(0)
    for path in (folder, folder / "made"):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["new", "made"])
def test_a_read_only_output_folder_is_refused_before_any_work(locked: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot be written \(Permission denied\).*--out") as caught:
        open_run(locked / name, IDENTITY)
    assert caught.value.exit_code == 2


def test_a_users_video_is_copied_byte_for_byte(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "My Clip.GIF"
    source.write_bytes(b"not decoded here")
    clip = run.import_clip(CLIP_ID, source, frames=0, height_px=0, width_px=0, fps=0)
    assert clip.path == "videos/fast/p-1-0.gif" and run.clip_path(clip).read_bytes() == source.read_bytes()
    assert open_run(run.folder, IDENTITY).clip(CLIP_ID) == clip


def test_scores_of_another_clip_are_refused(run: Run) -> None:
    clip = run.publish_clip(CLIP_ID, FRAMES, 8)
    with pytest.raises(ValueError, match="another clip"):
        run.add_scores(clip, [ScoreRecord("slow", "p-1", 0, "a", "s/1", 1.0)])
