"""Is every format read alike, is hostile text kept or refused by rule, and does an error name its place?"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from turbo_eval.suite_files import read_prompts
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError

FORMATS = ("jsonl", "csv", "txt", "parquet")
TABLES = ("csv", "parquet")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The same rows in the format of the suffix; `attributes` become columns, plain text has the prompt only."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".txt":
        path.write_bytes(b"".join(row["prompt"].encode("utf-8", "surrogatepass") + b"\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as stream:
            writer = csv.DictWriter(stream, names, lineterminator="\n", quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def prompts_of(folder: Path, suffix: str, *texts: str) -> list[str]:
    return [p.prompt for p in read_prompts(write(folder / f"mine.{suffix}", [{"prompt": text} for text in texts]))]


def refused(path: Path, reason: str) -> str:
    with pytest.raises(UserError, match=reason) as caught:
        read_prompts(path)
    assert caught.value.exit_code == 2 and path.name in caught.value.found
    assert caught.value.expected and caught.value.run_next and len(str(caught.value)) < 1000
    return str(caught.value)


def text_file(folder: Path, suffix: str, content: str | bytes) -> Path:
    path = folder / f"mine.{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_one_suite_in_three_formats_has_one_sha256(tmp_path: Path) -> None:
    jsonl = tmp_path / "mine.jsonl"
    first = {"prompt": 'a "red", round cat', "prompt_id": "cat", "dimensions": ["x", "y"], "held_out": True}
    jsonl.write_text(json.dumps({**first, "attributes": {"shape": "cat", "count": "1"}}) + '\n{"prompt": "a dog"}\n')
    comma = text_file(
        tmp_path,
        "csv",
        "\ufeffheld_out, shape,count,prompt,prompt_id,dimensions\r\n"
        'True,cat,1,"a ""red"", round cat",cat,x; y\r\n,,,,,\r\n\r\n,,,a dog,,\r\n',
    )
    columns = {"prompt": [first["prompt"], "a dog"], "prompt_id": ["cat", None], "dimensions": [["x", "y"], None]}
    table = pa.table({**columns, "held_out": [True, None], "shape": ["cat", None], "count": [1, None]})
    pq.write_table(table, tmp_path / "mine.parquet")
    suites = [load_suite(str(path)) for path in (jsonl, comma, tmp_path / "mine.parquet")]
    assert suites[0].prompts[0].attributes == {"shape": "cat", "count": "1"} and suites[0].prompts[0].held_out
    assert [p.prompt_id for p in suites[0].prompts] == ["cat", "mine-0001"]
    assert suites[0] == suites[1] == suites[2]


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_the_prompt_is_required_and_blank_lines_are_no_prompts(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"my prompts (v2).{suffix}", [{"prompt": "a cat"}, {"prompt": "a dog"}])
    if suffix != "parquet":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    found = read_prompts(path)
    assert [(p.prompt_id, p.prompt) for p in found] == [
        ("my-prompts-v2-0000", "a cat"),
        ("my-prompts-v2-0001", "a dog"),
    ]


HOSTILE = {
    "parents": "../../etc/passwd",
    "drive": "C:\\x\\y",
    "slashes": "a/b",
    "quotes": "a \"red\" 'cat' `x` $(rm -rf ~) ; %s {0}",
    "commas": "a cat, a dog; a bird",
    "emoji": "a cat 🐈‍⬛ and a flag 🇨🇭",
    "right-to-left": "قطة تمشي \u202eeman\u202c שלום",
    "decomposed": "cafe\u0301",
    "separators": "one\u2028two\u2029three",
    "no-break": "a\u00a0cat\ufeff\u200b",
    "formula": "=HYPERLINK(1)",
    "long": "a very long cat " * 625,
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_any_text_is_kept_as_it_is(tmp_path: Path, suffix: str, text: str) -> None:
    kept = text.strip(" ") if suffix == "txt" else text
    assert prompts_of(tmp_path, suffix, "first", text, "last") == ["first", kept, "last"]


def test_a_line_of_text_ends_at_its_line_break_only(tmp_path: Path) -> None:
    path = text_file(tmp_path, "txt", "  a\u2028b \r\n\r\n \t\r\n# no comment\nlast")
    assert [p.prompt for p in read_prompts(path)] == ["a\u2028b", "# no comment", "last"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("code", [0x00, 0x07, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0x9F])
def test_control_characters_are_refused_by_place(tmp_path: Path, suffix: str, code: int) -> None:
    path = write(tmp_path / f"mine.{suffix}", [{"prompt": "first"}, {"prompt": f"a{chr(code)}b"}])
    place = {"csv": "line 3", "parquet": "row 2"}.get(suffix, "line 2")
    assert f"control character U+{code:04X} in the prompt, character 2" in refused(path, place)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_tabs_and_line_breaks_are_text_where_they_are_quoted(tmp_path: Path, suffix: str) -> None:
    texts = ["a\tb", "one\ntwo\r\nthree", "last"]
    assert prompts_of(tmp_path, suffix, *texts) == texts


def test_a_tab_in_plain_text_is_refused(tmp_path: Path) -> None:
    assert "control character U+0009" in refused(text_file(tmp_path, "txt", "a cat\n1\ta dog\n"), "line 2")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
def test_lone_surrogates_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"mine.{suffix}", [{"prompt": "first"}, {"prompt": "a \ud800"}])
    reason = refused(path, "line 3" if suffix == "csv" else "line 2")
    assert ("half of a surrogate pair U+D800" if suffix == "jsonl" else "not UTF-8 text (at byte") in reason


@pytest.mark.parametrize("suffix", ["jsonl", *TABLES])
def test_two_prompts_of_one_id_are_refused_with_both_places(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": "a", "prompt_id": "Cat"}, {"prompt": "b", "prompt_id": "x"}, {"prompt": "a", "prompt_id": "cAT"}]
    unit, first, last = {"jsonl": ("line", 1, 3), "csv": ("line", 2, 4), "parquet": ("row", 1, 3)}[suffix]
    reason = refused(write(tmp_path / f"mine.{suffix}", rows), rf"mine\.{suffix} {unit} {last}: ")
    assert f"prompt_id 'cAT' again, first in {unit} {first}" in reason


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_prompt_twice_is_two_prompts(tmp_path: Path, suffix: str) -> None:
    assert prompts_of(tmp_path, suffix, "a cat", "a cat") == ["a cat", "a cat"]


@pytest.mark.parametrize("suffix", ["jsonl", *TABLES])
@pytest.mark.parametrize(
    "name", ["../b", "a/b", ".b", "b ", "é", "con", "NUL", "aux.x", "Com1", "lpt9.tar.gz", "x" * 101]
)
def test_an_id_that_cannot_be_a_file_name_is_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = write(tmp_path / f"mine.{suffix}", [{"prompt": "a", "prompt_id": name}])
    if suffix in TABLES and name.strip() != name:
        assert read_prompts(path)[0].prompt_id == name.strip()  # a space after a comma is no part of a cell's id
    else:
        assert "prompt_id" in refused(path, "row 1" if suffix == "parquet" else "line [12]")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_without_prompts_is_refused(tmp_path: Path, suffix: str) -> None:
    if suffix == "parquet":
        pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "mine.parquet")
        refused(tmp_path / "mine.parquet", "no prompt in the file")
    for content in ("", "\n \r\n", "\ufeff"):
        path = text_file(tmp_path, suffix, content)
        refused(path, "not readable as Parquet" if suffix == "parquet" else "no prompt in the file")
    if suffix == "csv":
        refused(text_file(tmp_path, "csv", "prompt,prompt_id\n"), "no prompt in the file")


@pytest.mark.parametrize("suffix", ["jsonl", *TABLES])
def test_an_empty_prompt_is_refused(tmp_path: Path, suffix: str) -> None:
    for text in ("", " ", "\n"):
        rows = [{"prompt": "a", "prompt_id": "x"}, {"prompt": text, "prompt_id": "y"}]
        refused(write(tmp_path / f"mine.{suffix}", rows), "(line 2|line 3|row 2): an empty prompt")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "txt"])
def test_other_encodings_are_refused_by_line(tmp_path: Path, suffix: str) -> None:
    head = {"csv": b"prompt\n", "jsonl": b'{"prompt": "a"}\n', "txt": b"a\n"}[suffix]
    refused(text_file(tmp_path, suffix, head + "é".encode("latin-1")), r"line 2: not UTF-8 text \(at byte 1\)")
    refused(text_file(tmp_path, suffix, "prompt".encode("utf-16")), "line 1: UTF-16, not UTF-8 text")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt": ', r"not JSON: Expecting value \(character 1[0-9]\)"),
        ('{"prompt": "a\tb"}', "not JSON: Invalid control character"),
        ("[1, 2]", "not a JSON object"),
        ("a cat", "not JSON"),
        ("\u00a0", "not JSON"),
        ('{"prompt_id": "b"}', "no field 'prompt'"),
        ('{"prompt": "a", "promt_id": "b"}', "unknown field 'promt_id'"),
        ('{"prompt": "a", "prompt": "b"}', "a field twice"),
        ('{"prompt": ["a"]}', "not of type str"),
        ('{"prompt": "a", "attributes": {"n": 1}}', "strings only"),
        ('{"prompt": "a", "held_out": 1}', "not of type bool"),
        ('{"prompt": ' + "[" * 100_000, "recursion"),
        ('{"prompt": ' + "9" * 5_000 + "}", "4300 digits"),
        ('{"prompt": ["' + "x" * 10_000 + '"]}', r"xxx \.\.\."),
    ],
)
def test_a_broken_line_of_json_is_named(tmp_path: Path, line: str, reason: str) -> None:
    refused(text_file(tmp_path, "jsonl", f'{{"prompt": "a"}}\n{line}\n'), rf"mine\.jsonl line 2: .*{reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("text,id\na cat,1\n", r"line 1: no column 'prompt'; the columns are 'text', 'id'"),
        ("Prompt\na cat\n", r"line 1: no column 'prompt'; the columns are 'Prompt'"),
        ("\n\nprompt;prompt_id\na;b\n", r"line 3: no column 'prompt'; .*parted by commas"),
        (",prompt\n0,a cat\n", "line 1: a column without a name"),
        ("prompt,prompt\na,b\n", "line 1: two columns of one name"),
        ("prompt,attributes\na,b\n", "line 1: a column 'attributes'"),
        ("prompt\na cat\na cat, walking\n", r"line 3: 2 fields, the header has 1 \(a prompt with a comma needs quotes"),
        ("prompt,x,y\na cat,1\n", "line 2: 2 fields, the header has 3;"),
        ('prompt,x\n"two\nlines",1\n"a cat,1\na dog,2\n', "line 4: a quote that is never closed"),
        ('prompt\n"' + "x" * 200_000, "line 2: .*a quote that is never closed?"),
        ('prompt\n"a" cat\n', "line 2: not CSV: ',' expected after '\"'"),
        ("prompt\ra cat\r", r"line 1: control character U\+000D outside quotes"),
        ("prompt,held_out\na,yes\n", "line 2: held_out is 'yes', not true, false, 1 or 0"),
        ('prompt,prompt_id\n"a\nb",x\nc,X\n', "line 4: prompt_id 'X' again, first in line 2"),
    ],
)
def test_a_broken_csv_is_named_by_the_line_where_the_row_begins(tmp_path: Path, content: str, reason: str) -> None:
    refused(text_file(tmp_path, "csv", content), rf"mine\.csv {reason}")


def parquet(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "mine.parquet")
    return folder / "mine.parquet"


def test_columns_of_other_types_are_read_or_named(tmp_path: Path) -> None:
    text = pa.array(["a", "a"]).dictionary_encode()
    path = parquet(
        tmp_path, prompt=text, prompt_id=[7, 8], dimensions=["x;y", ""], held_out=[1, 0], n=[0.5, float("nan")]
    )
    first, second = read_prompts(path)
    assert (first.prompt_id, first.dimensions, first.held_out) == ("7", ("x", "y"), True)
    assert (first.attributes, second.attributes, second.dimensions, second.held_out) == ({"n": "0.5"}, {}, (), False)
    refused(parquet(tmp_path, prompt=[1, 2]), r"row 1: field 'prompt' is 1, not of type str")
    refused(parquet(tmp_path, prompt=["a", None]), "row 2: an empty prompt")
    refused(parquet(tmp_path, prompt=["a"], dimensions=[3]), "row 1: field 'dimensions' is 3, not of type list")
    refused(parquet(tmp_path, prompt=["a"], dimensions=[[3]]), "row 1: dimensions and attributes hold strings only")
    refused(parquet(tmp_path, prompt=["a", "b"], x=[None, [1]]), "row 2: column 'x' holds a list")
    refused(parquet(tmp_path, text=["a"], id=["b"]), r"mine\.parquet: no column 'prompt'; the columns are 'text', 'id'")
    refused(parquet(tmp_path, prompt=["a"], attributes=[{"x": "y"}]), "a column 'attributes'")
    half = pa.array([b"a", b"\xff"]).view(pa.string())
    refused(parquet(tmp_path, prompt=half), "row 2: column 'prompt' is not readable: 'utf-8'")


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"prompt": ["a", "b", "c"], "shape": ["x", None, "z"]})[1:]  # its index is stored
    frame.to_parquet(tmp_path / "mine.parquet")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    assert read_prompts(tmp_path / "mine.parquet") == read_prompts(tmp_path / "mine.csv")
    assert [dict(p.attributes) for p in read_prompts(tmp_path / "mine.csv")] == [{}, {"shape": "z"}]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_broken_parquet_is_refused(tmp_path: Path, keep: float) -> None:
    path = parquet(tmp_path, prompt=[f"cat {index}" for index in range(1000)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    refused(path, r"mine\.parquet: not readable as Parquet: ")
    path.write_bytes(data[:100] + b"\xff" * 400 + data[500:])
    refused(path, r"mine\.parquet")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_cannot_be_opened_is_a_user_s_error(tmp_path: Path, suffix: str) -> None:
    refused(tmp_path / f"absent.{suffix}", "No such file")


@pytest.mark.parametrize("suffix", FORMATS)
def test_reading_is_linear(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": f"a cat, number {index}"} for index in range(6000)]
    best = {}
    for count in (600, 6000):
        path = write(tmp_path / f"n{count}.{suffix}", rows[:count])
        for _ in range(3):
            start = time.perf_counter()
            assert len(read_prompts(path)) == count
            best[count] = min(best.get(count, 60.0), time.perf_counter() - start)
    assert best[6000] < 40 * best[600]  # 10 when linear, 100 when quadratic
