"""What becomes of strange clips that VBench's own networks are to score? A number, or a reason that is counted.

AMT-S at full size and a tiny CLIP ViT-B/32, with random weights; aesthetic_quality's weights are not there.
"""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny_encoders import tiny_clip
from tests.vbench_checkpoints import ROW, plain
from turbo_eval.cli import app
from turbo_eval.scorers.vbench.networks import Networks
from turbo_train.video_io import write_mp4
from turbo_train.weights.places import ROOT, path_below_root
from turbo_train.weights.table import find_file

DIMENSIONS = "motion_smoothness,aesthetic_quality,appearance_style"
SIZE = (120, 136)
GOOD = ("rotated", "uneven", "odd", "picture", "nostyle")
UNREADABLE = ("sound", "cut")


def frames(count: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def encoded(path: Path, codec: str, pix_fmt: str, size: tuple[int, int] = SIZE, times: tuple[int, ...] = (0, 1, 2)):
    """By PyAV alone; times: of the frames, in eighths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        for at, frame in zip(times, frames(3, size), strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            picture.pts, picture.time_base = at, Fraction(1, 8)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def turn(path: Path) -> None:
    """By 90 degrees, in the display matrix of the track's header (ISO/IEC 14496-12, section 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    for name in ("rotated", "nostyle", "cut"):
        write_mp4(folder / f"{name}-0.mp4", frames(), 8.0)
    turn(folder / "rotated-0.mp4")
    (folder / "cut-0.mp4").write_bytes((folder / "cut-0.mp4").read_bytes()[:-2000])
    write_mp4(folder / "still-0.mp4", frames(1), 8.0)
    encoded(folder / "uneven-0.mp4", "libx264", "yuv420p", times=(0, 1, 9))
    encoded(folder / "odd-0.mp4", "libx264", "yuv444p", size=(123, 133))
    encoded(folder / "picture-0.gif", "gif", "rgb8")
    sound(folder / "sound-0.mp4")
    write_mp4(folder / "of another suite-0.mp4", frames(), 8.0)
    return folder


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "strange.csv"
    names = [*GOOD, "still", *UNREADABLE]
    rows = [f"{name},{name},{'' if name == 'nostyle' else 'oil painting'}" for name in names]
    path.write_text("\n".join(["prompt_id,prompt,appearance_style", *rows]) + "\n")
    return path


@pytest.fixture(autouse=True)
def _weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    root = tmp_path / "weights"
    monkeypatch.setenv(ROOT, str(root))
    for variable in ("HOME", "HF_HOME", "TORCH_HOME", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    places = {table: root / path_below_root(find_file(ROW[table])) for table in ("amt_s", "clip_vit_b32")}
    for path in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(plain("amt_s"), places["amt_s"])
    places["clip_vit_b32"].write_bytes(b"in its place is:")
    encoder = tiny_clip(tmp_path)
    encoder.load()
    encoder.files = {find_file(ROW["clip_vit_b32"]): places["clip_vit_b32"]}  # the row that the table asks about
    monkeypatch.setattr(Networks, "background", property(lambda self: encoder))


def test_strange_clips_have_numbers_or_reasons(videos: Path, suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["vbench", "--videos", str(videos), "--suite", str(suite), "--out", str(out), "--threads", "1"]
    command += ["--encoders", "vbench", "--dimensions", DIMENSIONS, "--allow-missing"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.stderr
    assert "belong to no prompt of strange: 1 (of another suite-0.mp4)" in done.stderr
    assert f"PARTIAL: {len(GOOD) + 1} of {len(GOOD) + 1 + len(UNREADABLE)} clips" in done.stdout
    assert "weights missing: turbo-eval weights pull --for aesthetic_quality" in done.stdout
    found = {}
    for line in (out / "PARTIAL-scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[row["metric"], row["prompt_id"]] = row["unscored"] or row["value"]
    assert {metric for metric, _ in found} == {"motion_smoothness", "appearance_style"}
    assert all(isinstance(found["motion_smoothness", name], float) for name in GOOD)
    assert all(isinstance(found["appearance_style", name], float) for name in GOOD if name != "nostyle")
    assert "no auxiliary info 'appearance_style'" in str(found["appearance_style", "nostyle"])
    assert found["motion_smoothness", "still"] == "needs at least three frames"
    assert found["appearance_style", "still"] == "needs at least two frames"
    assert all("unreadable: " in str(found["motion_smoothness", name]) for name in UNREADABLE)
    assert "has no video stream" in str(found["motion_smoothness", "sound"])
    rows = [json.loads(line) for path in (out / "ledger").glob("*.jsonl") for line in path.read_text().splitlines()]
    sizes = {row["prompt_id"]: (row["height_px"], row["width_px"]) for row in rows if row["kind"] == "clip"}
    assert (sizes["rotated"], sizes["odd"], sizes["picture"]) == (SIZE[::-1], (123, 133), SIZE)
    again = CliRunner().invoke(app, [argument for argument in command if argument != "--allow-missing"])
    assert (again.exit_code, "2 of 8 clips missing" in again.stderr) == (3, True)
