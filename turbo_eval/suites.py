"""Which prompts does a suite hold? Built-in suites by name, or any JSON-lines file by its path.

One prompt a line: {"prompt": ...} and, optionally, prompt_id, dimensions, attributes, held_out (prompts/README.md).
A suite's sha256 is that of its canonical lines: it does not depend on spacing or on the order of a line's fields.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.records import Prompt, canonical_line
from turbo_train.errors import UserError

BUILT_IN = {
    "world": "the embedded world, 72 prompts: 54 of combinations held out from training, 18 of seen ones",
    "world-validation": "the embedded world, 36 prompts for tuning, disjoint from `world`",
    "vbench": "VBench's 944 prompts, read from the installed vbench package",
}


@dataclass(frozen=True)
class Suite:
    """Prompts in the order in which they are generated."""

    name: str
    prompts: tuple[Prompt, ...]
    sha256: str


def suite_of(name: str, prompts: Sequence[Prompt]) -> Suite:
    """A suite with the sha256 of exactly these prompts."""
    text = "".join(canonical_line(prompt) + "\n" for prompt in prompts)
    return Suite(name, tuple(prompts), hashlib.sha256(text.encode()).hexdigest())


def describe_suites() -> dict[str, str]:
    """The built-in suites and one sentence on each."""
    return dict(BUILT_IN)


def load_suite(name_or_path: str) -> Suite:
    """A built-in suite or a JSONL file. UserError: unknown name, broken line, duplicate id, empty, no vbench."""
    if name_or_path == "vbench":
        return suite_of(name_or_path, _vbench_prompts())
    path = prompts_folder() / f"{name_or_path}.jsonl" if name_or_path in BUILT_IN else Path(name_or_path)
    if path.is_file():
        return suite_of(name_or_path if name_or_path in BUILT_IN else path.stem, read_prompts(path))
    near = difflib.get_close_matches(name_or_path, BUILT_IN, n=1)
    raise UserError(
        found=f"no suite and no file {name_or_path!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        expected=f"one of {', '.join(BUILT_IN)}, or the path of a .jsonl file",
        run_next="turbo-eval list suites",
    )


def prompts_folder() -> Path:
    """Where the suites lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a JSONL file. Blank lines are skipped. UserError names the line."""
    prompts: list[Prompt] = []
    first_line: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            prompt = Prompt.from_json(data, default_id=f"{path.stem[:80]}-{len(prompts):04d}")
            canonical_line(prompt).encode()  # a lone surrogate (\ud800) is JSON but not text
            # Case-folded: `A` and `a` are one file on a case-insensitive disk.
            earlier = first_line.setdefault(prompt.prompt_id.casefold(), number)
            if earlier != number:
                raise ValueError(f"prompt_id {prompt.prompt_id!r} again, first in line {earlier}")
        except ValueError as error:
            raise _broken(path, number, str(error)) from error
        prompts.append(prompt)
    if not prompts:
        raise _broken(path, 1, "no prompt in the file")
    return prompts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise _broken(path, number, "not UTF-8 text") from error
        if line:
            yield number, line


def _broken(path: Path, number: int, reason: str) -> UserError:
    return UserError(
        found=f"{path} line {number}: {reason}",
        expected='one JSON object a line, such as {"prompt_id": "cat-1", "prompt": "a cat walks"}',
        run_next="correct that line and run the same command again",
    )


def select(suite: Suite, *, limit: int | None = None, dimensions: Sequence[str] = ()) -> Suite:
    """The prompts meant for any of `dimensions`, then the first `limit`. UserError when none is left."""
    wanted = set(dimensions)
    kept = [p for p in suite.prompts if not wanted or not p.dimensions or wanted & set(p.dimensions)]
    kept = kept if limit is None else kept[: max(limit, 0)]
    if not kept:
        raise UserError(
            found=f"no prompt of suite {suite.name!r} left (limit {limit}, dimensions {', '.join(wanted) or 'all'})",
            expected="at least one prompt",
            run_next="the same command with another --limit or --dimensions",
        )
    return suite_of(suite.name, kept)


def _vbench_prompts() -> list[Prompt]:
    """The package's 946 entries, two of which repeat another's prompt with more dimensions: 944 prompts."""
    spec = importlib.util.find_spec("vbench")
    info = None if spec is None or spec.origin is None else Path(spec.origin).parent / "VBench_full_info.json"
    if info is None or not info.is_file():
        raise UserError(
            found="no vbench package, which holds the prompts of this suite",
            expected="vbench 0.1.5 (without its dependencies, which cannot be resolved beside ours)",
            run_next="pip install --no-deps vbench==0.1.5",
        )
    merged: dict[str, tuple[list[str], dict[str, str]]] = {}
    for entry in json.loads(info.read_text(encoding="utf-8")):
        dimensions, attributes = merged.setdefault(entry["prompt_en"], ([], {}))
        dimensions += [name for name in entry["dimension"] if name not in dimensions]
        attributes |= dict(_leaves(entry.get("auxiliary_info", {})))
    return [
        Prompt(f"vbench-{index:03d}", text, tuple(dimensions), attributes)
        for index, (text, (dimensions, attributes)) in enumerate(merged.items())
    ]


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Nested auxiliary information as flat attributes: `a.b.c` -> text."""
    for key, value in tree.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _leaves(value, name)
        else:
            yield name, str(value)
