"""The Python files of detectron2 come out of its repository's archive, alone and safely."""

from __future__ import annotations

import http.client
import io
import tarfile
import urllib.request
from pathlib import Path

import pytest

from turbo_eval.scorers.vbench import overlay_code
from turbo_eval.scorers.vbench.overlay_code import fetch_detectron2, find_detectron2


@pytest.fixture(autouse=True)
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_code, "find_spec", lambda name: None)


def archive(path: Path, names: list[str]) -> str:
    with tarfile.open(path, "w:gz") as made:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            made.addfile(entry, io.BytesIO(b"abc"))
    return path.as_uri()


def test_the_package_is_unpacked_and_nothing_else(tmp_path: Path) -> None:
    names = ["d-main/setup.py", "d-main/detectron2/__init__.py", "d-main/detectron2/layers/nms.py", "d-main/tests/a.py"]
    source = archive(tmp_path / "a.tar.gz", names)
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    said: list[str] = []
    fetch_detectron2(overlay, said.append, source)
    found = sorted(str(path.relative_to(overlay)) for path in overlay.rglob("*") if path.is_file())
    assert found == ["detectron2/__init__.py", "detectron2/layers/nms.py"]
    assert find_detectron2(overlay) == overlay / "detectron2" and len(said) == 1
    fetch_detectron2(overlay, said.append, "file:///nothing")
    assert len(said) == 1  # it is there


class Cut(io.RawIOBase):
    """A connection that ends too early, as http.client tells it of a page in chunks."""

    def read(self, size: int = -1) -> bytes:
        raise http.client.IncompleteRead(b"")


def test_a_connection_that_ends_too_early_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Cut())
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    said: list[str] = []
    fetch_detectron2(overlay, said.append)
    assert find_detectron2(overlay) is None and list(tmp_path.iterdir()) == [overlay]
    assert "cannot be had (IncompleteRead" in said[-1]


@pytest.mark.parametrize("kind", ["no network", "no archive", "another archive", "outside"])
def test_what_cannot_be_had_is_said(tmp_path: Path, kind: str) -> None:
    page = tmp_path / "page"
    page.write_text("<html>not found</html>")
    source = {
        "no network": (tmp_path / "nothing").as_uri(),
        "no archive": page.as_uri(),
        "another archive": archive(tmp_path / "b.tar.gz", ["d-main/other/a.py"]),
        "outside": archive(tmp_path / "c.tar.gz", ["../detectron2/../../../outside/__init__.py"]),
    }[kind]
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    said: list[str] = []
    fetch_detectron2(overlay, said.append, source)
    assert find_detectron2(overlay) is None and not list(overlay.iterdir())
    assert "cannot be had" in said[-1] and "github.com/facebookresearch/detectron2" in said[-1]
    assert not (tmp_path / "outside").exists() and not (tmp_path.parent / "outside").exists()
