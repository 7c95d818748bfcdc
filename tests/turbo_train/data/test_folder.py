"""Does a folder of clips give each with its caption, once an epoch?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import tiny_clips
from tiny_clips import WANTED, read, same, texts

from turbo_train.data.folder import Folder, list_items
from turbo_train.data.sample import NoData
from turbo_train.errors import UserError


def write_clips(folder: Path, count: int = 4, captions: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (folder / f"{n}.mp4").write_bytes(tiny_clips.clip(n))
        if captions:
            (folder / f"{n}.txt").write_text(f"clip {n}\n", encoding="utf-8")
    return folder


def source(folder: Path, epochs: int | None = 1) -> Folder:
    return Folder(folder, list_items(folder), WANTED, epochs=epochs)


@pytest.mark.parametrize("lanes", [1, 3, 4, 6])
def test_an_epoch_has_every_clip_once(tmp_path: Path, lanes: int) -> None:
    clips = source(write_clips(tmp_path), epochs=2)
    met = Counter(text for lane in range(lanes) for text in texts(clips.lane(lane, lanes, None)))
    assert met == {f"clip {n}": 2 for n in range(4)}


def test_resumed_anywhere_a_lane_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    clips = source(write_clips(tmp_path), None)
    whole = read(clips, 1, 3, count=9)
    for k in range(8):
        assert same(read(clips, 1, 3, json.loads(json.dumps(whole[k].position)))[0], whole[k + 1])
    (tmp_path / "4.mp4").write_bytes(tiny_clips.clip(4))
    with pytest.raises(UserError, match=r"position in 4 units \(\w+\), and now 5 units"):
        source(tmp_path).lane(1, 3, whole[3].position)


@pytest.mark.parametrize("table", ["captions.csv", "captions.jsonl"])
def test_captions_in_a_table(tmp_path: Path, table: str) -> None:
    write_clips(tmp_path, captions=False)
    (tmp_path / "deep").mkdir()
    (tmp_path / "3.mp4").rename(tmp_path / "deep" / "3.mp4")
    rows = [("0.mp4", "clip 0, a red one"), ("1.mp4", 'clip "1"'), ("deep/3.mp4", "clip 3"), ("gone.mp4", "x")]
    if table.endswith(".csv"):
        lines = ["file,caption", *(f'{name},"{text.replace(chr(34), chr(34) * 2)}"' for name, text in rows)]
    else:
        lines = [json.dumps({"file": name, "caption": text}) for name, text in rows]
    (tmp_path / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = texts(source(tmp_path).lane(0, 1, None))
    assert sorted(found) == sorted(
        [
            "clip 0, a red one",
            'clip "1"',
            "clip 3",
            f"{tmp_path / 'gone.mp4'}: a caption without a clip",
            f"{tmp_path / '2.mp4'}: a clip without a caption",
        ]
    )


def test_what_stands_alone_or_is_broken_is_skipped_by_name(tmp_path: Path) -> None:
    write_clips(tmp_path)
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "1.txt").unlink()
    (tmp_path / "2.mp4").write_bytes(tiny_clips.clip(2)[:300])
    found = dict(zip("abcd", sorted(texts(source(tmp_path).lane(0, 1, None))), strict=True))
    assert found["a"] == f"{tmp_path / '0.txt'}: a caption without a clip"
    assert found["b"] == f"{tmp_path / '1.mp4'}: a clip without a caption"
    assert found["c"].startswith(f"{tmp_path / '2.mp4'}: the clip ") and found["d"] == "clip 3"


def test_a_folder_without_any_usable_clip_is_an_error(tmp_path: Path) -> None:
    write_clips(tmp_path, captions=False)
    with pytest.raises(NoData, match=r"nothing that can be used .* a clip without a caption"):
        read(source(tmp_path, None), 1, 3, count=1000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", "name,caption\n0.mp4,x\n", "entry 1 has no file and caption"),
        ("captions.csv", "file,caption\n0.mp4,x\n0.mp4,y\n", r"0\.mp4 twice, again in entry 2"),
        ("captions.jsonl", '{"file": "0.mp4"}\n', "entry 1 has no file and caption"),
        ("captions.jsonl", '{"file": \n', "cannot be read"),
        ("captions.jsonl", "[]\n", "entry 1 has no"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    (write_clips(tmp_path, 1) / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        list_items(tmp_path)


def test_two_tables_and_no_clip(tmp_path: Path) -> None:
    for name in ("captions.csv", "captions.jsonl"):
        (tmp_path / name).write_text("file,caption\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"both captions\.csv and captions\.jsonl"):
        list_items(tmp_path)
    (tmp_path / "captions.csv").unlink()
    with pytest.raises(UserError, match=r"no clip in .*, only \.jsonl"):
        list_items(tmp_path)
