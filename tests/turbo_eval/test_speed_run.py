"""Does `turbo-eval speed` time real models, say what it may not, and lose nothing on the way?"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from speed_records import cpu_record

from turbo_eval import speed_run
from turbo_eval.generators import rates, subject
from turbo_eval.generators.subject import Loading
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_eval.speed_request import WORLD_TINY_VAE, SpeedRequest
from turbo_eval.speed_run import RECORD_FILE, SCATTER_FILE, STAGES_FILE, TABLE_FILE, Spoken, run_speed, written
from turbo_eval.timing.baseline import NotValid
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, STAGES, TEXT, WALL, SpeedRow, fingerprint
from turbo_eval.timing.record_file import read_record, write_record
from turbo_eval.timing.validity import INTERRUPTED
from turbo_train.errors import UserError
from turbo_train.nets.fast_path import FastPath
from turbo_train.nets.quickened import Quickened

ONE_STEP = SpeedRequest(models=("world-teacher:1",), max_s=0.2, threads=1, device="cpu", frames=4, size=(16, 16))
TWO_STEPS = replace(ONE_STEP, models=("world-turbo:2",), against="world-turbo:1")
WORLD_TINY = f"tiny {fingerprint(json.loads((WORLD_TINY_VAE / 'config.json').read_text()))}"
CLIP = "16x16-4frames"


@pytest.fixture(scope="module", autouse=True)
def small_copies_and_the_threads_of_before() -> Iterator[None]:
    """What a copy of a gigabyte reaches is test_rates.py's to ask."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "BUFFER_BYTES", 2**22)
        patch.setattr(speed_run, "RATES_S", 0.02)
        yield
    torch.set_num_threads(before)


