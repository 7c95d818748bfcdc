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

from turbo_eval.generators.subject import Loading
from turbo_eval.models import find_model
from turbo_eval.records import Prompt
from turbo_eval.speed_request import SpeedRequest
from turbo_eval.speed_run import RECORD_FILE, SCATTER_FILE, STAGES_FILE, TABLE_FILE, Spoken, run_speed
from turbo_eval.timing.baseline import NotValid
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, STAGES, TEXT, WALL, SpeedRow
from turbo_eval.timing.record_file import read_record, write_record
from turbo_eval.timing.validity import INTERRUPTED
from turbo_train.errors import UserError
from turbo_train.nets.fast_path import FastPath

TWO_STEPS = SpeedRequest(models=("world-turbo:2",), against="world-turbo:1", max_s=1.0, threads=1, device="cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
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
        for name in ("world-turbo-1steps", "world-turbo-2steps")
    ]
    (folder / "lineup.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = replace(TWO_STEPS, out=folder / "out", scores=folder, batches=(1, 2))
    return run_speed(asked)


def test_every_row_has_its_stages_calls_operations_floors_and_memory(spoken: Spoken) -> None:
    names = {"world-turbo-2steps": (2, 1), "world-turbo-1steps": (1, 1)}
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
    one, two = row(spoken, "world-turbo-2steps"), row(spoken, "world-turbo-2steps-batch2")
    assert two.tflop[DECODE] == pytest.approx(2 * one.tflop[DECODE])
    assert len({own.load_s for own in spoken.record.rows}) == 1


def test_rows_race_within_their_batch(spoken: Spoken) -> None:
    pairs = [("world-turbo-2steps", "world-turbo-1steps"), ("world-turbo-2steps-batch2", "world-turbo-1steps-batch2")]
    assert [(found.row, found.against) for found in spoken.record.speed_ups] == pairs
    for found in spoken.record.speed_ups:
        assert found.calls == 0.5
        assert found.denoising.ratio < found.to_frames.ratio < 1 and found.end_to_end.low < found.end_to_end.high


def test_the_files_hold_what_was_said(spoken: Spoken) -> None:
    assert [path.name for path in spoken.files] == [RECORD_FILE, TABLE_FILE, STAGES_FILE, SCATTER_FILE]
    assert read_record(spoken.files[0]) == spoken.record
    assert "world-turbo-2steps-batch2" in spoken.files[1].read_text(encoding="utf-8")
    assert any("oracle_all" in note for note in spoken.record.notes)
    assert spoken.to_json()["comparison"] == [] and spoken.refusal is None


def test_measuring_itself_is_below_half_a_percent_of_the_shortest_call(spoken: Spoken) -> None:
    assert 0 < spoken.record.harness_s < 0.005 * min(min(own.runs_s[WALL]) for own in spoken.record.rows)


def test_options_alone_and_together_are_held_against_none_with_the_clips_difference(tmp_path: Path) -> None:
    asked = SpeedRequest(models=("world-turbo:1",), each_option=True, compile="off", max_s=1.0, threads=1, device="cpu")
    found = run_speed(replace(asked, out=tmp_path))
    base, *others = found.record.rows
    assert base.name == "world-turbo-1steps" and base.difference is None
    assert [own.name.removeprefix(f"{base.name}-") for own in others] == [
        "channels-last",
        "cached-text",
        "batched-decode",
        "all-options",
    ]
    assert (base.recipe.decode_frames, others[-1].recipe.decode_frames) == (1, 16)
    for own in others:
        assert own.difference is not None and own.difference.than == base.name
        assert own.difference.max_levels <= 2
    assert {found.against for found in found.record.speed_ups} == {base.name}


def test_random_weights_run_the_same_calls(tmp_path: Path) -> None:
    asked = SpeedRequest(models=("world-turbo:1",), random_weights=True, max_s=0.2, threads=1, device="cpu")
    found = run_speed(replace(asked, out=tmp_path))
    assert row(found, "world-turbo-1steps").network_calls == 1
    assert any("random weights" in note for note in found.record.notes)


def test_a_signal_keeps_the_rounds_until_then_and_nothing_of_them_is_valid(tmp_path: Path) -> None:
    asked = replace(TWO_STEPS, max_s=3600.0, out=tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) == before:  # measuring has not begun
            time.sleep(0.05)
        time.sleep(1.0)
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
            run_speed(replace(TWO_STEPS, models=("world-turbo:2",), out=tmp_path / "out", **wrong))
    assert not (tmp_path / "out").exists()


def test_an_incomparable_baseline_is_refused_after_everything_is_written_or_stamped(tmp_path: Path) -> None:
    baseline = write_record(cpu_record(), tmp_path / "baseline.json")
    asked = replace(TWO_STEPS, models=("world-turbo:1",), against=None, max_s=0.2, baseline=baseline)
    refused = run_speed(replace(asked, out=tmp_path / "refused"))
    assert isinstance(refused.refusal, UserError) and "cpu" in str(refused.refusal)
    assert (tmp_path / "refused" / TABLE_FILE).is_file() and not refused.record.stamp
    forced = run_speed(replace(asked, out=tmp_path / "forced", force_incomparable=True))
    assert forced.refusal is None and forced.record.stamp.startswith("INCOMPARABLE")
    assert "INCOMPARABLE" in (tmp_path / "forced" / TABLE_FILE).read_text(encoding="utf-8")


def test_a_stamped_or_invalid_measurement_becomes_no_baseline(tmp_path: Path) -> None:
    baseline = write_record(cpu_record(), tmp_path / "baseline.json")
    asked = replace(TWO_STEPS, models=("world-turbo:1",), against=None, max_s=0.2, baseline=baseline)
    kept = tmp_path / "kept.json"
    found = run_speed(replace(asked, out=tmp_path / "out", force_incomparable=True, save_baseline=kept))
    assert isinstance(found.refusal, NotValid) and not kept.exists()


def test_latents_that_are_no_numbers_are_a_mistake_with_a_remedy(tmp_path: Path) -> None:
    entry = find_model("world-teacher")
    wild = replace(entry, setting=replace(entry.setting, num_steps=2, guidance_scale=1e38))
    loading = Loading("cpu", 0, tmp_path, random_weights=False)
    with pytest.raises(UserError, match="not finite") as caught:
        loading.subject(wild, FastPath(), [Prompt("p", "a red circle")], "wild")
    assert "float32" in caught.value.run_next
