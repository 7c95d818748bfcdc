"""How is a predicted cost shown? Tables and sentences for people, one JSON document for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from turbo_eval.asked_clips import Span
from turbo_eval.cost import DECODED, TERA, ModelCost, RunCost, Stage

SCHEMA_VERSION = 1
UNITS = (("h", 1), ("min", 60), ("s", 3600))  # in an hour
TELLING = 0.005  # a least and a most that are closer are shown as one


def document(cost: RunCost) -> dict[str, Any]:
    """For programs. Numbers carry their units in their names."""
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": cost.suite,
        "prompts": cost.prompts,
        "gpu": cost.machine.gpu,
        "tflops": cost.machine.tflops,
        "models": [_document_of(model) for model in cost.models],
        "notes": list(cost.notes),
    }


def _document_of(model: ModelCost) -> dict[str, Any]:
    return {
        "model": model.model,
        "clips": asdict(model.clips),
        "shapes": [asdict(shape) for shape in model.shapes],
        "gpu_hours": asdict(model.hours),
        "assumption_of_making": model.bases.get("making"),
        "assumption_of_scoring": model.bases.get("scoring"),
        "decoding_core_hours": asdict(model.decoding),
        "assumption_of_decoding": DECODED,
        "dominated_by": dominated_by(model),
        "stages": [
            {
                "stage": stage.name,
                "dimensions": list(stage.serves),
                "clips": asdict(stage.clips),
                "tflop": {"least": stage.work.least.total / TERA, "most": stage.work.most.total / TERA},
                "gpu_hours": asdict(stage.hours),
                "share": model.share(stage),
            }
            for stage in model.stages
        ],
        "gpu_hours_of_a_dimension_alone": {name: asdict(hours) for name, hours in model.alone.items()},
    }


def rows(model: ModelCost) -> list[dict[str, str]]:
    """One row a stage; shares are of the most hours."""
    return [
        {
            "stage": stage.name,
            "for": ", ".join(stage.serves) or "clips",
            "TFLOP per clip": _per_clip(stage),
            "clips": _span(stage.clips, ",.0f"),
            "time": _time(stage.hours),
            "share": f"{100 * model.share(stage):.1f} %",
        }
        for stage in model.stages
    ]


def lines(model: ModelCost, device: str = "GPU") -> Iterator[str]:
    """What is said below the table: the sum, what dominates it, what it rests on."""
    if model.stages:
        clips = f"{_span(model.clips, ',.0f')} clips{_shape(model)}"
        yield f"{model.model}: {_span(model.hours)} {device} hours for {clips}"
        yield f"dominated by {dominated_by(model)}"
        shared: dict[str, list[str]] = {}
        for what, basis in model.bases.items():
            shared.setdefault(basis, []).append(what)
        yield from (f"time of {' and '.join(what)}: {basis}" for basis, what in shared.items())
    else:
        yield f"{model.model}: no {device} hours for {_span(model.clips, ',.0f')} clips"
    yield f"beside it, decoding each clip once: about {_time(model.decoding)} of one CPU core, {DECODED}"


def dominated_by(model: ModelCost) -> str:
    """The largest stage, and where that makes clips the largest of scoring too; shares are of the most hours."""
    scoring = [stage for stage in model.stages if stage.serves]
    parts = [_largest(model.stages, model.hours.most)]
    if scoring and len(scoring) < len(model.stages) and not max(model.stages, key=_most).serves:
        parts.append(f"of scoring {_largest(scoring, sum(map(_most, scoring)))}")
    return "; ".join(filter(None, parts)) or "nothing"


def _largest(stages: Sequence[Stage], whole: float) -> str:
    if not stages or not whole:
        return ""
    stage = max(stages, key=_most)
    serves = f" ({', '.join(stage.serves)})" if stage.serves else ""
    return f"{stage.name}{serves}: {100 * stage.hours.most / whole:.0f} %"


def _most(stage: Stage) -> float:
    return stage.hours.most


def _per_clip(stage: Stage) -> str:
    """Of the clips that the network sees."""
    counts = (stage.clips.least, stage.clips.most)
    least, most = (work.total / TERA / count if count else 0.0 for work, count in zip(stage.work, counts, strict=True))
    return _span(Span(min(least, most), max(least, most)))


def _shape(model: ModelCost) -> str:
    if len(model.shapes) != 1:
        return f" of {len(model.shapes)} sizes"
    (shape,) = model.shapes
    return f" of {shape.frames}x{shape.height}x{shape.width}"


def _time(hours: Span) -> str:
    unit, of_hour = next(((u, n) for u, n in UNITS if hours.most * n >= 1), UNITS[-1])
    return f"{_span(hours * of_hour)} {unit}"


def _span(span: Span, form: str = ".3g") -> str:
    least, most = format(span.least, form), format(span.most, form)
    return most if span.most - span.least <= TELLING * span.most else f"{least} to {most}"