def row(spoken: Spoken, name: str) -> SpeedRow:
    return next(row for row in spoken.record.rows if row.name == name)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    folder = tmp_path_factory.mktemp("speed")
    lines = [
        {"kind": "mean", "part": "all", "row": name, "metric": "oracle_all", "group": "oracle", "mean": 0.5}
        | {"low": 0.4, "high": 0.6, "members": [name]}
        for name in (f"world-turbo-{CLIP}-{n}steps" for n in (1, 2))
    ]
    (folder / "lineup.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = replace(TWO_STEPS, out=folder / "out", scores=folder, batches=(1, 2))
    return run_speed(asked)


def test_every_row_has_its_stages_calls_operations_floors_and_memory(spoken: Spoken) -> None:
    names = {f"world-turbo-{CLIP}-{steps}steps": (steps, 1) for steps in (2, 1)}
    names |= {f"{name}-batch2": (steps, 2) for name, (steps, _) in names.items()}
    assert {own.name: (own.recipe.num_steps, own.recipe.batch) for own in spoken.record.rows} == names
    for own in spoken.record.rows:
        assert set(own.runs_s) == {*STAGES, WALL}
        assert len({len(runs) for runs in own.runs_s.values()}) == 1
        assert len(own.runs_s[WALL]) >= 12 and len(own.warmups_s) >= 3
        assert own.network_calls == own.recipe.num_steps
        assert all(own.tflop[stage] > 0 and own.floor_s[stage] > 0 for stage in (TEXT, FIRST, DECODE))
        assert (own.recipe.num_steps > 1) == (own.tflop[REMAINING] > 0) == (max(own.runs_s[REMAINING]) > 0)
        assert own.memory and own.first_call_s > 0 and own.load_s > 0 and own.compile_s is None
        assert all(sum(own.runs_s[stage][k] for stage in STAGES) <= own.runs_s[WALL][k] for k in range(12))


def test_twice_the_clips_are_twice_the_operations_and_steps_share_their_networks(spoken: Spoken) -> None:
    one, two = (row(spoken, f"world-turbo-{CLIP}-2steps{batch}") for batch in ("", "-batch2"))
    assert two.tflop[DECODE] == pytest.approx(2 * one.tflop[DECODE])
    assert len({own.load_s for own in spoken.record.rows}) == 1


def test_rows_race_within_their_batch(spoken: Spoken) -> None:
    names = [f"world-turbo-{CLIP}-{steps}steps" for steps in (2, 1)]
    pairs = [(*names,), (*(f"{name}-batch2" for name in names),)]
    assert [(found.row, found.against) for found in spoken.record.speed_ups] == pairs
    for found in spoken.record.speed_ups:
        assert found.calls == 0.5
        assert found.denoising.ratio < found.to_frames.ratio < 1 and found.end_to_end.low < found.end_to_end.high


def test_the_files_hold_what_was_said(spoken: Spoken) -> None:
    assert [path.name for path in spoken.files] == [RECORD_FILE, TABLE_FILE, STAGES_FILE, SCATTER_FILE]
    assert read_record(spoken.files[0]) == spoken.record
    assert f"world-turbo-{CLIP}-2steps-batch2" in spoken.files[1].read_text(encoding="utf-8")
    assert any("oracle_all" in note for note in spoken.record.notes)
    assert spoken.to_json()["comparison"] == [] and spoken.refusal is None


def test_measuring_itself_is_below_half_a_percent_of_the_shortest_call(spoken: Spoken) -> None:
    assert 0 < spoken.record.harness_s < 0.005 * min(min(own.runs_s[WALL]) for own in spoken.record.rows)


def test_options_alone_and_together_are_held_against_none_with_the_clips_difference(tmp_path: Path) -> None:
    asked = replace(ONE_STEP, each_option=True, compile="off", channels_last=False, cached_text=False, vae="tiny")
    found = run_speed(replace(asked, out=tmp_path))
    base, *others, all_options = found.record.rows
    assert base.name == f"world-teacher-{CLIP}-1steps" and base.difference is None
    names = ["batched-decode", "tiny-vae"]
    assert [own.name.removeprefix(f"{base.name}-") for own in (*others, all_options)] == [*names, "all-options"]
    assert (base.recipe.decode_frames, all_options.recipe.decode_frames) == (1, 16)
    for own in (*others, all_options):
        assert own.difference is not None and own.difference.than == base.name
        tiny = own.recipe.vae == WORLD_TINY  # the embedded world's own, for no folder was given: near, but not the same
        assert tiny == own.name.endswith(("tiny-vae", "all-options"))
        assert own.tflop[DECODE] < 0.5 * base.tflop[DECODE] if tiny else own.difference.max_levels <= 2
        assert own.difference.psnr_db is None or own.difference.psnr_db > (20 if tiny else 50)
    assert {found.against for found in found.record.speed_ups} == {base.name}


def test_a_signal_keeps_the_rounds_until_then_and_nothing_of_them_is_valid(tmp_path: Path) -> None:
    asked = replace(TWO_STEPS, max_s=3600.0, out=tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) == before:  # measuring has not begun
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    found = run_speed(asked)
    thread.join()
    assert found.interrupted
    assert all(INTERRUPTED in {reason.code for reason in own.reasons} for own in found.record.rows)
    assert read_record(tmp_path / RECORD_FILE) == found.record


def test_what_may_be_refused_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("{}")
    for wrong in ({"save_baseline": there}, {"baseline": there}, {"scores": tmp_path}, {"scores": tmp_path / "no"}):
        with pytest.raises(UserError):
            run_speed(replace(TWO_STEPS, out=tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()


def test_an_incomparable_baseline_is_refused_after_everything_is_written(spoken: Spoken, tmp_path: Path) -> None:
    refused = written(replace(ONE_STEP, out=tmp_path / "out"), spoken.record, cpu_record(), None)
    assert isinstance(refused.refusal, UserError) and "cpu" in str(refused.refusal)
    assert (tmp_path / "out" / TABLE_FILE).is_file() and not refused.record.stamp


def test_a_forced_comparison_is_stamped_and_becomes_no_baseline(tmp_path: Path) -> None:
    baseline, kept = write_record(cpu_record(), tmp_path / "baseline.json"), tmp_path / "kept.json"
    asked = replace(ONE_STEP, random_weights=True, baseline=baseline, force_incomparable=True, save_baseline=kept)
    found = run_speed(replace(asked, out=tmp_path / "out"))
    assert found.record.stamp.startswith("INCOMPARABLE") and found.comparison[0] == found.record.stamp
    assert "INCOMPARABLE" in (tmp_path / "out" / TABLE_FILE).read_text(encoding="utf-8")
    assert isinstance(found.refusal, NotValid) and not kept.exists()
    (only,) = found.record.rows
    assert only.network_calls == 2 and any("random weights" in note for note in found.record.notes)


def test_latents_that_are_no_numbers_are_a_mistake_with_a_remedy(tmp_path: Path) -> None:
    entry = find_model("world-teacher")
    wild = replace(entry, setting=replace(entry.setting, num_steps=2, guidance_scale=1e38))
    loading = Loading("cpu", 0, tmp_path, random_weights=False)
    with pytest.raises(UserError, match="not finite") as caught:
        loading.subject(wild, FastPath(), [Prompt("p", "a red circle")], "wild")
    assert "float32" in caught.value.run_next


def test_what_compiling_took_is_of_the_first_call_of_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that share their networks: the second finds them compiled, and its first call took nothing of it."""
    spent_s = iter((0.0, 7.0, 7.0, 7.0, 7.0, 9.0))
    monkeypatch.setattr(Quickened, "compile_s", property(lambda _: next(spent_s)))
    entry, loading = find_model("world-turbo"), Loading("cpu", 0, tmp_path, random_weights=False)
    one, two = (replace(entry, setting=replace(entry.setting, num_steps=n, frames=2, size=(16, 16))) for n in (1, 2))
    prompts = [Prompt("p", "a red circle")]
    rows = [loading.subject(each, FastPath(), prompts, "row") for each in (one, two)]
    rows.append(loading.subject(one, FastPath(), prompts * 2, "row"))
    assert [own.compile_s for own in rows] == [7.0, 0.0, 2.0]
    assert len({id(own.quick) for own in rows}) == 1


def test_networks_too_large_for_the_memory_are_a_mistake_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(subject, "load_timed", full)
    loading = Loading("cpu", 0, tmp_path, random_weights=False)
    with pytest.raises(UserError, match="wild: out of memory while its networks were loaded") as caught:
        loading.load(find_model("world-teacher"), FastPath(), "wild")
    assert "fewer rows" in caught.value.run_next
