"""How is a file of weights opened without running what somebody may have put into it?

A pickle is read with torch's weights_only, which builds tensors and plain containers and refuses every other global.
Two exceptions, both closed: AMT's checkpoint may also name numpy's scalars, and a TorchScript archive, which is code,
is opened only when its bytes are the pinned ones.
"""

from __future__ import annotations

import gzip
import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.weights.hashes import read_sha256
from turbo_train.weights.table import WeightFile
from turbo_train.weights.whole import why_broken

VERIFY = "turbo-eval weights verify"
WRAPPERS = "state_dict", "model", "module", "unet"  # what training programs put around a state dict
# What torch, json and gzip raise for a file that is cut off or overwritten.
DAMAGED = OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, struct.error, zlib.error
NO_PICKLE = "Unsupported operand"  # what torch says of bytes that are no pickle, such as a web page


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .ckpt, .pt, .pth, .bin or .safetensors file on the CPU, float32 or not, mapped where possible.

    UserError: missing, cut off, code in it, or no state dict.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return _state_dict(_load(path), path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, mapped. UserError: missing or cut off."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with _explained(path):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(error) from error


def read_list(path: Path) -> list[Tensor]:
    """A list of tensors without names (the published LoRA). UserError: as read_tensors, or something else in it."""
    content = _load(path)
    if not isinstance(content, list) or not all(isinstance(value, Tensor) for value in content):
        raise UserError(found=f"{path} holds no list of tensors", expected="a published LoRA list", run_next=VERIFY)
    return [value.detach() for value in content]


def read_amt(path: Path) -> dict[str, Tensor]:
    """AMT's checkpoint: its state dict beside what its trainer noted. UserError: as read_tensors, with the global.

    The real file was not at hand when this was written: VBench opens it without weights_only, and a trainer's notes
    are numbers, so numpy's scalars are let in, which are data. A global that is not listed is named in the message.
    """
    with torch.serialization.safe_globals(_numpy_scalars()):
        return _state_dict(_load(path), path)


def read_torchscript(path: Path, sha256: str) -> dict[str, Tensor]:
    """The state dict of a TorchScript archive. sha256: of the published file; without it nothing is opened.

    UserError: no sha256, another file, or one that cannot be read.
    """
    if not sha256:
        raise UserError(
            found=f"no sha256 to hold {path} against",
            expected="a pinned one: a TorchScript archive is code",
            run_next="turbo-eval weights list",
        )
    with _explained(path):
        digest = read_sha256(path)
    if digest != sha256:
        raise UserError(
            found=f"{path} has sha256 {digest}",
            expected=f"{sha256}: a TorchScript archive is code, another one is not opened",
            run_next="remove it and run turbo-eval weights pull",
        )
    with _explained(path), warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # torch.jit's own, about itself
            warnings.simplefilter("ignore", category)
        return dict(torch.jit.load(path, map_location="cpu").state_dict())


def open_weight(file: WeightFile, path: Path) -> int:
    """Open a published file the way its row says. Returns how many tensors it holds, 0 for text. UserError."""
    others: dict[str, Callable[[Path], Any]] = {"list": read_list, "text": _check_text}
    return len(others[file.opens](path) if file.opens in others else read_row(file, path))


def read_row(file: WeightFile, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file, opened the way its row says. UserError: as read_tensors, or another archive.

    Where a TorchScript archive is published a plain state dict of the same names is read too: it holds no code.
    """
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        "tensors": read_tensors,
        "safetensors": read_safetensors,
        "amt": read_amt,
        "torchscript": lambda where: (
            read_torchscript(where, file.sha256)
            if zipfile.is_zipfile(where) and _is_torchscript(where)
            else read_tensors(where)
        ),
    }
    return readers[file.opens](path)


def _load(path: Path) -> object:
    with _explained(path):
        mapped = zipfile.is_zipfile(path)  # torch before 1.6 wrote plain pickles, which cannot be mapped
        if mapped and _is_torchscript(path):
            raise UserError(
                found=f"{path} is a TorchScript archive, which is code",
                expected="tensors only",
                run_next="the published file, checked by its sha256",
            )
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for _ in WRAPPERS:  # each at most once: a pickled dict may hold itself
        wrapped = [key for key in WRAPPERS if isinstance(content, dict) and isinstance(content.get(key), dict)]
        content = content[wrapped[0]] if isinstance(content, dict) and wrapped else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(
            found=f"{path} holds no state dict but {_contents(content)}",
            expected=f"names and tensors, as they are or under {', '.join(WRAPPERS)}",
            run_next="another file",
        )
    return content


def _contents(content: object) -> str:
    """The first few things in a file, for a person who wants to know what it is."""
    if not isinstance(content, dict):
        return type(content).__name__
    shown = [f"{key} ({type(value).__name__})" for key, value in content.items() if not isinstance(value, Tensor)]
    return f"a dict with {', '.join(shown[:4])}{', ...' if len(shown) > 4 else ''}"


def _check_text(path: Path) -> tuple[()]:
    with _explained(path), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        text = file.read().decode("utf-8")
        if path.suffix == ".json":
            json.loads(text)
    return ()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What goes wrong inside becomes a UserError that names the file."""
    if not path.is_file():
        raise UserError(found=f"no file {path}", expected="a checkpoint", run_next="turbo-eval weights list")
    try:
        broken = why_broken(path, suffix="")
        if broken:
            raise _unreadable(path, broken)
        yield
    except pickle.UnpicklingError as error:
        if NO_PICKLE in str(error):
            raise _unreadable(path, "it holds no weights, or damaged ones") from error
        raise UserError(
            found=f"{path} holds more than tensors{_global_of(error)}",
            expected="tensors only: a pickle with code in it is not opened",
            run_next="the published file, checked by its sha256",
        ) from error
    except DAMAGED as error:
        raise _unreadable(path, (str(error).splitlines() or [type(error).__name__])[0][:200]) from error


def _unreadable(path: Path, why: str) -> UserError:
    found = f"{path} cannot be read ({why})"
    return UserError(found=found, expected="a whole checkpoint", run_next="download it again")


def _global_of(error: Exception) -> str:
    """torch's message names the global; its advice to open the file all the same is left out."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    return f": {named.group(1)}" if named else ""


def _numpy_scalars() -> list[Any]:
    """What numpy writes for a scalar, under the names of numpy 1 and 2: data, no code."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *dtypes]
