"""What does a command that makes clips work on? Every name resolved, the run's folder open, models loaded at need.

All mistakes of the command line show in `prepare`, before any work. The run's folder is the only memory: a second
call goes on where the first was stopped, and a third only prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from turbo_eval.contestants import Contestant, Request, contestants_of, output_folder, suite_name
from turbo_eval.encoder_choice import dimension_scorers, encoders_of
from turbo_eval.generators.folder import VideoFolder, open_folder
from turbo_eval.keys import key_fields
from turbo_eval.leases import Session
from turbo_eval.manifest import MANIFEST, Manifest, RunIdentity, Scope, read_manifest
from turbo_eval.models import not_as_published
from turbo_eval.prompt_suite import Suite
from turbo_eval.provenance import Environment, cores, environment
from turbo_eval.records import ClipId, ClipRecord, Prompt, ScoreRecord
from turbo_eval.scorers.base import Scorer, applies
from turbo_eval.scorers.registry import EMBEDDED, VBENCH
from turbo_eval.scorers.reward import reward_scorers
from turbo_eval.scorers.vbench.spec import TEMPORAL_FLICKERING
from turbo_eval.screen import say
from turbo_eval.static_clips import Needed, needed_of
from turbo_eval.store import Run, open_run
from turbo_eval.suites import FILE_NAMES, load_suite, suite_of_file_names, suite_of_texts
from turbo_eval.units import Plan, Unit
from turbo_train.errors import UserError
from turbo_train.nets.projection import describe

if TYPE_CHECKING:  # torch
    from turbo_eval.generators.latent import LatentGenerator

BATCH = 4
HELD = 2  # models in memory at a time: a pair, or of many the one at work and the one before


@dataclass
class Job:
    """What was asked, where it goes, and the models loaded so far. unscored: metrics without a scorer, and why."""

    request: Request
    contestants: tuple[Contestant, ...]
    plan: Plan
    run: Run
    scorers: Sequence[Scorer]
    unscored: dict[str, str]
    environment: Environment
    device: str
    videos: VideoFolder | None = None
    loaded: dict[str, LatentGenerator] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The contestants' names, in the table's order."""
        return [contestant.name for contestant in self.contestants]

    def contestant(self, name: str) -> Contestant:
        """The contestant of that name."""
        return next(contestant for contestant in self.contestants if contestant.name == name)

    def session(self) -> Session:
        """This process's part of the run: heartbeat, leases, and what is known of it."""
        known = self.run.manifest.to_json()
        content = {**self.environment.to_json(), "scope": known["scope"], "keys": known["keys"]}
        return Session(self.run.folder, content, expiry_s=self.request.lease_s)

    def open_videos(self) -> VideoFolder:
        """The folder of finished clips. UserError when it is gone: a run needs it only for clips that it has not."""
        assert self.request.videos is not None
        return self.videos or open_folder(self.request.videos, self.plan.prompts(), 1)

    def generator(self, contestant: Contestant) -> LatentGenerator:
        """The contestant's model, loaded once as long as no more than two are asked for in turn."""
        from turbo_eval.generators.latent import load_generator

        entry = contestant.entry
        assert entry is not None and entry.source is not None
        if contestant.name not in self.loaded:
            while len(self.loaded) >= HELD:
                del self.loaded[next(iter(self.loaded))]
            self.loaded[contestant.name] = load_generator(entry.source, entry.setting, self.plan.batch, self.device)
        return self.loaded[contestant.name]

    def units(self) -> list[Unit]:
        """Every micro-batch of the job."""
        return list(self.plan.units(self.run.keys))

    def clip_ids(self, unit: Unit) -> Iterator[tuple[int, ClipId, Prompt]]:
        """The clips of a unit that are known to be needed: place in the suite, name, prompt."""
        for index in unit.wanted:
            prompt = self.plan.suite.prompts[index]
            if unit.sample_index < self.needed(unit.model, index).samples:
                yield index, (unit.model, prompt.prompt_id, unit.sample_index), prompt

    def is_undecided(self, unit: Unit) -> bool:
        """Whether clips of it may be needed or not, which other clips will tell."""
        asked = [self.needed(unit.model, index) for index in unit.wanted]
        return any(unit.sample_index >= samples and not is_final for samples, is_final in asked)

    def wanted(self, model: str) -> Iterator[tuple[ClipId, Prompt]]:
        """The clips of a model that are known to be needed, by prompt."""
        for index, prompt in enumerate(self.plan.suite.prompts):
            for sample_index in range(self.needed(model, index).samples):
                yield (model, prompt.prompt_id, sample_index), prompt

    def needed(self, model: str, index: int) -> Needed:
        """How many clips of a prompt are needed; of flickering prompts that shows only as they are scored."""
        return needed(self.request, self.plan, self.scorers, self.run, model, index)

    def missing_scorers(self, clip: ClipRecord, prompt: Prompt) -> list[Scorer]:
        """The scorers that are asked of this clip and have not said anything of these bytes."""
        return [
            scorer
            for scorer in self.scorers
            if applies(scorer, prompt)
            and self.plan.metric_wants(scorer.metric, clip.sample_index)
            and self.run.score(clip, scorer.metric, scorer.scorer_id) is None
        ]

    def scores(self) -> list[ScoreRecord]:
        """The scores of the wanted clips by this command's scorers, in canonical order."""
        wanted = {clip_id for name in self.names for clip_id, _ in self.wanted(name)}
        kept = self.run.scores((scorer.metric, scorer.scorer_id) for scorer in self.scorers)
        return [s for s in kept if s.clip_id in wanted and self.plan.metric_wants(s.metric, s.sample_index)]


