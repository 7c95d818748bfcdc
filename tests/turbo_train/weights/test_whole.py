"""Is what is plainly no file of weights seen as such, and every kind that is whole left in peace?"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stand_ins import put, stand_in

from turbo_train.weights.table import WeightFile, weight_files
from turbo_train.weights.whole import locate_whole, why_broken, why_cut_off, why_damaged

STATE = {"a": torch.arange(300.0), "b": torch.zeros(2, 2)}


def written(folder: Path, name: str) -> Path:
    """A whole file of its kind."""
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(STATE, path, metadata={"format": "pt"})
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(b"a\nb\n"))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"a": [1, "ü"]}))
    elif path.suffix in (".txt", ".yaml"):
        path.write_text("a: <html>\nü\n", encoding="utf-8")
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=not name.startswith("old"))
    return path


WHOLE = [
    "a.pt",
    "old.pt",
    "a.pth",
    "old.ckpt",
    "a.bin",
    "old.tar",
    "a.json",
    "a.txt",
    "a.yaml",
    "a.txt.gz",
    "a.safetensors",
]


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_whole_under_any_name(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    assert why_broken(path) is None
    assert why_broken(path.rename(tmp_path / "a.part"), path.suffix) is None


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf \r\n<!DOCTYPE HTML>\n<html>", "it is a web page"),
        (b"<html><body>log in</body></html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "it is a pointer of Git LFS"),
    ],
)
def test_what_stands_in_a_files_place_is_seen(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert (why_broken(path) or "").startswith(why)


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.safetensors", "a.json"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_seen(tmp_path: Path, name: str, kept: float) -> None:
    path = written(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * kept))])
    assert why_broken(path) is not None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pt", b"not found"),
        ("a.json", b"[1]"),
        ("a.json", b'"quota exceeded"'),
        ("a.txt", b"\xff\xfe\x00"),
        ("a.gz", b"words"),
        ("a.safetensors", b"\xff" * 100),
        ("a.safetensors", (4).to_bytes(8, "little") + b"[[]]"),
        ("a.safetensors", (20).to_bytes(8, "little") + b'{"a":{"shape":[1]}} '),
    ],
)
def test_another_kind_of_file_is_seen(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert why_broken(tmp_path / name) is not None


@pytest.mark.parametrize("file", weight_files(), ids=lambda file: file.name)
def test_a_stand_in_may_be_used_and_one_of_another_known_size_not(file: WeightFile, weights_root: Path) -> None:
    path = put(file)
    assert why_damaged(file, path) is None
    assert bool(why_cut_off(file, path)) == bool(file.about_bytes and file.about_bytes >= 10**6)
    put(file, b"" if file.size_bytes is None else stand_in(path.suffix) + b" ")
    assert why_damaged(file, path) == why_cut_off(file, path) is not None and locate_whole(file) is None


def test_a_file_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.pt").mkdir()
    assert "cannot be read" in (why_damaged(weight_files()[0], tmp_path / "a.pt") or "")
