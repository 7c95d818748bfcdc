"""Does one command go from a model's name to VBench's Total, at full size, without a hub, a GPU or published weights?

The weights are random, in the published layouts (tests/full_size_checkpoints.py, which says how two networks are
steered so that every dimension has a clip that counts): 20 GB in a temporary folder, or those that were written before
into the folder that FULL_SIZE_WEIGHTS names. No number means anything; all of them are there.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.full_size_checkpoints import write_merged, write_scorers, write_vc2
from turbo_eval.scorers.vbench import spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]
BUDGET_BYTES = 24 * 2**30  # what the run may take
FREE_MEMORY_BYTES = 17 * 2**30  # measured: 15.6 GiB, all but 2.8 of it mapped from the files
FREE_DISK_BYTES = 22 * 10**9
GIVEN = "FULL_SIZE_WEIGHTS"
COMMAND = ("vbench", "--model", "vc2-turbo", "--limit", "2", "--size", "4x64x64")
NAME = "vc2-turbo-modified-64x64-4frames"
PROMPTS, SAMPLES = 22, 5  # two of each dimension; static clips, so that the flickering prompts need no more


def available_bytes() -> int:
    """Memory that can be had without swapping; all of it where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return BUDGET_BYTES
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if (free := available_bytes()) < FREE_MEMORY_BYTES:
        pytest.skip(f"{free / 2**30:.1f} GiB of memory free, needs {FREE_MEMORY_BYTES / 2**30:.0f}")
    if given := os.environ.get(GIVEN):
        yield Path(given)
        return
    folder = tmp_path_factory.mktemp("weights")
    if (disk := shutil.disk_usage(folder).free) < FREE_DISK_BYTES:
        pytest.skip(f"{disk / 1e9:.0f} GB of disk free, needs {FREE_DISK_BYTES / 1e9:.0f}")
    for write in (write_vc2, write_merged, write_scorers):
        write(folder)
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    out: str
    seconds: float


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run: they choose their own folder in runs/."""
    return tmp_path_factory.mktemp("here")


def run(folder: Path, weights: Path, *arguments: str) -> Ran:
    """The command in a process of its own, away from every cache and hub. Fails where it fails."""
    nowhere = {name: str(folder / "home") for name in ("HOME", "HF_HOME", "TORCH_HOME", "VBENCH_CACHE_DIR")}
    threads = {"OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    environment = {**os.environ, **nowhere, **threads, "TURBO_WEIGHTS": str(weights), "COLUMNS": "160"}
    environment["XDG_CACHE_HOME"] = str(weights.parent / "cache")  # the sha256 of gigabytes, once
    start = time.monotonic()
    program = "from turbo_eval.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return Ran(done.stdout, time.monotonic() - start)


@pytest.fixture(scope="module")
def ran(folder: Path, weights: Path) -> Ran:
    done = run(folder, weights, *COMMAND)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"{done.seconds:.0f} s, peak resident memory of the process {peak / 2**30:.1f} GiB\n{done.out}")
    assert peak < BUDGET_BYTES
    return done


def test_the_plan_knows_the_clips(folder: Path, weights: Path) -> None:
    planned = json.loads(run(folder, weights, "plan", *COMMAND[1:], "--no-calibrate", "--json").out)
    (model,) = planned["models"]
    assert (planned["suite"], planned["prompts"], model["model"]) == ("vbench", PROMPTS, NAME)
    assert (model["clips"], model["there"], model["to_make"]) == (PROMPTS * SAMPLES, 0, PROMPTS * SAMPLES)
    assert any("at most 40" in note for note in planned["notes"])  # if no flickering clip were static


def test_every_dimension_and_the_three_scores_are_in_the_table(folder: Path, ran: Ran) -> None:
    (results,) = (folder / "runs").rglob("results.json")
    document = json.loads(results.read_text(encoding="utf-8"))
    rows = {row["metric"]: row["cells"][0] for row in document["table"]["rows"]}
    assert list(rows) == [*spec.NAMES, *spec.SCORES]
    assert all(-1 <= cell["interval"]["mean"] <= 1 for cell in rows.values())  # a cosine of random networks
    assert all(name.replace("_", " ") in ran.out or name in ran.out for name in rows)
    assert document["partial"] is None and not document["table"]["partial"]


def test_the_clips_are_all_there_and_scored_as_asked(folder: Path, ran: Ran) -> None:
    (scores,) = (folder / "runs").rglob("scores.jsonl")
    lines = [json.loads(line) for line in scores.read_text(encoding="utf-8").splitlines()]
    clips = {(line["prompt_id"], line["sample_index"]) for line in lines}
    assert len(clips) == PROMPTS * SAMPLES
    unscored = {(line["metric"], line["unscored"]) for line in lines if line["unscored"]}
    assert unscored == set()


def test_random_weights_are_not_set_beside_published_scores(folder: Path, ran: Ran) -> None:
    (table,) = (folder / "runs").rglob("table.md")
    text = table.read_text(encoding="utf-8")
    assert f"{NAME}" in text and "(published" not in text
    assert "weights that are not the published ones" in text and "not comparable with VBench" in text
    assert "borders repeated" in text


def test_the_same_command_prints_the_same_at_once(folder: Path, weights: Path, ran: Ran) -> None:
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (folder / "runs").rglob("*.jsonl")}

    before = state()
    again = run(folder, weights, *COMMAND)
    assert again.out == ran.out and state() == before
    assert again.seconds < ran.seconds / 10
