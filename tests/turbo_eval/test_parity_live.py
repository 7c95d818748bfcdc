"""Are our numbers VBench's? Both engines, full-size networks with random weights, three clips beside the goldens'.

The package needs its overlay: `turbo-eval parity --setup`. One network at a time lies on the disk.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from further_clips import write_further_clips
from typer.testing import CliRunner
from vbench_checkpoints import write_official, write_ours

from turbo_eval.cli import app
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.overlay import Overlay, find_overlay
from turbo_train.errors import UserError

TABLES = {
    (spec.TEMPORAL_FLICKERING,): (),
    (spec.MOTION_SMOOTHNESS,): ("amt_s",),
    (spec.DYNAMIC_DEGREE,): ("raft_things",),
    (spec.IMAGING_QUALITY,): ("musiq_spaq",),
    (spec.SUBJECT_CONSISTENCY,): ("dino_vitb16",),
    (spec.BACKGROUND_CONSISTENCY, spec.APPEARANCE_STYLE): ("clip_vit_b32",),
    (spec.AESTHETIC_QUALITY,): ("clip_vit_l14", "laion_head"),
    (spec.TEMPORAL_STYLE, spec.OVERALL_CONSISTENCY): ("viclip",),
    (spec.HUMAN_ACTION,): ("umt_l16",),
}


@pytest.fixture(scope="module")
def overlay() -> Overlay:
    try:
        return find_overlay()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dimensions", TABLES, ids="+".join)
def test_the_package_says_the_same(
    dimensions: tuple[str, ...], overlay: Overlay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spec.SUBJECT_CONSISTENCY in dimensions and overlay.dino is None:
        pytest.skip("no code of facebookresearch/dino: turbo-eval parity --setup")
    clips, ours, official = (tmp_path / name for name in ("clips", "ours", "official"))
    write_further_clips(clips, actions=spec.HUMAN_ACTION in dimensions)
    files = [
        write(t, root) for t in TABLES[dimensions] for write, root in ((write_ours, ours), (write_official, official))
    ]
    monkeypatch.setenv("TURBO_WEIGHTS", str(ours))
    options = ["--videos", clips, "--dimensions", ",".join(dimensions), "--official-cache", official, "--device", "cpu"]
    style = ["--attribute", "appearance_style=oil painting"]
    try:
        done = CliRunner().invoke(
            app, ["parity", *map(str, options), *style, "--overlay", str(overlay.folder), "--json"]
        )
    finally:
        for file in files:
            file.unlink()
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert {row["dimension"] for row in rows} == set(dimensions)
    for row in rows:
        assert row["compared"] == 3 and row["largest_relative"] <= 1e-3 and not row["flipped"], row
