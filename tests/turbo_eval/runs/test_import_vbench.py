"""Do clips and scores of VBench come into a run exactly, once, and with nothing made up?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import tree
from vbench_folders import FPS, make_run, noise, suite_with, write_results, write_suite_file

from turbo_eval.durable import sha256_of
from turbo_eval.runs.export_record import record_path
from turbo_eval.runs.export_vbench import export_vbench
from turbo_eval.runs.import_vbench import ImportRequest, import_vbench
from turbo_eval.runs.imported import SCORER, require_everything
from turbo_eval.runs.vbench_names import probe
from turbo_eval.scorers.registry import BUILDERS
from turbo_eval.scorers.vbench import spec
from turbo_eval.store import Run
from turbo_train.errors import Incomplete, UserError
from turbo_train.video_io import write_mp4

Call = Callable[..., Any]
TEXTS = ("a red car", "früh, 5 €", "a cat - walking")
FLICKERING, IMAGING, HUMAN = spec.TEMPORAL_FLICKERING, spec.IMAGING_QUALITY, spec.HUMAN_ACTION


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three clips of 3, 5 and 9 frames, as VBench names them."""
    for index, text in enumerate(TEXTS):
        write_mp4(tmp_path / "videos" / f"{text}-0.mp4", noise(index, (3, 5, 9)[index]), FPS)
    return tmp_path / "videos"


@pytest.fixture
def suite(tmp_path: Path) -> str:
    return str(write_suite_file(tmp_path / "mine.jsonl", TEXTS))


def entries(folder: Path, values: list[Any], **more: Any) -> list[dict[str, Any]]:
    paths = [str(folder / f"{text}-0.mp4") for text in TEXTS]
    return [{"video_path": path, "video_results": v, **more} for path, v in zip(paths, values, strict=True)]


def request(tmp_path: Path, suite: str, *results: Path, **more: Any) -> ImportRequest:
    return ImportRequest(tmp_path / "videos", tmp_path / "run", results, "theirs", suite, **more)


def values_of(run: Run, metric: str) -> list[float | None]:
    return [score.value for score in run.scores([(metric, SCORER)])]


# ------------------------------------------------------------------------------------------------------------- clips


def test_exported_clips_come_back_byte_for_byte_also_those_of_twins(tmp_path: Path) -> None:
    texts = ["a fantasy", "A fantasy", "a caf\u00e9", unicodedata.normalize("NFD", "a caf\u00e9"), "p0", "..", "a\\b"]
    if probe(tmp_path).collisions(texts):
        pytest.skip("this disk does not tell such names apart")
    made = make_run(tmp_path / "made", suite_with(texts, samples=2))
    export_vbench(made.folder, tmp_path / "videos")
    file = write_suite_file(tmp_path / "mine.jsonl", texts)
    found = import_vbench(ImportRequest(tmp_path / "videos", tmp_path / "run", suite=str(file), samples=2))
    assert (found.model, found.clips, found.wanted, found.strays) == ("student", 14, 14, ())
    run = Run(tmp_path / "run", repair=False)
    assert {c.clip_id: c.sha256 for c in run.clips()} == {c.clip_id: c.sha256 for c in made.clips()}


def test_without_the_record_one_file_is_never_taken_for_two_clips(tmp_path: Path) -> None:
    write_mp4(tmp_path / "videos" / "p1-0.mp4", noise(0), FPS)
    file = write_suite_file(tmp_path / "mine.jsonl", ["p1", "a cat"])  # the first prompt's text is the second one's id
    with pytest.raises(UserError, match="belongs to two prompts, p0 and p1"):
        import_vbench(ImportRequest(tmp_path / "videos", tmp_path / "run", suite=str(file)))


def test_an_exported_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    export_vbench(make_run(tmp_path / "made", suite_with(TEXTS)).folder, tmp_path / "videos")
    first, second = (tmp_path / "videos" / f"{text}-0.mp4" for text in TEXTS[:2])
    shutil.copy(first, second)  # as a disk does that takes both names for one
    file = write_suite_file(tmp_path / "mine.jsonl", TEXTS)
    with pytest.raises(UserError, match="is not the file that was exported under this name"):
        import_vbench(ImportRequest(tmp_path / "videos", tmp_path / "run", suite=str(file)))
    record_path(tmp_path / "videos").unlink()
    assert import_vbench(ImportRequest(tmp_path / "videos", tmp_path / "run", suite=str(file))).clips == 3


