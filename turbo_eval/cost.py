"""How many GPU hours will a run take, and what dominates them? Counted operations over a rate (gpus.py).

Of the whole run, whatever is there already, and of all its processes together. Generation is counted on the networks'
shapes (generators/cost.py), scoring by formulas (scorers/vbench/cost.py); neither weights nor a GPU are needed, and of
finished clips torch neither. Of temporal flickering's prompts 5 clips are made, or up to 25 until five are static: such
a run has a least and a most. Nothing here is measured but the pace of decoding on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from turbo_eval.asked_clips import Asked, Span, found_clips, made_clips
from turbo_eval.contestants import Contestant, Request, contestants_of, suite_name
from turbo_eval.encoder_choice import encoders_of
from turbo_eval.gpus import Machine, Rate
from turbo_eval.manifest import Scope
from turbo_eval.outlined import outlined
from turbo_eval.prompt_suite import Suite
from turbo_eval.scorers.registry import VBENCH, metric_names
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.cost import ASSUMED, RULES, SERVES, Bounds, ClipShape, Rules, clip_cost
from turbo_eval.scorers.vbench.operations import NOTHING, Operations
from turbo_eval.static_clips import is_filtered
from turbo_eval.suites import FILE_NAMES, load_suite, suite_of_file_names
from turbo_eval.units import Plan

DECODED_PX_S = 50e6  # pixels a second of one core: the goldens' H.264 clips, 45 to 108 million (reports/LOG.md)
DECODED = f"at {DECODED_PX_S / 1e6:g} million pixels a second, as measured on an AMD EPYC"
TERA, HOUR_S = 1e12, 3600
TEXT, DENOISING, DECODING = "text encoding", "denoising", "VAE decode"
MAKING = (TEXT, DENOISING, DECODING)


@dataclass(frozen=True)
class Stage:
    """A network at work. serves: dimensions; (): it makes clips. clips: that it sees. hours: of one GPU."""

    name: str
    serves: tuple[str, ...]
    clips: Span
    work: Bounds
    hours: Span


@dataclass(frozen=True)
class ModelCost:
    """Of one contestant. alone: hours of each dimension, were it scored by itself. shapes: of its clips.

    bases: on which assumption the hours of making and of scoring rest. decoding: hours of one CPU core.
    """

    model: str
    clips: Span
    shapes: tuple[ClipShape, ...]
    stages: tuple[Stage, ...]
    alone: Mapping[str, Span]
    bases: Mapping[str, str]
    decoding: Span

    @cached_property
    def hours(self) -> Span:
        """Of one GPU, all stages."""
        return sum((stage.hours for stage in self.stages), Span())

    def share(self, stage: Stage) -> float:
        """Of the most hours."""
        return stage.hours.most / self.hours.most if self.hours.most else 0.0


@dataclass(frozen=True)
class RunCost:
    """Of a run."""

    suite: str
    prompts: int
    machine: Machine
    models: tuple[ModelCost, ...]
    notes: tuple[str, ...]


def run_cost(request: Request, machine: Machine) -> RunCost:
    """Of a request. UserError as the run itself would give, but for files that are not there."""
    contestants = contestants_of(request, find=outlined)
    name = suite_name(request, contestants)
    suite = suite_of_file_names(request.videos) if name == FILE_NAMES else load_suite(name)
    for dimension in request.dimensions:
        if dimension not in metric_names():
            raise spec.unknown_name("dimension", dimension, metric_names())
    scored = encoders_of(request, suite) == VBENCH
    names = tuple(contestant.name for contestant in contestants)
    plan = Plan(suite, Scope(names, request.samples, request.limit, request.dimensions), 1)
    models = tuple(_cost_of(request, contestant, plan, scored, machine) for contestant in contestants)
    return RunCost(suite.name, len(plan.prompts()), machine, models, tuple(_notes(request, suite, models, scored)))


def _cost_of(request: Request, contestant: Contestant, plan: Plan, scored: bool, machine: Machine) -> ModelCost:
    stages: list[Stage] = []
    bases = {}
    if contestant.entry is not None:
        from turbo_eval.generators.cost import making_of

        making = making_of(contestant.entry)
        rate = machine.rate(contestant.entry.setting.dtype)
        bases["making"] = rate.basis
        asked = made_clips(request, plan, making.shape)
        clips = sum((group.clips for group in asked), Span())
        parts = zip(MAKING, (making.text, making.denoising, making.decode), strict=True)
        for name, each in parts:
            stages.append(_stage(name, (), clips, Bounds(each * clips.least, each * clips.most), rate))
    else:
        asked = found_clips(request, plan)
        clips = sum((group.clips for group in asked), Span())
    alone: dict[str, Span] = {}
    if scored:
        rate = machine.rate(request.precision)
        bases["scoring"] = rate.basis
        rules = Rules(is_filtered(plan.suite), machine.at_once, request.strict_rules)
        stages += scoring(asked, rate, rules)
        for dimension in sorted(set().union(*(group.dimensions for group in asked)), key=spec.NAMES.index):
            only = [group._replace(dimensions=group.dimensions & {dimension}) for group in asked]
            of_one = scoring(only, rate, rules)
            alone[dimension] = sum((stage.hours for stage in of_one), Span())
    pixels = sum((group.clips * group.shape.pixels for group in asked), Span())
    decoding = pixels * (1 / DECODED_PX_S / HOUR_S)
    shapes = tuple(dict.fromkeys(group.shape for group in asked))
    return ModelCost(contestant.name, clips, shapes, tuple(stages), alone, bases, decoding)


def scoring(asked: Sequence[Asked], rate: Rate, rules: Rules = RULES) -> list[Stage]:
    """The stages of scoring, in the order of the networks' table."""
    work: dict[str, Bounds] = {}
    clips: dict[str, Span] = {}
    for dimensions, shape, count in asked:
        for network, (least, most) in clip_cost(dimensions, shape, rules).items():
            before = work.get(network, Bounds(NOTHING, NOTHING))
            work[network] = Bounds(before.least + least * count.least, before.most + most * count.most)
            clips[network] = clips.get(network, Span()) + count
    wanted = set().union(*(group.dimensions for group in asked)) if asked else set()
    return [
        _stage(name, tuple(d for d in served if d in wanted), clips[name], work[name], rate)
        for name, served in SERVES.items()
        if name in work
    ]


def _stage(name: str, serves: tuple[str, ...], clips: Span, work: Bounds, rate: Rate) -> Stage:
    return Stage(name, serves, clips, work, Span(*(hours_of(operations, rate) for operations in work)))


def hours_of(operations: Operations, rate: Rate) -> float:
    """At this rate."""
    seconds = operations.products / rate.products + operations.convolutions / rate.convolutions
    return seconds / TERA / HOUR_S


def _notes(request: Request, suite: Suite, models: Sequence[ModelCost], scored: bool) -> Iterator[str]:
    yield "of the whole run from its beginning, and of all its processes together"
    if not scored:
        yield "scoring by the embedded world's judges and OpenCV is not counted: small networks, and no GPU's work"
    elif any(
        set(stage.serves) & {*SERVES["GRiT-B"], *SERVES["Tag2Text"]} for model in models for stage in model.stages
    ):
        yield ASSUMED
    if any(model.clips.least < model.clips.most for model in models):
        yield "least and most clips: of temporal flickering's prompts five, or all until five are static"
    if any(stage.name == "RAFT" for model in models for stage in model.stages):
        yield "least and most of RAFT: its pairs of frames until a verdict is certain, or all"
    if any("making" in model.bases for model in models):
        yield f"not counted: the coding of clips{', measuring the latency' if request.latency else ''}"
