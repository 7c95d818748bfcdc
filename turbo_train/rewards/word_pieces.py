"""Which word pieces does a vocab.txt of BERT's hold? One a line; its number counts from 0 (arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import remedy

SPECIAL = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def read_vocabulary(path: Path, count: int, places: Mapping[str, int]) -> list[str]:
    """The `count` different word pieces in order, the special ones among them, those of `places` at their numbers.

    UserError where the file holds something else.
    """
    try:
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        words = []
    lacking = [word for word in SPECIAL if word not in words]
    placed = all(words[number : number + 1] == [word] for word, number in places.items())
    if lacking or not placed or not len(words) == len(set(words)) == count:
        without = f" without {', '.join(lacking)}" if lacking else ""
        raise UserError(
            found=f"{len(set(words))} word pieces{without} in {path}",
            expected=", ".join([str(count), *(f"{word} as number {number}" for word, number in places.items())]),
            run_next=remedy(path),
        )
    return words
