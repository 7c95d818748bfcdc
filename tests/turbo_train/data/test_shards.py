"""Do shards give every sample once an epoch, whoever reads them and wherever they are resumed?"""

from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import tiny_clips
from tiny_clips import WANTED, numbers, read, same, texts, write_shard, write_shards

from turbo_train.data import shards, skipped
from turbo_train.data.sample import Drawn, NoData
from turbo_train.data.shards import Shards

LAYOUTS = [((3, 2, 4, 1), 2), ((3, 2, 4, 1), 4), ((5, 4), 5), ((7,), 3), ((2, 2, 2), 1), ((1, 1), 5)]


@pytest.mark.parametrize(("counts", "lanes"), LAYOUTS)
def test_an_epoch_has_every_sample_once(tmp_path: Path, counts: tuple[int, ...], lanes: int) -> None:
    source = Shards(write_shards(tmp_path, counts), WANTED, epochs=2)
    met = Counter(text for lane in range(lanes) for text in texts(source.lane(lane, lanes, None)))
    assert met == {f"clip {n}": 2 for n in range(sum(counts))}


def test_a_second_epoch_takes_other_windows(tmp_path: Path) -> None:
    urls = write_shards(tmp_path, (8,))
    starts = [dict(numbers(Shards(urls, WANTED, epochs=n).lane(0, 1, None))) for n in (1, 2)]
    seeded = dict(numbers(Shards(urls, WANTED, seed=1, epochs=1).lane(0, 1, None)))
    assert starts[0].keys() == starts[1].keys() == seeded.keys() == set(range(8))
    assert starts[0] != starts[1] and starts[0] != seeded


def test_who_reads_a_lane_does_not_matter(tmp_path: Path) -> None:
    """One process turn by turn, and four processes each on its own, meet the same samples at the same places."""
    source, lanes, turns = Shards(write_shards(tmp_path, (3, 2, 4)), WANTED), 4, 6
    together = [source.lane(lane, lanes, None) for lane in range(lanes)]
    rows = [[next(lane) for lane in together] for _ in range(turns)]
    with ThreadPoolExecutor(lanes) as pool:
        alone = list(pool.map(lambda lane: read(source, lane, lanes, count=turns), range(lanes)))
    assert all(same(rows[turn][lane], alone[lane][turn]) for turn in range(turns) for lane in range(lanes))


def bad_shards(folder: Path) -> tuple[str, ...]:
    """Three shards with something wrong in each."""
    write_shard(folder / "a.tar", {"0": tiny_clips.sample(0), "1": {"txt": b"alone"}, "2": tiny_clips.sample(2)})
    write_shard(folder / "b.tar", {"3": {"mp4": b"no video", "txt": b"x"}, "4": tiny_clips.sample(4)})
    whole = write_shard(folder / "c.tar", {str(n): tiny_clips.sample(n) for n in (5, 6, 7)})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return tuple(str(folder / f"{name}.tar") for name in "abc")


@pytest.mark.parametrize("lanes", [1, 2, 5])
@pytest.mark.parametrize("bad", [False, True])
def test_resumed_anywhere_a_lane_goes_on_as_if_never_stopped(tmp_path: Path, lanes: int, bad: bool) -> None:
    source = Shards(bad_shards(tmp_path) if bad else write_shards(tmp_path, (3, 2, 4)), WANTED)
    for lane in range(lanes):
        whole = read(source, lane, lanes, count=12)
        for k in range(11):
            rest = read(source, lane, lanes, json.loads(json.dumps(whole[k].position)), 2 if k < 10 else 1)
            assert all(same(a, b) for a, b in zip(rest, whole[k + 1 :], strict=False)), (lane, k)


def test_what_was_passed_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Shards(write_shards(tmp_path, (6,)), WANTED)
    position, decoded, real = read(source, count=4)[-1].position, [], shards.read_clip
    monkeypatch.setattr(shards, "read_clip", lambda data, *rest: decoded.append(data) or real(data, *rest))
    assert texts(read(source, start=position)) == ["clip 4"]
    assert decoded == [tiny_clips.clip(4)]


