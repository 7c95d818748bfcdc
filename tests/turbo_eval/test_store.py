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

from turbo_eval.clip_files import NewClip
from turbo_eval.durable import LOCK
from turbo_eval.keys import ModelIdentity, key_fields
from turbo_eval.ledger import Ledger
from turbo_eval.manifest import MANIFEST, Manifest, RunIdentity, Scope, is_new
from turbo_eval.prompt_suite import suite_of
from turbo_eval.records import ClipRecord, Prompt, ScoreRecord
from turbo_eval.store import Failure, Run, open_run
from turbo_train.errors import UserError
from turbo_train.sampling.setting import Setting
from turbo_train.video_io import UnreadableVideo, read_video, write_mp4

SUITE = suite_of("two", [Prompt("p-1", "a cat/..\\"), Prompt("p-2", "a dog")])
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
CLIP_ID = ("fast", "p-1", 0)


def manifest(*, batch: int = 2, **changes: object) -> Manifest:
    """A run of two models; changes are fields of the first one's content key."""
    models = (
        ModelIdentity("fast", "student", Setting("consistency", 4, 7.5), "ab" * 32),
        ModelIdentity("slow", "teacher", Setting("ddim", 50, 7.5), "cd" * 32),
    )
    fields = {m.name: key_fields(m, seed=0, batch=batch, threads=1, lossless=True, device="cpu AVX2") for m in models}
    fields["fast"] |= changes
    return Manifest(RunIdentity("two", SUITE.sha256, batch, 1), Scope(("fast", "slow")), fields, {"host": "here"})


def opened(folder: Path, **changes: object) -> Run:
    return open_run(folder, manifest(**changes), SUITE)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return opened(tmp_path / "run")


def publish(run: Run, frames: np.ndarray = FRAMES) -> ClipRecord:
    return run.publish([NewClip(CLIP_ID, 0, frames, 8.0)])[0].record


def scored(metric: str, value: float = 0.5) -> ScoreRecord:
    return ScoreRecord(*CLIP_ID, metric, "s/1", value, suite_sha256=SUITE.sha256)


def test_a_published_clip_and_its_scores_are_there_when_the_run_is_opened_again(run: Run) -> None:
    clip = publish(run)
    run.add_scores([(clip, [scored("b"), replace(scored("a", 0.25), suite_sha256=None)])])
    again = opened(run.folder)
    assert again.clip(CLIP_ID) == clip and again.clips() == [clip] and again.notes == []
    assert (clip.frames, clip.height_px, clip.width_px, clip.fps) == (8, 32, 32, 8.0)
    assert clip.path == f"clips/fast-{run.keys['fast'][:12]}/00000-00-{clip.sha256[:12]}.mp4"
    assert np.array_equal(read_video(again.clip_path(clip)).frames_THWC, FRAMES)
    assert again.scores() == [scored("a", 0.25), scored("b")]
    assert again.score(clip, "a", "s/1") == scored("a", 0.25) and again.score(clip, "a", "s/2") is None
    assert again.scores([("b", "s/1")]) == [scored("b")]


def test_nothing_but_finished_files_lies_in_the_folder(run: Run) -> None:
    clip = publish(run)
    run.add_scores([(clip, [scored("a")])])
    files = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    assert files == {".lock", "manifest.json", "suite.jsonl", f"ledger/{run.ledger.own.name}", clip.path}


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed", "no row"])
def test_a_clip_is_done_only_with_its_row_and_its_bytes(run: Run, damage: str) -> None:
    clip = publish(run)
    run.add_scores([(clip, [scored("a")])])
    path = run.clip_path(clip)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "shorter":
        path.write_bytes(data[:-1])
    elif damage == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        run.ledger.own.unlink()
    again = opened(run.folder)
    if damage == "changed":  # of the right size: the hash tells, and is asked before a number is printed
        assert again.clip(CLIP_ID) == clip and again.is_damaged(clip)
    assert again.clip(CLIP_ID) is None and again.scores() == []
    # The same frames are the same bytes, so the scores that were paid for count again.
    assert publish(again) == clip and not again.is_damaged(clip)
    assert again.scores() == ([] if damage == "no row" else [scored("a")])


def test_scores_of_other_pixels_do_not_count(run: Run) -> None:
    clip = publish(run)
    run.add_scores([(clip, [scored("a")])])
    run.clip_path(clip).unlink()
    other = publish(opened(run.folder), 255 - FRAMES)
    again = opened(run.folder)
    assert again.scores() == [] and again.clip(CLIP_ID) == other and len(again.rows()) == 2


def test_a_changed_key_makes_clips_beside_the_old_and_the_old_key_finds_its_own(run: Run) -> None:
    clip = publish(run)
    newer = opened(run.folder, num_steps=8)
    assert newer.clip(CLIP_ID) is None and "num_steps: 4 there, 8 here" in newer.notes[0]
    other = publish(newer, 255 - FRAMES)
    assert Path(other.path).parent != Path(clip.path).parent and run.clip_path(clip).is_file()
    assert opened(run.folder, num_steps=8).clip(CLIP_ID) == other
    assert opened(run.folder).clip(CLIP_ID) == clip


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_by_a_kill_is_dropped_and_work_goes_on(run: Run, cut: int) -> None:
    clip = publish(run)
    run.add_scores([(clip, [scored("a")])])
    run.add_scores([(clip, [scored("b")])])
    ledger = run.ledger.own.rename(run.ledger.own.with_name("killed.jsonl"))
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    again = opened(run.folder)
    assert again.scores() == [scored("a")] and "killed.jsonl: cut off an unfinished last line" in again.notes[0]
    again.add_scores([(clip, [scored("b")])])
    last = opened(run.folder)
    assert last.scores() == [scored("a"), scored("b")] and last.notes == []


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b"[]\n", b"\n", b'{"kind": "clip", "model": "m"}\n'])
def test_a_whole_line_that_is_no_row_is_named(run: Run, line: bytes) -> None:
    (run.folder / "ledger").mkdir()
    (run.folder / "ledger" / "other.jsonl").write_bytes(line)
    with pytest.raises(UserError, match=r"other\.jsonl line 1") as caught:
        opened(run.folder)
    assert caught.value.exit_code == 2


