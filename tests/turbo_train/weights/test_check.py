"""Is a changed byte found, whoever knew the sha256 first?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from turbo_train.errors import UserError
from turbo_train.weights.check import check_file, knowledge_of
from turbo_train.weights.missing import files_wanted, require
from turbo_train.weights.places import destination
from turbo_train.weights.recorded import record, recorded_sha256
from turbo_train.weights.table import WeightFile, files_for, find_file

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def row(**known: object) -> WeightFile:
    return WeightFile("a", ("b",), "tensors", **{"url": "https://example.org/a", "about_bytes": 7, **known})  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "a.pt"
    target.write_bytes(CONTENT)
    return target


def test_a_published_sha256_is_enforced_and_not_recorded(path: Path, weights_root: Path) -> None:
    file = row(sha256=SHA256, size_bytes=7, about_bytes=None)
    assert check_file(file, path).verdict == "as published" and not weights_root.exists()
    path.write_bytes(b"weightS")
    assert check_file(file, path).wrong.startswith("sha256 ")
    path.write_bytes(b"weight")
    assert check_file(file, path).wrong == "6 bytes, not 7"


@pytest.mark.parametrize("with_root", [True, False])
def test_an_unknown_sha256_is_recorded_once_and_then_enforced(
    path: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_root: bool
) -> None:
    if with_root:
        monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path / "weights"))
    records = (tmp_path / "weights" if with_root else home / ".cache" / "turbo-video") / "recorded.json"
    assert knowledge_of(row()) == "unknown"
    assert check_file(row(), path).verdict == "recorded now"
    assert json.loads(records.read_text()) == {"https://example.org/a": SHA256}
    assert knowledge_of(row()) == "recorded" and check_file(row(), path).verdict == "as recorded"
    path.write_bytes(b"Weights")
    assert "not the recorded" in check_file(row(), path).wrong
    assert json.loads(records.read_text()) == {"https://example.org/a": SHA256}
    assert knowledge_of(row(url="https://example.org/a/v2")) == "unknown", "another address is another file"


def test_the_first_digits_of_a_sha256_are_enforced_before_anything_is_recorded(path: Path) -> None:
    assert "does not begin with" in check_file(row(sha256_prefix="00000000"), path).wrong
    assert knowledge_of(row()) == "unknown"
    assert check_file(row(sha256_prefix=SHA256[:8]), path).verdict == "recorded now"


@pytest.mark.parametrize("told", [2 * 10**6, 10])
def test_a_page_in_the_place_of_weights_is_not_recorded(path: Path, told: int) -> None:
    path.write_bytes(b"" if told == 10 else b"<html>log in</html>")
    assert "not about" in check_file(row(about_bytes=told), path).wrong
    assert knowledge_of(row()) == "unknown"


def test_records_that_cannot_be_read_are_no_empty_records(home: Path) -> None:
    records = home / ".cache" / "turbo-video" / "recorded.json"
    records.parent.mkdir(parents=True)
    records.write_text("{")
    with pytest.raises(UserError, match=r"recorded.json cannot be read"):
        recorded_sha256(row())


def test_records_of_the_user_stand_in_where_the_shared_folder_is_closed(
    home: Path, weights_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_root.write_text("no folder can be made here")
    with pytest.raises(FileExistsError):
        record(row(), SHA256)
    weights_root.unlink()
    make = Path.mkdir

    def closed(self: Path, *args: object, **kwargs: object) -> None:
        if self == weights_root:  # root may write anywhere, so permissions cannot be used here
            raise PermissionError(13, "closed")
        make(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", closed)
    assert record(row(), SHA256) == home / ".cache" / "turbo-video" / "recorded.json"
    assert recorded_sha256(row()) == SHA256


def test_everything_that_is_missing_is_said_at_once(weights_root: Path) -> None:
    with pytest.raises(UserError) as caught:
        require(files_for("vc2-turbo"), "vc2-turbo")
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "2 missing files for vc2-turbo: vc2/model.ckpt (about 7.4 GB, apache-2.0), vc2-turbo/merged.pt" in text
    assert "expected about 13.1 GB" in text and text.endswith("try: turbo-eval weights pull --for vc2-turbo")
    for file in files_for("vc2-turbo", "lora"):
        destination(file).parent.mkdir(parents=True)
        destination(file).write_bytes(b"x")
    assert require(files_for("vc2-turbo", "lora"), "vc2-turbo") == {
        file.name: destination(file) for file in files_for("vc2-turbo", "lora")
    }
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "lora"), "what is there whole is what is used"
    destination(find_file("vc2-turbo/unet_lora.pt")).unlink()
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "merged")
    with pytest.raises(UserError, match=r"1 missing file .*; try: turbo-eval weights pull vc2-turbo/unet_lora.pt$"):
        require(files_for("vc2-turbo", "lora"), "vc2-turbo")
