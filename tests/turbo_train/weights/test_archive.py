"""Is one file taken out of a fetched archive, whatever else the archive holds and however it is damaged?"""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from turbo_train.errors import UserError
from turbo_train.weights.pull import pull
from turbo_train.weights.table import WeightFile

if TYPE_CHECKING:
    from conftest import Served

CONTENT = b"\x80" + bytes(range(255)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def member_of(url: str, **known: Any) -> WeightFile:
    known = {"about_bytes": len(CONTENT), "lands": ("vbench/models/a.pt",), "member": "models/a.pt", **known}
    return WeightFile("a", ("b",), "tensors", url=url, **known)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def archive(packing: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as content:
        for name, data in members.items():
            content.writestr(name.replace("__", "/"), data)
    return packed.getvalue()


def test_of_an_archive_only_the_member_is_kept(served: Served, weights_root: Path, tmp_path: Path) -> None:
    served.files["/models.zip"] = archive(**{"models__a.pt": CONTENT, "..__..__evil.pt": b"evil"})
    [pulled] = pull([member_of(served.url("/models.zip"), sha256=SHA256)])
    assert pulled.path == weights_root / "models" / "a.pt" and pulled.path.read_bytes() == CONTENT
    assert leftovers(weights_root) == ["a.pt"] and not list(tmp_path.rglob("evil.pt"))


def flipped(content: bytes, *places: int) -> bytes:
    changed = bytearray(content)
    for place in places:
        changed[place] ^= 0xFF
    return bytes(changed)


MEMBER = {"models__a.pt": CONTENT}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive(other=b"x"), "it holds no models/a.pt"),
        (b"no archive", "it is damaged"),
        (flipped(archive(**MEMBER), 5000), "it is damaged: Bad CRC-32"),
        (flipped(archive(zipfile.ZIP_DEFLATED, **MEMBER), *range(60, 90)), "it is damaged: Error -3"),
        (flipped(archive(zipfile.ZIP_LZMA, **MEMBER), *range(60, 90)), "it is damaged"),
        (archive(**MEMBER)[:-30], "it is damaged"),
    ],
    ids=["another member", "no archive", "a changed byte", "deflate", "lzma", "cut off"],
)
def test_an_archive_that_does_not_give_the_member_is_refused_and_forgotten(
    served: Served, weights_root: Path, content: bytes, said: str
) -> None:
    served.files["/models.zip"] = content
    file = member_of(served.url("/models.zip"), sha256=SHA256)
    with pytest.raises(UserError, match=rf"no models/a.pt in http.* \({said}"):
        pull([file])
    assert leftovers(weights_root) == []
    served.files["/models.zip"] = archive(**MEMBER)
    assert pull([file])[0].path.read_bytes() == CONTENT


def test_an_archive_with_another_member_of_that_name_is_forgotten(served: Served, weights_root: Path) -> None:
    served.files["/models.zip"] = archive(**{"models__a.pt": CONTENT + b"x"})
    with pytest.raises(UserError, match="not the published"):
        pull([member_of(served.url("/models.zip"), sha256=SHA256)])
    assert leftovers(weights_root) == []


def test_a_disk_that_fills_up_costs_no_archive(
    served: Served, weights_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.files["/models.zip"] = archive(**MEMBER)
    file = member_of(served.url("/models.zip"), sha256=SHA256)

    def full(source: object, copy: Any) -> None:
        copy.write(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(UserError, match=r"cannot be written .*No space left.*expected room for it; .*same command"):
            pull([file])
    assert leftovers(weights_root) == ["models.zip.part", "models.zip.part.of"]
    assert pull([file])[0].path.read_bytes() == CONTENT
    assert served.ranges == [None, f"bytes={len(served.files['/models.zip'])}-"], "nothing came twice"
    assert leftovers(weights_root) == ["a.pt"]