def test_each_line_is_read_once_and_new_ones_are_found(run: Run) -> None:
    other = opened(run.folder)  # in this process both append to one file; what matters here is the reading
    clip = publish(run)
    run.add_scores([(clip, [scored("a")])])
    assert other.clip(CLIP_ID) is None
    assert other.refresh() == 2 and other.refresh() == 0
    assert other.clip(CLIP_ID) == clip and other.scores() == [scored("a")]


def test_another_suite_batch_or_number_of_threads_is_refused_and_says_what_differs(run: Run) -> None:
    with pytest.raises(UserError) as caught:
        opened(run.folder, batch=3)
    assert "batch: 2 there, 3 here" in str(caught.value) and "--out" in str(caught.value)
    assert caught.value.exit_code == 2
    other = suite_of("two", SUITE.prompts[:1])
    with pytest.raises(UserError, match=r"suite_sha256: .* there"):
        open_run(run.folder, replace(manifest(), identity=RunIdentity("two", other.sha256, 2, 1)), other)


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(UserError, match=r"no manifest\.json.*--out"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_suite_file_of_somebodys_own_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_text('{"prompt": "mine"}\n')
    with pytest.raises(UserError, match=r"no manifest\.json"):
        opened(tmp_path)
    assert (tmp_path / "suite.jsonl").read_text() == '{"prompt": "mine"}\n'


def test_rows_of_another_suite_are_refused(run: Run, tmp_path: Path) -> None:
    clip = publish(run)
    text = run.ledger.own.read_text().replace(SUITE.sha256, "ee" * 32)
    (run.folder / "ledger" / "copied.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"copied\.jsonl line 1: ValueError: a row of another suite"):
        opened(run.folder)
    assert clip.suite_sha256 == SUITE.sha256


@pytest.mark.parametrize("text", ["[]", "{", '{"identity": {"schema_version": 1}}'])
def test_a_manifest_that_is_none_or_of_another_version_is_refused(run: Run, text: str) -> None:
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="cannot be read as a manifest"):
        opened(run.folder)


def test_a_suite_file_that_was_changed_is_refused(run: Run) -> None:
    (run.folder / "suite.jsonl").write_text('{"prompt": "a cow"}\n')
    with pytest.raises(UserError, match="the manifest says"):
        opened(run.folder)


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        opened(tmp_path / "run")


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that this process may read but not write, also when the tests run as root."""
    if os.name != "posix":
        pytest.skip("POSIX permissions")
    folder = Path(tempfile.mkdtemp())
    opened(folder / "made")
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
        opened(locked / name)
    assert caught.value.exit_code == 2


def test_a_users_video_is_copied_byte_for_byte(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "My Clip.MP4"
    write_mp4(source, FRAMES, 8.0)
    clip = run.import_clip(CLIP_ID, 0, source).record
    assert clip.path.endswith(".mp4") and run.clip_path(clip).read_bytes() == source.read_bytes()
    assert opened(run.folder).clip(CLIP_ID) == clip


def test_a_users_file_that_does_not_decode_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "clip.gif"
    source.write_bytes(b"no video")
    with pytest.raises(UnreadableVideo, match=r"clip\.gif is not a video"):
        run.import_clip(CLIP_ID, 0, source)
    assert run.clip(CLIP_ID) is None and not [p for p in (run.folder / "clips").rglob("*") if p.is_file()]


def test_scores_of_another_clip_are_refused_and_known_ones_are_not_written_twice(run: Run) -> None:
    clip = publish(run)
    with pytest.raises(ValueError, match="another clip"):
        run.add_scores([(clip, [ScoreRecord("slow", "p-1", 0, "a", "s/1", 1.0)])])
    run.add_scores([(clip, [scored("a")])])
    run.add_scores([(clip, [scored("a"), scored("b")])])
    rows = [line.data for line in Ledger(run.folder / "ledger", lambda name: False).read_new()]
    assert [(row["kind"], row.get("metric")) for row in rows] == [("clip", None), ("score", "a"), ("score", "b")]


def test_a_failure_is_open_until_what_failed_is_there(run: Run) -> None:
    failure = Failure(CLIP_ID, run.keys["fast"], "generate", (), "ValueError: no", "Traceback ...", 3)
    run.add_failures([failure])
    assert [replace(found, at=0.0) for found in opened(run.folder).failures()] == [failure]
    clip = publish(run)
    assert run.failures() == [] and opened(run.folder).failures() == []
    late = replace(failure, stage="score", metrics=("a",))
    run.add_failures([late])
    assert [replace(found, at=0.0) for found in opened(run.folder).failures()] == [late]
    run.add_scores([(clip, [scored("a")])])
    assert opened(run.folder).failures() == []


def test_a_run_that_another_process_is_about_to_begin_is_no_stranger(tmp_path: Path) -> None:
    """Between its suite and its manifest; under the lock nobody can be in between, so there it is somebody's file."""
    (tmp_path / LOCK).touch()
    (tmp_path / "suite.jsonl").write_text("another's\n")
    assert is_new(tmp_path, SUITE, locked=False)
    with pytest.raises(UserError, match=f"holds files but no {MANIFEST}"):
        is_new(tmp_path, SUITE, locked=True)
