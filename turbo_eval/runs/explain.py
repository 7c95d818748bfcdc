"""Why are two runs not the same run? The fields in which they differ, and which of those change pixels.

Fields of a model's content key change pixels, and so do batch and threads; what was wanted of the suite, the machine
and the command line do not (the packages and the kind of device that do are fields of the key).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_eval.manifest import Manifest, differences, read_manifest
from turbo_train.errors import UserError

PIXELS = ("batch", "threads", "lossless")  # fields of the identity that are in every content key
PASSING = ("pid",)  # of the environment: different in any two processes


@dataclass(frozen=True)
class Field:
    """One difference. None: the field is not there."""

    field: str
    a: Any
    b: Any
    changes_pixels: bool


@dataclass(frozen=True)
class Explanation:
    """Two runs side by side. same_suite: scores may be compared. shared, remade: models with equal, other keys."""

    a: str
    b: str
    same_suite: bool
    same_identity: bool
    shared: tuple[str, ...]
    remade: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    fields: tuple[Field, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def rows(self) -> list[dict[str, str]]:
        """For people."""
        return [
            {
                "field": field.field,
                "A": _text(field.a),
                "B": _text(field.b),
                "changes pixels": "yes" if field.changes_pixels else "no",
            }
            for field in self.fields
        ]

    def lines(self) -> list[str]:
        """For people: what follows."""
        lines = ["no field differs"] if not self.fields else []
        if not self.same_suite:
            lines.append("comparable: no, the suites are different")
        elif self.shared:
            lines.append(
                f"comparable: yes, the same suite; the same clips (equal content keys): {', '.join(self.shared)}"
            )
        else:
            lines.append("comparable: yes, the same suite; no clip is shared (no equal content keys)")
        if self.shared and not self.same_identity:
            lines.append("mergeable: no, the identities differ")
        for where, names in (("A", self.only_a), ("B", self.only_b)):
            if names:
                lines.append(f"only in {where}: {', '.join(names)}")
        return lines


def explain_runs(a: Path, b: Path, models: Sequence[str] = ()) -> Explanation:
    """Compares two runs by their manifests; models by name, or one of `a` with another one of `b` if two are named.

    UserError: not a run's folder, or a model that is not in it.
    """
    first, second = read_manifest(a), read_manifest(b)
    pairs = _pairs(first, second, a, b, models)
    fields = [
        Field(f"identity.{name}", x, y, name in PIXELS)
        for name, x, y in differences(first.identity.to_json(), second.identity.to_json())
    ]
    fields += [Field(n, x, y, False) for n, x, y in differences(_scope(first), _scope(second))]
    for mine, other in pairs:
        name = mine if mine == other else f"{mine} | {other}"
        changed = differences(first.models[mine], second.models[other], f"models.{name}")
        fields += [Field(field, x, y, True) for field, x, y in changed]
    made_by = (_lasting(first), _lasting(second))
    fields += [Field(f"environment.{name}", x, y, False) for name, x, y in differences(*made_by)]
    equal = {pair: first.keys[pair[0]] == second.keys[pair[1]] for pair in pairs}
    return Explanation(
        a=str(a),
        b=str(b),
        same_suite=first.identity.suite_sha256 == second.identity.suite_sha256,
        same_identity=first.identity == second.identity,
        shared=tuple(mine for (mine, _), same in equal.items() if same),
        remade=tuple(mine for (mine, _), same in equal.items() if not same),
        only_a=() if models else tuple(name for name in first.models if name not in second.models),
        only_b=() if models else tuple(name for name in second.models if name not in first.models),
        fields=tuple(fields),
    )


def _pairs(first: Manifest, second: Manifest, a: Path, b: Path, models: Sequence[str]) -> list[tuple[str, str]]:
    if not models:
        return [(name, name) for name in first.models if name in second.models]
    if len(models) > 2:
        raise UserError(
            found=f"--model {len(models)} times",
            expected="once, or twice: the first one in A, the second one in B",
            run_next="the same command with fewer",
        )
    pair = (models[0], models[-1])
    for name, manifest, folder in zip(pair, (first, second), (a, b), strict=True):
        if name not in manifest.models:
            raise UserError(
                found=f"no model {name!r} in {folder}",
                expected=f"one of {', '.join(manifest.models)}",
                run_next="the same command with --model and one of these",
            )
    return [pair]


def _scope(manifest: Manifest) -> dict[str, Any]:
    plain = {name: ", ".join(v) if isinstance(v, tuple) else v for name, v in asdict(manifest.scope).items()}
    return {"scope": {**plain, "suite_samples": manifest.suite_samples}}


def _lasting(manifest: Manifest) -> dict[str, Any]:
    lasting = {name: value for name, value in manifest.made_by.items() if name not in PASSING}
    return {**lasting, "argv": shlex.join(map(str, lasting.get("argv", ())))}


def _text(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
