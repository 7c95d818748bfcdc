"""Does a command answer before torch is loaded, and a laptop rebuild tables without it?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "diffusers", "transformers", "open_clip", "peft", "cv2", "av", "matplotlib"}
LIGHT = ["tables", "compare", "policy", "report", "survey", "stats", "store", "records", "suites", "models"]
LIGHT += ["reward_table", "vbench_table", "in_loop"]
BASE = ["errors", "exits", "weights", "video_io", "scaled_pictures"]

CALLS = """
import json, sys
from {package}.cli import main
for arguments in {calls!r}:
    sys.argv = ["{program}", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
QUICK = {
    "turbo_eval": [
        ["--help"],
        ["vbench", "--help"],
        ["rewards", "--help"],
        ["lineup", "--help"],
        ["curves", "--help"],
        ["speed", "--help"],
        *(["list", what] for what in ("models", "suites", "dimensions", "rewards")),
    ],
    "turbo_train": [["--help"], ["world", "build", "--help"]],
}


def run(code: str, repository: Path) -> list[str]:
    """Lines of stdout of a fresh interpreter in the checkout."""
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("package", sorted(QUICK))
def test_help_and_lists_load_nothing_heavy(repository: Path, package: str) -> None:
    program = package.replace("_", "-")
    *shown, loaded = run(CALLS.format(package=package, program=program, calls=QUICK[package]), repository)
    assert program in "\n".join(shown)
    assert not HEAVY & set(json.loads(loaded))


def test_tables_are_built_without_torch(repository: Path) -> None:
    def exists(package: str, name: str) -> bool:
        return (repository / package / f"{name}.py").is_file() or (repository / package / name).is_dir()

    names = [f"turbo_eval.{name}" for name in LIGHT if exists("turbo_eval", name)]
    names += [f"turbo_train.{name}" for name in BASE if exists("turbo_train", name)]
    assert {"turbo_eval.records", "turbo_eval.stats", "turbo_train.errors", "turbo_train.video_io"} <= set(names)
    [loaded] = run(f"import json, sys, {', '.join(names)}\nprint(json.dumps(sorted(sys.modules)))", repository)
    # pandas and rich may be there; what needs minutes to install on a laptop may not.
    assert not (HEAVY - {"matplotlib"}) & set(json.loads(loaded))
