"""Which models have a name, how is each run by default, and of which files is it made?

Every default names its source. Guidance: teachers' scales are imagen_cfg's, students' are lcm_cfg's. Other packages
add models through the entry-point group `turbo_eval.models`: a ModelEntry, or several.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from turbo_eval.records import check_name
from turbo_train.nets.source import ClipFormat, Layout, Projection, Source
from turbo_train.sampling.setting import Setting
from turbo_train.world import WEIGHTS

Kind = Literal["teacher", "student"]
GROUP = "turbo_eval.models"
TEACHER_STEPS = 50  # DDIM steps of the teacher (arXiv 2405.18750, section 5)
STUDENT_STEPS = 4
GUIDANCE = 7.5  # of T2V-Turbo's published pipelines (code at eaae323)
VC2_RANK, MS_RANK = 64, 32  # of the published LoRA lists (key tables of the same code)
WORLD_SUITE, STANDARD_SUITE = "world", "vbench"  # suites.py
TRAINED = Path("students")  # where students that one trains oneself are looked for, below TURBO_WEIGHTS or here


@dataclass(frozen=True)
class Recipe:
    """One way to put a model together. Its files are those of `place`, else the rows of weights.lock for the model.

    name: `MODEL@name` asks for this one. alternative: which of a model's exclusive rows in weights.lock are meant.
    motion: whether the network was made for a motion condition. published: its own row of published.csv, if any.
    """

    layout: Layout
    name: str = ""
    place: Path | None = None
    alternative: str | None = None
    rank: int | None = None
    projection: Projection | None = None
    clip: ClipFormat | None = None
    motion: bool = False
    published: str | None = None


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be named. base: the teacher under a student. published: its row of published.csv.

    suite: what it is asked where the command line does not say.
    rewards: names (turbo_train.rewards.table) of those that it was trained on; (): none; None: not known.
    recipes: the first whose files are there is used. obtain: how a model without rows in weights.lock is had, and the
    command to run. source and recipe are set once files were found (models.py).
    """

    name: str
    kind: Kind
    family: str
    setting: Setting
    recipes: tuple[Recipe, ...]
    description: str
    licence: str
    tier: str
    base: str | None = None
    size_multiple: int = 1  # in pixels, where it is known before the weights are read
    published: str | None = None
    suite: str = STANDARD_SUITE
    rewards: tuple[str, ...] | None = None
    obtain: tuple[str, str] = ("that its package says where to get", "turbo-eval list models")
    source: Source | None = None
    recipe: Recipe | None = None

    @property
    def label(self) -> str:
        """Its name in tables: with the recipe's, unless that is the preferred one."""
        if self.recipe is None or self.recipe == self.recipes[0]:
            return self.name
        return f"{self.name}-{self.recipe.name}"


def teacher(guidance_scale: float = GUIDANCE, **chosen: Any) -> Setting:
    """50 DDIM steps, and what is chosen of Setting."""
    return Setting("ddim", TEACHER_STEPS, guidance_scale, **chosen)


def student(num_steps: int = STUDENT_STEPS, **chosen: Any) -> Setting:
    """4 consistency steps, and what is chosen of Setting."""
    return Setting("consistency", num_steps, GUIDANCE, **chosen)


MS_SIZE, VC2_SIZE = (256, 256), (320, 512)  # with 16 frames, at 8 and 16 fps: arXiv 2405.18750, section 5
MS_MULTIPLE, VC2_MULTIPLE = 8, 64  # pixels: a latent cell; a cell that VideoCrafter2's UNet can halve three times
EMBEDDED = ("ships with this package", "turbo-train world build")
UNPUBLISHED = "nobody has published one; it has to be trained (config.json and adapter.safetensors are what it holds)"
ON_MS = "CC-BY-NC-4.0 (ModelScope's weights)"

BOTH = ("world-image-reward", "world-video-reward")


