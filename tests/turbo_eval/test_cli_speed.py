"""Does `turbo-eval speed` understand its options, keep stdout for results, and end with the code of its verdict?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from speed_records import cpu_record
from typer.testing import CliRunner, Result

from turbo_eval import speed_run
from turbo_eval.cli import app
from turbo_eval.speed_request import SpeedRequest
from turbo_eval.speed_run import Spoken
from turbo_eval.timing.record import SpeedRecord
from turbo_train.errors import UserError
from turbo_train.exits import BROKEN, STOPPED


def said(record: SpeedRecord, **fields: Any) -> Spoken:
    usual = {"comparison": (), "files": (Path("runs/speed/speed.md"),), "interrupted": False}
    return Spoken(record, **{**usual, **fields})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SpeedRequest]:
    """The requests that reach the work, which itself is not done."""
    requests: list[SpeedRequest] = []

    def record(request: SpeedRequest) -> Spoken:
        requests.append(request)
        return said(replace(cpu_record(), rows=cpu_record().rows[:1], speed_ups=()))

    monkeypatch.setattr(speed_run, "run_speed", record)
    return requests


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["speed", *arguments])


def test_no_option_is_the_request_of_no_argument(asked: list[SpeedRequest]) -> None:
    done = call()
    assert (done.exit_code, asked) == (0, [SpeedRequest()])
    assert "world-turbo" in done.stdout
    assert "runs/speed/speed.md" in done.stdout


def test_every_option_reaches_the_request(asked: list[SpeedRequest]) -> None:
    options = "--model a,b:2 --model c --against t:4 --steps 4,8,50 --size 16x320x512 --batch 1,4 --dtype float16 "
    options += "--compile max --cuda-graphs --channels-last --no-cached-text --decode-frames 2 --vae tiny PATH "
    options += "--random-weights --each-option --max-seconds 7 --device cpu --threads 2 --seed 3 --out OUT "
    options += "--scores RUN --metric m --baseline B --save-baseline S --force-incomparable"
    assert call(*options.split()).exit_code == 0
    assert asked == [
        SpeedRequest(
            models=("a", "b:2", "c"),
            against="t:4",
            steps=(4, 8, 50),
            batches=(1, 4),
            frames=16,
            size=(320, 512),
            dtype="float16",
            compile="max",
            cuda_graphs=True,
            channels_last=True,
            cached_text=False,
            decode_frames=2,
            vae="tiny",
            tiny_vae=Path("PATH"),
            random_weights=True,
            each_option=True,
            max_s=7.0,
            device="cpu",
            threads=2,
            seed=3,
            out=Path("OUT"),
            scores=Path("RUN"),
            metric="m",
            baseline=Path("B"),
            save_baseline=Path("S"),
            force_incomparable=True,
        )
    ]
    usual = SpeedRequest()
    assert not [name for name, value in vars(asked[0]).items() if value == vars(usual)[name]]


def test_steps_and_batches_given_twice_are_there_once(asked: list[SpeedRequest]) -> None:
    assert call("--steps", "8,4,8", "--batch", "1,1").exit_code == 0
    assert (asked[0].steps, asked[0].batches) == ((8, 4), (1,))


def test_json_is_one_document_on_stdout(asked: list[SpeedRequest]) -> None:
    done = call("--json")
    document = json.loads(done.stdout)
    assert [row["name"] for row in document["record"]["rows"]] == ["world-turbo"]
    assert document["comparison"] == []
    assert "speed.md" in done.stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_an_invalid_row_and_a_signal_have_codes_of_their_own(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    flag = ["--json"] if as_json else []
    monkeypatch.setattr(speed_run, "run_speed", lambda _: said(cpu_record()))
    done = call(*flag)
    assert done.exit_code == BROKEN == 4
    assert "world-teacher" in done.stdout  # everything is printed all the same
    stopped = said(replace(cpu_record(), rows=cpu_record().rows[:1], speed_ups=()), interrupted=True)
    monkeypatch.setattr(speed_run, "run_speed", lambda _: stopped)
    done = call(*flag)
    assert done.exit_code == STOPPED == 75
    assert "world-turbo" in done.stdout


def test_a_refused_baseline_is_said_when_everything_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = UserError(found="another CPU", expected="the same")
    record = replace(cpu_record(), rows=cpu_record().rows[:1], speed_ups=())
    monkeypatch.setattr(speed_run, "run_speed", lambda _: said(record, refusal=refused))
    done = call()
    assert done.exit_code == 2
    assert "world-turbo" in done.stdout and "another CPU" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "x"], "--steps 'x'"),
        (["--steps", "4,,0"], "--steps"),
        (["--batch", "0"], "--batch '0'"),
        (["--batch", ""], "whole numbers from 1"),
        (["--size", "32"], "--size 32"),
        (["--model", ","], "--model ','"),
        (["--plan", "--cuda-graphs", "--device", "cpu"], "--cuda-graphs on a CPU"),
        (["--plan", "--device", "cpu", "somewhere"], "without --vae tiny"),
        (["--plan", "--device", "cuda:99"], "--device cuda:99"),
    ],
)
def test_mistakes_end_with_two_and_measure_nothing(asked: list[SpeedRequest], options: list[str], said: str) -> None:
    done = call(*options)
    assert (done.exit_code, asked, done.stdout) == (2, [], "")
    assert said in done.stderr


def test_the_plan_names_the_rows_and_measures_nothing(asked: list[SpeedRequest]) -> None:
    options = ["--plan", "--device", "cpu", "--batch", "1,4"]
    done = call(*options)
    assert (done.exit_code, asked) == (0, [])
    assert "world-teacher-batch4" in done.stdout
    document: dict[str, Any] = json.loads(call(*options, "--json").stdout)
    assert [row["row"] for row in document["rows"] if row["against"]] == ["world-turbo", "world-turbo-batch4"]
    assert set(document["runs_needed"]) == {"0.01", "0.02", "0.05"}
    assert set(document["runs_needed"]["0.05"]) == {"0.01", "0.02", "0.03", "0.05", "0.1"}
