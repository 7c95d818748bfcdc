"""Does every mistake of a user end in one clear message and the right exit code, and never in a traceback?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from turbo_eval import collect, decode_ahead
from turbo_eval.cli import app
from turbo_eval.contestants import Request, contestants_of
from turbo_eval.scorers.base import Clip, Features, Score
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering
from turbo_eval.worker import Worker
from turbo_train.errors import UserError
from turbo_train.video_io import UnreadableVideo, write_mp4

PROMPTS = {"one": "a red circle moves left", "two": "a blue square rests", "three": "a green wedge falls"}
Run = Callable[..., tuple[int, str, str]]


def clip(seed: int, frames: int = 8) -> np.ndarray:
    """A bright square that moves over a dark noisy ground."""
    made = np.random.default_rng(seed).integers(0, 40, (frames, 32, 32, 3)).astype(np.uint8)
    for t in range(frames):
        made[t, 8:16, 2 * t : 2 * t + 8] = 200
    return made


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "three.jsonl"
    path.write_text("".join(json.dumps({"prompt_id": k, "prompt": v}) + "\n" for k, v in PROMPTS.items()))
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three good clips, named as VBench does (one by its prompt_id)."""
    folder = tmp_path / "clips"
    for number, name in enumerate((PROMPTS["one"], PROMPTS["two"], "three")):
        write_mp4(folder / f"{name}-0.mp4", clip(number), 8.0)
    return folder


@pytest.fixture
def run(tmp_path: Path, suite: Path, videos: Path) -> Run:
    """`turbo-eval vbench --videos clips` with one cheap metric; options given here come last and so win."""

    def call(*options: str) -> tuple[int, str, str]:
        common = ["--videos", str(videos), "--suite", str(suite), "--samples", "1", "--out", str(tmp_path / "out")]
        common += ["--dimensions", "temporal_flickering", "--no-latency", "--threads", "1", "--encoders", "embedded"]
        done = CliRunner().invoke(app, ["vbench", *common, *options])
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert "Traceback" not in done.stderr
        assert done.exit_code == 0 or done.stderr.count("error: ") == 1
        return done.exit_code, done.stdout, done.stderr

    return call


def test_good_clips_are_scored_and_a_second_call_only_prints(run: Run, tmp_path: Path) -> None:
    code, out, _ = run()
    assert code == 0
    assert "temporal_flickering" in out
    assert all(name in out for name in ("scores.jsonl", "results.json", "table.md", "table.csv", "contact_sheet.png"))
    first = (tmp_path / "out" / "scores.jsonl").read_bytes()
    code, _, err = run()
    assert (code, "3 of 3 clips already done" in err) == (0, True)
    assert (tmp_path / "out" / "scores.jsonl").read_bytes() == first


def test_json_is_alone_on_stdout(run: Run) -> None:
    code, out, err = run("--json")
    document = json.loads(out)
    assert (code, document["schema_version"]) == (0, 2)
    assert "contact_sheet.png" in err


def test_unknown_model(run: Run) -> None:
    done = CliRunner().invoke(app, ["vbench", "--model", "world-vmc"])
    assert done.exit_code == 2
    assert "unknown model 'world-vmc' (did you mean world-vcm?)" in done.stderr
    code, _, err = run("--against", "wrld-teacher")
    assert (code, "did you mean world-teacher?" in err) == (2, True)


def test_a_folder_that_is_no_model(run: Run, videos: Path) -> None:
    code, _, err = run("--against", str(videos))
    assert (code, "holds no model" in err) == (2, True)


def test_unknown_suite(run: Run) -> None:
    code, _, err = run("--suite", "wrld")
    assert (code, "did you mean 'world'?" in err) == (2, True)


def test_unknown_dimension(run: Run) -> None:
    code, _, err = run("--dimensions", "temporal_flicker")
    assert (code, "temporal_flickering" in err) == (2, True)


def test_suite_with_a_broken_line(run: Run, suite: Path) -> None:
    suite.write_text(suite.read_text() + '{"prompt": \n')
    code, _, err = run()
    assert (code, "three.jsonl line 4" in err) == (2, True)


