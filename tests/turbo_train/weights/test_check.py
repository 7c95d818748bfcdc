"""Is a changed byte found, whoever knew the sha256 first?"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import put

from turbo_train.errors import UserError
from turbo_train.weights.check import altered, check_file, knowledge_of
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
@pytest.mark.parametrize(
    ("content", "said"), [(b"", "it is empty"), (b"<!DOCTYPE html><html>log in</html>", "it is a web page")]
)
def test_what_is_plainly_no_file_is_not_recorded(path: Path, told: int, content: bytes, said: str) -> None:
    path.write_bytes(content)
    assert check_file(row(about_bytes=told), path).wrong == said
    assert knowledge_of(row()) == "unknown"


def test_a_record_of_a_web_page_does_not_make_it_a_file(path: Path) -> None:
    """Records of before this was looked at."""
    path.write_bytes(page := b"<html>log in</html>")
    record(row(), hashlib.sha256(page).hexdigest())
    assert check_file(row(), path).wrong == "it is a web page"


@pytest.mark.parametrize(("size", "said"), [(10**6 - 1, "cut off"), (10**6 + 1, ""), (5 * 10**6, "not about 2.0 MB")])
def test_a_size_far_from_the_rounded_one_is_not_recorded(path: Path, size: int, said: str) -> None:
    path.write_bytes(b"x" * size)
    found = check_file(row(about_bytes=2 * 10**6), path)
    assert said in found.wrong and bool(found.wrong) == bool(said)
    assert knowledge_of(row()) == ("unknown" if said else "recorded")


def test_files_of_other_bytes_than_the_published_are_named(weights_root: Path) -> None:
    files = files_for("viclip") + files_for("clip")
    assert altered(files) == []  # nothing is there
    for file in files:
        put(file)
    assert altered(files) == ["viclip/ViClip-InternVid-10M-FLT.pth"]  # of the other no sha256 is known
    clip = find_file("laion/open_clip_pytorch_model.bin")
    record(clip, hashlib.sha256(destination(clip).read_bytes()).hexdigest())
    assert altered([clip]) == []
    destination(clip).write_bytes(destination(clip).read_bytes() + b"more")
    assert altered([clip]) == [clip.name]


def test_every_byte_that_is_read_is_told(path: Path) -> None:
    path.write_bytes(b"x" * 10**6)
    told: list[int] = []
    check_file(row(), path, advance=told.append)
    assert sum(told) == 10**6 and len(told) > 2


def test_processes_that_record_at_once_lose_nothing(weights_root: Path, repository: Path) -> None:
    program = (
        "import sys\nfrom turbo_train.weights.recorded import WeightFile, record\n"
        "for i in range(40): record(WeightFile('a', (), 'text', url=f'https://a.org/{sys.argv[1]}/{i}'), 'f' * 64)"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(n)], cwd=repository) for n in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert len(json.loads((weights_root / "recorded.json").read_text())) == 160


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
        put(file)
    assert require(files_for("vc2-turbo", "lora"), "vc2-turbo") == {
        file.name: destination(file) for file in files_for("vc2-turbo", "lora")
    }
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "lora"), "what is there whole is what is used"
    destination(find_file("vc2-turbo/unet_lora.pt")).unlink()
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "merged")
    with pytest.raises(UserError, match=r"1 missing file .*; try: turbo-eval weights pull vc2-turbo/unet_lora.pt$"):
        require(files_for("vc2-turbo", "lora"), "vc2-turbo")


def test_the_command_fetches_what_is_missing_and_nothing_else(weights_root: Path) -> None:
    checkpoint, merged = files_for("vc2-turbo", "merged")
    _, lora = files_for("vc2-turbo", "lora")
    put(lora)
    with pytest.raises(UserError, match=r"try: turbo-eval weights pull vc2/model.ckpt$"):
        require((checkpoint, lora), "vc2-turbo")  # --for would fetch the merged upload too
    put(merged)
    with pytest.raises(UserError, match=r"try: turbo-eval weights pull --for vc2-turbo$"):
        require((checkpoint, merged), "vc2-turbo")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("vc2/model.ckpt", b"", "it is empty"),
        ("vc2/model.ckpt", b"<html>", "it is a web page"),
        ("vc2/model.ckpt", b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
        ("ms/unet/config.json", b"{}", "2 bytes, not 787"),
    ],
)
def test_a_damaged_file_is_listed_before_any_work(weights_root: Path, name: str, content: bytes, why: str) -> None:
    file = find_file(name)
    for one in files_for("ms"):
        put(one)
    path = put(file, content)
    with pytest.raises(UserError) as caught:
        require([file, find_file("amt/amt-s.pth")], "")
    assert "2 missing or damaged files: " in str(caught.value) and f"damaged: {why}" in caught.value.found
    assert str(path) in caught.value.found and caught.value.run_next.endswith(f"pull {name} amt/amt-s.pth")
    with pytest.raises(UserError, match=f"found 1 damaged file: {name}"):
        require([file], "")


def test_a_damaged_alternative_is_not_the_one_that_is_here(weights_root: Path) -> None:
    for alternative in ("merged", "lora"):
        for file in files_for("vc2-turbo", alternative):
            put(file)
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "merged")
    put(find_file("vc2-turbo/merged.pt"), b"")
    assert files_wanted("vc2-turbo") == files_for("vc2-turbo", "lora")
