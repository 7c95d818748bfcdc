"""Which ids does a text tower get, what of a text does it not see, and is the user told once?"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import open_clip.tokenizer
import pytest
from golden import fill
from open_clip.model import CLIP
from tiny_rewards import SMALL_CLIP, filled, write_clip

from turbo_train.rewards.clip import load_clip
from turbo_train.rewards.openclip import OpenClipModel, new_clip
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from turbo_train.rewards.tokens import BytePairs, Pieces, Tokenizer
from turbo_train.weights.table import files_for, find_file
from turbo_train.world.tokenizer import MAX_TOKENS, build_tokenizer, token_ids

SHORT = "a red circle moves up on a black background"
WORLD_TEXT = " ".join(["red"] * MAX_TOKENS) + " blue circle"
WORLD_CFG = SMALL_CLIP | {
    "text_cfg": SMALL_CLIP["text_cfg"] | {"context_length": MAX_TOKENS, "vocab_size": len(token_ids())}
}


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(build_tokenizer(), MAX_TOKENS)


def test_viclips_tokens_are_the_golden_ones() -> None:
    meta, expected = fill.load("viclip")
    fill.compare(meta, expected, "tokens", BytePairs(32)(meta["prompts"]).int())


def test_the_vocabulary_that_open_clip_ships_is_the_pinned_file_which_the_reward_need_not_pull() -> None:
    pinned = find_file("viclip/bpe_simple_vocab_16e6.txt.gz")
    bundled = Path(open_clip.tokenizer.default_bpe()).read_bytes()
    assert hashlib.sha256(bundled).hexdigest() == pinned.sha256 and len(bundled) == pinned.size_bytes
    assert pinned.sha256 == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    assert [file.name for file in files_for("viclip")] == ["viclip/ViClip-InternVid-10M-FLT.pth"]
    assert {"temporal_style", "overall_consistency"} == set(pinned.needed_by)


@pytest.mark.parametrize("length", [8, 32, 77])
def test_byte_pairs_lose_what_stands_beyond_the_last_place_for_words(length: int) -> None:
    tokenizer = BytePairs(length)
    full, over = ("word " * (length - 2)).strip(), "word " * (length - 2) + "Shiny tail, twice"
    assert tokenizer.lost_words(full) == tokenizer.lost_words("") == tokenizer.lost_words(SHORT[:12]) == ""
    assert tokenizer.lost_words(over) == "shiny tail , twice"
    ids = tokenizer([full, over, ""])
    assert ids.shape == (3, length) and ids[0].tolist() == ids[1].tolist()
    assert ids[:, 0].tolist() == [49406] * 3 and ids[:2, -1].tolist() == [49407] * 2
    assert ids[2].tolist() == [49406, 49407] + [0] * (length - 2)


def test_a_word_of_many_byte_pairs_is_cut_inside() -> None:
    text = "a pneumonoultramicroscopicsilicovolcanoconiosis"
    tokenizer = BytePairs(8)
    assert tokenizer.lost_words(text) and text.endswith(tokenizer.lost_words(text))
    assert len(tokenizer.lost_words(text)) < len(text) - 2
    assert BytePairs(32).lost_words(text) == ""


def test_pieces_lose_what_stands_beyond_the_last_place_for_words(pieces: Pieces) -> None:
    full = " ".join(["red"] * (MAX_TOKENS - 2))
    assert pieces.lost_words(full) == pieces.lost_words(SHORT) == pieces.lost_words("") == ""
    assert pieces.lost_words(f"{full} blue circle") == "blue circle"
    assert pieces.lost_words(f"{full}  Unheard,  words") == "Unheard,  words"
    ids = pieces([full, f"{full} blue circle", SHORT, ""])
    assert ids.shape == (4, MAX_TOKENS) and ids[0].tolist() == ids[1].tolist()
    end = max(token_ids().values())
    assert ids[0, -1] == end and ids[2, -1] != end
    assert (ids == end).sum(1).tolist() == [1] * 4


@pytest.fixture(params=["byte pairs", "pieces"])
def cut(request: pytest.FixtureRequest, pieces: Pieces, tmp_path: Path) -> tuple[OpenClipModel, list[str]]:
    """A model with each kind of tokenizer, and two texts that are too long for it."""
    if request.param == "pieces":
        model = OpenClipModel(filled(new_clip(WORLD_CFG)), Preprocess(28, CLIP_MEAN, CLIP_STD), pieces)
        return model, [WORLD_TEXT, f"green {WORLD_TEXT}"]
    net: CLIP = filled(new_clip(SMALL_CLIP))
    return load_clip(write_clip(tmp_path, net), model_cfg=SMALL_CLIP), ["word " * 90, "another " * 90]


def test_one_warning_names_all_prompts_that_are_cut_and_none_twice(cut: tuple[OpenClipModel, list[str]]) -> None:
    model, (first, second) = cut
    tokenizer: Tokenizer = model.tokenizer
    assert model.too_long([SHORT, second, first, second]) == [second, first]
    with pytest.warns(UserWarning, match=f"^2 prompts cut at {tokenizer.length} tokens: ") as said:
        model.text_features([SHORT, first, second, first])
    assert len(said) == 1
    assert all(repr(f"{text[:77]}...") in str(said[0].message) for text in (first, second))
    with warnings.catch_warnings(record=True) as again:
        warnings.simplefilter("always")
        model.text_features([first, SHORT, second])
        assert model.too_long([SHORT]) == []
        model.text_features([SHORT])
    assert not again
    third = f"a {first}"
    with pytest.warns(UserWarning, match=f"^1 prompt cut at {tokenizer.length} tokens: ") as later:
        model.text_features([first, third])
    assert len(later) == 1


def test_a_cut_prompt_scores_as_its_beginning(cut: tuple[OpenClipModel, list[str]]) -> None:
    model, (first, _) = cut
    words = first.split()
    with pytest.warns(UserWarning, match="cut at"):
        whole = model.text_features([first])
    kept = " ".join(words[: len(words) - len(model.tokenizer.lost_words(first).split())])
    assert model.too_long([kept]) == []
    assert whole.equal(model.text_features([kept]))
