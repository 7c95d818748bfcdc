"""Does a file arrive whole and right or not at all, through cut connections, closed doors and wrong bytes?"""

from __future__ import annotations

import hashlib
import shutil
import threading
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
from turbo_train.weights.table import WeightFile
from turbo_train.weights.whole import locate_whole

if TYPE_CHECKING:
    from conftest import Served

CONTENT = b"\x80" + bytes(range(255)) * 4000 + b"\x80"  # forwards and backwards an old pickle at a glance
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
    assert pulled.path == weights_root / "models" / "a.pt" == locate(file) == locate_whole(file)
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
    with pytest.raises(UserError, match="not the recorded") as caught:
        pull([unknown])
    assert locate(unknown) is None
    records = weights_root / "recorded.json"
    assert f"if the publisher has replaced it, remove the line of {unknown.url} from {records}" in str(caught.value)
    records.write_text("\n".join(line for line in records.read_text().splitlines() if unknown.url not in line))
    assert pull([unknown])[0].check is not None, "what the message says works"


@pytest.mark.parametrize("page", [b"<html>log in</html>", b"not found", b""])
@pytest.mark.parametrize("known", [{"about_bytes": 4000}, {"about_bytes": None, "size_bytes": len(CONTENT)}])
def test_a_page_in_the_place_of_weights_is_neither_kept_nor_recorded(
    served: Served, weights_root: Path, page: bytes, known: dict[str, int]
) -> None:
    served.files["/a.pt"] = page
    file = row(served.url("/a.pt"), **known)
    with pytest.raises(UserError, match=r"a.pt is not a: .*it was removed; .*; open http|the answer is empty"):
        pull([file])
    assert leftovers(weights_root) == [] and not recorded_sha256(file)
    served.files["/a.pt"] = CONTENT
    assert pull([file])[0].path.read_bytes() == CONTENT, "a wrong answer does not keep the right one out"


@pytest.mark.parametrize("content", [b"", b"<html>", CONTENT[: len(CONTENT) // 3]])
def test_a_file_that_is_not_whole_is_fetched_again(served: Served, weights_root: Path, content: bytes) -> None:
    served.files["/a.pt"] = CONTENT
    file = row(served.url("/a.pt"), about_bytes=len(CONTENT))
    path = destination(file)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    [pulled] = pull([file])
    assert pulled.check is not None and path.read_bytes() == CONTENT


def test_of_a_link_to_a_damaged_file_only_the_link_goes(file: WeightFile, tmp_path: Path) -> None:
    (tmp_path / "theirs.pt").write_bytes(b"<html>")
    destination(file).parent.mkdir(parents=True)
    destination(file).symlink_to(tmp_path / "theirs.pt")
    assert pull([file])[0].path.read_bytes() == CONTENT
    assert (tmp_path / "theirs.pt").read_bytes() == b"<html>"


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


def test_what_earlier_calls_fetched_needs_no_room(
    file: WeightFile, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**5))
    part = part_way(file, CONTENT[: len(CONTENT) - 10**5])
    assert pull([file])[0].path.read_bytes() == CONTENT
    destination(file).unlink()
    part.write_bytes(CONTENT[: len(CONTENT) - 10**5 - 1])
    with pytest.raises(UserError, match=r"100.0 kB free on the disk of .*; expected 100.0 kB"):
        pull([file])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a file system that takes no files")
@pytest.mark.parametrize("place", ["/proc/nope", "/dev/null/nope"])
def test_a_place_that_takes_no_files_is_not_called_full(
    file: WeightFile, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("TURBO_WEIGHTS", place)
    with pytest.raises(UserError, match=rf"a cannot be written to {place}/models .*; try: set TURBO_WEIGHTS"):
        pull([file])


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
