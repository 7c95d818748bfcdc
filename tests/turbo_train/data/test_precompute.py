"""Are the latents of a killed and resumed precompute those of an uninterrupted one, and do they train as clips do?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_clips
import torch
from tiny_clips import WANTED, read, texts, write_shard, write_shards
from torch import Tensor
from typer.testing import CliRunner

from turbo_train.assembly import teacher_source
from turbo_train.cli import app
from turbo_train.config import TrainConfig
from turbo_train.data.latents import LatentsIndex
from turbo_train.data.open import open_clips, open_data, open_source
from turbo_train.data.precompute import Made, encoder_of, precompute
from turbo_train.data.sample import NoData
from turbo_train.data.world_stream import WorldStream
from turbo_train.errors import UserError
from turbo_train.nets.base import load_base


def encode(frames_TCHW: Tensor) -> Tensor:
    """A stand-in of the VAE's shape: channels of means, whose first says the clip's number."""
    means_T3hw = torch.nn.functional.avg_pool2d(frames_TCHW.float(), 2)
    return torch.cat([means_T3hw, means_T3hw[:, :1]], 1).transpose(0, 1)


class Killed(BaseException):
    """What a signal does to a process, at a place of our choice."""


def killed_after(count: int) -> Callable[[Tensor], Tensor]:
    left = iter(range(count))

    def encode_some(frames_TCHW: Tensor) -> Tensor:
        if next(left, None) is None:
            raise Killed
        return encode(frames_TCHW)

    return encode_some


def index(data: str, samples: int | None = None, processes: int = 1, per_shard: int = 4) -> LatentsIndex:
    w = WANTED
    return LatentsIndex("t", "ab", w.latent_shape, (16, 16), w.fps, "crop", data, 0, samples, per_shard, processes)


def run(out: Path, data: str, encoder: Callable[[Tensor], Tensor] = encode, process: int = 0, **made: int) -> Made:
    recipe = index(data, **made)
    source = open_clips(data, WANTED, 0, None if recipe.samples else 1)
    return precompute(source, encoder, out, recipe, process)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".lock")}


def clips(folder: Path) -> str:
    """Three shards of 10 clips; one of them is broken, one has no caption."""
    write_shards(folder, (4, 3))
    samples = {"7": tiny_clips.sample(7), "8": {"mp4": b"x", "txt": b"x"}, "9": {"mp4": b"x"}}
    write_shard(folder / "2.tar", samples)
    return str(folder)


@pytest.mark.parametrize("samples", [None, 13])
def test_killed_at_any_clip_and_run_again_the_bytes_are_the_same(tmp_path: Path, samples: int | None) -> None:
    data, count = clips(tmp_path / "clips"), samples or 8
    chosen = {} if samples is None else {"samples": samples}
    made = run(tmp_path / "whole", data, **chosen)
    assert (made.samples, made.shards) == (count, -(-count // 4)) and made.skipped >= 2
    for k in range(0, count, 1 if samples is None else 4):
        out = tmp_path / f"killed-{k}"
        with pytest.raises(Killed):
            run(out, data, killed_after(k), **chosen)
        assert len(list(out.glob("*.tar"))) == k // 4 and not list(out.glob("*done*"))
        with pytest.raises(Killed):
            run(out, data, killed_after(min(2, count - k - 1)), **chosen)
        (out / ".latents-000-00001.tar.partial").write_bytes(b"left by SIGKILL")
        assert run(out, data, **chosen) == made
        assert content(out) == content(tmp_path / "whole")
    assert run(out, data, killed_after(0), **chosen) == made  # nothing is left to do


@pytest.mark.parametrize("processes", [2, 5])
def test_several_processes_share_the_clips(tmp_path: Path, processes: int) -> None:
    data, out = clips(tmp_path / "clips"), tmp_path / "out"
    for process in range(processes):
        with (
            pytest.raises(UserError, match=r"processes have not finished|latents without any shard")
            if process
            else (pytest.raises(UserError, match="not there"))
        ):
            open_data(str(out), WANTED, 0, lambda: "ab")
        run(out, data, process=process, processes=processes)
    source = open_data(str(out), WANTED, 0, lambda: "ab")
    drawn = read(source, count=8)
    assert Counter(texts(drawn)) == {f"clip {n}": 1 for n in range(8)}
    for one in drawn:
        assert one.sample is not None and one.sample.x_0_CTHW is not None
        assert f"clip {one.sample.x_0_CTHW[3].mean():.0f}" == one.sample.text


def test_more_samples_than_clips_take_other_windows(tmp_path: Path) -> None:
    data = clips(tmp_path / "clips")
    run(tmp_path / "out", data, samples=24)
    drawn = read(open_data(str(tmp_path / "out"), WANTED, 0, lambda: "ab"), count=24)
    met: dict[str, set[float]] = {}
    for one in drawn:
        assert one.sample is not None and one.sample.x_0_CTHW is not None
        met.setdefault(one.sample.text, set()).add(float(one.sample.x_0_CTHW[1, 0, 0, 0]))
    assert len(met) == 8 and sum(len(starts) for starts in met.values()) > 12


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    data = clips(tmp_path / "clips")
    run(tmp_path / "out", data)
    with pytest.raises(UserError, match=r"made differently: samples None and not 3, samples_per_shard 4 and not 2"):
        run(tmp_path / "out", data, samples=3, per_shard=2)


def test_two_processes_on_one_share_and_a_lost_note(tmp_path: Path) -> None:
    data, out = clips(tmp_path / "clips"), tmp_path / "out"

    def second(frames_TCHW: Tensor) -> Tensor:
        run(out, data)
        return encode(frames_TCHW)

    with pytest.raises(UserError, match="another process at work"):
        run(out, data, second)
    run(out, data)
    for name in ("latents-000-done.json", "latents-000-00000.json"):
        (out / name).unlink()
    with pytest.raises(UserError, match=r"delete latents-000-00000\.tar, then the same command again"):
        run(out, data)


def test_no_usable_clip_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "bad" / "0.tar", {"0": {"txt": b"alone"}, "1": {"txt": b"alone"}})
    with pytest.raises(NoData, match="a caption without a clip"):
        run(tmp_path / "out", str(tmp_path / "bad"))
    assert not list((tmp_path / "out").glob("*done*"))
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        run(tmp_path / "file", clips(tmp_path / "clips"))


def test_latents_that_are_not_finite_are_skipped_by_name(tmp_path: Path) -> None:
    data = clips(tmp_path / "clips")

    def poisoned(frames_TCHW: Tensor) -> Tensor:
        x_0_CTHW = encode(frames_TCHW)
        return x_0_CTHW * torch.inf if frames_TCHW[0, 0, 0, 0] == 3 else x_0_CTHW

    assert run(tmp_path / "out", data, poisoned).samples == 7
    notes = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.json"))
    assert "0.tar/003: its latents are not finite as float16" in notes


def test_the_worlds_latents_from_the_command_line_are_its_clips_encoded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["precompute", "--data", "world", "--teacher", "world", "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--samples", "6", "--samples-per-shard", "4", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "6 latents in 2 shards, 0 clips skipped" in done.output
    teacher = load_base(teacher_source("world"))
    config = TrainConfig("p", "world", str(out))
    found = {d.sample.text: d.sample.x_0_CTHW for d in read(open_source(config, teacher), count=6) if d.sample}
    for drawn in read(WorldStream(0), count=6):
        assert drawn.sample is not None and drawn.sample.frames_TCHW is not None
        x_0_CTHW, again = encoder_of(teacher.vae, "cpu")(drawn.sample.frames_TCHW), found[drawn.sample.text]
        assert again is not None and torch.allclose(again, x_0_CTHW, atol=2e-3, rtol=1e-3)
    other = load_base(teacher_source("world"))
    with torch.no_grad():
        next(iter(other.vae.parameters())).add_(1e-3)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"latents in .* by another VAE"):
        open_source(config, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "world"], "--data world, which has no end"),
        (["--data", "nowhere"], "'nowhere', which is not there"),
        (["--data", "world", "--samples", "2", "--shard", "2/2"], "I/N with I from 0 to N-1"),
        (["--data", "world", "--samples", "2", "--resize", "fill"], "resize as crop or squash"),
        (["--data", "world", "--samples", "2", "--size", "30x30"], "multiples of"),
        (["--data", "world", "--samples", "2", "--size", "30"], "found --size 30; expected size as HEIGHTxWIDTH"),
        (["--data", "world", "--samples", "2", "--fps", "0"], "fps 0.0, not above 0"),
        (["--data", "world", "--samples", "2", "--device", "gpu"], "found --device gpu (Expected one of cpu"),
        (["--data", "world", "--samples", "2", "--frames", "16"], "at most 8"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["precompute", "--teacher", "world", "--out", str(tmp_path / "out"), *options])
    assert done.exit_code == 2 and message in done.output
    assert not (tmp_path / "out").exists()
