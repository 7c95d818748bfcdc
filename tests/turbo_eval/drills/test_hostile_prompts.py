"""Prompts full of path characters, markup and ten thousand letters: are they made and scored like any other?

Other control characters than tabs and line breaks do not get so far: the suite's reader refuses them (suite_files.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from drill import Drill

PROMPTS = (
    "../../../../etc/passwd",
    "/absolute/path\\and\\back: a|b?c*d<e>f\"g'h",
    "CON",
    "-rf --out=/tmp/x $(touch /tmp/x) `id` ; rm -rf .",
    "line one\nline two\r\n\ttabbed",
    "a red circle " + "moving left " * 833,
    "x" * 10_000,
    "\u202eright to left\u202c \U0001f9ff é e\u0301 漢字",
    "%s %d {0} {prompt_id} [bold red]markup[/] | pipe | <b>html</b> & `code`",
    "a line\u2028separator, a paragraph\u2029separator, a zero\u200bwidth space, a \ufeffbyte order mark",
)
CONTROL = ("a bell \x07", "\x1b[31mred", "a red circle\x00with a null", "\x7f", "next\x85line")
PLAIN = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def test_hostile_prompts_end_as_clips_and_scores(new_drill: Callable[..., Drill]) -> None:
    """From the suite's file to the contact sheet; afterwards each stands in the run's suite as it was."""
    drill = new_drill("hostile")
    suite = drill.folder / "hostile.jsonl"
    rows = [{"prompt_id": f"p{i}", "prompt": prompt} for i, prompt in enumerate(PROMPTS)]
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    drill.suite = suite
    done = drill.run()
    assert done.code == 0, done.log
    kept = (drill.out / "suite.jsonl").read_bytes().decode().split("\n")[:-1]
    assert [json.loads(line)["prompt"] for line in kept] == list(PROMPTS)
    assert len(drill.rows("clip")) == len(PROMPTS)
    scored = {(row["prompt_id"], row["metric"]) for row in drill.rows("score")}
    assert len(scored) == 3 * len(PROMPTS)
    drill.check(drill.scores(), -(-len(PROMPTS) // 2))
    assert (drill.out / "contact_sheet.png").is_file()


def test_no_prompt_reaches_a_path_or_a_row(new_drill: Callable[..., Drill]) -> None:
    """Names of files are numbers and hashes; rows name a prompt by its id."""
    drill = new_drill("paths")
    suite = drill.folder / "hostile.jsonl"
    marked = [{"prompt_id": f"p{i}", "prompt": f"{prompt} canary{i}"} for i, prompt in enumerate(PROMPTS[:6])]
    suite.write_text("".join(json.dumps(row) + "\n" for row in marked), encoding="utf-8")
    drill.suite = suite
    assert drill.run().code == 0
    for path in drill.out.rglob("*"):
        name = path.relative_to(drill.out).as_posix()
        assert PLAIN.fullmatch(name)
        assert "canary" not in name
        if path.is_file() and path.name != "suite.jsonl":
            assert b"canary" not in path.read_bytes()


def test_control_characters_are_refused_before_anything_is_made(new_drill: Callable[..., Drill]) -> None:
    for number, prompt in enumerate(CONTROL):
        drill = new_drill(f"control{number}")
        drill.suite = drill.folder / "bad.jsonl"
        drill.suite.write_text(json.dumps({"prompt": prompt}) + "\n", encoding="utf-8")
        done = drill.run()
        assert done.code == 2, (prompt, done.log)
        assert "control character" in done.log
        assert not drill.out.exists()


def test_ids_that_are_no_file_names_never_get_in(new_drill: Callable[..., Drill]) -> None:
    for number, prompt_id in enumerate(("../up", "a/b", "", ".hidden", "nul\x00", "end.", "x" * 101)):
        drill = new_drill(f"ids{number}")
        drill.suite = drill.folder / "bad.jsonl"
        drill.suite.write_text(json.dumps({"prompt_id": prompt_id, "prompt": "a cat"}) + "\n", encoding="utf-8")
        done = drill.run()
        assert done.code == 2, (prompt_id, done.log)
        assert not drill.out.exists()