def test_folder_without_videos(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "notes.txt").write_text("no clip")
    code, _, err = run("--videos", str(tmp_path / "bare"))
    assert (code, "no videos in" in err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_folder_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--videos", str(tmp_path / "absent"))
    assert (code, "is not a folder" in err) == (2, True)


def test_folder_of_other_prompts(run: Run, tmp_path: Path) -> None:
    write_mp4(tmp_path / "other" / "a dog-0.mp4", clip(0), 8.0)
    code, _, err = run("--videos", str(tmp_path / "other"))
    assert (code, "belongs to the suite (the first is a dog-0.mp4)" in err) == (2, True)


def test_files_of_no_prompt_are_counted_and_named(run: Run, videos: Path) -> None:
    assert "not scored" not in run()[2]
    for name in ("a dog-0", "a dog-1", "three-7", "zebra", "a cat"):
        (videos / f"{name}.mp4").write_bytes((videos / "three-0.mp4").read_bytes())
    code, _, err = run()
    expected = "belong to no prompt of three: 4 (a cat.mp4, a dog-0.mp4, a dog-1.mp4, ...)"
    assert (code, expected in err) == (0, True), err


def test_the_first_clip_with_and_without_its_index(run: Run, videos: Path) -> None:
    (videos / "three.mp4").write_bytes((videos / "three-0.mp4").read_bytes())
    code, _, err = run()
    assert (code, "two videos for one clip: three-0.mp4 and three.mp4" in err) == (2, True)


def test_one_clip_that_no_scorer_survives_is_no_other_clips_failure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TemporalFlickering.score

    def score(self: TemporalFlickering, clip: Clip, features: Features) -> Score:
        if clip.clip_id[1] == "two":
            raise ZeroDivisionError("a bug")
        return real(self, clip, features)

    monkeypatch.setattr(TemporalFlickering, "score", score)
    code, _, err = run()
    assert (code, "1 of 3 clips missing: clips two-0 (ZeroDivisionError: a bug)" in err) == (3, True), err
    monkeypatch.undo()
    code, _, err = run()
    assert (code, "2 of 3 clips already done" in err) == (0, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--precision", "bf16"), "bf16 with --encoders embedded"),
        (("--compat", "vbench-cuda"), "vbench-cuda with --encoders embedded"),
        (("--strict-rules",), "--strict-rules with --encoders embedded"),
        (("--encoders", "vbench", "--device", "cuda:99"), "cuda:99"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run: Run, tmp_path: Path, options: tuple[str, ...], words: str):
    code, _, err = run(*options)
    assert (code, words in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_two_files_for_one_clip(run: Run, videos: Path) -> None:
    (videos / "three-0.gif").write_bytes((videos / "three-0.mp4").read_bytes())
    code, _, err = run()
    assert (code, "two videos for one clip" in err) == (2, True)


def damage(videos: Path, kind: str) -> None:
    """Replace the clip of prompt three."""
    path = videos / "three-0.mp4"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "garbage": b"not a video" * 50, "truncated": whole[: len(whole) * 3 // 4]}[kind])


@pytest.mark.parametrize("kind", ["empty", "garbage", "truncated"])
def test_one_bad_file_leaves_its_clip_unscored(run: Run, videos: Path, tmp_path: Path, kind: str) -> None:
    whole = (videos / "three-0.mp4").read_bytes()
    damage(videos, kind)
    code, out, err = run()
    assert (code, "1 of 3 clips missing: clips three-0 (unreadable" in err) == (3, True)
    assert "temporal_flickering" not in out and "--allow-missing" in err
    code, out, _ = run("--allow-missing")
    assert (code, "PARTIAL: 2 of 3 clips" in out) == (0, True)
    assert [path.name for path in sorted((tmp_path / "out").glob("*.csv"))] == ["PARTIAL-table.csv"]
    scores = [json.loads(line) for line in (tmp_path / "out" / "PARTIAL-scores.jsonl").read_text().splitlines()]
    assert [row["prompt_id"] for row in scores if row["value"] is None] == ["three"]
    (videos / "three-0.mp4").write_bytes(whole)  # the file comes again: the same command completes the run
    code, _, err = run()
    assert (code, "2 of 3 clips already done" in err) == (0, True)
    assert not list((tmp_path / "out").glob("PARTIAL-*"))


@pytest.mark.parametrize("kind", ["empty", "garbage", "truncated"])
def test_nothing_but_bad_files(run: Run, videos: Path, kind: str) -> None:
    for name in ("one", "two"):
        (videos / f"{PROMPTS[name]}-0.mp4").unlink()
    damage(videos, kind)
    code, _, err = run()
    assert (code, "none of the 1 clips in" in err, "unreadable" in err) == (2, True, True)


def test_a_missing_file_is_incomplete(run: Run, videos: Path) -> None:
    (videos / "three-0.mp4").unlink()
    code, _, err = run()
    assert (code, "1 of 3 clips missing: clips three-0 (no file)" in err) == (3, True)


def test_a_finished_run_needs_its_folder_of_clips_no_more(run: Run, videos: Path, tmp_path: Path) -> None:
    assert run()[0] == 0
    before = (tmp_path / "out" / "scores.jsonl").read_bytes()
    videos.rename(tmp_path / "elsewhere")
    assert run()[0] == 0 and (tmp_path / "out" / "scores.jsonl").read_bytes() == before
    code, _, err = run("--out", str(tmp_path / "other"))
    assert (code, "is not a folder" in err) == (2, True)


def test_missing_files_may_be_tolerated_as_failures_are(run: Run, videos: Path) -> None:
    (videos / "three-0.mp4").unlink()
    code, out, _ = run("--max-failures", "1")
    assert (code, "PARTIAL: 2 of 3 clips" in out) == (0, True)


def test_shards_of_a_folder_with_a_gap_end_incomplete(run: Run, videos: Path) -> None:
    (videos / "three-0.mp4").unlink()
    assert run("--shard", "1/2", "--batch", "2")[0] == 0
    code, _, err = run("--shard", "0/2")
    assert (code, "three-0 (no file)" in err) == (3, True)


@pytest.mark.parametrize("times", [1, 99])
def test_a_file_that_could_not_be_opened_for_a_moment_is_no_bad_clip(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Too many open files, say: its bytes are right, so it is tried again, and is never `unscored` for good."""
    assert run()[0] == 0
    real, left = decode_ahead.read_video, [times]

    def read(path: Path) -> object:
        if left[0]:
            left[0] -= 1
            raise UnreadableVideo(found=f"{path} is not a video (Too many open files)", expected="", run_next="")
        return real(path)

    monkeypatch.setattr(decode_ahead, "read_video", read)
    code, _, err = run("--dimensions", "motion_smoothness")
    # What failed while it was decoded ahead is read again in its turn.
    assert (code, "attempt 1 of 3 to score failed" in err) == ((0, False) if times == 1 else (3, True))
    left[0] = 0
    assert run("--dimensions", "motion_smoothness")[0] == 0
    scores = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 3 and all(row["value"] is not None for row in scores)


def test_a_clip_that_changes_while_the_run_goes_on_is_made_again(run: Run, tmp_path: Path) -> None:
    real, done = collect.Worker.work, []

    def work(worker: Worker) -> None:
        real(worker)
        if not done:  # after the last row, before the report
            path = next((tmp_path / "out" / "clips").rglob("*.mp4"))
            path.write_bytes(path.read_bytes()[:-1] + b"!")
            done.append(path.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect.Worker, "work", work)
        code, _, err = run()
    assert (code, "1 clips no longer have the bytes of their rows" in err) == (0, True)
    assert CliRunner().invoke(app, ["runs", "verify", str(tmp_path / "out")]).exit_code == 0


def test_one_frame_clip_is_unscored_and_counted(run: Run, videos: Path, tmp_path: Path) -> None:
    write_mp4(videos / "three-0.mp4", clip(5, frames=1), 8.0)
    code, out, _ = run()
    assert code == 0
    assert "needs at least two frames" in out
    scores = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert [(row["prompt_id"], row["unscored"]) for row in scores if row["value"] is None] == [
        ("three", "needs at least two frames")
    ]


def test_output_folder_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _, err = run("--out", str(place))
        assert (code, "cannot be written" in err) == (2, True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's own")
def test_output_folder_is_read_only(run: Run) -> None:
    code, _, err = run("--out", "/proc/turbo-eval")
    assert (code, "cannot be written" in err) == (2, True)


def test_output_folder_of_another_configuration(run: Run, suite: Path) -> None:
    assert run()[0] == 0
    code, _, err = run("--threads", "3")
    assert (code, "was made by another configuration (threads: 1 there, 3 here)" in err) == (2, True)
    with suite.open("a") as stream:
        stream.write('{"prompt": "another one"}\n')
    code, _, err = run()
    assert (code, "was made by another configuration (suite_sha256: " in err) == (2, True)


def test_a_clip_that_changed_after_it_was_scored(run: Run, videos: Path) -> None:
    assert run()[0] == 0
    write_mp4(videos / "three-0.mp4", clip(9), 8.0)
    code, _, err = run()
    assert (code, "is not the file that this run has scored" in err) == (2, True)


def test_settings_of_a_model_beside_finished_clips(run: Run) -> None:
    code, _, err = run("--steps", "8")
    assert (code, "--steps, --guidance, --size, --frames, --fps or --dtype beside --videos" in err) == (2, True)


def test_a_guidance_scale_that_a_student_was_not_distilled_with(tiny_student: Path) -> None:
    with pytest.raises(UserError, match="the scales it was distilled with") as caught:
        contestants_of(Request(model=str(tiny_student), guidance_scale=99.0))
    assert caught.value.exit_code == 2
