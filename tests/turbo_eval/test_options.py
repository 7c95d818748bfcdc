"""Is the size of a clip read with and without its frames, in every command that takes one?"""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.options import Extent, parse_size
from turbo_train.errors import UserError


@pytest.mark.parametrize(
    ("text", "frames", "found"),
    [
        (None, None, Extent(None, None)),
        (None, 8, Extent(8, None)),
        ("320x512", None, Extent(None, (320, 512))),
        ("320x512", 8, Extent(8, (320, 512))),
        ("4x64x96", None, Extent(4, (64, 96))),
        (" 4x64x96 ", 4, Extent(4, (64, 96))),
    ],
)
def test_frames_may_stand_before_height_and_width(text: str | None, frames: int | None, found: Extent) -> None:
    assert parse_size(text, frames) == found


@pytest.mark.parametrize("text", ["64", "0x64", "4x0x64", "x64x64", "4x4x64x64", "4x64x64x", "4*64*64", ""])
def test_another_size_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"found --size .*HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize("command", ["vbench", "plan", "rewards", "generate", "lineup", "curves"])
def test_two_numbers_of_frames_are_a_mistake(command: str) -> None:
    of = {"lineup": ["--models", "world-vcm"], "curves": ["runs/none"], "generate": ["--prompt", "a", "--model", "x"]}
    options = of.get(command, ["--model", "world-vcm"])
    done = CliRunner().invoke(app, [command, *options, "--size", "4x64x64", "--frames", "8"])
    assert done.exit_code == 2, done.stderr
    assert "--size 4x64x64 and --frames 8" in done.stderr and "--size 64x64 --frames 8" in done.stderr
