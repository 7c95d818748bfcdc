"""Which reward models score a run? Those that were named, else all whose weights are here and who know its words.

A closed vocabulary (the embedded world's) reads every other word as one and the same: such a reward scores prompts of
another world only where it is asked for by name. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from turbo_eval.screen import say
from turbo_train.errors import UserError, together
from turbo_train.rewards.table import REWARDS, RewardEntry, find_reward

TOKENIZER = "tokenizer/tokenizer.json"  # a file that says its own vocabulary; the published ones know every word
MISSING = "weights missing"
SHOWN = 8


@dataclass(frozen=True)
class Chosen:
    """The rewards, in the table's order. left_out: name -> why; only where no names were given."""

    entries: tuple[RewardEntry, ...]
    left_out: Mapping[str, str]


def choose_rewards(names: Sequence[str], texts: Sequence[str]) -> Chosen:
    """The rewards of these names; without names all that can score the texts.

    UserError: an unknown name, missing weights of a named one (all at once), or nothing that is left.
    """
    if names:
        return Chosen(_named(names, texts), {})
    left_out = {entry.name: why for entry in REWARDS if (why := _why_not(entry, texts))}
    kept = tuple(entry for entry in REWARDS if entry.name not in left_out)
    if not kept:
        raise UserError(
            found=f"no reward that can score these prompts; {left_out_line(left_out)}",
            expected="at least one whose weights are here and who knows the prompts' words",
            run_next="turbo-eval list rewards; --reward NAME uses one whatever words it knows",
        )
    return Chosen(kept, left_out)


def _named(names: Sequence[str], texts: Sequence[str]) -> tuple[RewardEntry, ...]:
    wanted = {find_reward(name).name for name in names}
    entries = tuple(entry for entry in REWARDS if entry.name in wanted)
    errors = []
    for entry in entries:
        try:
            entry.files()
        except UserError as error:
            errors.append(error)
    if errors:
        raise together(errors)
    for entry in entries:
        if words := unknown_words(entry, texts):
            say(f"warning: {strange_line(entry.name, words)}")
    return entries


def strange_line(name: str, words: Sequence[str]) -> str:
    """What is to be said of a reward that scores prompts with words which it does not know."""
    return f"{name} {_does_not_know(words)}: its scores of their prompts mean little"


def _why_not(entry: RewardEntry, texts: Sequence[str]) -> str:
    if entry.missing():
        return MISSING
    words = unknown_words(entry, texts)
    return _does_not_know(words) if words else ""


def _does_not_know(words: Sequence[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return f"does not know {', '.join(words[:SHOWN])}{more}"


def unknown_words(entry: RewardEntry, texts: Sequence[str]) -> list[str]:
    """The words that the reward's closed vocabulary lacks, each once, as they come; [] where it is not closed."""
    path = entry.files().get(TOKENIZER)
    if path is None:
        return []
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    unknown = json.loads(path.read_text(encoding="utf-8"))["model"].get("unk_token")
    found: dict[str, None] = {}
    for text in texts:
        read = tokenizer.encode(text)
        spans = (span for token, span in zip(read.tokens, read.offsets, strict=True) if token == unknown)
        found |= {text[start:end]: None for start, end in spans}
    return list(found)


def left_out_line(left_out: Mapping[str, str]) -> str:
    """One line for people; empty when nothing was left out."""
    missing = [name for name, why in left_out.items() if why == MISSING]
    parts = [f"{', '.join(missing)} ({MISSING}: {_pull(missing)})"] if missing else []
    parts += [f"{name} ({why})" for name, why in left_out.items() if why != MISSING]
    return f"left out: {'; '.join(parts)}" if parts else ""


def _pull(names: Sequence[str]) -> str:
    """What fetches, or builds, the weights of these rewards."""
    published = [name for name in names if find_reward(name).place is None]
    built = ["turbo-train world build"] if len(published) < len(names) else []
    fetched = [f"turbo-eval weights pull {' '.join(f'--for {name}' for name in published)}"] if published else []
    return " and ".join([*fetched, *built])
