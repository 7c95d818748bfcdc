"""Do cached latents fit the run, and is one that does not told apart from a set that does not?"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import SHAPE, WANTED, latents, read, sample, texts, write_shard
from torch import nn

from turbo_train.data.clips import Wanted
from turbo_train.data.latents import INDEX, LatentsIndex, latents_bytes, read_index, read_latents, vae_sha256
from turbo_train.data.latents_fit import DONE
from turbo_train.data.open import open_clips, open_data
from turbo_train.data.sample import Source
from turbo_train.data.shards import Shards
from turbo_train.data.skipped import Unusable
from turbo_train.errors import UserError

MADE = LatentsIndex("world", "ab", SHAPE, (16, 16), 4.0, "crop", "world", 0, 4, 2, 1)


def write_latents(folder: Path, index: LatentsIndex | None = MADE, **samples: dict[str, bytes]) -> Path:
    write_shard(folder / "0.tar", {f"{n:03d}": latents(n) for n in range(3)} | samples)
    if index is not None:
        (folder / INDEX).write_text(index.to_json(), encoding="utf-8")
        for process in range(index.processes):
            (folder / DONE.format(process=process)).write_text("{}", encoding="utf-8")
    return folder


def opened(path: Path | str, wanted: Wanted = WANTED, vae: str = "ab") -> Source:
    return open_data(str(path), wanted, 0, lambda: vae)


def test_latents_come_back_as_float32_and_nothing_else() -> None:
    x_0_CTHW = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    again = read_latents(latents_bytes(x_0_CTHW), SHAPE)
    assert again.dtype == torch.float32 and again.equal(x_0_CTHW.half().float())
    assert latents_bytes(x_0_CTHW) == latents_bytes(x_0_CTHW.clone())
    for value in (float("nan"), 1e5):  # 1e5 is more than float16 holds
        with pytest.raises(Unusable, match="not finite as float16"):
            latents_bytes(torch.full(SHAPE, value))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (latents(0, (4, 8, 8, 8))["latents.npy"], r"latents of shape 4x8x8x8, expected 4x3x8x8 \(C x T x h x w\)"),
        (latents(0, (3, 8, 8))["latents.npy"], "latents of shape 3x8x8, expected 4x3x8x8"),
        (latents(0, SHAPE, "float64")["latents.npy"], "latents of dtype float64, expected float16 or float32"),
        (latents(0, SHAPE, "uint8")["latents.npy"], "latents of dtype uint8"),
        (latents(0)["latents.npy"][:-7], "cannot be read"),
        (latents(0)["latents.npy"][:20], "cannot be read"),
        (b"", "cannot be read"),
        (latents_bytes(torch.zeros(SHAPE))[:-2] + np.float16("nan").tobytes(), "not finite"),
    ],
)
def test_one_wrong_latent_is_skipped_by_name(tmp_path: Path, data: bytes, why: str) -> None:
    source = opened(write_latents(tmp_path, wrong={"latents.npy": data, "txt": b"x"}))
    drawn = read(source, count=4)
    assert texts(drawn)[:3] == ["clip 0", "clip 1", "clip 2"]
    assert [float(d.sample.x_0_CTHW.mean()) for d in drawn[:3] if d.sample and d.sample.x_0_CTHW is not None] == [
        0,
        1,
        2,
    ]
    with pytest.raises(Unusable, match=why):
        read_latents(data, SHAPE)
    assert (drawn[3].skipped or "").startswith("0.tar/wrong: ")


def test_a_pickle_in_the_place_of_a_latent_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(Unusable, match="cannot be read"):
        read_latents((tmp_path / "a.npy").read_bytes(), SHAPE)


def test_clips_among_latents_are_skipped(tmp_path: Path) -> None:
    drawn = read(opened(write_latents(tmp_path, clip=sample(9))), count=4)
    assert drawn[3].skipped == "0.tar/clip: no .latents.npy among .mp4, .txt"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (replace(MADE, latent_shape=(4, 8, 8, 8)), r"shape 4x8x8x8 in .* of 8 frames of 16x16 px; expected 4x3x8x8"),
        (replace(MADE, fps=8.0), r"at 8 fps in .*; expected 4 fps; try: --set fps=8"),
        (replace(MADE, vae_sha256="cd"), r"by another VAE \(of teacher world\)"),
        (replace(MADE, schema_version=2), "schema_version 2"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_at_the_start(tmp_path: Path, index: LatentsIndex, message: str) -> None:
    for data in (write_latents(tmp_path, index), tmp_path / "0.tar", f"{tmp_path}/{{0..1}}.tar"):
        with pytest.raises(UserError, match=message):
            opened(data)


def test_without_latents_json_the_first_samples_decide(tmp_path: Path) -> None:
    assert texts(read(opened(write_latents(tmp_path, None)), count=3)) == ["clip 0", "clip 1", "clip 2"]
    wrong = {f"{n:03d}": latents(n, (4, 16, 40, 64)) for n in range(12)}
    write_shard(tmp_path / "0.tar", wrong)
    with pytest.raises(UserError, match=r"0\.tar/000: latents of shape 4x16x40x64, expected 4x3x8x8"):
        opened(tmp_path)
    write_shard(tmp_path / "0.tar", {"first": latents(0, (1,)), "000": latents(0)})
    assert texts(read(opened(tmp_path), count=2))[1] == "clip 0"
    (tmp_path / "0.tar").write_bytes(b"no shard")  # skipped later; the next one says what they hold
    write_shard(tmp_path / "1.tar", {"000": latents(0)})
    source = opened(tmp_path)
    assert isinstance(source, Shards) and source.latents


def test_an_unfinished_set_is_refused_as_a_folder_and_read_by_a_pattern(tmp_path: Path) -> None:
    write_latents(tmp_path, replace(MADE, processes=3))
    (tmp_path / DONE.format(process=1)).unlink()
    with pytest.raises(UserError, match="1 of 3 processes have not finished"):
        opened(tmp_path)
    assert texts(read(opened(f"{tmp_path}/*.tar"))) == ["clip 0"]


def test_shards_of_two_sets_must_have_been_made_alike(tmp_path: Path) -> None:
    write_latents(tmp_path / "a")
    write_latents(tmp_path / "b", replace(MADE, vae_sha256="cd"))
    with pytest.raises(UserError, match="shards of 2 folders that were not made alike"):
        opened(f"{tmp_path}/{{a,b}}/0.tar")


def test_latents_are_no_clips(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found latents in"):
        open_clips(str(write_latents(tmp_path)), WANTED, 0, 1)


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_index(tmp_path) is None
    (tmp_path / INDEX).write_text(MADE.to_json(), encoding="utf-8")
    assert read_index(tmp_path) == MADE
    for text in ("{", "[]", "{}", MADE.to_json().replace('"fps"', '"speed"')):
        (tmp_path / INDEX).write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="what turbo-train precompute writes"):
            read_index(tmp_path)
    assert asdict(MADE)["size"] == (16, 16)


def test_a_vae_is_told_by_its_weights() -> None:
    torch.manual_seed(0)
    vae = nn.Conv2d(3, 4, 2)
    same = nn.Conv2d(3, 4, 2)
    same.load_state_dict(vae.state_dict())
    assert vae_sha256(vae) == vae_sha256(same)
    with torch.no_grad():
        same.bias[0] += 1e-6
    assert vae_sha256(vae) != vae_sha256(same)