def _world_student(name: str, description: str, rewards: tuple[str, ...], seeds: int = 0) -> ModelEntry:
    """A student of the embedded world. seeds: how many more trainings of its recipe there are, as `NAME@seed1`."""
    others = (Recipe("student", f"seed{n}", place=WEIGHTS / f"{name}-seed{n}") for n in range(1, seeds + 1))
    return ModelEntry(
        name,
        "student",
        "modelscope",
        student(),
        (Recipe("student", place=WEIGHTS / name), *others),
        obtain=("ships with this package", f"turbo-train run --preset {name}"),
        description=description,
        licence="Apache-2.0",
        tier="world",
        suite=WORLD_SUITE,
        rewards=rewards,
    )


# The rewards of the published students: arXiv 2405.18750 (v1) and 2410.05677 (v2).
MODELS: tuple[ModelEntry, ...] = (
    ModelEntry(
        "world-teacher",
        "teacher",
        "modelscope",
        teacher(),
        (Recipe("diffusers", place=WEIGHTS / "teacher"),),
        obtain=EMBEDDED,
        description="latent diffusion teacher of the embedded world, 32x32, 8 frames, DDIM with guidance",
        licence="Apache-2.0",
        tier="world",
        suite=WORLD_SUITE,
        rewards=(),
    ),
    _world_student("world-vcm", "video consistency model of world-teacher, without rewards", (), seeds=2),
    _world_student("world-rimg", "with the image reward alone", ("world-image-reward",)),
    _world_student("world-rvid", "with the video reward alone", ("world-video-reward",)),
    _world_student("world-turbo", "T2V-Turbo of world-teacher: both rewards", BOTH, seeds=2),
    ModelEntry(
        "ms",
        "teacher",
        "modelscope",
        # Guidance 9: the default of diffusers' TextToVideoSDPipeline. VBench lists its clips as 256x256 at 8 fps.
        teacher(9.0, frames=16, size=MS_SIZE, fps=8),
        (Recipe("diffusers", clip=ClipFormat(16, 8)),),
        description="ModelScopeT2V (arXiv 2308.06571), 50 DDIM steps with guidance",
        licence=ON_MS,
        tier="official",
        rewards=(),
        size_multiple=MS_MULTIPLE,
        published="ModelScopeT2V",
    ),
    ModelEntry(
        "vc2",
        "teacher",
        "videocrafter2",
        # Guidance 12, eta 1, cond_fps 28: VideoCrafter's scripts/run_text2video.sh for its 512x320 model v2. VBench
        # lists its clips as 320x512 at 10 fps, which is what that script's default writes.
        teacher(12.0, eta=1.0, frames=16, size=VC2_SIZE, fps=10, cond_fps=28),
        (Recipe("videocrafter2"),),
        description="VideoCrafter2 (arXiv 2401.09047), 50 DDIM steps with guidance and eta 1, x_0 rescaled",
        licence="Apache-2.0",
        tier="official",
        rewards=(),
        size_multiple=VC2_MULTIPLE,
        published="VideoCrafter2",
    ),
    ModelEntry(
        "ms-turbo",
        "student",
        "modelscope",
        student(frames=16, size=MS_SIZE, fps=8),
        (Recipe("lora_list", rank=MS_RANK, projection="seeded"),),
        description="T2V-Turbo of ModelScope (arXiv 2405.18750), 4 steps",
        licence=f"the list CC-BY-4.0, on {ON_MS}",
        tier="official",
        rewards=("hpsv2.1", "viclip"),
        base="ms",
        size_multiple=MS_MULTIPLE,
        published="T2V-Turbo (MS)",
    ),
    ModelEntry(
        "vc2-turbo",
        "student",
        "videocrafter2",
        student(frames=16, size=VC2_SIZE, fps=16),
        (
            Recipe("unet", "merged", alternative="merged"),
            Recipe("lora_list", "seeded", alternative="lora", rank=VC2_RANK, projection="seeded"),
            Recipe("lora_list", "replayed", alternative="lora", rank=VC2_RANK, projection="replayed"),
        ),
        description="T2V-Turbo of VideoCrafter2 (arXiv 2405.18750), 4 steps",
        licence="the list CC-BY-4.0, the merged upload states none; on VideoCrafter2's Apache-2.0",
        tier="official",
        rewards=("hpsv2.1", "internvideo2"),
        base="vc2",
        size_multiple=VC2_MULTIPLE,
        published="T2V-Turbo (VC2)",
    ),
    ModelEntry(
        "vc2-turbo-v2",
        "student",
        "videocrafter2",
        # 16 steps of the grid of 200, fps 8, motion_gs 0.05 for the first half: T2V-Turbo's predict.py (at eaae323).
        student(16, origin_steps=200, motion_gs=0.05, motion_percentage=0.5, frames=16, size=VC2_SIZE, fps=8),
        (
            Recipe("unet", "mg", alternative="mg", motion=True),
            Recipe("unet", "no-mg", alternative="no-mg", published="T2V-Turbo-v2 w/o MG"),
        ),
        description="T2V-Turbo-v2 of VideoCrafter2 (arXiv 2410.05677), 16 steps, motion guidance (@no-mg: without)",
        licence="Apache-2.0",
        tier="official",
        rewards=("hpsv2.1", "clip", "internvideo2"),
        base="vc2",
        size_multiple=VC2_MULTIPLE,
        published="T2V-Turbo-v2 w/ MG",
    ),
    ModelEntry(
        "ms-vcm",
        "student",
        "modelscope",
        student(frames=16, size=MS_SIZE, fps=8),
        (Recipe("student", place=TRAINED / "ms-vcm"),),
        description="video consistency model of ModelScope without rewards; nobody has published one: train it",
        licence=ON_MS,
        tier="official",
        rewards=(),
        base="ms",
        size_multiple=MS_MULTIPLE,
        published="VCM (MS)",
        obtain=(UNPUBLISHED, "train one and give its folder: --model FOLDER"),
    ),
    ModelEntry(
        "vc2-vcm",
        "student",
        "videocrafter2",
        student(frames=16, size=VC2_SIZE, fps=16),
        (Recipe("student", place=TRAINED / "vc2-vcm"),),
        description="video consistency model of VideoCrafter2 without rewards; nobody has published one: train it",
        licence="Apache-2.0",
        tier="official",
        rewards=(),
        base="vc2",
        size_multiple=VC2_MULTIPLE,
        published="VCM (VC2)",
        obtain=(UNPUBLISHED, "train one and give its folder: --model FOLDER"),
    ),
)


