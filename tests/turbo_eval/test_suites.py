"""Do suites load by name and by path, say how many clips they ask for, and answer a wrong name in words that help?"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.suites import describe_suites, load_suite, prompts_folder, select, suite_of
from turbo_train.errors import UserError

FLICKERING, COLOR, SCENE = spec.TEMPORAL_FLICKERING, spec.COLOR, spec.SCENE


def suite_file(folder: Path, text: str | bytes, name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize("name", ["world", "world-validation"])
def test_a_built_in_suite_has_the_sha256_of_its_file_and_two_clips_a_prompt(name: str) -> None:
    suite = load_suite(name)
    data = (prompts_folder() / f"{name}.jsonl").read_bytes()
    assert suite.sha256 == hashlib.sha256(data).hexdigest()
    assert suite.sha256 in (prompts_folder() / "README.md").read_text()
    assert suite.name == name and len(suite.prompts) == data.count(b"\n")
    assert {suite.samples_of(prompt) for prompt in suite.prompts} == {2}


def test_the_examples_of_the_readme_are_read(tmp_path: Path) -> None:
    text = (prompts_folder() / "README.md").read_text()
    for block, suffix in (("json", "jsonl"), ("csv", "csv"), ("text", "txt")):
        [example] = re.findall(rf"```{block}\n(.*?)```", text, re.DOTALL)
        assert load_suite(suite_file(tmp_path, example, f"mine.{suffix}")).prompts[0].prompt == "a cat, walking"
    first, second = (load_suite(str(tmp_path / f"mine.{suffix}")) for suffix in ("jsonl", "csv"))
    assert first == second


def test_every_kind_of_suite_is_listed() -> None:
    listed = describe_suites()
    assert list(listed) == [
        "world",
        "world-validation",
        "vbench",
        "vbench:DIMENSION",
        "file-names",
        "vbench-category:NAME",
    ]
    assert all(len(text.split()) > 5 for text in listed.values())


def test_spacing_and_field_order_do_not_change_the_sha256_but_words_do(tmp_path: Path) -> None:
    first = load_suite(suite_file(tmp_path, '{"prompt_id":"a","prompt":"a cat"}'))
    second = load_suite(suite_file(tmp_path, '{"prompt": "a cat",   "prompt_id": "a"}\n'))
    third = load_suite(suite_file(tmp_path, '{"prompt": "a Cat", "prompt_id": "a"}\n'))
    assert first == second and first.sha256 != third.sha256
    assert (first.name, first.samples) == ("mine", 1)


def test_a_prompt_asks_for_as_many_clips_as_the_most_demanding_of_its_dimensions() -> None:
    still = Prompt("still", "a lake", (FLICKERING, SCENE))
    moving = Prompt("moving", "a red car", (COLOR,))
    free = Prompt("free", "a cat")
    suite = suite_of("s", [still, moving, free], 5, {FLICKERING: 25})
    assert (suite.samples_for(FLICKERING), suite.samples_for(COLOR), suite.samples_for("oracle_shape")) == (25, 5, 5)
    assert [suite.samples_of(prompt) for prompt in suite.prompts] == [25, 5, 5]
    assert [suite.samples_of(prompt, [SCENE, COLOR]) for prompt in suite.prompts] == [5, 5, 5]
    assert [suite.samples_of(prompt, {FLICKERING}) for prompt in suite.prompts] == [25, 5, 5]
    assert [suite.samples_of(prompt, ("oracle_shape",)) for prompt in suite.prompts] == [5, 5, 5]
    assert suite_of("s", suite.prompts).sha256 == suite.sha256  # clips are not part of what is asked


def test_select_keeps_prompts_of_a_dimension_their_order_and_the_protocol(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "dimensions": ["x"]}, {"prompt": "c", "dimensions": ["y"]}]
    suite = load_suite(suite_file(tmp_path, "\n".join(json.dumps(row) for row in rows)))
    assert [p.prompt for p in select(suite, dimensions=["y"]).prompts] == ["a", "c"]
    assert select(suite) == suite and select(suite, dimensions=["y"]).sha256 != suite.sha256
    protocol = suite_of("s", suite.prompts, 5, {"x": 25})
    assert select(protocol, limit=1).samples_for("x") == 25 and select(protocol, limit=1).samples == 5
    with pytest.raises(UserError, match=r"no prompt .*\(limit 0, dimensions y, x\)"):
        select(suite, limit=0, dimensions=["y", "x"])


def test_a_limit_counts_each_asked_dimensions_prompts_in_their_order() -> None:
    dimensions = [("x",), ("x", "y"), ("y",), ("x", "z"), (), ("y", "z"), (), ()]
    suite = suite_of("s", [Prompt(f"p{n}", f"prompt {n}", names) for n, names in enumerate(dimensions)])

    def kept(limit: int, *asked: str) -> list[int]:
        return [suite.prompts.index(prompt) for prompt in select(suite, limit=limit, dimensions=asked).prompts]

    assert kept(1) == [0, 1, 3, 4]
    assert kept(2) == [0, 1, 2, 3, 4, 5, 6]
    assert kept(1, "y") == [1, 4] and kept(2, "z") == [3, 4, 5, 6] and kept(1, "y", "z") == [1, 3, 4]
    assert kept(99) == list(range(8))


def test_a_limit_of_prompts_without_dimensions_is_their_number() -> None:
    suite = suite_of("s", [Prompt(f"p{n}", f"prompt {n}") for n in range(5)])
    assert select(suite, limit=3).prompts == suite.prompts[:3]
    assert select(suite, limit=3, dimensions=["x"]).prompts == suite.prompts[:3]


def test_two_prompts_of_each_dimension_of_vbench_ask_for_all_sixteen() -> None:
    small = select(load_suite("vbench"), limit=2)
    assert len(small.prompts) == 22
    asked = [name for prompt in small.prompts for name in prompt.dimensions]
    assert all(asked.count(name) >= 2 for name in spec.NAMES)
    assert len(select(load_suite("vbench"), limit=2, dimensions=[COLOR, SCENE]).prompts) == 4


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("wrld", "'world'"),
        ("world-validaton", "'world-validation'"),
        ("vbnch", "'vbench'"),
        ("vbnch:human_action", "'vbench:human_action'"),
        ("vbench_category:food", "'vbench-category:food'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {guess}.*turbo-eval list suites") as caught:
        load_suite(name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", " ", "absent.csv", "no/such/folder/a.txt", "x" * 10_000, "a\0b", "\ud800"])
def test_what_is_neither_a_name_nor_a_file_says_what_could_be_given(name: str) -> None:
    with pytest.raises(UserError, match="no suite and no file") as caught:
        load_suite(name)
    message = str(caught.value)
    assert ".jsonl, .csv, .txt, .parquet" in message and "world-validation" in message
    assert len(message) < 1000


def test_a_folder_and_a_suffix_that_is_not_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, reason in (
        ("folder.csv", r"folder\.csv is a folder"),
        ("mine.json", r"mine\.json is a \.json file.*one JSON object a line belongs into a \.jsonl file"),
        ("mine.xlsx", r"a \.xlsx file, which is not read.*\.jsonl, \.csv, \.txt, \.parquet"),
        ("mine", "a file without a suffix"),
    ):
        path = tmp_path / name
        if not path.exists():
            path.write_text('[{"prompt": "a cat"}]')
        with pytest.raises(UserError, match=reason) as caught:
            load_suite(str(path))
        assert caught.value.exit_code == 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="not a plain file"):
        load_suite(str(tmp_path / "pipe.txt"))


def test_a_suite_is_named_after_its_file_unless_that_cannot_be_printed(tmp_path: Path) -> None:
    assert load_suite(suite_file(tmp_path, "a cat", "my prompts (v2).TXT")).name == "my prompts (v2)"
    assert load_suite(suite_file(tmp_path, "a cat", "two\nlines.txt")).name == "two-lines"


def test_default_ids_are_legal_whatever_the_file_is_called(tmp_path: Path) -> None:
    for name in ("...", "日本語", "con.v2", "-x", "a" * 200, "NUL", "ß é"):
        [prompt] = load_suite(suite_file(tmp_path, "a cat", f"{name}.txt")).prompts
        assert prompt.prompt_id.endswith("-0000") and prompt.prompt_id.isascii()
    assert load_suite(str(tmp_path / "con.v2.txt")).prompts[0].prompt_id == "_con.v2-0000"


def test_ids_that_only_resemble_a_device_are_legal(tmp_path: Path) -> None:
    names = ["console", "con-1", "com", "com10", "auxiliary", "a.con"]
    path = suite_file(tmp_path, "prompt,prompt_id\n" + "".join(f"a,{name}\n" for name in names), "mine.csv")
    assert [p.prompt_id for p in load_suite(path).prompts] == names


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ('{"prompt": "a", "dimensions": ["x\\u0000"]}', "in a dimension"),
        ('{"prompt": "a", "attributes": {"x\\u0000": "y"}}', "in an attribute's name"),
        ('{"prompt": "a", "attributes": {"x": "\\u0000"}}', "in attribute 'x'"),
    ],
)
def test_illegal_characters_are_refused_in_every_text(tmp_path: Path, line: str, where: str) -> None:
    with pytest.raises(UserError, match=rf"line 1: control character U\+0000 {where}"):
        load_suite(suite_file(tmp_path, line))
