"""Are files of the Hugging Face hub fetched once, checked, told of while they come, and refused when they are wrong?

Each pull is a process of its own: huggingface_hub reads its variables when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from turbo_train.errors import UserError
from turbo_train.weights.pull import pull
from turbo_train.weights.table import find_file

if TYPE_CHECKING:
    from conftest import Served

CONTENT = b"\x80" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REVISION = "c" * 40
ROW = {"needed_by": [], "opens": "tensors", "repository": "o/r", "revision": REVISION, "about_bytes": 10**6}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


HUB = """
import json, sys
from contextlib import nullcontext
from turbo_train.errors import UserError
from turbo_train.weights.pull import pull
from turbo_train.weights.places import locate
from turbo_train.weights.table import WeightFile
said = []
for row in json.loads(sys.argv[1]):
    file = WeightFile(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
    told = []
    try:
        [pulled] = pull([file], lambda file: nullcontext(told.append))
        verdict = pulled.check.verdict if pulled.check else "here"
        said.append([str(pulled.path), verdict, pulled.path == locate(file), sum(told)])
    except UserError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def begun(served: Served, repository: Path, rows: list[dict[str, Any]], **environment: str) -> subprocess.Popen[str]:
    settings = os.environ | {"HF_ENDPOINT": served.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    program = [sys.executable, "-c", HUB, json.dumps(rows)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(program, env=settings | environment, text=True, cwd=repository, **pipes)


def ended(process: subprocess.Popen[str]) -> list[Any]:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    said: list[Any] = json.loads(out)
    return said


def on_hub(served: Served, repository: Path, rows: list[dict[str, Any]], **environment: str) -> list[Any]:
    return ended(begun(served, repository, rows, **environment))


def test_the_hub_is_asked_for_the_pinned_revision_and_its_answer_checked(
    served: Served, home: Path, repository: Path, tmp_path: Path
) -> None:
    served.files |= {f"/o/r/resolve/{REVISION}/{name}": CONTENT for name in ("f.pt", "wrong.pt", "v.pt", "closed.pt")}
    served.tags |= {path: f'"{number}"' for number, path in enumerate(served.files)}  # the hub names blobs by them
    served.statuses[f"/o/r/resolve/{REVISION}/closed.pt"] = 403
    right, wrong = {"sha256": SHA256}, {"sha256": "0" * 64}
    rows = [
        ROW | right | {"name": "f", "file": "f.pt"},
        ROW | wrong | {"name": "wrong", "file": "wrong.pt"},
        ROW | right | {"name": "v", "file": "v.pt", "lands": ["vbench/v/v.pt"]},
        ROW | right | {"name": "gone", "file": "gone.pt"},
        ROW | right | {"name": "closed", "file": "closed.pt"},
    ]
    cached, refused, landed, gone, closed = on_hub(served, repository, rows)
    hub = home / ".cache" / "huggingface" / "hub" / "models--o--r" / "snapshots" / REVISION
    assert cached == [str(hub / "f.pt"), "as published", True, len(CONTENT)] and (hub / "f.pt").read_bytes() == CONTENT
    assert "is not wrong: sha256" in refused and "it was removed" in refused
    assert not (hub / "wrong.pt").is_symlink() and not (hub / "wrong.pt").exists()
    assert landed == [str(home / ".cache" / "vbench" / "v" / "v.pt"), "as published", True, len(CONTENT)]
    assert leftovers(home / ".cache" / "vbench") == ["v.pt"]
    assert "gone is not at https://huggingface.co/o/r/resolve" in gone
    assert "accept its licence on https://huggingface.co/o/r and set HF_TOKEN" in closed
    below = on_hub(served, repository, rows[:1], TURBO_WEIGHTS=str(tmp_path / "weights"), HF_HOME=str(tmp_path / "hf"))
    assert below == [[str(tmp_path / "weights" / "o" / "r" / "f.pt"), "as published", True, len(CONTENT)]]
    assert leftovers(tmp_path / "weights") == ["f.pt"]


def test_an_offline_hub_is_no_network(weights_root: Path) -> None:
    with pytest.raises(UserError, match=r"vc2/model.ckpt cannot be fetched .*VideoCrafter/VideoCrafter2/model.ckpt$"):
        pull([find_file("vc2/model.ckpt")])  # HF_HUB_OFFLINE is set for all tests


def test_two_pulls_of_one_file_wait_for_one_another(
    served: Served, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/o/r/resolve/{REVISION}/f.pt"
    served.files[address] = CONTENT
    served.delay_s = 1.0  # both are at it before the first is done
    rows, below = [ROW | {"name": "f", "file": "f.pt", "sha256": SHA256}], str(tmp_path / "weights")
    processes = [begun(served, repository, rows, TURBO_WEIGHTS=below) for _ in range(3)]
    verdicts = sorted(ended(process)[0][1] for process in processes)
    assert verdicts == ["as published", "here", "here"] and len(served.ranges) == 1, "it came once"
    assert leftovers(tmp_path / "weights") == ["f.pt"]


def test_a_damaged_file_in_the_hubs_cache_is_fetched_again(served: Served, home: Path, repository: Path) -> None:
    served.files[f"/o/r/resolve/{REVISION}/f.pt"] = CONTENT
    rows = [ROW | {"name": "f", "file": "f.pt"}]
    [[path, verdict, *_]] = on_hub(served, repository, rows)
    assert verdict == "recorded now" and Path(path).is_symlink()
    Path(path).resolve().write_bytes(b"")
    assert on_hub(served, repository, rows) == [[path, "as recorded", True, len(CONTENT)]]


def test_what_a_killed_pull_left_is_removed(served: Served, repository: Path, tmp_path: Path) -> None:
    served.files[f"/o/r/resolve/{REVISION}/f.pt"] = CONTENT
    left = tmp_path / "weights" / "o" / "r" / ".f.pt.pull" / ".cache" / "x.incomplete"
    left.parent.mkdir(parents=True)
    left.write_bytes(CONTENT)
    on_hub(
        served,
        repository,
        [ROW | {"name": "f", "file": "f.pt", "sha256": SHA256}],
        TURBO_WEIGHTS=str(tmp_path / "weights"),
    )
    assert leftovers(tmp_path / "weights") == ["f.pt"]
