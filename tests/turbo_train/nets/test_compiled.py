"""Is a denoiser that cannot be compiled run as it is, and does it say so? And is a compiled one right?"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_denoisers import KINDS, call, context, denoiser
from torch import Tensor, nn
from torch.testing import assert_close

from turbo_train.nets.compiled import CompiledDenoiser
from turbo_train.nets.unet_denoiser import UNetDenoiser

NO_COMPILER = """
import sys, warnings
import torch
from tiny_denoisers import call, context, denoiser
from turbo_train.nets.compiled import CompiledDenoiser

net, plain = denoiser("videocrafter2 student"), denoiser("videocrafter2 student")
given = context("videocrafter2 student")
compiled = CompiledDenoiser(net, net.unet)
with torch.no_grad(), warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    out = call(compiled, "videocrafter2 student", given)
    again = call(compiled, "videocrafter2 student", given)
    expected = call(plain, "videocrafter2 student", given)
assert torch.equal(out, expected) and torch.equal(again, expected)
assert sum("runs uncompiled" in str(one.message) for one in seen) == 1
print("NOTE", compiled.note)
"""


class Unpredictable(nn.Module):
    """A layer that looks at its numbers, which no single graph can."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *rest: Any, **options: Any) -> Any:
        return self.layer(x, *rest, **options) if x.abs().sum().item() >= 0 else x


@pytest.fixture(autouse=True)
def own_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A compiler that remembers nothing and leaves nothing."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


def stubborn() -> UNetDenoiser:
    net = denoiser("videocrafter2 student")
    first = net.unet.get_submodule("input_blocks.0")
    assert isinstance(first, nn.ModuleList)
    first[0] = Unpredictable(first[0])
    return net


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so_once() -> None:
    kind, net = "videocrafter2 student", stubborn()
    compiled, given = CompiledDenoiser(net, net.unet), context("videocrafter2 student")
    assert compiled.note == ""
    with pytest.warns(UserWarning, match="the denoiser runs uncompiled; not compiled: .*data-dependent"):
        out = call(compiled, kind, given)
    assert torch.equal(out, call(denoiser(kind), kind, given))
    assert compiled.note.startswith("not compiled: ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(call(compiled, kind, given), out)


def test_a_mistake_of_the_caller_is_no_reason_to_give_up_compiling() -> None:
    kind, net = "videocrafter2 student", stubborn()
    compiled = CompiledDenoiser(net, net.unet)
    with pytest.raises(ValueError, match="a context of 3 rows for 2 clips"):
        compiled(torch.zeros(2, 4, 3, 4, 8), torch.zeros(2, dtype=torch.int64), context(kind, 3))
    wide = context(kind).repeat(1, 1, 2)  # of a width that no layer takes: found while compiling
    with pytest.raises(RuntimeError):
        call(compiled, kind, wide)
    assert compiled.note == "" and net.unet._compiled_call_impl is not None


@pytest.mark.slow
def test_without_a_compiler_on_the_machine_it_falls_back(tmp_path: Path, repository: Path) -> None:
    tests = os.pathsep.join([str(repository), str(repository / "tests")])
    environment = {
        "PATH": str(tmp_path),
        "PYTHONPATH": tests,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", NO_COMPILER], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "NOTE not compiled: InvalidCxxCompiler" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_it_gives_the_same_and_says_how_long_compiling_took(kind: str) -> None:
    net, plain = denoiser(kind), denoiser(kind)
    compiled = CompiledDenoiser(net, net.unet)
    taken = []
    for rows in (2, 2, 3, 2):  # another shape is compiled for itself, and the first is not forgotten
        given = context(kind, rows, seed=rows)
        assert_close(call(compiled, kind, given), call(plain, kind, given), atol=1e-4, rtol=1e-4)
        taken.append(compiled.compile_s)
    assert 0 < taken[0] == taken[1] < taken[2] == taken[3]
    assert compiled.note == ""


@pytest.mark.slow
def test_kernels_that_an_earlier_compilation_left_are_known_to_be_from_the_cache() -> None:
    kind = "videocrafter2 student"
    found = []
    for _ in range(2):
        torch._dynamo.reset()
        net = denoiser(kind)
        compiled = CompiledDenoiser(net, net.unet)
        call(compiled, kind, context(kind))
        found.append(compiled.from_cache)
    assert found == [False, True]


@pytest.mark.slow
def test_the_search_for_the_fastest_kernels_gives_the_same() -> None:
    kind = "videocrafter2 student"
    net, plain = denoiser(kind), denoiser(kind)
    compiled, given = CompiledDenoiser(net, net.unet, "max"), context(kind)
    assert_close(call(compiled, kind, given), call(plain, kind, given), atol=1e-4, rtol=1e-4)
    assert compiled.note == ""
