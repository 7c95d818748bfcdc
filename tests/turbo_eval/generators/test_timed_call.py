"""Is what is timed the whole call, from a text to the files that a run would have written?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.generators.difference import difference
from turbo_eval.generators.latent import LatentGenerator, load_generator
from turbo_eval.generators.timed import TimedCall, load_timed
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_eval.timing.record import REMAINING, STAGES, WALL
from turbo_train.nets.fast_path import FastPath
from turbo_train.nets.quickened import quicken
from turbo_train.sampling.setting import Setting
from turbo_train.video_io import read_video

PROMPTS = [Prompt(f"p{k}", text) for k, text in enumerate(("a red circle rises", "a blue square rests"))]


def timed(folder: Path, setting: Setting, out: Path, batch: int = 2) -> TimedCall:
    loaded = load_timed(replace(find_model(str(folder)), setting=setting), "cpu")
    return TimedCall(LatentGenerator(loaded.model, setting, batch), PROMPTS[:batch], 5, out)


def test_the_files_hold_the_clips_that_a_run_makes(tiny_student: Path, tmp_path: Path) -> None:
    entry = find_model(str(tiny_student))
    assert entry.source is not None
    call = timed(tiny_student, entry.setting, tmp_path)
    for _ in range(2):  # the second call writes over the first's files
        spent = call()
    wanted = load_generator(entry.source, entry.setting, batch=2).generate(PROMPTS, [0, 0], 5)
    videos = [read_video(path) for path in sorted(tmp_path.iterdir())]
    assert len(videos) == len(wanted) == 2
    for video, clip, kept in zip(videos, wanted, call.frames, strict=True):
        assert video.fps == 8 and np.array_equal(video.frames_THWC, clip) and np.array_equal(kept, clip)
    assert list(spent) == [*STAGES, WALL] and all(value > 0 for value in spent.values())


@pytest.mark.parametrize(("scale", "calls"), [(2.0, 6), (1.0, 3)])
def test_a_guided_step_is_two_network_calls(tiny_teacher: Path, tmp_path: Path, scale: float, calls: int) -> None:
    call = timed(tiny_teacher, Setting("ddim", 3, scale), tmp_path)
    with pytest.raises(ValueError, match="no call"):
        _ = call.network_calls
    call()
    assert call.network_calls == calls


def test_a_single_step_leaves_no_time_for_others(tiny_student: Path, tmp_path: Path) -> None:
    call = timed(tiny_student, Setting("consistency", 1, 3.0), tmp_path, batch=1)
    spent = call()
    assert spent[REMAINING] == 0.0 and set(spent) == {*STAGES, WALL} and call.network_calls == 1


def test_loading_is_timed_and_gives_the_same_model(tiny_teacher: Path, tmp_path: Path) -> None:
    setting = Setting("ddim", 2, 2.0, frames=3, size=(8, 16), dtype="bfloat16")
    entry = replace(find_model(str(tiny_teacher)), setting=setting)
    loaded = load_timed(entry, "cpu")
    assert loaded.load_s > 0 and entry.source is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clip = LatentGenerator(loaded.model, setting, 1).generate(PROMPTS[:1], [0], 0)[0]
        same = load_generator(entry.source, setting, 1).generate(PROMPTS[:1], [0], 0)[0]
    assert clip.shape == (3, 8, 16, 3) and np.array_equal(clip, same)


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_quickened_model_is_timed_like_any_other(
    tiny_teacher: Path, tiny_student: Path, tmp_path: Path, kind: str
) -> None:
    folder = tiny_teacher if kind == "teacher" else tiny_student
    setting = Setting("ddim", 3, 2.0) if kind == "teacher" else Setting("consistency", 3, 3.0)
    plain = timed(folder, setting, tmp_path)
    model = timed(folder, setting, tmp_path).generator.model
    bare = replace(model, denoiser=model.denoiser.denoiser)  # type: ignore[attr-defined]
    quick = quicken(bare, FastPath(cached_text=True, decode_frames=1), "cpu").model
    call = TimedCall(LatentGenerator(quick, setting, batch=2), PROMPTS, 5, tmp_path)
    for one in (plain, call):
        one()
        spent = one()
    assert call.network_calls == plain.network_calls and all(spent[stage] > 0 for stage in STAGES)
    assert difference(call.frames, plain.frames, "plain").max_levels <= 1
