"""How is a model put together whose files are not here? Enough to say what its clips cost, and no more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from turbo_eval.model_table import ModelEntry, Recipe
from turbo_eval.models import find_model, named, recipe_of, setting_of
from turbo_train.errors import UserError
from turbo_train.nets.source import Source


def outlined(name: str) -> ModelEntry:
    """The model of a name or of a folder, though its published files are not there. UserError: an unknown one."""
    plain, at, recipe = name.partition("@")
    entry = named(plain)
    if entry is None:
        return find_model(name)
    chosen = recipe_of(entry, recipe if at else None)
    if chosen.place is not None:
        with suppress(UserError):
            return find_model(name)
    return replace(entry, source=_outline(entry, chosen), recipe=chosen, setting=setting_of(entry, chosen))


def _outline(entry: ModelEntry, recipe: Recipe) -> Source:
    """A source that only says how the model is put together."""
    base = named(entry.base) if entry.base else None
    under = _outline(base, base.recipes[0]) if base else None
    return Source(recipe.layout, recipe.place or Path(entry.name), under, recipe.rank, recipe.projection, recipe.clip)