def plugins() -> tuple[tuple[ModelEntry, ...], tuple[str, ...]]:
    """Models of other packages, and a sentence on each that cannot be used. Nothing of theirs reaches stdout."""
    entries: dict[str, ModelEntry] = {}
    complaints = []
    ours = {entry.name for entry in MODELS}
    for point in metadata.entry_points(group=GROUP):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = point.load()
                found = found() if callable(found) else found
            for entry in [found] if isinstance(found, ModelEntry) else list(found):
                check_entry(entry, ours | set(entries))
                entries[entry.name] = entry
        except (Exception, SystemExit) as error:  # whatever another package does wrong must not hide our own models
            complaints.append(f"entry point {point.name} = {point.value} of {GROUP}: {type(error).__name__}: {error}")
    return tuple(entries.values()), tuple(complaints)


def check_entry(entry: object, taken: Collection[str]) -> None:
    """TypeError or ValueError for a row that could not be listed or run. taken: names that others have."""
    if not isinstance(entry, ModelEntry):
        raise TypeError(f"{type(entry).__name__}, expected a ModelEntry or several")
    check_name("model", entry.name)
    if entry.name in taken:
        raise ValueError(f"{entry.name}: a name that is taken")
    setting: object = entry.setting  # whatever another package has put there
    if not isinstance(setting, Setting) or entry.kind not in get_args(Kind) or entry.size_multiple < 1:
        raise ValueError(f"{entry.name}: setting {setting!r}, kind {entry.kind!r}, size {entry.size_multiple!r}")
    if not entry.recipes or any(recipe.place is None for recipe in entry.recipes):
        raise ValueError(f"{entry.name}: recipes need a place, for weights.lock has no rows for {entry.name}")
    rewards: object = entry.rewards
    if rewards is not None and not isinstance(rewards, tuple):
        raise ValueError(f"{entry.name}: rewards {rewards!r}, expected a tuple of names")
    if entry.base is not None and entry.base not in {model.name for model in MODELS}:
        raise ValueError(f"{entry.name}: unknown base {entry.base!r}")
