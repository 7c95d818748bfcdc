"""Are all fields named in which two runs differ, and told apart by whether they change pixels?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_runs import make_run


def test_equal_runs(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other", "node2-1-bb")
    document = call("explain", run, other, "--json").document
    assert document["fields"] == [] and document["shared"] == ["fast"] and document["same_identity"]
    printed = call("explain", run, other).stdout
    assert "no field differs" in printed and "the same clips (equal content keys): fast" in printed


def test_what_changes_pixels_is_marked(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other", changed={"seed": 3, "packages": {"torch": "2.1"}}, limit=2, batch=4)
    path = other / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "made_by": {"host": "there", "pid": 2, "argv": ["vbench", "--seed", "3"]}}))
    done = call("explain", run, other, "--json")
    assert done.code == 0
    assert {f["field"]: (f["a"], f["b"], f["changes_pixels"]) for f in done.document["fields"]} == {
        "identity.batch": (2, 4, True),
        "scope.limit": (None, 2, False),
        "models.fast.seed": (0, 3, True),
        "models.fast.packages.torch": ("2.0", "2.1", True),
        "environment.host": ("here", "there", False),
        "environment.argv": ("", "vbench --seed 3", False),
    }
    assert (done.document["same_suite"], done.document["shared"], done.document["remade"]) == (True, [], ["fast"])
    printed = call("explain", run, other).stdout
    assert "changes pixels" in printed and "comparable: yes, the same suite; no clip is shared" in printed


def test_models_of_one_run_only_are_listed(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other", model="slow")
    document = call("explain", run, other, "--json").document
    assert (document["only_a"], document["only_b"], document["shared"]) == (["fast"], ["slow"], [])
    assert "only in B: slow" in call("explain", run, other).stdout


def test_two_models_of_one_run(run: Path, call: Any) -> None:
    make_run(run, "node1-2-bb", model="slow", changed={"num_steps": 50})
    done = call("explain", run, "--model", "fast", "--model", "slow", "--json")
    assert [(f["field"], f["a"], f["b"]) for f in done.document["fields"]] == [("models.fast | slow.num_steps", 4, 50)]


def test_mistakes(run: Path, tmp_path: Path, call: Any) -> None:
    assert call("explain", run, tmp_path / "nothing").code == 2
    done = call("explain", run, "--model", "quick")
    assert done.code == 2 and "no model 'quick'" in done.stderr and "one of fast" in done.stderr
    assert call("explain", run, *["--model", "fast"] * 3).code == 2


def test_another_suite_is_not_comparable(run: Path, tmp_path: Path, call: Any) -> None:
    other = make_run(tmp_path / "other")
    path = other / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["identity"]["suite_sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    done = call("explain", run, other)
    assert done.code == 0 and "comparable: no" in done.stdout
