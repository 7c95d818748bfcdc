"""Is every VBench dimension spelled in one file, and what each part may know kept to?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SPEC = "turbo_eval/scorers/vbench/spec.py"
DIMENSIONS = (
    "subject_consistency",
    "background_consistency",
    "temporal_flickering",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
    "object_class",
    "multiple_objects",
    "human_action",
    "color",
    "spatial_relationship",
    "scene",
    "appearance_style",
    "temporal_style",
    "overall_consistency",
)
EVERYDAY = {"color", "scene"}  # also words of matplotlib's and of the embedded world's: only required in SPEC
MODEL_LAYER = {"errors", "exits", "weights", "video_io", "scaled_pictures", "diffusion", "nets", "sampling", "rewards"}
MODEL_LAYER |= {"world"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def trees(repository: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((repository / folder).rglob("*.py")):
            yield path.relative_to(repository).as_posix(), parsed(path)


def literals(tree: ast.Module) -> set[str]:
    """String literals, among them the fixed parts of f-strings."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def imports(tree: ast.Module) -> set[str]:
    """Dotted names of what a file imports, `from a import b` as a.b; relative imports do not occur."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_each_vbench_name_is_spelled_in_the_specification_only(repository: Path) -> None:
    words = {file: literals(tree) for file, tree in trees(repository, "turbo_eval", "turbo_train")}
    spelled = {name: [file for file in words if name in words[file]] for name in DIMENSIONS}
    assert all(SPEC in files for files in spelled.values()), spelled
    assert {name: files for name, files in spelled.items() if name not in EVERYDAY and files != [SPEC]} == {}


def test_turbo_eval_knows_only_the_model_layer_of_turbo_train(repository: Path) -> None:
    beyond = {
        (file, name)
        for file, tree in trees(repository, "turbo_eval")
        for name in imports(tree)
        if name.startswith("turbo_train.")
        and name.split(".")[1] not in MODEL_LAYER
        and name != "turbo_train.__version__"
    }
    assert not beyond


def test_dimension_files_do_not_import_one_another(repository: Path) -> None:
    package = "turbo_eval.scorers.vbench"
    crossed = {
        (file, name)
        for file, tree in trees(repository, package.replace(".", "/"))
        for name in imports(tree)
        if Path(file).stem in DIMENSIONS
        and name.startswith(f"{package}.")
        and name.removeprefix(f"{package}.").split(".")[0] in DIMENSIONS
    }
    assert not crossed