def drawn_from(path: Path) -> list[Drawn]:
    drawn = []
    with suppress(NoData):  # where the shard gives nothing at all
        for one in Shards((str(path),), WANTED, epochs=1).lane(0, 1, None):
            drawn.append(one)
    return drawn


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"txt": b"a caption"}, r"a caption without a clip: no \.mp4 among \.txt"),
        ({"mp4": b"x"}, r"a clip without a caption: no \.txt among \.mp4"),
        ({"mp4": b"x", "txt": b" \n"}, "its caption is empty"),
        ({"mp4": b"x", "txt": "caf\u00e9".encode("latin-1")}, "its caption is no UTF-8"),
        ({"mp4": b"<html>404</html>" * 99, "txt": b"a"}, "is not a video"),
        ({"mp4": b"", "txt": b"a"}, "is not a video"),
        ({"mp4": tiny_clips.clip(9, frames=4), "txt": b"a"}, r"4 frames at 8 fps, wanted are 6 \(3 x 2\)"),
        ({"mp4": tiny_clips.clip(9, fps=2.0), "txt": b"a"}, "2 fps, wanted are 4"),
        ({"mp4": tiny_clips.clip(9)[:-200], "txt": b"a"}, "cut off"),
        ({"json": b"{}"}, r"without a clip: no \.mp4 among \.json"),
    ],
)
def test_a_bad_sample_is_skipped_by_name(tmp_path: Path, parts: dict[str, bytes], why: str) -> None:
    samples = {"000": tiny_clips.sample(0), "001": parts, "002": tiny_clips.sample(2)}
    first, skipped, last = drawn_from(write_shard(tmp_path / "a.tar", samples))
    assert texts([first, last]) == ["clip 0", "clip 2"]
    assert skipped.sample is None and skipped.skipped is not None
    assert skipped.skipped.startswith("a.tar/001: ")
    assert re.search(why, skipped.skipped)


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def test_a_shard_cut_anywhere_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    """In a clip, in a header, between two files, or just before the mark that ends an archive."""
    path = write_shard(tmp_path / "a.tar", {f"{n:03d}": tiny_clips.sample(n) for n in range(4)})
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    wholes = []
    for size in [*range(512, end, 1000), *range(512, end, 512 * 5), -(-end // 512) * 512]:
        path.write_bytes(data[:size])
        *good, last = drawn_from(path)
        wholes.append(len(good))
        assert texts(good) == [f"clip {n}" for n in range(len(good))]
        assert last.skipped is not None and last.skipped.startswith("a.tar: is cut off or damaged behind "), size
    assert set(wholes) == {0, 1, 2, 3, 4} and wholes[-1] == 4


def test_a_damaged_header_does_not_end_a_shard_quietly(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", {f"{n:03d}": tiny_clips.sample(n) for n in range(3)})
    data = bytearray(path.read_bytes())
    at = data.index(b"001.mp4")
    data[at : at + 512] = b"\xff" * 512
    path.write_bytes(data)
    assert texts(drawn_from(path))[0] == "clip 0"
    assert "is cut off or damaged behind 000" in texts(drawn_from(path))[-1]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be opened"), (b"", "cut off or damaged at its beginning"), (b"no tar" * 400, "at its beginning")],
)
def test_a_shard_that_is_none_is_skipped_once_and_the_others_read(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    urls = write_shards(tmp_path, (2, 2))
    if content is None:
        Path(urls[0]).unlink()
    else:
        Path(urls[0]).write_bytes(content)
    for lanes in (1, 2, 4):
        source = Shards(urls, WANTED, epochs=1)
        drawn = [d for lane in range(lanes) for d in source.lane(lane, lanes, None)]
        assert sorted(texts(d for d in drawn if d.sample)) == ["clip 2", "clip 3"]
        [skipped] = [d.skipped for d in drawn if d.skipped]
        assert skipped.startswith("0.tar: ") and why in skipped


def test_compressed_shards_pipes_and_names_that_webdataset_keeps_for_itself(tmp_path: Path) -> None:
    samples = {"./deep/000": tiny_clips.sample(0), "__notes__": {"txt": b"x"}, "deep/001": tiny_clips.sample(1)}
    path = write_shard(tmp_path / "a.tar.gz", samples, "w:gz")
    for url in (str(path), f"pipe:cat {path}", f"file:{path}"):
        drawn = read(Shards((url,), WANTED, epochs=1), count=9)
        assert texts(drawn) == ["clip 0", "clip 1"]
    failing = read(Shards((f"pipe:cat {path}; exit 3", str(path)), WANTED, epochs=1), count=9)
    assert set(texts(d for d in failing if d.sample)) == {"clip 0", "clip 1"}
    assert any("exit 3" in (d.skipped or "") for d in failing)


@pytest.mark.parametrize("lanes", [1, 3])
def test_shards_without_anything_usable_are_an_error_and_no_endless_loop(tmp_path: Path, lanes: int) -> None:
    short = {"mp4": tiny_clips.clip(9, frames=4), "txt": b"short"}
    urls = tuple(str(write_shard(tmp_path / f"{n}.tar", {"0": short, "1": short})) for n in range(2))
    for lane in range(lanes):
        with pytest.raises(NoData, match=r"nothing that can be used in 2 shards.*4 frames at 8 fps, wanted are 6"):
            read(Shards(urls, WANTED), lane, lanes, count=1000)


def test_a_very_long_row_of_bad_samples_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipped, "MOST_IN_A_ROW", 5)
    bad = {f"{n}": {"txt": b"alone"} for n in range(9)}
    path = write_shard(tmp_path / "a.tar", {"first": tiny_clips.sample(0), **bad})
    drawn = Shards((str(path),), WANTED).lane(0, 1, None)
    assert texts(next(drawn) for _ in range(5))[0] == "clip 0"
    with pytest.raises(NoData, match=r"5 samples in a row .* a caption without a clip"):
        next(drawn)
