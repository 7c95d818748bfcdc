"""Can a laptop without torch rebuild every table? The modules that records, store and tables import."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("records", "suites", "stats", "ledger", "store", "provenance", "tables", "report", "world_suite", "models")


def test_the_core_imports_nothing_heavy() -> None:
    code = "import sys\n" + "".join(f"import turbo_eval.{name}\n" for name in MODULES) + "print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "diffusers", "transformers", "open_clip", "cv2", "av", "matplotlib", "pandas", "scipy", "rich"}
    assert not heavy & set(done.stdout.split())