def needed(request: Request, plan: Plan, scorers: Sequence[Scorer], run: Run | None, model: str, index: int) -> Needed:
    """How many clips of a prompt are needed as far as the run (None: not begun) can tell; without scores, all."""
    if not request.score:
        return Needed(plan.samples_of(index), True)
    flickering = next((s.scorer_id for s in scorers if s.metric == TEMPORAL_FLICKERING), None)
    return needed_of(run, plan, model, index, flickering)


@dataclass(frozen=True)
class Draft:
    """What a command asks for, with every name resolved and nothing written."""

    request: Request
    contestants: tuple[Contestant, ...]
    suite: Suite
    folder: Path
    manifest: Manifest
    plan: Plan
    scorers: Sequence[Scorer]
    unscored: dict[str, str]
    environment: Environment
    device: str
    videos: VideoFolder | None

    @property
    def strays(self) -> str:
        """The files of --videos that no prompt asks for, in one clause; "" where there are none."""
        names = self.videos.strays(self.suite.prompts) if self.videos else []
        first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"not scored, for they belong to no prompt of {self.suite.name}: {len(names)} ({first})" if names else ""


def draft(request: Request) -> Draft:
    """Resolve every name and load the scorers. UserError for a mistake of the command line."""
    contestants = contestants_of(request)
    for contestant in contestants:
        _check_steps(contestant)
        _tell(contestant)
    suite = _suite(request, contestants)
    encoders = encoders_of(request, suite) if request.score else EMBEDDED
    made_here = any(contestant.entry for contestant in contestants)
    on_networks = made_here or request.rewards is not None or encoders == VBENCH
    device = _device(request) if on_networks else "cpu"
    scorers, unscored = _scorers(request, suite, encoders, device)
    names = tuple(contestant.name for contestant in contestants)
    scope = Scope(names, request.samples, request.limit, request.dimensions, request.score, encoders)
    if request.rewards is not None:  # no reward asks for the 25 clips of a prompt that one dimension of VBench's does
        metrics = tuple(scorer.metric for scorer in scorers)
        scope = replace(scope, samples=request.samples or suite.samples, dimensions=metrics)
    prompts = Plan(suite, scope, 1).prompts()
    folder = output_folder(request, contestants, suite, len(prompts))
    identity = _identity(folder, request, suite.name, suite.sha256)
    plan = Plan(suite, scope, identity.batch)
    _use_threads(identity.threads)
    settings = {"seed": request.seed, "batch": identity.batch, "threads": identity.threads}
    machine = _device_class(device)
    models = {
        c.name: key_fields(c.identity, lossless=identity.lossless, device=machine, **settings) for c in contestants
    }
    videos = None
    if request.videos is not None and (request.videos.is_dir() or not (folder / MANIFEST).is_file()):
        most = max(plan.samples_of(index) for index in range(len(suite.prompts)))
        videos = open_folder(request.videos, prompts, most)
    here = environment()
    manifest = Manifest(identity, scope, models, here.to_json(), suite.samples, dict(suite.samples_by_dimension))
    return Draft(request, contestants, suite, folder, manifest, plan, scorers, dict(unscored), here, device, videos)


