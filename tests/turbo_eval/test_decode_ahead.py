"""Is what was decoded ahead what the file holds when it is asked for, and is little of it kept?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turbo_eval import decode_ahead
from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.durable import sha256_of
from turbo_train.video_io import UnreadableVideo, read_video, write_mp4


def written(path: Path, seed: int) -> Path:
    write_mp4(path, np.random.default_rng(seed).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8), 8.0)
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(decode_ahead, "read_video", lambda path: (names.append(path.name), read_video(path))[1])
    return names


def settle(ahead: DecodeAhead) -> None:
    for future in list(ahead._expected.values()):
        future.exception()


def test_a_file_is_decoded_once_and_is_no_longer_kept_when_taken(tmp_path: Path, decoded: list[str]) -> None:
    path = written(tmp_path / "a.mp4", 0)
    with DecodeAhead() as ahead:
        ahead.expect([path])
        settle(ahead)
        assert ahead.waiting_bytes() == read_video(path).nbytes > 3 * 16 * 16 * 3  # with the decoder's own pictures
        video = ahead.take(path, sha256_of(path))
        assert (decoded, ahead.waiting_bytes()) == (["a.mp4"], 0)
    np.testing.assert_array_equal(video.frames_THWC, read_video(path).frames_THWC)


def test_a_file_that_has_changed_since_counts_as_its_copy(tmp_path: Path) -> None:
    source, copy = written(tmp_path / "a.mp4", 0), tmp_path / "copy.mp4"
    with DecodeAhead() as ahead:
        ahead.expect([source])
        settle(ahead)
        written(source, 1)
        copy.write_bytes(source.read_bytes())
        written(source, 2)  # and again, after it was copied
        video = ahead.take(source, sha256_of(copy), copy=copy)
    np.testing.assert_array_equal(video.frames_THWC, read_video(copy).frames_THWC)


def test_a_file_that_changes_while_it_is_decoded_is_decoded_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = written(tmp_path / "a.mp4", 0), sha256_of(tmp_path / "a.mp4")
    whole = path.read_bytes()
    monkeypatch.setattr(decode_ahead, "read_video", lambda path: read_video(written(path, 1)))
    with DecodeAhead() as ahead:
        ahead.expect([path])
        settle(ahead)
        monkeypatch.undo()
        path.write_bytes(whole)
        video = ahead.take(path, first)
    np.testing.assert_array_equal(video.frames_THWC, read_video(path).frames_THWC)


def test_no_more_than_so_many_bytes_wait(tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(tmp_path / f"{k}.mp4", k) for k in range(6)]
    monkeypatch.setattr(decode_ahead, "WAITING_BYTES", 2 * read_video(paths[0]).nbytes)
    with DecodeAhead(threads=1) as ahead:
        ahead.expect(paths)
        settle(ahead)
        assert decoded == ["0.mp4", "1.mp4"]
        for path in paths:
            np.testing.assert_array_equal(ahead.take(path, sha256_of(path)).frames_THWC, read_video(path).frames_THWC)
    assert sorted(decoded) == [f"{k}.mp4" for k in range(6)]


def test_what_is_no_longer_expected_is_forgotten_and_a_missing_or_broken_file_shows_in_its_turn(
    tmp_path: Path,
) -> None:
    good, broken = written(tmp_path / "a.mp4", 0), tmp_path / "b.mp4"
    broken.write_bytes(b"no video")
    with DecodeAhead() as ahead:
        ahead.expect([good, broken, tmp_path / "absent.mp4"])
        settle(ahead)
        assert ahead.waiting_bytes()
        for path in (broken, tmp_path / "absent.mp4"):
            with pytest.raises(UnreadableVideo):
                ahead.take(path, "0" * 64)
        ahead.expect([])
        assert ahead.waiting_bytes() == 0