def test_an_exported_folder_names_its_suite(tmp_path: Path) -> None:
    export_vbench(make_run(tmp_path / "made", suite_with(TEXTS)).folder, tmp_path / "videos")
    with pytest.raises(UserError, match=r"exported from a run of suite 'mine'.*--suite FILE"):
        import_vbench(ImportRequest(tmp_path / "videos", tmp_path / "run"))


def test_an_unreadable_file_and_a_stray_one_are_named(tmp_path: Path, clips: Path, suite: str) -> None:
    (clips / f"{TEXTS[0]}-0.mp4").write_bytes(b"nothing")
    write_mp4(clips / "a dog-0.mp4", noise(9), FPS)
    found = import_vbench(request(tmp_path, suite))
    assert (found.clips, found.strays) == (2, ("a dog-0.mp4",))
    with pytest.raises(Incomplete, match=r"files that are no clips: 1 \(a red car-0.mp4: is not a video"):
        require_everything(found)


def test_other_clips_under_the_same_name_are_refused(tmp_path: Path, clips: Path, suite: str) -> None:
    import_vbench(request(tmp_path, suite))
    write_mp4(clips / f"{TEXTS[0]}-0.mp4", noise(77), FPS)
    before = tree(tmp_path / "run")
    with pytest.raises(UserError, match="is not the file that"):
        import_vbench(request(tmp_path, suite))
    assert tree(tmp_path / "run") == before


