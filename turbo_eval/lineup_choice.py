"""Who is in a line-up, under which names, and which of them are one row? From texts of the command line.

[LABEL=]MODEL[@RECIPE][:STEPS]     world-teacher:4, vc2-turbo@replayed:8, mine=runs/mine/student
ROW=MEMBER,MEMBER,...              several trainings of one recipe, by the names or texts of their contestants
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from turbo_eval.contestants import Contestant, Request, contestants_of
from turbo_eval.lineup_numbers import Row
from turbo_eval.model_table import ModelEntry
from turbo_eval.models import find_model
from turbo_eval.records import check_name
from turbo_train.errors import UserError, near, together

FORM = "[LABEL=]MODEL[:STEPS], with MODEL a name, NAME@RECIPE or folder"


@dataclass(frozen=True)
class Lineup:
    """The contestants in their order, the rows of the table, and those that the others are held against."""

    contestants: tuple[Contestant, ...]
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...]


def lineup_of(models: Sequence[str], groups: Sequence[str], baselines: Sequence[str], request: Request) -> Lineup:
    """Everything resolved. A row of seeds stands where its first member would; members are no rows of their own.

    request: its size, frames, fps and dtype hold for all. UserError: an unknown model (all of them at once), a text of
    another form, two contestants of one name or alike in all, a baseline that is no row.
    """
    grouped = [_group(text) for text in groups]
    found: dict[str, Contestant] = {}  # by text, in the order of the table
    errors = []
    for text in [*models, *(member for _, members in grouped for member in members)]:
        known = {contestant.name for contestant in found.values()}
        if text not in found and text not in known:
            try:
                new = contestant_of(text, request)  # `world-vcm` and `world-vcm:4` are one
                found[text] = next((old for old in found.values() if old == new), new)
            except UserError as error:
                errors.append(error)
    if errors:
        raise together(errors)
    contestants = tuple(dict.fromkeys(found.values()))
    _check(contestants)
    groups_of_names = {name: tuple(_name(member, found) for member in members) for name, members in grouped}
    rows = _rows(contestants, groups_of_names)
    return Lineup(contestants, rows, tuple(_baseline(text, rows, found) for text in baselines))


def contestant_of(text: str, request: Request, find: Callable[[str], ModelEntry] = find_model) -> Contestant:
    """The contestant of [LABEL=]MODEL[@RECIPE][:STEPS]. find, errors: as contestants_of has them."""
    match = re.fullmatch(r"(?:([^=/\\]+)=)?(.+?)(?::([1-9]\d{0,3}))?", text)
    if match is None:
        raise UserError(found=f"{text!r} in a line-up", expected=FORM, run_next="turbo-eval list models")
    label, model, steps = match.groups()
    asked = replace(request, lineup=(), against=None, videos=None, model=model, num_steps=int(steps) if steps else None)
    (contestant,) = contestants_of(asked, find)
    return replace(contestant, name=_legal(label)) if label else contestant


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, equals, rest = text.partition("=")
    members = tuple(dict.fromkeys(part.strip() for part in rest.split(",") if part.strip()))
    if not equals or len(members) < 2:
        raise UserError(
            found=f"--group {text!r}",
            expected="ROW=MEMBER,MEMBER,...: a name and at least two contestants",
            run_next="--group turbo=seed0/student,seed1/student,seed2/student, each as LABEL=FOLDER",
        )
    return _legal(name), members


def _legal(label: str) -> str:
    try:
        return check_name("label", label)
    except ValueError as error:
        raise UserError(found=str(error), expected="a label that may be a file's name") from error


def _name(text: str, found: dict[str, Contestant]) -> str:
    return found[text].name if text in found else text


def _check(contestants: Sequence[Contestant]) -> None:
    if not contestants:
        raise UserError(found="no model in the line-up", expected=FORM, run_next="turbo-eval list models")
    names: set[str] = set()
    alike: dict[object, str] = {}
    for contestant in contestants:
        name, identity = contestant.name, replace(contestant.identity, name="")
        if name in names:
            raise UserError(
                found=f"two contestants called {name}",
                expected="a name for each",
                run_next="LABEL=FOLDER gives a folder a name of its own",
            )
        if identity in alike:
            raise UserError(found=f"{alike[identity]} and {name} are one model", expected="each model and setting once")
        names.add(name)
        alike[identity] = name


def _rows(contestants: Sequence[Contestant], groups: dict[str, tuple[str, ...]]) -> tuple[Row, ...]:
    rows: dict[str, Row] = {}
    for contestant in contestants:
        inside = [name for name, members in groups.items() if contestant.name in members]
        for name, members in {name: groups[name] for name in inside}.items() or {contestant.name: ()}.items():
            rows.setdefault(name, Row(name, members or (contestant.name,)))
    alone = {contestant.name for contestant in contestants} & groups.keys()
    if lost := [name for name in alone if name not in groups[name]]:
        raise UserError(found=f"--group {lost[0]}=..., a contestant's name", expected="another name for the row")
    return tuple(rows.values())


def _baseline(text: str, rows: Sequence[Row], found: dict[str, Contestant]) -> Row:
    name = _name(text, found)
    row = next((row for row in rows if row.name == name), None) or next((r for r in rows if name in r.members), None)
    if row is None:
        names = [row.name for row in rows]
        raise UserError(
            found=f"--baseline {text!r}{near(text, names)}", expected=f"a row of the line-up: {', '.join(names)}"
        )
    return row
