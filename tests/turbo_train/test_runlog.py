"""Is every entry of a log one line of JSON, and does a run that goes on find it as its checkpoint left it?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.runlog import LOG_FILE, RunLog, read_log
from turbo_train.step import Distillation, StepResult
from turbo_train.step_figures import Figures, Sums, Window, figures_of
from turbo_train.tensorboard_curves import check_installed

NAN, INF = float("nan"), float("inf")


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "new")
    log.write("step", {"step": 1, "loss": NAN, "rewards": {"a": -INF, "b": 1.5}, "list": [INF, 2]})
    text = (tmp_path / "new" / LOG_FILE).read_text()
    entry = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert (entry["loss"], entry["rewards"], entry["list"]) == (None, {"a": None, "b": 1.5}, [None, 2])
    assert text.count("\n") == 1 and entry["event"] == "step" and entry["unix_s"] > 1.7e9


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    RunLog(tmp_path, enabled=False).write("step", {"step": 1})
    RunLog(tmp_path, enabled=False).rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_what_came_after_the_checkpoint_is_dropped_with_half_a_line(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("step", {"step": step})
    with log.path.open("ab") as file:
        file.write(b'{"event": "step", "step": 2, "caf\xc3')  # cut in the middle of a letter
    assert [entry["step"] for entry in read_log(log.path)] == [1, 2, 3]
    log.rewind(2)
    log.write("step", {"step": 3, "again": True})
    assert [(e["step"], "again" in e) for e in read_log(log.path)] == [(1, False), (2, False), (3, True)]
    assert [path.name for path in tmp_path.iterdir()] == [LOG_FILE]


def test_a_log_that_is_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(b'{"step": 1}\n\0\0\0\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"line 2 of .*log\.jsonl, which is no entry.*remove that line"):
        RunLog(tmp_path).rewind(2)
    (tmp_path / LOG_FILE).write_text('7\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 1"):
        read_log(tmp_path / LOG_FILE)


def test_a_log_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).mkdir()
    with pytest.raises(UserError, match=r"log\.jsonl cannot be written \(Is a directory\)"):
        RunLog(tmp_path).write("step", {})
    if Path("/dev/full").exists():
        log = RunLog(tmp_path)
        log.path = Path("/dev/full")
        with pytest.raises(UserError, match="No space left on device"):
            log.write("step", {})


def result(loss: float, cd: float | None, **rewards: list[float]) -> StepResult:
    """A pass with these figures."""
    nothing = torch.zeros(1)
    distillation = None if cd is None else Distillation(torch.tensor(cd), nothing, nothing)
    scores = {name: torch.tensor(values) for name, values in rewards.items()}
    return StepResult(torch.tensor(loss), nothing, nothing, distillation, scores)


def test_figures_are_means_over_all_passes_of_all_processes() -> None:
    names, device = ["img", "vid"], torch.device("cpu")
    first, second = Sums(names, device), Sums(names, device)
    first.add(result(1.0, 0.5, img=[0.1, 0.3]))
    first.add(result(2.0, 1.5, img=[0.5, 0.7]))
    second.add(result(6.0, None, vid=[2.0]))
    second.flag("stop")
    second.flag("skipped", 3)
    figures = figures_of(first.total + second.total, names)
    assert (figures.loss, figures.loss_cd) == (pytest.approx(3.0), pytest.approx(1.0))
    assert figures.rewards == {"img": pytest.approx(0.4), "vid": pytest.approx(2.0)}
    assert figures.flags == {"stop": 1.0, "skipped": 3.0} and figures.wrong() == []
    second.add(result(NAN, NAN, vid=[INF]))
    assert figures_of(first.total + second.total, names).wrong() == ["loss", "loss_cd", "vid"]
    none = figures_of(Sums(names, device).total, names)
    assert (none.loss, none.loss_cd, none.rewards) == (0.0, None, {})


def test_an_entry_is_the_mean_of_its_steps() -> None:
    window = Window()
    window.add(Figures(1.0, 0.5, {"img": 0.2}, {}), 3.0, {"step_s": 1.0, "network_s": 0.5})
    window.add(Figures(3.0, None, {"vid": 0.6}, {}), 5.0, {"step_s": 2.0, "network_s": 1.5})
    assert window.entry() == {
        "steps": 2,
        "loss": 2.0,
        "loss_cd": 0.5,
        "rewards": {"img": 0.2, "vid": 0.6},
        "grad_norm": 4.0,
        "step_s": 1.5,
        "network_s": 1.0,
    }


def test_curves_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"without the package tensorboard.*pip install"):
        check_installed()
