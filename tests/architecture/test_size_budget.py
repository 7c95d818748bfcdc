"""Are files and functions small enough to be read in one sitting?"""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

FILE_LINES, MEDIAN_LINES, FUNCTION_STATEMENTS = 400, 130, 50


def sources(repository: Path, *folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((repository / folder).rglob("*.py"))]
    assert found
    return found


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def statements(function: ast.AST) -> int:
    """Statements of a function with those of its inner functions; docstrings and other bare constants are none."""
    inside = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    return sum(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in inside)


def test_no_file_is_too_long(repository: Path) -> None:
    long = {
        str(path.relative_to(repository)): lines(path)
        for path in sources(repository, "turbo_train", "turbo_eval", "tests")
        if lines(path) > FILE_LINES
    }
    assert not long


def test_the_median_file_is_short(repository: Path) -> None:
    # An empty __init__.py would make the median look better than it is.
    counts = [n for path in sources(repository, "turbo_train", "turbo_eval") if (n := lines(path)) > 1]
    assert median(counts) < MEDIAN_LINES


def test_no_function_is_too_long(repository: Path) -> None:
    long = {
        f"{path.relative_to(repository)}:{node.lineno} {node.name}": statements(node)
        for path in sources(repository, "turbo_train", "turbo_eval")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and statements(node) > FUNCTION_STATEMENTS
    }
    assert not long


def test_statements_are_counted_without_docstrings() -> None:
    tree = ast.parse(
        'def f():\n    """Doc."""\n    if x:\n        y = 1\n    def g():\n        return y\n    return g\n'
    )
    assert statements(tree.body[0]) == 5


@pytest.mark.parametrize("name", ["util", "utils", "helper", "helpers", "misc", "common"])
def test_no_file_has_a_name_that_says_nothing(repository: Path, name: str) -> None:
    assert not [p for p in sources(repository, "turbo_train", "turbo_eval", "tests") if name in (p.stem, p.parent.name)]
