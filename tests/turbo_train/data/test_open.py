"""Does a recipe's `data` lead to its source, and a wrong one to an error that helps?"""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_clips
from tiny_clips import WANTED, read, texts, write_shards

from turbo_train.assembly import teacher_source
from turbo_train.config import TrainConfig
from turbo_train.data.clips import Wanted
from turbo_train.data.fitted import FittedWorld
from turbo_train.data.folder import Folder
from turbo_train.data.open import open_data, open_source
from turbo_train.data.sample import Source
from turbo_train.data.shards import Shards
from turbo_train.data.world_stream import WorldStream
from turbo_train.errors import UserError
from turbo_train.nets.base import load_base


def opened(data: Path | str, wanted: Wanted = WANTED) -> Source:
    return open_data(str(data), wanted, 0, lambda: "ab")


def test_a_run_of_the_world_reads_the_renderer_and_a_folder_as_the_teacher_wants_it(
    tmp_path: Path, real_clips: dict[str, Path]
) -> None:
    teacher = load_base(teacher_source("world"))
    assert open_source(TrainConfig("p", "world", "world", seed=3), teacher) == WorldStream(3)
    for name in ("bikes", "carphone_pristine"):
        (tmp_path / f"{name}.mp4").symlink_to(real_clips[name])
        (tmp_path / f"{name}.txt").write_text(name, encoding="utf-8")
    source = open_source(TrainConfig("p", "world", str(tmp_path)), teacher)
    for drawn in read(source, count=4):
        assert drawn.sample is not None and drawn.sample.frames_TCHW is not None
        assert tuple(drawn.sample.frames_TCHW.shape) == (8, 3, 32, 32) and drawn.sample.text in real_clips


def test_shards_by_every_way_to_say_it(tmp_path: Path) -> None:
    urls = write_shards(tmp_path, (1, 1, 1))
    (tmp_path / "._0.tar").write_bytes(b"what some systems leave beside a copied file")
    for data in (tmp_path, f"{tmp_path}/{{0..2}}.tar", f"{tmp_path}/*.tar", f"{tmp_path}/{{0..9}}.tar"):
        source = opened(data)
        assert isinstance(source, Shards) and source.urls[:3] == urls and not source.latents
    assert opened(urls[1]) == Shards((urls[1],), WANTED)
    assert opened(f"{urls[0]}::{urls[2]}") == Shards((urls[0], urls[2]), WANTED)
    piped = opened(f"pipe:cat {urls[0]}")
    assert texts(read(piped)) == ["clip 0"]


def test_a_pattern_with_gaps_names_what_is_missing_and_reads_the_rest(tmp_path: Path) -> None:
    write_shards(tmp_path, (1, 1))
    drawn = read(opened(f"{tmp_path}/{{0..3}}.tar"), count=4)
    assert sorted(text.partition(" (")[0] for text in texts(drawn)) == [
        "2.tar: cannot be opened",
        "3.tar: cannot be opened",
        "clip 0",
        "clip 1",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("wrold", r"'wrold', which is not there \(did you mean world\?\)"),
        ("{folder}/shard", r"which is not there \(did you mean shards\?\); expected world, a folder of clips"),
        (
            "{folder}/shards/00{{1..3}}.tar",
            r"a pattern of 3 shards of which none is there.*001\.tar \(did you mean 000\.tar",
        ),
        ("{folder}/shards/*.tgz", r"a pattern of 0 shards of which none is there"),
        ("{folder}/none/{{0..9}}.tar", r"pattern of 10 shards .* nor is .*none"),
        ("{folder}/notes.md", r"notes\.md', a file that is no shard"),
        ("{folder}/empty", r"no clip in .*empty, which is empty"),
        ("{folder}/texts", r"no clip in .*texts, only \.txt"),
        ("${{NOWHERE}}/a.tar", r"missing environment variable"),
    ],
)
def test_data_that_is_not_there(tmp_path: Path, data: str, message: str) -> None:
    for name in ("shards", "empty", "texts"):
        (tmp_path / name).mkdir()
    write_shards(tmp_path / "shards", (1,))
    (tmp_path / "shards" / "0.tar").rename(tmp_path / "shards" / "000.tar")
    (tmp_path / "texts" / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "notes.md").write_text("a", encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        opened(data.format(folder=tmp_path))
    assert error.value.exit_code == 2 and error.value.run_next


def test_a_folder_of_clips(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(tiny_clips.clip(0))
    (tmp_path / "0.txt").write_text("clip 0", encoding="utf-8")
    source = opened(tmp_path)
    assert isinstance(source, Folder) and texts(read(source)) == ["clip 0"]


def test_the_world_at_another_size() -> None:
    source = opened("world", Wanted(4, 64, 96, 8.0, (4, 4, 8, 12)))
    assert isinstance(source, FittedWorld)
    drawn, plain = read(source, 1, 3, count=2)[1], read(WorldStream(0), 1, 3, count=2)[1]
    assert drawn.sample is not None and drawn.sample.frames_TCHW is not None and plain.sample is not None
    assert tuple(drawn.sample.frames_TCHW.shape) == (4, 3, 64, 96)
    assert (drawn.sample.text, drawn.position) == (plain.sample.text, plain.position)
    with pytest.raises(UserError, match="16 frames wanted of the world's clips, which have 8"):
        opened("world", Wanted(16, 32, 32, 8.0, (4, 16, 8, 8)))
