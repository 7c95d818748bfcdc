"""Does the content key change with everything that can change pixels, and with nothing else?"""

from __future__ import annotations

import ast
import platform
import sys
from dataclasses import fields, replace
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from turbo_eval import keys
from turbo_eval.keys import ModelIdentity, content_key, files_sha256, key_fields
from turbo_eval.provenance import cpu_field
from turbo_train.sampling.setting import Setting

STUDENT = ModelIdentity("fast", "student", Setting("consistency", 4, 7.5), "cd" * 32)
SETTINGS: dict[str, Any] = {"seed": 0, "batch": 4, "threads": 1, "lossless": True, "device": "cpu AuthenticAMD AVX2"}


def key(model: ModelIdentity = STUDENT) -> str:
    return content_key(key_fields(model, **SETTINGS))


def test_variables_that_change_rounding_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in keys.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    plain, finished = key(), key(ModelIdentity("videos"))
    monkeypatch.setenv("HOSTNAME", "elsewhere")
    assert key() == plain
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert key() != plain and key(ModelIdentity("videos")) == finished


def test_the_code_that_makes_clips_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = key_fields(STUDENT, **SETTINGS)
    assert len(fields["code_sha256"]) == 64 and "numpy" in fields["packages"]
    assert "code_sha256" not in key_fields(ModelIdentity("videos"), **SETTINGS)
    names = {f"{root.name}/{path.relative_to(root).as_posix()}" for root, path in keys._code_files()}
    assert {"turbo_eval/generators/latent.py", "turbo_train/video_io.py", "turbo_train/nets/vae.py"} <= names
    assert {"turbo_train/sampling/ddim.py", "turbo_train/diffusion/schedule.py"} <= names
    before = key()
    monkeypatch.setattr(keys, "_code_sha256", lambda: "0" * 64)
    assert key() != before


def test_every_package_that_computes_pixels_is_in_the_key(repository: Path) -> None:
    """All that the networks and samplers import, but for what only reads bytes."""
    imported = set()
    for part in ("diffusion", "nets", "sampling"):
        for path in (repository / "turbo_train" / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                imported |= {name.partition(".")[0] for name in names}
    distributions = packages_distributions()
    known = {d for name in imported - set(sys.stdlib_module_names) for d in distributions.get(name, [])}
    assert {"torch", "diffusers", "open_clip_torch"} <= known
    assert known - {"turbo-video", "safetensors"} <= set(keys.PACKAGES)
    files = {path.name for _, path in keys._code_files()}
    assert "time_cond_proj_replay.safetensors" in files


def test_the_device_class_names_the_makers_of_the_kernels() -> None:
    from turbo_eval.generators.device import device_class

    kind, maker, capability = device_class("cpu").split(" ", 2)
    assert kind == "cpu" and maker in (cpu_field("vendor_id"), platform.machine()) and capability


def test_names_and_bytes_count_and_line_ends_do_not(tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(b"one\ntwo\n")
    b.write_bytes(b"one\r\ntwo\r\n")
    c.write_bytes(b"one\ntwo")
    assert files_sha256({"x": a, "y": c}) == files_sha256({"y": c, "x": b})
    assert len({files_sha256({"x": a}), files_sha256({"x": c}), files_sha256({"y": a})}) == 3


@pytest.mark.parametrize("field", [field.name for field in fields(Setting)])
def test_every_part_of_the_setting_is_in_the_key(field: str) -> None:
    other = {"sampler": "ddim", "size": (64, 64), "dtype": "bfloat16"}.get(field, 3)
    setting = replace(Setting("consistency", 4, 7.5), **{field: other})
    assert key(replace(STUDENT, setting=setting)) != key()
