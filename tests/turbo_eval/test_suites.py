"""Do suites load, and is a broken one refused in words that help?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from turbo_eval.suites import describe_suites, load_suite, prompts_folder, select
from turbo_train.errors import UserError


def suite_file(folder: Path, text: str | bytes) -> str:
    path = folder / "mine.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize("name", ["world", "world-validation"])
def test_a_built_in_suite_has_the_sha256_of_its_file(name: str) -> None:
    suite = load_suite(name)
    data = (prompts_folder() / f"{name}.jsonl").read_bytes()
    assert suite.sha256 == hashlib.sha256(data).hexdigest()
    assert suite.sha256 in (prompts_folder() / "README.md").read_text()
    assert name in describe_suites() and len(suite.prompts) == data.count(b"\n")


def test_only_the_prompt_is_required(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, '\ufeff{"prompt": "a cat"}\n\n{"prompt": "a dog", "prompt_id": "dog"}\r\n'))
    assert [(p.prompt_id, p.prompt) for p in suite.prompts] == [("mine-0000", "a cat"), ("dog", "a dog")]


def test_spacing_and_field_order_do_not_change_the_sha256_but_words_do(tmp_path: Path) -> None:
    first = load_suite(suite_file(tmp_path, '{"prompt_id":"a","prompt":"a cat"}'))
    second = load_suite(suite_file(tmp_path, '{"prompt": "a cat",   "prompt_id": "a"}\n'))
    third = load_suite(suite_file(tmp_path, '{"prompt": "a Cat", "prompt_id": "a"}\n'))
    assert first == second and first.sha256 != third.sha256


@pytest.mark.parametrize(
    "line,reason",
    [
        ('{"prompt": ', "line 2"),
        ("[1, 2]", "not a JSON object"),
        ('{"prompt_id": "b"}', "no field 'prompt'"),
        ('{"prompt": "a", "promt_id": "b"}', "unknown field 'promt_id'"),
        ('{"prompt": "a", "prompt_id": "../../b"}', "prompt_id"),
        ('{"prompt": "a", "prompt_id": "FIRST"}', "first in line 1"),
        ('{"prompt": "\\ud800"}', "surrogates"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str | bytes, reason: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    path = suite_file(tmp_path, b'{"prompt": "a", "prompt_id": "first"}\n' + raw + b"\n")
    with pytest.raises(UserError, match=r"mine\.jsonl line 2: ") as caught:
        load_suite(path)
    assert reason in str(caught.value) and caught.value.exit_code == 2


def test_an_empty_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompt in the file"):
        load_suite(suite_file(tmp_path, "\n"))


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean 'world-validation'.*turbo-eval list suites") as caught:
        load_suite("world-validaton")
    assert caught.value.exit_code == 2


def test_select_keeps_prompts_of_a_dimension_and_their_order(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "dimensions": ["x"]}, {"prompt": "c", "dimensions": ["y"]}]
    suite = load_suite(suite_file(tmp_path, "\n".join(json.dumps(row) for row in rows)))
    assert [p.prompt for p in select(suite, dimensions=["y"]).prompts] == ["a", "c"]
    assert [p.prompt for p in select(suite, limit=2).prompts] == ["a", "b"]
    assert select(suite) == suite and select(suite, limit=2).sha256 != suite.sha256
    with pytest.raises(UserError, match="no prompt"):
        select(suite, limit=0)


def test_vbench_has_944_prompts_or_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        suite = load_suite("vbench")
    except UserError as error:
        assert "pip install --no-deps vbench==0.1.5" in str(error)
        pytest.skip("vbench is not installed")
    assert len(suite.prompts) == 944 and len({p.prompt for p in suite.prompts}) == 944
    shared = next(p for p in suite.prompts if p.prompt == "The bund Shanghai, oil painting")  # in two entries
    assert len(shared.dimensions) == 4 and set(shared.attributes.values()) == {"oil painting"}
    assert load_suite("vbench").sha256 == suite.sha256
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps vbench==0\.1\.5"):
        load_suite("vbench")