def test_a_stopped_import_goes_on(tmp_path: Path, clips: Path, suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    import_clip = Run.import_clip

    def stopping(self: Run, *arguments: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        return import_clip(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "import_clip", stopping)
        with pytest.raises(KeyboardInterrupt):
            import_vbench(request(tmp_path, suite))
    assert len(Run(tmp_path / "run", repair=False).clips()) == 2
    assert import_vbench(request(tmp_path, suite)).clips == 3
    assert len(Run(tmp_path / "run", repair=False).rows()) == 3


# ------------------------------------------------------------------------------------------------------------ scores

OFFICIAL = """
import importlib.util, sys, types
if importlib.util.find_spec("decord") is None:
    sys.modules["decord"] = types.SimpleNamespace(VideoReader=None, cpu=None)
from vbench import VBench
videos, info, out, dimension = sys.argv[1:]
VBench("cpu", info, out).evaluate(videos, name="ours", dimension_list=[dimension])
"""


def test_the_installed_package_scores_an_export_and_its_results_come_back(tmp_path: Path) -> None:
    """VBench.evaluate finds every clip of the folder, and its numbers are the run's own."""
    if find_spec("vbench") is None:
        pytest.skip("vbench is not installed (pip install --no-deps vbench==0.1.5)")
    made = make_run(tmp_path / "made", suite_with(TEXTS, samples=5))
    export_vbench(made.folder, tmp_path / "videos")
    info = [{"prompt_en": text, "dimension": [FLICKERING]} for text in TEXTS]
    (tmp_path / "info.json").write_text(json.dumps(info))
    paths = [str(tmp_path / name) for name in ("videos", "info.json", "out")]
    done = subprocess.run([sys.executable, "-c", OFFICIAL, *paths, FLICKERING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout
    file = write_suite_file(tmp_path / "mine.jsonl", TEXTS)
    results = tmp_path / "out" / "ours_eval_results.json"
    found = import_vbench(ImportRequest(tmp_path / "videos", made.folder, (results,), suite=str(file), samples=5))
    require_everything(found)
    [(name, videos)] = json.loads(results.read_text()).items()
    assert name == FLICKERING and len(videos[1]) == 15
    run = Run(made.folder, repair=False)
    assert len(run.clips()) == 15  # the run got the scores, and no clip
    assert sorted(values_of(run, FLICKERING), key=float) == sorted(video["video_results"] for video in videos[1])
    assert found.dimensions[0].difference == pytest.approx(0, abs=1e-12)
    assert run.manifest.scope == made.manifest.scope


def test_each_dimension_comes_in_on_its_own_scale_and_is_averaged_as_vbench_does(
    tmp_path: Path, clips: Path, suite: str
) -> None:
    """The formats of vbench 0.1.5's sixteen functions, with the means of one process."""
    three = [0.25, 0.5, 1.0]
    plain = sum(three) / 3
    pairs = (0.25 * 2 + 0.5 * 4 + 1.0 * 8) / 14
    frames = (0.25 * 3 + 0.5 * 5 + 1.0 * 9) / 17
    counts = {"success_frame_count": 4, "frame_count": 16}
    by_pairs = {spec.SUBJECT_CONSISTENCY: {}, spec.BACKGROUND_CONSISTENCY: {"video_sim": 1.0, "cnt_per_video": 2}}
    content = {name: (plain, entries(clips, three)) for name in spec.NAMES}
    content |= {name: (pairs, entries(clips, three, **more)) for name, more in by_pairs.items()}
    content |= {n: (plain, entries(clips, three, **counts)) for n in (spec.OBJECT_CLASS, spec.SCENE)}
    content[IMAGING] = (plain, entries(clips, [25.0, 50.0, 100.0]))
    content[spec.DYNAMIC_DEGREE] = (1 / 3, entries(clips, [True, False, False]))
    content[HUMAN] = (2 / 3, entries(clips, [True, False, True], cor_num_per_video=1))
    content[spec.COLOR] = (0.75, entries(clips, three, cur_success_frame_rate=0.5)[1:])
    content[spec.APPEARANCE_STYLE] = (frames, entries(clips, three, frame_results=[0.1], cur_sim=0.1))
    write_results(clips / "results_2026-01-01-00:00:00_eval_results.json", content)
    found = import_vbench(request(tmp_path, suite))
    require_everything(found)
    assert [d.dimension for d in found.dimensions] == list(spec.NAMES)
    assert {d.dimension: d.difference for d in found.dimensions} == pytest.approx(dict.fromkeys(spec.NAMES, 0.0))
    assert {d.dimension: d.clips for d in found.dimensions} == {n: 2 if n == spec.COLOR else 3 for n in spec.NAMES}
    run = Run(tmp_path / "run", repair=False)
    assert values_of(run, IMAGING) == three
    assert values_of(run, HUMAN) == [1.0, 0.0, 1.0]
    assert found.totals is not None and not found.totals.missing
    quality, semantic, total = found.totals.quality, found.totals.semantic, found.totals.total
    assert total == pytest.approx((4 * (quality or 0) + (semantic or 0)) / 5)
    assert found.table is not None and found.table.partial == ""  # the clip without a colour is counted, no gap
    assert dict(found.table.unscored) == {
        spec.COLOR: "VBench counts no clip in which it never sees the object (1 clips)"
    }
    assert not any("no quality" in note for note in found.table.notes)
    assert any(line.startswith(f"quality {quality:.6f}, semantic") for line in found.lines())
    cells = {row.metric: row.cells[0].interval for row in found.table.rows}
    means = {name: cell.mean for name, cell in cells.items() if cell is not None}
    assert {d.dimension: d.recomputed for d in found.dimensions} == {name: means.pop(name) for name in spec.NAMES}
    assert means == {spec.QUALITY_SCORE: quality, spec.SEMANTIC_SCORE: semantic, spec.TOTAL_SCORE: total}


def test_the_same_import_again_adds_nothing(tmp_path: Path, clips: Path, suite: str) -> None:
    results = write_results(tmp_path / "r.json", {FLICKERING: (0.5, entries(clips, [0.25, 0.5, 0.75]))})
    first = import_vbench(request(tmp_path, suite, results))
    before = tree(tmp_path / "run")
    again = import_vbench(request(tmp_path, suite, results))
    assert tree(tmp_path / "run") == before
    assert again == first
    assert import_vbench(request(tmp_path, suite)) == first  # what was imported stays


def test_dimensions_and_clips_may_come_in_parts(tmp_path: Path, clips: Path, suite: str) -> None:
    flickering, human = entries(clips, [0.25, 0.5, 0.75]), entries(clips, [True, True, False])
    one = write_results(tmp_path / "one.json", {FLICKERING: (0.375, flickering[:2])})
    two = write_results(tmp_path / "two.json", {FLICKERING: (0.625, flickering[1:]), HUMAN: (2 / 3, human)})
    import_vbench(request(tmp_path, suite, one))
    found = import_vbench(request(tmp_path, suite, two))
    assert [(d.dimension, d.clips, d.reported) for d in found.dimensions] == [
        (FLICKERING, 3, None),  # each file reports another part
        (HUMAN, 3, 2 / 3),
    ]
    assert found.dimensions[0].recomputed == 0.5
    assert found.totals is not None and len(found.totals.missing) == 14
    assert any(line.startswith("no total: 14 of 16 dimensions are missing") for line in found.lines())
    assert Run(tmp_path / "run", repair=False).manifest.scope.dimensions == (FLICKERING, HUMAN)


def test_two_numbers_for_one_clip_are_an_error(tmp_path: Path, clips: Path, suite: str) -> None:
    one = write_results(tmp_path / "one.json", {FLICKERING: (0.5, entries(clips, [0.25, 0.5, 0.75]))})
    two = write_results(tmp_path / "two.json", {FLICKERING: (0.5, entries(clips, [0.25, 0.5, 0.7500001]))})
    with pytest.raises(UserError, match=r"two results for p2-0 .*0\.75 \(one.json, clip 3\) and 0\.7500001 \(two.json"):
        import_vbench(request(tmp_path, suite, one, two))
    assert not (tmp_path / "run").exists()
    import_vbench(request(tmp_path, suite, one))
    before = tree(tmp_path / "run")
    with pytest.raises(UserError, match=r"is 0\.7500001 in two.json \(clip 3\) and 0\.75 in an earlier import"):
        import_vbench(request(tmp_path, suite, two))
    assert tree(tmp_path / "run") == before
    same = entries(clips, [0.25, 0.5, 0.75])
    twice = write_results(
        tmp_path / "3.json", {FLICKERING: (0.5, [*same, {**same[0], "video_path": "b/a red car-0.mp4"}])}
    )
    with pytest.raises(UserError, match="two results for p0-0"):
        import_vbench(request(tmp_path, suite, twice))


def test_results_are_found_by_file_names_of_any_system(tmp_path: Path, clips: Path, suite: str) -> None:
    paths = ["C:\\videos\\a red car-0.mp4", unicodedata.normalize("NFD", f"/x/{TEXTS[1]}-0.mp4"), f"{TEXTS[2]}-0.gif"]
    videos = [{"video_path": path, "video_results": 0.5} for path in paths]
    found = import_vbench(request(tmp_path, suite, write_results(tmp_path / "r.json", {FLICKERING: (0.5, videos)})))
    assert (found.dimensions[0].clips, found.left_out) == (3, ())


def test_results_without_a_clip_are_listed_and_missing_clips_stamp_the_table(
    tmp_path: Path, clips: Path, suite: str, call: Call
) -> None:
    (clips / f"{TEXTS[0]}-0.mp4").unlink()
    videos = entries(clips, [0.25, 0.5, 0.75])
    results = write_results(
        tmp_path / "r.json", {FLICKERING: (0.5, videos), HUMAN: (1.0, entries(clips, [True] * 3)[2:])}
    )
    arguments = ["import-vbench", clips, "--results", results, "--out", tmp_path / "run", "--suite", suite]
    done = call(*arguments)
    assert done.code == 3
    assert "results without a clip here: 1 (temporal_flickering" in done.stderr
    assert "a red car-0.mp4: no such clip" in done.stderr
    done = call(*arguments, "--allow-missing")
    assert done.code == 0
    # p0 has no clip, and p1 no result in one dimension.
    assert "PARTIAL: 1 of 3 clips: videos on mine (VBench's own scores, imported)" in " ".join(done.stdout.split())
    [line] = [line for line in done.stdout.splitlines() if line.startswith(FLICKERING) and "e-01" in line]
    assert line.split() == [FLICKERING, "2", "0.500000", "0.625000", "-1.2e-01"]
    assert "videos: 2 of 3 clips of the suite are in" in done.stdout
    document = call(*arguments, "--allow-missing", "--json").document
    assert [item["name"] for item in document["left_out"]] == [videos[0]["video_path"]]


def test_missing_clips_give_no_number_unless_allowed(tmp_path: Path, clips: Path, suite: str, call: Call) -> None:
    (clips / f"{TEXTS[0]}-0.mp4").unlink()
    write_results(clips / "x_eval_results.json", {FLICKERING: (0.5, entries(clips, [0.25, 0.25, 0.75])[1:])})
    arguments = ["import-vbench", clips, "--out", tmp_path / "run", "--suite", suite]
    done = call(*arguments)
    assert done.code == 3 and done.stdout == "" and "PARTIAL: 2 of 3 clips" in done.stderr
    done = call(*arguments, "--allow-missing")
    assert done.code == 0 and "no total: PARTIAL: 2 of 3 clips" in done.stdout
    assert call(*arguments, "--allow-missing", "--json").document["totals"] is None


def test_what_the_static_filter_has_renumbered_is_found_by_its_bytes(tmp_path: Path, suite: str) -> None:
    for sample in range(3):
        write_mp4(tmp_path / "videos" / f"a red car-{sample}.mp4", noise(sample), FPS)
    filtered = tmp_path / "out" / "filtered_videos"
    filtered.mkdir(parents=True)
    shutil.copy(tmp_path / "videos" / "a red car-2.mp4", filtered / "a red car-0.mp4")
    videos = [{"video_path": str(filtered / f"a red car-{i}.mp4"), "video_results": 0.5} for i in range(2)]
    results = write_results(tmp_path / "r.json", {FLICKERING: (0.5, videos)})
    found = import_vbench(request(tmp_path, suite, results, samples=3))
    [score] = Run(tmp_path / "run", repair=False).scores()
    assert score.sample_index == 2
    assert [item.name for item in found.left_out] == [str(filtered / "a red car-1.mp4")]


def test_the_run_of_an_export_takes_only_its_own_clips(tmp_path: Path, suite: str) -> None:
    made = make_run(tmp_path / "made", suite_with(TEXTS), leave_out=[2])
    export_vbench(made.folder, tmp_path / "videos")
    record_path(tmp_path / "videos").unlink()
    write_mp4(tmp_path / "videos" / f"{TEXTS[2]}-0.mp4", noise(5), FPS)
    before = tree(made.folder)
    with pytest.raises(UserError, match=r"is not the file that .* has as p2-0 of student"):
        import_vbench(ImportRequest(tmp_path / "videos", made.folder, model="student", suite=suite))
    assert tree(made.folder) == before


def test_no_scorer_of_ours_has_the_id_of_imported_scores() -> None:
    assert "@" not in SCORER
    assert SCORER.removeprefix("vbench/") not in (*spec.NAMES, *BUILDERS)


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "a/b"}, "--model 'a/b'"),
        ({"folder": "nowhere"}, "is not a folder"),
        ({"suite": "nothing"}, "no suite and no file 'nothing'"),
        ({"results": "gone.json"}, "cannot be read: No such file"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    tmp_path: Path, clips: Path, suite: str, change: dict[str, str], reason: str
) -> None:
    fields: dict[str, Any] = {"folder": clips, "out": tmp_path / "run", "suite": suite, **change}
    for name in {"folder", "results"} & set(change):
        fields[name] = tmp_path / change[name] if name == "folder" else (tmp_path / change[name],)
    with pytest.raises(UserError, match=reason):
        import_vbench(ImportRequest(**fields))
    assert not (tmp_path / "run").exists()


def test_a_run_whose_folders_lead_elsewhere_is_refused(tmp_path: Path, clips: Path, suite: str) -> None:
    import_vbench(request(tmp_path, suite))
    clip = next((tmp_path / "run" / "clips").iterdir())
    shutil.move(clip, tmp_path / "elsewhere")
    clip.symlink_to(tmp_path / "elsewhere")
    before = {path.name: sha256_of(path) for path in (tmp_path / "elsewhere").iterdir()}
    with pytest.raises(UserError, match="leads outside"):
        import_vbench(request(tmp_path, suite))
    assert {path.name: sha256_of(path) for path in (tmp_path / "elsewhere").iterdir()} == before


def test_a_suite_that_the_run_was_not_made_with_is_refused(tmp_path: Path, clips: Path, suite: str) -> None:
    import_vbench(request(tmp_path, suite))
    other = write_suite_file(tmp_path / "other.jsonl", TEXTS[:2])
    with pytest.raises(UserError, match="is a run of suite mine"):
        import_vbench(request(tmp_path, str(other)))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 9, "models": {}}', '{"schema_version": 1, "models": 3}']
)
def test_a_broken_record_of_imports_is_named(tmp_path: Path, clips: Path, suite: str, text: str) -> None:
    import_vbench(request(tmp_path, suite))
    (tmp_path / "run" / "imported.json").write_text(text)
    with pytest.raises(UserError, match=r"imported.json cannot be read"):
        import_vbench(request(tmp_path, suite))
