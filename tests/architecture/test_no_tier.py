"""Does no code ask to which tier its weights belong? The classes and the paths through them are the same in all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


def decisions(tree: ast.AST) -> list[ast.expr]:
    """Everything by which code branches."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            found.append(node.test)
        elif isinstance(node, ast.comprehension):
            found += node.ifs
        elif isinstance(node, ast.Match):
            found.append(node.subject)
        elif isinstance(node, ast.Compare | ast.BoolOp | ast.Subscript):
            found.append(node)
    return found


def asks_for_the_tier(code: str) -> bool:
    names = (part for test in decisions(ast.parse(code)) for part in ast.walk(test))
    return any(getattr(part, "attr", getattr(part, "id", None)) == "tier" for part in names)


@pytest.mark.parametrize("code", ["if entry.tier == 'world': pass", "x = 1 if tier else 2", "table[entry.tier]"])
def test_the_check_sees_a_branch(code: str) -> None:
    assert asks_for_the_tier(code) and not asks_for_the_tier("row = {'tier': entry.tier}")


def test_no_code_branches_on_the_tier(repository: Path) -> None:
    files = [path for package in ("turbo_train", "turbo_eval") for path in (repository / package).rglob("*.py")]
    assert len(files) > 100
    assert [str(path) for path in files if asks_for_the_tier(path.read_text(encoding="utf-8"))] == []
