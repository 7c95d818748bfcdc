"""Which model does a name or a path on the command line mean, and of which files is it made here?

A name of the table (model_table.py), with `@RECIPE` where it can be put together in several ways (vc2-turbo@replayed);
or a folder in one of two layouts: a teacher (diffusers' sub-folders, `unet/` among them) or a student (`config.json`
and `adapter.safetensors`). This module reads no weights and imports no torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from turbo_eval.model_table import (
    MODELS,
    WORLD_SUITE,
    Kind,
    ModelEntry,
    Recipe,
    plugins,
    student,
    teacher,
)
from turbo_train.errors import UserError, near
from turbo_train.nets.folder_files import recipe_teacher
from turbo_train.nets.source import RECORD, Source, teacher_at
from turbo_train.sampling.setting import Setting
from turbo_train.weights.check import altered
from turbo_train.weights.missing import require
from turbo_train.weights.places import folder_of, root
from turbo_train.weights.table import WeightFile, files_for
from turbo_train.weights.whole import locate_whole


def kind_of(folder: Path) -> Kind | None:
    """Which layout a folder has, or None."""
    if (folder / "unet").is_dir():
        return "teacher"
    student = (folder / "config.json").is_file() and (folder / "adapter.safetensors").is_file()
    return "student" if student else None


def model_entries() -> tuple[ModelEntry, ...]:
    """The table: our own models, then those of other packages."""
    return (*MODELS, *plugins()[0])


def named(name: str) -> ModelEntry | None:
    """The row of a name (without @RECIPE), as it stands in the table. Other packages are asked last."""
    own = next((entry for entry in MODELS if entry.name == name), None)
    return own or next((entry for entry in plugins()[0] if entry.name == name), None)


def find_model(name_or_path: str) -> ModelEntry:
    """The model of a name or of a folder, with its source set. UserError for an unknown name and for absent files."""
    name, at, recipe = name_or_path.partition("@")
    entry = named(name)
    if entry is not None:
        return _as_stated(_resolved(entry, recipe_of(entry, recipe if at else None)))
    folder = Path(name_or_path)
    if not name_or_path or not folder.is_dir():
        raise unknown(name_or_path)
    kind = kind_of(folder)
    if kind is None:
        raise UserError(
            found=f"{folder} holds no model",
            expected="a teacher (unet/, vae/, text_encoder/, ...) or a student (config.json, adapter.safetensors)",
            run_next="turbo-eval list models",
        )
    return _as_stated(_of_folder(folder, kind))


def unknown(name: str) -> UserError:
    """What to say of a name that is neither a model's nor a folder's."""
    names = [entry.name for entry in model_entries()]
    complaints = "".join(f"; {text}" for text in plugins()[1])
    return UserError(
        found=f"unknown model {name!r}{near(name, names)}{complaints}",
        expected=f"one of {', '.join(names)}, or the path of a model's folder",
        run_next="turbo-eval list models",
    )


def recipe_of(entry: ModelEntry, name: str | None = None) -> Recipe:
    """The recipe of that name; without one the first whose files are there, else the first. UserError: no such name."""
    if name is None:
        return next((recipe for recipe in entry.recipes if not missing(entry, recipe)), entry.recipes[0])
    for recipe in entry.recipes:
        if name and recipe.name == name:
            return recipe
    names = [recipe.name for recipe in entry.recipes if recipe.name]
    raise UserError(
        found=f"{entry.name}@{name}{near(name, names)}",
        expected=f"{entry.name}" + "".join(f", {entry.name}@{known}" for known in names),
        run_next=f"turbo-eval show {entry.name}",
    )


def weights_of(entry: ModelEntry, recipe: Recipe) -> tuple[WeightFile, ...]:
    """The rows of weights.lock that a recipe needs, its teacher's included; () where nothing is published."""
    if recipe.place is None:
        return files_for(entry.name, recipe.alternative)
    return files_for(entry.base) if entry.base else ()


def missing(entry: ModelEntry, recipe: Recipe) -> list[str]:
    """What is not there, or not whole, for people: rows of weights.lock, or a folder."""
    absent = [file.name for file in weights_of(entry, recipe) if locate_whole(file) is None]
    if recipe.place is not None and kind_of(placed(recipe.place)) != entry.kind:
        absent.append(str(placed(recipe.place)))
    return absent


def placed(place: Path) -> Path:
    """Where a folder lies: absolute as it stands, otherwise below TURBO_WEIGHTS or here."""
    return place if place.is_absolute() else (root() or Path()) / place


def _resolved(entry: ModelEntry, recipe: Recipe) -> ModelEntry:
    _check_placed(entry, recipe)
    require(weights_of(entry, recipe), entry.name)
    return replace(entry, source=_source(entry, recipe), recipe=recipe, setting=setting_of(entry, recipe))


def setting_of(entry: ModelEntry, recipe: Recipe) -> Setting:
    """How a recipe is run: the model's setting, without a motion condition for a network that knows none."""
    return entry.setting if recipe.motion else replace(entry.setting, motion_gs=None)


