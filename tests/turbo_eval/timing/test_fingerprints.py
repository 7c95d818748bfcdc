"""Does a fingerprint hold what may change a time, and nothing that only names a machine or a checkout?"""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest
import torch

from turbo_eval.provenance import cores
from turbo_eval.timing.fingerprints import code, hardware, software
from turbo_eval.timing.record import fingerprint


def test_the_same_twice_and_plain_json() -> None:
    assert hardware("cpu") == hardware("cpu") and software() == software()
    for made in (hardware("cpu"), software(), code()):
        assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_what_may_change_a_time_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, programs = hardware("cpu"), software()
    assert machine["cores"] == cores() and machine["threads"] == torch.get_num_threads() and machine["cpu"]
    assert programs["torch"] == torch.__version__.partition("+")[0] and programs["cuda"] == torch.version.cuda
    assert {"python", "diffusers", "transformers", "cudnn", "driver", "av"} <= programs.keys()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert fingerprint(hardware("cpu")) != fingerprint(machine)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert fingerprint(software()) != fingerprint(programs)


def test_neither_the_machines_name_nor_our_commit_is_in() -> None:
    ours = code()
    both = json.dumps([hardware("cpu"), software()])
    for name in (platform.node(), ours["git_commit"], ours["git_dirty_sha256"]):
        assert name is None or len(str(name)) < 4 or str(name) not in both
    assert ours["version"]


def test_our_own_changes_leave_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(hardware("cpu")), fingerprint(software())
    monkeypatch.setattr("turbo_eval.provenance._git", lambda: ("another commit", True, "other changes"))
    assert code()["git_commit"] == "another commit"
    assert (fingerprint(hardware("cpu")), fingerprint(software())) == before


def test_asking_loads_no_torch() -> None:
    ask = "from turbo_eval.timing.fingerprints import *; hardware('cpu'), software(), code()"
    said = subprocess.run(
        [sys.executable, "-c", f"import sys; {ask}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert (said.stdout.strip(), said.returncode) == ("False", 0), said.stderr


@pytest.mark.gpu
def test_of_a_gpu() -> None:
    machine = hardware("cuda")
    assert machine["device"] == "cuda" and machine["gpu"] == torch.cuda.get_device_name(0)
    assert isinstance(machine["gpu_memory_gib"], int) and software()["driver"]
