"""Does a run become a folder that VBench can score, byte for byte, and is nothing in the way ever harmed?"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import tree
from vbench_folders import make_run, noise, suite_with

from turbo_eval.durable import sha256_of, temporary
from turbo_eval.manifest import read_manifest, write_manifest
from turbo_eval.runs import export_vbench as module
from turbo_eval.runs import vbench_names
from turbo_eval.runs.export_record import read_record, record_path
from turbo_eval.runs.export_vbench import export_vbench, require_whole
from turbo_eval.runs.vbench_names import LONGEST_BYTES, Disk, probe, refused_by_windows, why_impossible
from turbo_train.errors import Incomplete, UserError

TEXTS = ("a red car", "ein Hünengrab: früh, 5 €", "a cat - walking")
Call = Callable[..., Any]
CAFE = "a caf\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", CAFE)
NO_SUCH_PID = 2**22 + 1  # above the largest process id of Linux


def test_clips_are_copied_under_vbenchs_names_and_nothing_else_lies_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS, samples=2))
    found = export_vbench(run.folder, tmp_path / "out")
    require_whole(found)
    expected = {f"{TEXTS[int(c.prompt_id[1])]}-{c.sample_index}.mp4": c.sha256 for c in run.clips()}
    assert len(expected) == 6
    assert {path.name: sha256_of(path) for path in (tmp_path / "out").iterdir()} == expected
    record = json.loads((tmp_path / "out.vbench_export.json").read_text())
    assert {clip["file"]: clip["sha256"] for clip in record["clips"]} == expected
    assert record["suite_sha256"] == run.suite.sha256


def test_opencv_reads_the_generated_pixels(tmp_path: Path) -> None:
    import cv2

    run = make_run(tmp_path / "run", suite_with(TEXTS))
    export_vbench(run.folder, tmp_path / "out")
    for index, text in enumerate(TEXTS):
        video, frames = cv2.VideoCapture(str(tmp_path / "out" / f"{text}-0.mp4")), []
        while (read := video.read())[0]:
            frames.append(read[1])
        assert np.array_equal(np.stack(frames)[..., ::-1], noise(10 * index, 3 + index))  # BGR
        assert video.get(cv2.CAP_PROP_FPS) == 8


def test_names_that_no_file_can_have_are_listed_and_the_rest_is_exported(tmp_path: Path) -> None:
    texts = ("a/b", "x" * 300, "two\nlines", "CON", "..", 'what: is "this"?')
    run = make_run(tmp_path / "run", suite_with(texts))
    found = export_vbench(run.folder, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f"{text}-0.mp4" for text in texts[3:])
    [model] = found.models
    assert [why for _, why in model.unnameable] == [
        "a path separator",
        "306 bytes, a file's name has at most 255",
        "a control character",
    ]
    assert any("Windows refuses" in line and "what" in line for line in found.warnings)
    with pytest.raises(Incomplete, match=r"clips whose names .*: 3 \('a/b-0.mp4'.*custom_input"):
        require_whole(found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.vbench_export.json", "run"]
    record = read_record(tmp_path / "out")
    assert record is not None
    assert [clip.file is None for clip in record.clips.values()] == [True] * 3 + [False] * 3


def test_a_name_of_just_the_longest_length_is_exported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(["ü" * 124 + "x"]))
    export_vbench(run.folder, tmp_path / "out")
    [path] = (tmp_path / "out").iterdir()
    assert len(path.name.encode()) == LONGEST_BYTES


@pytest.mark.parametrize(
    ("name", "refused"),
    [("CON-0.mp4", False), ("con.-0.mp4", True), ("nul .x-0.mp4", True), ("a\\b-0.mp4", True), ("5 > 3-0.mp4", True)],
)
def test_what_windows_refuses(name: str, refused: bool) -> None:
    assert refused_by_windows(name) is refused
    assert bool(why_impossible(name)) is (refused and os.name == "nt")


# ------------------------------------------------------------------------------------------------------------- twins


def twins(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", suite_with(["a fantasy", "A fantasy", CAFE, DECOMPOSED])).folder


def test_twins_are_reported_where_the_disk_tells_them_apart(tmp_path: Path) -> None:
    if probe(tmp_path) != Disk(False, False):
        pytest.skip("this disk does not tell such names apart")
    found = export_vbench(twins(tmp_path), tmp_path / "out")
    require_whole(found)
    assert [line.partition(": ")[2] for line in found.warnings] == [
        "'A fantasy' and 'a fantasy'",
        f"{DECOMPOSED!r} and {CAFE!r}",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize("disk", [Disk(True, False), Disk(False, True)])
def test_twins_are_refused_where_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    run = twins(tmp_path)
    monkeypatch.setattr(vbench_names, "probe", lambda folder: disk)
    with pytest.raises(UserError, match="would be one file"):
        export_vbench(run, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_one_text_in_two_prompts_is_refused_on_every_disk(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(["a cat", "a cat"]))
    with pytest.raises(UserError, match="would be one file"):
        export_vbench(run.folder, tmp_path / "out")


# ------------------------------------------------------------------------------------------------- resuming, refusing


def test_a_stopped_export_goes_on_and_a_finished_one_copies_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS))
    whole = export_vbench(run.folder, tmp_path / "whole")
    copies = []
    copy = shutil.copyfile

    def stopping(source: Path, target: Path) -> None:
        if len(copies) == 1:
            target.write_bytes(b"half")
            raise KeyboardInterrupt
        copies.append(source)
        copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "copyfile", stopping)
        with pytest.raises(KeyboardInterrupt):
            export_vbench(run.folder, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1
    killed = temporary(tmp_path / "out" / "1.mp4")
    host, _, chance = killed.name.removesuffix(".tmp").rpartition(".")[2].rsplit("-", 2)
    killed = killed.with_name(f".1.mp4.{host}-{NO_SUCH_PID}-{chance}.tmp")
    killed.write_bytes(b"half")
    [again] = export_vbench(run.folder, tmp_path / "out").models
    assert (again.copied, again.kept) == (2, 1)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    [last] = export_vbench(run.folder, tmp_path / "out").models
    assert (last.copied, last.kept) == (0, 3)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert whole.models[0].copied == 3


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS))
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a red car-0.mp4").write_bytes(b"mine")
    with pytest.raises(UserError, match="no export is known"):
        export_vbench(run.folder, other)
    export_vbench(run.folder, tmp_path / "out")
    changed = tmp_path / "out" / f"{TEXTS[2]}-0.mp4"
    changed.write_bytes(b"mine")
    (tmp_path / "out" / f"{TEXTS[0]}-0.mp4").unlink()
    before = tree(tmp_path)
    with pytest.raises(UserError, match=r"is not the run's clip.*nothing was overwritten"):
        export_vbench(run.folder, tmp_path / "out")
    assert tree(tmp_path) == before


def test_an_export_of_another_run_is_refused(tmp_path: Path) -> None:
    export_vbench(make_run(tmp_path / "one", suite_with(TEXTS[:1])).folder, tmp_path / "out")
    with pytest.raises(UserError, match="is of an export of student on mine"):
        export_vbench(make_run(tmp_path / "two", suite_with(TEXTS[:2])).folder, tmp_path / "out")


def test_a_run_that_has_grown_is_exported_further(tmp_path: Path) -> None:
    suite = suite_with(TEXTS)
    run = make_run(tmp_path / "run", suite, leave_out=(1, 2))
    with pytest.raises(Incomplete, match=r"missing clips of the run: 2 \(p1-0: not made yet"):
        require_whole(export_vbench(run.folder, tmp_path / "out"))
    make_run(tmp_path / "run", suite, leave_out=(0,))
    found = export_vbench(run.folder, tmp_path / "out")
    require_whole(found)
    assert (found.models[0].copied, found.models[0].kept) == (2, 1)


def test_a_clip_with_other_bytes_than_its_row_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS))
    clip = run.clips()[1]
    path = run.clip_path(clip)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = export_vbench(run.folder, tmp_path / "out")
    assert found.models[0].missing == (("p1-0", "its file was changed or removed"),)
    assert len(list((tmp_path / "out").iterdir())) == 2


# ----------------------------------------------------------------------------------------------- models, links, names


def test_several_models_get_a_folder_each(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS), models=("student", "teacher"))
    export_vbench(run.folder, tmp_path / "both")
    names = {"student", "teacher", "student.vbench_export.json", "teacher.vbench_export.json"}
    assert {path.name for path in (tmp_path / "both").iterdir()} == names
    export_vbench(run.folder, tmp_path / "both")  # an earlier export of the same run
    export_vbench(run.folder, tmp_path / "one", model="teacher")
    assert tree(tmp_path / "one") == tree(tmp_path / "both" / "teacher")
    assert tree(tmp_path / "one") != tree(tmp_path / "both" / "student")
    with pytest.raises(UserError, match="a folder for each"):
        export_vbench(run.folder, tmp_path / "one")
    with pytest.raises(UserError, match="no model 'tutor'"):
        export_vbench(run.folder, tmp_path / "more", model="tutor")


def test_symbolic_links_lead_nowhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS), models=("student", "teacher"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "student").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="leads outside"):
        export_vbench(run.folder, tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())
    secret = tmp_path / "secret"
    path = run.clip_path(run.clips()[0])
    shutil.move(path, secret)
    path.symlink_to(secret)
    with pytest.raises(UserError, match="leads outside"):
        export_vbench(run.folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_link_in_the_place_of_a_clip_is_not_written_through(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS))
    export_vbench(run.folder, tmp_path / "out")
    place = tmp_path / "out" / f"{TEXTS[0]}-0.mp4"
    place.unlink()
    (tmp_path / "mine").write_bytes(b"mine")
    place.symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="leads outside"):
        export_vbench(run.folder, tmp_path / "out")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_folder_in_the_run_and_a_models_name_that_is_a_path_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", suite_with(TEXTS))
    with pytest.raises(UserError, match="in the run's own folder"):
        export_vbench(run.folder, run.folder / "export")
    manifest = read_manifest(run.folder)
    models = {**manifest.models, "../../gone": manifest.models["student"]}
    write_manifest(run.folder, type(manifest)(manifest.identity, manifest.scope, models, {}, 1, {}))
    with pytest.raises(UserError, match=r"\.\./\.\./gone"):
        export_vbench(run.folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 9}, "schema_version"),
        (
            {"clips": [{"file": "../../x.mp4", "prompt": "x", "prompt_id": "p", "sample_index": 0, "sha256": ""}]},
            "plain",
        ),
        ({"clips": 3}, "clips"),
        ({"model": "a/b"}, "model"),
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    export_vbench(make_run(tmp_path / "run", suite_with(TEXTS)).folder, tmp_path / "out")
    path = record_path(tmp_path / "out")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=f"cannot be read as the record of an export.*{reason}"):
        read_record(tmp_path / "out")


def test_the_command_says_what_it_did_and_ends_with_three(tmp_path: Path, call: Call) -> None:
    run = make_run(tmp_path / "run", suite_with([*TEXTS, "a/b"]))
    done = call("export-vbench", run.folder, tmp_path / "out")
    assert done.code == 3, done.stderr
    assert "student: 3 clips copied" in done.stdout
    assert "not exported: 'a/b-0.mp4' (a path separator)" in done.stdout
    assert "clips whose names in VBench no file can have: 1" in done.stderr
    done = call("export-vbench", run.folder, tmp_path / "out", "--allow-missing", "--json")
    assert done.code == 0
    [model] = done.document["models"]
    assert (model["copied"], model["kept"]) == (0, 3)
