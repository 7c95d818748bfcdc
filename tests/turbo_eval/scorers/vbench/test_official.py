"""Does the process that runs vbench find clips, prompts and weights where VBench looks for them?"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.official import SCRIPT, ClipFile, Official
from turbo_eval.scorers.vbench.overlay import Overlay
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError

# A package called vbench that answers with what it was given. Its bar over the clips is tqdm's, as in the real one.
UTILS = """
import os, time
CACHE_DIR = os.environ["VBENCH_CACHE_DIR"]
def init_submodules(dimensions, local, read_frame):
    assert local and not read_frame
    global STARTED_S
    STARTED_S = time.perf_counter()
    return {name: os.path.join(CACHE_DIR, "raft_model/models/raft-things.pth") for name in dimensions}
"""
DIMENSION = """
import json, os, time
from tqdm import tqdm
from vbench import utils
def compute_dynamic_degree(json_dir, device, submodules, **kwargs):
    time.sleep(0.2)
    found = []
    weights = open(submodules).read()
    for entry in tqdm(json.load(open(json_dir))):
        path, = entry["video_list"]
        if "single" in path:  # one frame: the mean of nothing
            found.append({"video_path": path, "video_results": float("nan")})
            continue
        time.sleep(0.05)
        if "refused" in path:
            raise ZeroDivisionError("division by zero")
        told = path.split("/")[-1], entry["prompt_en"], open(path).read(), weights
        found.append({"video_path": path, "video_results": "lively" in str(told)})
    with open(os.path.realpath(path) + ".seconds", "w") as last:
        last.write(str(time.perf_counter() - utils.STARTED_S))
    return sum(video["video_results"] for video in found) / len(found), found
"""


@pytest.fixture
def official(tmp_path: Path) -> Official:
    """With the stand-in for the package, and a file in the place of RAFT's weights."""
    package = tmp_path / "overlay" / "vbench"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", "utils": UTILS, "dynamic_degree": DIMENSION}.items():
        (package / f"{name}.py").write_text(text)
    weights = tmp_path / "cache" / "raft_model" / "models" / "raft-things.pth"
    weights.parent.mkdir(parents=True)
    weights.write_text("flow")
    return Official(Overlay(package.parent, None), cache=tmp_path / "cache")


def clip(folder: Path, name: str, text: str, **attributes: str) -> ClipFile:
    (folder / name).write_text(name)
    return ClipFile(folder / name, Prompt(name.removesuffix(".mp4"), text, attributes=attributes))


def test_results_are_known_by_path_and_a_refused_clip_by_its_error(official: Official, tmp_path: Path) -> None:
    clips = [
        clip(tmp_path, "one.mp4", "a lively street"),
        clip(tmp_path, "two.mp4", "a still life / refused not"),  # no file name: its own is kept
        clip(tmp_path, "three.mp4", "a still life"),
        clip(tmp_path, "four.mp4", "a still life"),  # the same prompt and index: another folder
    ]
    found = official.measure(spec.DYNAMIC_DEGREE, clips)
    assert not found.failed and found.unscored == {}
    assert {path.name: value for path, value in found.values.items()} == {
        "one.mp4": 1.0,
        "two.mp4": 0.0,
        "three.mp4": 0.0,
        "four.mp4": 0.0,
    }
    assert found.score == 0.25 and found.peak_bytes and found.load_s is not None and found.score_s is not None
    whole_s = float((tmp_path / "four.mp4.seconds").read_text())
    assert min(found.load_s, found.score_s) >= 0.2 and found.score_s < whole_s  # the bar parts the two
    refused = clip(tmp_path, "five.mp4", "refused")
    found = official.measure(spec.DYNAMIC_DEGREE, [clips[0], refused])
    assert found.values == {clips[0].path: 1.0} and found.score_s is None
    assert found.unscored == {refused.path: "ZeroDivisionError: division by zero"}
    single = clip(tmp_path, "six.mp4", "a single frame")
    found = official.measure(spec.DYNAMIC_DEGREE, [clips[0], single])
    assert found.values == {clips[0].path: 1.0} and found.unscored == {single.path: "vbench says nan"}
    assert found.score is None


def test_a_package_that_is_not_there_is_a_reason(official: Official, tmp_path: Path) -> None:
    (official.overlay.folder / "vbench" / "dynamic_degree.py").unlink()
    found = official.measure(spec.DYNAMIC_DEGREE, [clip(tmp_path, "one.mp4", "a street")])
    assert found.failed.startswith("ModuleNotFoundError") and not found.values


def test_missing_weights_are_named(official: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "VBENCH_CACHE_DIR", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    assert official.why_not(spec.DYNAMIC_DEGREE) == ""
    assert official.why_not(spec.AESTHETIC_QUALITY) == (
        "weights missing: clip/ViT-L-14.pt, laion/sa_0_4_vit_l_14_linear.pth"
    )
    with pytest.raises(UserError, match="weights pull"):
        official.measure(spec.AESTHETIC_QUALITY, [])


def test_dino_needs_its_code(official: Official, tmp_path: Path) -> None:
    weights = tmp_path / "cache" / "dino_model" / "dino_vitbase16_pretrain.pth"
    weights.parent.mkdir()
    weights.write_text("weights")
    assert "parity --setup" in official.why_not(spec.SUBJECT_CONSISTENCY)


def test_the_script_imports_nothing_of_ours() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert "import turbo_" not in text and "from turbo_" not in text


def test_auxiliary_info_is_nested_as_vbench_reads_it(tmp_path: Path) -> None:
    from turbo_eval.scorers.vbench.official import _entry

    style = {"appearance_style": {"appearance_style": "oil painting"}}
    for name in ("appearance_style", "appearance_style.appearance_style"):
        entry = _entry(spec.APPEARANCE_STYLE, clip(tmp_path, "a.mp4", "a cat", **{name: "oil painting"}), "x/a.mp4")
        assert entry["auxiliary_info"] == style and entry["dimension"] == [spec.APPEARANCE_STYLE]
    assert "auxiliary_info" not in _entry(spec.SCENE, clip(tmp_path, "b.mp4", "a cat", **{"color.color": "red"}), "b")
    assert json.dumps(entry)
    place = {"scene": {"scene": {"scene": "alley"}}}
    for name in ("scene", "scene.scene", "scene.scene.scene"):
        entry = _entry(spec.SCENE, clip(tmp_path, "a.mp4", "an alley", **{name: "alley"}), "x/a.mp4")
        assert entry["auxiliary_info"] == place


def test_the_suites_own_prompts_are_listed_as_vbench_lists_them(tmp_path: Path) -> None:
    from turbo_eval.scorers.vbench.official import _entry

    package = find_spec("vbench")
    assert package is not None and package.origin is not None
    entries = json.loads(Path(package.origin).with_name("VBench_full_info.json").read_text(encoding="utf-8"))
    listed = {(entry["prompt_en"], name): info for entry in entries for name, info in _auxiliary(entry)}
    asked = [(prompt, name) for prompt in load_suite("vbench").prompts for name in prompt.dimensions]
    ours = {
        (prompt.prompt, name): entry["auxiliary_info"][name]
        for prompt, name in asked
        if "auxiliary_info" in (entry := _entry(name, ClipFile(tmp_path, prompt), "x"))
    }
    assert ours == listed and len(listed) == 506


def _auxiliary(entry: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(entry.get("auxiliary_info", {}).items())
