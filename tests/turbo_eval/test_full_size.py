"""Do the published layouts run at full size, from the command line, on a machine without a GPU and with 24 GiB?

The weights are random (the recipe of the goldens) and lie where the published ones would: 8 GB in a temporary folder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.full_size_checkpoints import write_lora, write_vc2
from turbo_eval.models import find_model
from turbo_train.nets.load import load_model
from turbo_train.nets.videocrafter2.checkpoint import UNET
from turbo_train.video_io import read_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MEMORY_BYTES = 24 * 2**30


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A VideoCrafter2 checkpoint of 2,039 keys and a LoRA list of 1,150 tensors."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TURBO_WEIGHTS", str(folder))
        patch.setenv("HF_HOME", str(folder / "none"))
        write_vc2(folder)
        write_lora(folder)
        yield folder
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize(("name", "steps"), [("vc2-turbo@seeded", 4), ("vc2-turbo@replayed", 1), ("vc2", 2)])
def test_a_small_clip_from_the_command_line(name: str, steps: int, weights: Path, tmp_path: Path) -> None:
    program = "from turbo_eval.cli import main; main()"
    clip = ["--prompt", "a red fox in the snow", "--size", "64x64", "--frames", "2", "--steps", str(steps)]
    out = ["--batch", "1", "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, "generate", "--model", name, *clip, *out],
        capture_output=True,
        text=True,
        env={**os.environ, "TURBO_WEIGHTS": str(weights)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["clips"]
    frames = read_video(Path(row["file"])).frames_THWC
    assert frames.shape == (2, 64, 64, 3)
    assert frames.std() > 0
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{name}: peak resident memory of the process {peak / 2**30:.1f} GiB")
    assert peak < MEMORY_BYTES


def test_the_students_network_is_the_teachers_plus_the_list(weights: Path) -> None:
    """One merged weight at full size, from the files themselves."""
    source = find_model("vc2-turbo@replayed").source
    assert source is not None and source.base is not None
    model = load_model(source)
    merged = model.denoiser.unet.state_dict()  # type: ignore[attr-defined]
    base = torch.load(source.base.path, mmap=True, weights_only=True)["state_dict"]
    up, down = torch.load(source.path, mmap=True, weights_only=True)[:2]
    want = base[f"{UNET}time_embed.0.weight"] + up @ down
    assert torch.allclose(merged["time_embed.0.weight"], want, atol=1e-6)
    assert sum(value.numel() for value in merged.values()) == 1_413_366_340