def not_as_published(entry: ModelEntry) -> list[str]:
    """The rows of weights.lock whose file here has another sha256 than the published one, where that is known."""
    assert entry.recipe is not None
    return altered(weights_of(entry, entry.recipe))


def _check_placed(entry: ModelEntry, recipe: Recipe) -> None:
    if recipe.place is not None and kind_of(placed(recipe.place)) != entry.kind:
        raise UserError(
            found=f"no weights of {entry.name} in {placed(recipe.place)}",
            expected=f"a {entry.kind} folder: {entry.obtain[0]}",
            run_next=entry.obtain[1],
        )


def _source(entry: ModelEntry, recipe: Recipe) -> Source:
    base = named(entry.base) if entry.base else None
    under = _source(base, base.recipes[0]) if base else None
    if recipe.place is not None:
        path = placed(recipe.place)
        if recipe.layout == "student" and under is None:
            under = _teacher_of(path)
    else:
        shared = set(files_for(entry.base)) if entry.base else set()
        own = [file for file in files_for(entry.name, recipe.alternative) if file not in shared]
        found = require(own, entry.name)
        path = folder_of(own) if recipe.layout == "diffusers" else found[own[0].name]
    return Source(recipe.layout, path, under, recipe.rank, recipe.projection, recipe.clip)


def cell_px(source: Source) -> int:
    """Pixels per latent cell of a diffusers folder, by its VAE's configuration; 1 where there is none to read."""
    teacher = source
    while teacher.base is not None:
        teacher = teacher.base
    levels = read_record(teacher.path / "vae" / "config.json").get("block_out_channels")
    return int(2 ** (len(levels) - 1)) if isinstance(levels, list) and levels else 1


def _of_folder(folder: Path, kind: Kind) -> ModelEntry:
    """A model given by its path. A student's teacher lies beside it, or is the named one of its config.json."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    recipe = Recipe("diffusers" if kind == "teacher" else "student", place=folder.resolve())
    source = Source(recipe.layout, folder, _teacher_of(folder) if kind == "student" else None)
    return ModelEntry(
        name=name,
        kind=kind,
        family="of its own",
        setting=teacher() if kind == "teacher" else student(),
        recipes=(recipe,),
        description="a folder given by its path",
        licence="not stated",
        tier="folder",
        suite=_suite_of(source.base if kind == "student" else source),
        source=source,
        recipe=recipe,
    )


def _suite_of(teacher: Source | None) -> str:
    """The suite of the table's teacher with these files; else of those with this layout, where they agree; else the
    embedded world's, which needs nothing that is not here.
    """
    if teacher is None:
        return WORLD_SUITE
    alike = [entry for entry in MODELS if entry.recipes[0].layout == teacher.layout]
    there = [entry for entry in alike if not missing(entry, entry.recipes[0])]
    same = [e for e in there if _source(e, e.recipes[0]).path.resolve() == teacher.path.resolve()]
    suites = {entry.suite for entry in same or alike}
    return suites.pop() if len(suites) == 1 else WORLD_SUITE


def _teacher_of(student_folder: Path) -> Source | None:
    """What a student's config.json calls its teacher: a folder or checkpoint beside it, or one of the table; else what
    lies where the recipe of the training run around it says.

    None where there is none of these: loading says so, and compares the weights.
    """
    name = str(read_record(student_folder / "config.json").get("teacher", "teacher"))
    beside = student_folder.resolve().parent / name
    if beside.exists():
        return teacher_at(beside)
    if named(name):
        return find_model(name).source
    trained_on = recipe_teacher(student_folder)
    return teacher_at(Path(trained_on)) if trained_on and Path(trained_on).exists() else None


def _as_stated(entry: ModelEntry) -> ModelEntry:
    """The entry with what its own folder says: its guidance scale, and the rewards that it was trained on."""
    assert entry.source is not None
    folder = entry.source.path
    return _with_rewards(_with_guidance(entry, folder), folder) if folder.is_dir() else entry


def _with_rewards(entry: ModelEntry, folder: Path) -> ModelEntry:
    """With those of a student's config.json; or as it is."""
    stated = read_record(folder / "config.json").get("rewards") if entry.kind == "student" else None
    return replace(entry, rewards=tuple(map(str, stated))) if isinstance(stated, list) else entry


def _with_guidance(entry: ModelEntry, folder: Path) -> ModelEntry:
    """With the guidance_scale of its folder's record; of the record beside it; or as it is."""
    beside = read_record(folder.parent / RECORD)
    own = beside.get(folder.name)
    records = (
        read_record(folder / RECORD),
        own if isinstance(own, dict) else {},
        read_record(folder / "config.json"),
        beside,
    )
    for record in records:
        value = record.get("guidance_scale")
        if isinstance(value, int | float) and not isinstance(value, bool):
            return replace(entry, setting=replace(entry.setting, guidance_scale=float(value)))
    return entry


def read_record(path: Path) -> dict[str, object]:
    """The JSON object of a file; {} where there is none, or another kind of value. UserError: it is no JSON."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(found=f"{path} is not readable as JSON: {error}", expected="a model's own record") from error
    return content if isinstance(content, dict) else {}
