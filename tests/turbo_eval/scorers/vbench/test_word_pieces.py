"""Do the pieces read and write as transformers 4.33.2's BertTokenizer does, and is another vocabulary refused?"""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import BertTokenizer
from vbench_checkpoints import write_word_pieces

from turbo_eval.scorers.vbench.encoders.word_pieces import CLASS, SEPARATOR, WordPieces
from turbo_train.errors import UserError

MARKS = [".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re", "do", "##'"]
FIRST = 3000


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The goldens' stand-in, with marks from 3000 on."""
    path = write_word_pieces(tmp_path_factory.mktemp("words") / "vocab.txt")
    words = path.read_text(encoding="utf-8").split("\n")
    words[FIRST : FIRST + len(MARKS)] = MARKS
    path.write_text("\n".join(words), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pieces(vocabulary: Path) -> WordPieces:
    return WordPieces(vocabulary)


def _number(pieces: WordPieces, word: str) -> int:
    return pieces._words.index(word)


@pytest.mark.parametrize(
    ("words", "text"),  # as transformers 4.33.2 writes them
    [
        ([], ""),
        (["[CLS]", "car", "[SEP]", "[PAD]", "[UNK]", "[MASK]"], "car"),
        (["car", "##s", "red"], "cars red"),
        (["##s", "car"], "##s car"),
        (["car", ".", "?", "!", ","], "car.?!,"),
        (["do", "n't"], "don't"),
        (["a", "'", "b"], "a'b"),
        (["a", "'", "'s"], "a''s"),  # transformers 5 makes it "a ''s"
        (["a", "'"], "a '"),
        (["a", "'m", "b", "'re", "c", "'ve"], "a'm b're c've"),
        (["a", "##'", "b"], "a' b"),
        (["[unused1]", "a"], "[unused1] a"),
        ([".", "a"], ". a"),
        (["'", "n't", "'"], "'n't '"),
    ],
)
def test_decodes_as_vbench_does(pieces: WordPieces, words: list[str], text: str) -> None:
    assert pieces.decode([_number(pieces, word) for word in words]) == text


def test_leaves_out_what_a_network_added_after_the_vocabulary(pieces: WordPieces) -> None:
    assert pieces.decode([30522, _number(pieces, "car"), 30523]) == "car"


def test_encodes_a_text_between_its_marks(pieces: WordPieces) -> None:
    def ids(*words: str) -> list[int]:
        return [CLASS, *(_number(pieces, word) for word in words), SEPARATOR]

    assert pieces.encode("a picture of ") == ids("a", "picture", "of")
    assert pieces.encode("Car, RED | cé") == ids("car", ",", "red", "|", "c", "##e")
    assert pieces.encode("a b c d", 5) == ids("a", "b", "c")
    assert pieces.encode("a b", 5) == ids("a", "b")
    assert pieces.encode("") == ids()


def test_decodes_its_own_encoding_as_transformers_does(pieces: WordPieces) -> None:
    theirs = BertTokenizer(vocab={word: number for number, word in enumerate(pieces._words)})
    for text in ("a red car of w2500", "cb dc", "a . b ?"):
        ids = pieces.encode(text)
        assert pieces.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda words: words[:-1], "30521 word pieces in "),
        (lambda words: [*words, "more"], "30523 word pieces in "),
        (lambda words: [*words, words[-1]], "30522 word pieces in "),
        (lambda words: [*words[1:], words[0]], "30522 word pieces in "),
        (lambda words: [*words[:103], "mask", *words[104:]], r"30522 word pieces without \[MASK\] in "),
    ],
)
def test_another_vocabulary_is_refused(vocabulary: Path, tmp_path: Path, spoil, found: str) -> None:
    words = spoil(vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=found + r".*expected 30522, \[PAD\] as number 0, .*\[MASK\] as number 103"):
        WordPieces(tmp_path / "vocab.txt")


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="0 word pieces"):
        WordPieces(tmp_path / "vocab.txt")
