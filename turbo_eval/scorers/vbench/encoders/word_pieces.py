"""How do GRiT and Tag2Text write and read words? As the pieces of bert-base-uncased.

VBench decodes by transformers 4.33.2's BertTokenizer: pieces joined by spaces, `##` to the piece before, the special
ones left out, then ten replacements that close the spaces English does not have. transformers 5 replaces in another
order and otherwise beside an apostrophe, so the rules stand here; ids of a text it makes the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transformers import BertTokenizer

from turbo_train.rewards.word_pieces import read_vocabulary

COUNT = 30522
PAD, UNKNOWN, CLASS, SEPARATOR, MASK = 0, 100, 101, 102, 103
PLACES = {"[PAD]": PAD, "[UNK]": UNKNOWN, "[CLS]": CLASS, "[SEP]": SEPARATOR, "[MASK]": MASK}
# in this order (transformers 4.33.2, tokenization_utils_base.py, clean_up_tokenization)
CLOSED = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)


class WordPieces:
    """The vocabulary of a vocab.txt. UserError: it is not bert-base-uncased's."""

    def __init__(self, vocabulary: Path) -> None:
        self._words = read_vocabulary(vocabulary, COUNT, PLACES)
        self._tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(self._words)})

    def encode(self, text: str, at_most: int | None = None) -> list[int]:
        """[CLS], the lower-cased text's pieces, [SEP]; of a text longer than `at_most` in all, the first ones."""
        ids: list[int] = self._tokenizer(text, truncation=at_most is not None, max_length=at_most)["input_ids"]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of pieces; those that a network adds after the last one are special too, and left out."""
        special = PLACES.values()
        words = [self._words[number] for number in ids if number < COUNT and number not in special]
        text = " ".join(words).replace(" ##", "").strip()
        for loose, closed in CLOSED:
            text = text.replace(loose, closed)
        return text