def _suite(request: Request, contestants: Sequence[Contestant]) -> Suite:
    if request.prompts:
        return suite_of_texts(request.prompts)
    name = suite_name(request, contestants)
    return suite_of_file_names(request.videos) if name == FILE_NAMES else load_suite(name)


def _scorers(request: Request, suite: Suite, encoders: str, device: str) -> tuple[Sequence[Scorer], dict[str, str]]:
    """What the clips are scored by, and what of it cannot be had. Reward networks are not loaded yet."""
    if not request.score:
        return [], {}
    asked = request.rewards
    if asked is None:
        return dimension_scorers(request, suite, encoders, device)
    texts = [prompt.prompt for prompt in suite.prompts]
    rewards = reward_scorers(asked.names, texts, device=device, dtype=asked.dtype, repeat_last=asked.repeat_last)
    if not asked.beside:
        return rewards
    others = dimension_scorers(request, suite, encoders, device)
    return [*others.scorers, *rewards.scorers], {**others.unscored, **rewards.unscored}


def prepare(request: Request) -> Job:
    """The job of a request, with its run's folder made or opened. UserError for a mistake of the command line."""
    d = draft(request)
    if d.strays:
        say(d.strays)
    try:
        run = open_run(d.folder, d.manifest, d.suite, expiry_s=request.lease_s)
    except UserError:
        again = draft(request)  # another process may have begun the run meanwhile, with its own batch and threads
        if again.manifest.identity == d.manifest.identity:
            raise
        d = again
        run = open_run(d.folder, d.manifest, d.suite, expiry_s=request.lease_s)
    return Job(request, d.contestants, d.plan, run, d.scorers, d.unscored, d.environment, d.device, d.videos)


def _identity(folder: Path, request: Request, suite: str, sha256: str) -> RunIdentity:
    """Batch and threads as the command says, else as the run that is there says, else the defaults."""
    there = read_manifest(folder).identity if (folder / MANIFEST).is_file() else None
    few = len(request.prompts) or BATCH  # a forward pass of four would make one prompt's clip four times
    default = RunIdentity(suite, sha256, min(BATCH, few), cores())
    known = replace(there or default, suite=suite, suite_sha256=sha256)
    return replace(known, batch=request.batch or known.batch, threads=request.threads or known.threads)


def _check_steps(contestant: Contestant) -> None:
    """UserError for a number of steps that the sampler cannot take."""
    from turbo_train.sampling.timesteps import consistency_timesteps, ddim_timesteps

    if contestant.entry is None:
        return
    setting = contestant.entry.setting
    if setting.sampler == "ddim":
        ddim_timesteps(setting.num_steps)
    else:
        consistency_timesteps(setting.num_steps, setting.origin_steps)


def _tell(contestant: Contestant) -> None:
    """What a reader of the numbers must know about the files: a stand-in matrix, or other bytes than the published."""
    entry = contestant.entry
    if entry is None or entry.source is None:
        return
    if entry.source.layout == "lora_list":
        say(f"{contestant.name}: guidance projection {describe(entry.source.projection, entry.source.layout)}")
    for name in not_as_published(entry):
        say(f"{contestant.name}: {name} is not the published file (its sha256 is another; turbo-eval weights verify)")


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _device(request: Request) -> str:
    from turbo_eval.generators.device import find_device

    return find_device(request.device)


def _device_class(device: str) -> str:
    from turbo_eval.generators.device import device_class

    return device_class(device)
