"""Are weights read, and everything else that a file may hold refused before it can run?"""

from __future__ import annotations

import gzip
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.tensor_files import (
    open_weight,
    read_amt,
    read_list,
    read_safetensors,
    read_tensors,
    read_torchscript,
)
from turbo_train.weights.hashes import read_sha256
from turbo_train.weights.table import WeightFile

STATE = {"a": torch.arange(3.0), "b": torch.zeros(2, 2)}


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def same(found: dict[str, Tensor]) -> bool:
    return list(found) == list(STATE) and all(torch.equal(found[key], value) for key, value in STATE.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": OrderedDict(STATE)},
        {"module": STATE, "sizes": {1, 2}, "shape": torch.Size((2,))},
        {"model": {"state_dict": STATE}},
    ],
    ids=["flat", "state_dict", "model", "module", "nested"],
)
def test_a_state_dict_is_found_in_what_training_programs_write(
    tmp_path: Path, content: dict[str, Any], zipped: bool
) -> None:
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_tensors(tmp_path / "a.pt"))


def test_a_parameter_may_bear_a_wrappers_name(tmp_path: Path) -> None:
    torch.save({"model": torch.zeros(1)}, tmp_path / "a.pt")
    assert list(read_tensors(tmp_path / "a.pt")) == ["model"]


def test_a_state_dict_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("reader", [read_tensors, read_list, read_amt, read_safetensors])
@pytest.mark.parametrize(("content", "why"), [(b"", "it is empty"), (b"<html>log in</html>", "it is a web page")])
def test_what_is_plainly_no_file_is_said_in_words(
    tmp_path: Path, reader: Callable[[Path], Any], content: bytes, why: str
) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.pt cannot be read \({why}\)"):
        reader(tmp_path / "a.pt")


def test_safetensors_and_lists(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert same(read_tensors(tmp_path / "a.safetensors"))
    torch.save([torch.zeros(2), torch.nn.Parameter(torch.ones(1))], tmp_path / "list.pt")
    up, down = read_list(tmp_path / "list.pt")
    assert not down.requires_grad and torch.equal(up, torch.zeros(2))
    torch.save(STATE, tmp_path / "a.pt")
    with pytest.raises(UserError, match="holds no list of tensors"):
        read_list(tmp_path / "a.pt")
    torch.save([torch.zeros(2), 3], tmp_path / "mixed.pt")
    with pytest.raises(UserError, match="holds no list of tensors"):
        read_list(tmp_path / "mixed.pt")


@pytest.mark.parametrize("reader", [read_tensors, read_list, read_amt])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_named_and_not_run(tmp_path: Path, reader: Callable[[Path], Any], zipped: bool) -> None:
    trace = tmp_path / "it ran"
    torch.save({"state_dict": STATE, "note": Evil(trace)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"a\.pt holds more than tensors: \w+\.mkdir; expected tensors only") as caught:
        reader(tmp_path / "a.pt")
    assert not trace.exists() and caught.value.exit_code == 2
    assert "weights_only" not in str(caught.value), "torch's advice to open it all the same is not passed on"
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil(trace), protocol=2))
    with pytest.raises(UserError, match="holds more than tensors"):
        reader(tmp_path / "b.pt")
    assert not trace.exists()


@pytest.mark.parametrize("reader", [read_tensors, read_list, read_amt, read_safetensors])
@pytest.mark.parametrize("damage", ["absent", "empty", "cut off", "a web page", "noise"])
def test_a_damaged_file_is_named(tmp_path: Path, reader: Callable[[Path], Any], damage: str) -> None:
    path = tmp_path / "a.pt"
    save_file(STATE, path) if reader is read_safetensors else torch.save(STATE, path)
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    broken = {
        "empty": b"",
        "cut off": content[: len(content) - 8],
        "a web page": b"<html>log in</html>",
        "noise": noise,
    }
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(broken[damage])
    with pytest.raises(UserError, match=r"no file .*a\.pt" if damage == "absent" else r"a\.pt cannot be read"):
        reader(path)


@pytest.mark.parametrize("kept", [30, 200, 400])
def test_a_pickle_of_old_torch_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    torch.save(STATE, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[:kept])
    with pytest.raises(UserError, match="cannot be read"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_amt_may_name_numpys_scalars_and_nothing_else(tmp_path: Path, module: str) -> None:
    notes = {"psnr": np.float64(35.5), "epoch": np.int64(3), "best": np.bool_(True), "loss": np.float32(0.5)}
    torch.save({"state_dict": STATE, **notes}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes().replace(b"numpy._core.multiarray", f"{module}.multiarray".encode())
    (tmp_path / "a.pth").write_bytes(content)
    before = set(torch.serialization.get_safe_globals())
    assert same(read_amt(tmp_path / "a.pth"))
    assert set(torch.serialization.get_safe_globals()) == before, "the list is closed again"
    with pytest.raises(UserError, match=rf"holds more than tensors: {module}.multiarray.scalar"):
        read_tensors(tmp_path / "a.pth")
    torch.save({"state_dict": STATE, "array": np.zeros(2)}, tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"more than tensors: numpy\._core\.multiarray\._reconstruct"):
        read_amt(tmp_path / "b.pth")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2))
        torch.jit.save(script, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_a_torchscript_archive_is_opened_only_when_its_bytes_are_pinned(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = read_sha256(archive)
    assert {key: tuple(value.shape) for key, value in read_torchscript(archive, pinned).items()} == {
        "weight": (3, 2),
        "bias": (3,),
    }
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UserError, match="no sha256 to hold"):
        read_torchscript(archive, "")
    with pytest.raises(UserError, match="another one is not opened"):
        read_torchscript(archive, "0" * 64)
    with pytest.raises(UserError, match="is a TorchScript archive, which is code"):
        read_tensors(archive)


def test_a_row_says_how_its_file_is_opened(archive: Path, tmp_path: Path) -> None:
    def count(opens: Any, path: Path, **known: str) -> int:
        return open_weight(WeightFile("a", (), opens, url="https://example.org/a", **known), path)  # type: ignore[arg-type]

    torch.save([torch.zeros(1)] * 5, tmp_path / "list.pt")
    torch.save({"state_dict": STATE}, tmp_path / "b.pt")
    save_file(STATE, tmp_path / "c.safetensors")
    (tmp_path / "vocab.txt.gz").write_bytes(gzip.compress(b"a\nb\n"))
    (tmp_path / "config.json").write_text("{}")
    assert count("list", tmp_path / "list.pt") == 5
    assert count("tensors", tmp_path / "b.pt") == count("amt", tmp_path / "b.pt") == 2
    assert count("safetensors", tmp_path / "c.safetensors") == 2
    assert count("torchscript", archive, sha256=read_sha256(archive)) == 2
    assert count("text", tmp_path / "vocab.txt.gz") == count("text", tmp_path / "config.json") == 0
    with pytest.raises(UserError, match="no sha256"):
        count("torchscript", archive)
    (tmp_path / "config.json").write_text("<html>")
    (tmp_path / "vocab.txt.gz").write_bytes(gzip.compress(b"a\nb\n")[:-6])
    for name in ("config.json", "vocab.txt.gz"):
        with pytest.raises(UserError, match="cannot be read"):
            count("text", tmp_path / name)
