"""Are VBench's prompts, dimensions, categories and numbers of clips those of its paper and its package?"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from turbo_eval import vbench_suite
from turbo_eval.records import canonical_line
from turbo_eval.scorers.vbench import spec
from turbo_eval.suites import load_suite, select
from turbo_train.errors import UserError

SHARED = (
    "A beautiful coastal beach in spring, waves lapping on sand by Hokusai, in the style of Ukiyo",
    "The bund Shanghai, oil painting",
)


def test_946_entries_are_944_prompts_and_two_share_their_clips() -> None:
    suite = load_suite("vbench")
    package = importlib.util.find_spec("vbench")
    assert package is not None and package.origin is not None
    entries = json.loads((Path(package.origin).parent / "VBench_full_info.json").read_text())
    assert len(entries) == 946
    assert len(suite.prompts) == len({p.prompt for p in suite.prompts}) == 944
    assert [p.prompt_id for p in suite.prompts] == [f"vbench-{index:03d}" for index in range(944)]
    by_text = {p.prompt: p for p in suite.prompts}
    assert {e["prompt_en"] for e in entries if set(e["dimension"]) != set(by_text[e["prompt_en"]].dimensions)} == set(
        SHARED
    )
    for text in SHARED:
        union = {name for entry in entries if entry["prompt_en"] == text for name in entry["dimension"]}
        assert set(by_text[text].dimensions) == union and len(union) == len(by_text[text].dimensions) == 4
    assert set(by_text[SHARED[1]].attributes.values()) == {"oil painting"}


def test_its_prompts_keep_the_rules_for_files(tmp_path: Path) -> None:
    suite = load_suite("vbench")
    (tmp_path / "copy.jsonl").write_text("".join(canonical_line(prompt) + "\n" for prompt in suite.prompts))
    assert load_suite(str(tmp_path / "copy.jsonl")).sha256 == suite.sha256


def test_five_clips_a_prompt_and_25_of_the_flickering_ones() -> None:
    suite = load_suite("vbench")
    assert {name: suite.samples_for(name) for name in spec.NAMES if suite.samples_for(name) != 5} == {
        spec.TEMPORAL_FLICKERING: 25
    }
    assert len(suite.prompts) * suite.samples == 4720
    assert sum(suite.samples_of(prompt) for prompt in suite.prompts) == 6220
    assert [i for i, p in enumerate(suite.prompts) if suite.samples_of(p) == 25] == list(range(75))
    assert {suite.samples_of(p, ["oracle_shape"]) for p in suite.prompts} == {5}
    assert load_suite("vbench") == suite


@pytest.mark.parametrize("dimension", spec.DIMENSIONS, ids=lambda d: d.name)
def test_a_dimension_has_its_prompts_as_they_are_in_the_whole(dimension: spec.Dimension) -> None:
    suite, whole = load_suite(f"vbench:{dimension.name}"), load_suite("vbench")
    assert suite.name == f"vbench:{dimension.name}"
    assert len(suite.prompts) == dimension.prompts
    assert suite.prompts == select(whole, dimensions=[dimension.name]).prompts
    assert suite.sha256 != whole.sha256
    assert {suite.samples_of(p, [dimension.name]) for p in suite.prompts} == {dimension.samples_per_prompt}


def test_an_unknown_dimension_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean temporal_style.*turbo-eval list dimensions") as caught:
        load_suite("vbench:temporal_stile")
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="unknown dimension ''"):
        load_suite("vbench:")


@pytest.mark.parametrize("name", ["vbench", f"vbench:{spec.SCENE}"])
def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps vbench==0\.1\.5"):
        load_suite(name)


@pytest.mark.parametrize(
    "content", [None, "[", "{}", "[1]", '[{"prompt_en": 3}]', '[{"prompt_en": "", "dimension": []}]']
)
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None) -> None:
    monkeypatch.setattr(vbench_suite, "_package", lambda: tmp_path)
    if content is not None:
        (tmp_path / "VBench_full_info.json").write_text(content)
    with pytest.raises(UserError, match=r"VBench_full_info\.json .*vbench 0\.1\.5"):
        load_suite("vbench")


def category_file(folder: Path, name: str, count: int = 100) -> Path:
    """A list as VBench ships it: trailing spaces, no line break at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(f"{name} number {index} " for index in range(count)))
    return folder


@pytest.mark.parametrize("below", ["", "prompts_per_category"])
def test_a_category_is_read_from_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, below: str) -> None:
    category_file(tmp_path / "prompts_per_category", "animal")
    monkeypatch.setenv("VBENCH_PROMPTS", str(tmp_path / below))
    suite = load_suite("vbench-category:animal")
    assert (suite.name, suite.samples, len(suite.prompts)) == ("vbench-category:animal", 5, 100)
    assert [p.prompt_id for p in suite.prompts] == [f"vbench-animal-{index:03d}" for index in range(100)]
    assert suite.prompts[99].prompt == "animal number 99"
    assert all(not p.dimensions and suite.samples_of(p, spec.NAMES) == 5 for p in suite.prompts)


def test_a_category_in_the_package_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = category_file(tmp_path / "vbench" / "prompts_per_category", "food").parent
    (category_file(tmp_path / "checkout", "food") / "food.txt").write_text("another list\n" * 100)
    monkeypatch.setattr(vbench_suite, "_package", lambda: package)
    monkeypatch.setenv("VBENCH_PROMPTS", str(tmp_path / "checkout"))
    assert load_suite("vbench-category:food").prompts[0].prompt == "food number 0"


def test_a_category_that_is_not_there_says_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        monkeypatch.delenv("VBENCH_PROMPTS", raising=False)
        if folder:
            monkeypatch.setenv("VBENCH_PROMPTS", str(folder))
        with pytest.raises(UserError) as caught:
            load_suite("vbench-category:plant")
        message = str(caught.value)
        assert "wheel of vbench lacks" in message and "the path of any such .txt" in message
        assert "prompts/prompts_per_category of a checkout of github.com/Vchitect/VBench" in message
        assert "VBENCH_PROMPTS" in message and caught.value.exit_code == 2
        assert folder is None or str(tmp_path / "plant.txt") in message


def test_a_category_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VBENCH_PROMPTS", str(category_file(tmp_path, "human", 99)))
    with pytest.raises(UserError, match=r"human\.txt with 99 prompts.*--suite .*human\.txt"):
        load_suite("vbench-category:human")


def test_an_unknown_category_is_answered_with_the_nearest() -> None:
    assert len(vbench_suite.CATEGORIES) == 8
    with pytest.raises(UserError, match=r"unknown category 'Animals' \(did you mean animal\?\).*scenery, vehicles"):
        load_suite("vbench-category:Animals")
