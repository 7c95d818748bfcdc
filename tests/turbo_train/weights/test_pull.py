"""Does a file arrive whole and right or not at all, through cut connections, closed doors and wrong bytes?"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from turbo_train.errors import UserError
from turbo_train.weights.download import fetch, part_of
from turbo_train.weights.places import destination, locate
from turbo_train.weights.pull import pull
from turbo_train.weights.recorded import recorded_sha256
from turbo_train.weights.table import WeightFile, find_file

if TYPE_CHECKING:
    from conftest import Served

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def row(url: str, **known: Any) -> WeightFile:
    known = {"about_bytes": len(CONTENT), "lands": ("vbench/models/a.pt",), **known}
    return WeightFile("a", ("b",), "tensors", url=url, **known)


@pytest.fixture
def file(served: Served, weights_root: Path) -> WeightFile:
    served.files["/a.pt"] = CONTENT
    return row(served.url("/a.pt"), sha256=SHA256)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_pull_puts_the_file_where_it_is_found_and_leaves_nothing_else(file: WeightFile, weights_root: Path) -> None:
    [pulled] = pull([file])
    assert pulled.path == weights_root / "models" / "a.pt" == locate(file)
    assert pulled.path.read_bytes() == CONTENT and leftovers(weights_root) == ["a.pt"]
    assert pulled.check is not None and pulled.check.verdict == "as published"
    [again] = pull([file])
    assert again.check is None, "what is here is not fetched again"


def test_a_cut_connection_costs_only_what_was_not_yet_there(file: WeightFile, served: Served) -> None:
    served.cuts = [100_000, 200_000]
    told: list[int] = []

    @contextmanager
    def watch(_: WeightFile) -> Iterator[Any]:
        yield told.append

    [pulled] = pull([file], watch)
    assert pulled.path.read_bytes() == CONTENT
    assert served.ranges == [None, "bytes=100000-", "bytes=300000-"]
    assert sum(told) == len(CONTENT) and min(told) >= 0


def test_a_later_call_goes_on_where_a_stopped_one_was(file: WeightFile, served: Served) -> None:
    served.cuts = [100_000, 0]
    with pytest.raises(UserError, match=r"cannot be fetched .*ended after 100000 bytes.*same command again"):
        pull([file])
    assert locate(file) is None and part_of(destination(file)).stat().st_size == 100_000
    [pulled] = pull([file])
    assert pulled.path.read_bytes() == CONTENT and served.ranges[-1] == "bytes=100000-"


@pytest.mark.parametrize("tag", ['"two"', ""])
def test_a_file_that_changed_meanwhile_is_fetched_whole(file: WeightFile, served: Served, tag: str) -> None:
    served.tags["/a.pt"] = '"one"' if tag else ""
    served.cuts = [100_000, 0]
    with pytest.raises(UserError):
        pull([file])
    served.files["/a.pt"], served.tags["/a.pt"] = CONTENT[::-1], tag
    [pulled] = pull([row(file.url)])
    assert pulled.path.read_bytes() == CONTENT[::-1], "no mixture of two files"


def part_way(file: WeightFile, content: bytes) -> Path:
    """What a killed pull leaves behind."""
    part = part_of(destination(file))
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    part.with_name(part.name + ".of").write_text('"one"')
    return part


def test_a_part_that_is_already_whole_is_taken(file: WeightFile, served: Served) -> None:
    part_way(file, CONTENT)
    assert pull([file])[0].path.read_bytes() == CONTENT and served.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_is_forgotten(file: WeightFile, served: Served) -> None:
    part = part_way(file, CONTENT + b"x")
    with pytest.raises(UserError, match=r"cannot be fetched .* the same command again"):
        pull([file])
    assert leftovers(part.parent) == []
    assert pull([file])[0].path.read_bytes() == CONTENT


def test_wrong_bytes_are_removed_and_never_used(file: WeightFile, served: Served, weights_root: Path) -> None:
    served.files["/a.pt"] = CONTENT[:-1] + b"\x00"
    with pytest.raises(UserError, match=f"is not a: sha256 .*, not the published {SHA256}; it was removed") as caught:
        pull([file])
    assert caught.value.exit_code == 2 and locate(file) is None
    assert "a.pt" not in leftovers(weights_root) and "a.pt.part" not in leftovers(weights_root)


def test_an_unknown_sha256_is_recorded_at_the_first_pull_and_then_enforced(served: Served, weights_root: Path) -> None:
    served.files["/a.pt"] = CONTENT
    unknown = row(served.url("/a.pt"))
    [pulled] = pull([unknown])
    assert pulled.check is not None and pulled.check.verdict == "recorded now"
    assert recorded_sha256(unknown) == SHA256
    pulled.path.unlink()
    served.files["/a.pt"] = CONTENT[::-1]
    with pytest.raises(UserError, match="not the recorded"):
        pull([unknown])
    assert locate(unknown) is None


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "is not handed out"),
        (401, "is not handed out"),
        (404, "is not at http://127.0.0.1"),
        (503, "cannot be fetched"),
    ],
)
def test_a_refusal_is_explained(file: WeightFile, served: Served, weights_root: Path, status: int, said: str) -> None:
    served.statuses["/a.pt"] = status
    with pytest.raises(UserError, match=f"a {said}") as caught:
        pull([file])
    assert "$TURBO_WEIGHTS/models/a.pt" in str(caught.value) and leftovers(weights_root) == []


def test_without_a_network_the_message_says_how_to_copy_by_hand(weights_root: Path) -> None:
    with pytest.raises(UserError) as caught:
        pull([row("http://127.0.0.1:9/a.pt", member="m/b.pth")])  # the discard service: nobody listens
    text = str(caught.value)
    assert "a cannot be fetched" in text and "weights list --missing --json" in text
    assert "copy it by hand: http://127.0.0.1:9/a.pt, m/b.pth in it to $TURBO_WEIGHTS/models/a.pt" in text


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_fetched(
    file: WeightFile, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match=r"1.0 MB free on the disk of .*; expected 2.0 MB"):
        pull([file, row(served.url("/b.pt"), lands=("vbench/b.pt",), about_bytes=10**6)])
    assert served.ranges == []


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as content:
        for name, data in members.items():
            content.writestr(name.replace("__", "/"), data)
    return packed.getvalue()


def test_of_an_archive_only_the_member_is_kept(served: Served, weights_root: Path, tmp_path: Path) -> None:
    served.files["/models.zip"] = archive(**{"models__a.pt": CONTENT, "..__..__evil.pt": b"evil"})
    [pulled] = pull([row(served.url("/models.zip"), member="models/a.pt", sha256=SHA256)])
    assert pulled.path == weights_root / "models" / "a.pt" and pulled.path.read_bytes() == CONTENT
    assert leftovers(weights_root) == ["a.pt"] and not list(tmp_path.rglob("evil.pt"))


@pytest.mark.parametrize("content", [archive(other=b"x"), b"no archive"])
def test_an_archive_without_the_member_is_refused(served: Served, weights_root: Path, content: bytes) -> None:
    served.files["/models.zip"] = content
    with pytest.raises(UserError, match=r"no models/a.pt in http"):
        pull([row(served.url("/models.zip"), member="models/a.pt")])
    assert leftovers(weights_root) == []


def test_two_processes_do_not_write_one_file(file: WeightFile, served: Served) -> None:
    target, inside, done = destination(file), threading.Event(), threading.Event()

    def slow(count: int) -> None:
        inside.set()
        done.wait(20)

    first = threading.Thread(target=fetch, args=(file.url, target, slow))
    first.start()
    assert inside.wait(20)
    with pytest.raises(UserError, match="another process is fetching"):
        fetch(file.url, target, lambda count: None)
    done.set()
    first.join()
    assert part_of(target).read_bytes() == CONTENT


HUB = """
import json, sys
from turbo_train.errors import UserError
from turbo_train.weights.pull import pull
from turbo_train.weights.places import locate
from turbo_train.weights.table import WeightFile
said = []
for row in json.loads(sys.argv[1]):
    file = WeightFile(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
    try:
        [pulled] = pull([file])
        said.append([str(pulled.path), pulled.check.verdict, pulled.path == locate(file)])
    except UserError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def on_hub(served: Served, repository: Path, rows: list[dict[str, Any]], **environment: str) -> list[Any]:
    """In a process of its own: huggingface_hub reads its variables when it is imported."""
    settings = os.environ | {"HF_ENDPOINT": served.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    program = [sys.executable, "-c", HUB, json.dumps(rows)]
    done = subprocess.run(program, env=settings | environment, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stderr
    said: list[Any] = json.loads(done.stdout)
    return said


def test_the_hub_is_asked_for_the_pinned_revision_and_its_answer_checked(
    served: Served, home: Path, repository: Path, tmp_path: Path
) -> None:
    revision = "c" * 40
    served.files |= {f"/o/r/resolve/{revision}/{name}": CONTENT for name in ("f.pt", "wrong.pt", "v.pt", "closed.pt")}
    served.tags |= {path: f'"{number}"' for number, path in enumerate(served.files)}  # the hub names blobs by them
    served.statuses[f"/o/r/resolve/{revision}/closed.pt"] = 403
    base = {"needed_by": [], "opens": "tensors", "repository": "o/r", "revision": revision, "about_bytes": 10**6}
    right, wrong = {"sha256": SHA256}, {"sha256": "0" * 64}
    rows = [
        base | right | {"name": "f", "file": "f.pt"},
        base | wrong | {"name": "wrong", "file": "wrong.pt"},
        base | right | {"name": "v", "file": "v.pt", "lands": ["vbench/v/v.pt"]},
        base | right | {"name": "gone", "file": "gone.pt"},
        base | right | {"name": "closed", "file": "closed.pt"},
    ]
    cached, refused, landed, gone, closed = on_hub(served, repository, rows)
    hub = home / ".cache" / "huggingface" / "hub" / "models--o--r" / "snapshots" / revision
    assert cached == [str(hub / "f.pt"), "as published", True] and (hub / "f.pt").read_bytes() == CONTENT
    assert "is not wrong: sha256" in refused and "it was removed" in refused
    assert not (hub / "wrong.pt").is_symlink() and not (hub / "wrong.pt").exists()
    assert landed == [str(home / ".cache" / "vbench" / "v" / "v.pt"), "as published", True]
    assert leftovers(home / ".cache" / "vbench") == ["v.pt"]
    assert "gone is not at https://huggingface.co/o/r/resolve" in gone
    assert "accept its licence on https://huggingface.co/o/r and set HF_TOKEN" in closed
    below = on_hub(served, repository, rows[:1], TURBO_WEIGHTS=str(tmp_path / "weights"), HF_HOME=str(tmp_path / "hf"))
    assert below == [[str(tmp_path / "weights" / "o" / "r" / "f.pt"), "as published", True]]
    assert leftovers(tmp_path / "weights") == ["f.pt"]


def test_an_offline_hub_is_no_network(weights_root: Path) -> None:
    with pytest.raises(UserError, match=r"vc2/model.ckpt cannot be fetched .*VideoCrafter/VideoCrafter2/model.ckpt$"):
        pull([find_file("vc2/model.ckpt")])  # HF_HUB_OFFLINE is set for all tests
