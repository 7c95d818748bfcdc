"""Does our beam search say what VBench's would? 4.33.2's recorded answers, transformers' own search, all sentences."""

from __future__ import annotations

import itertools
import json
import math
import sys
from functools import cache

import pytest
import torch
from vbench_checkpoints import CLIPS

from turbo_eval.scorers.vbench.encoders.beam_search import BeamRules, Ended, beam_search
from turbo_eval.scorers.vbench.encoders.tag2text.net import CaptionDecoder, TextSizes

sys.path.insert(0, str(CLIPS))
import record_beam_search as record

# Made by `python record_beam_search.py beam_search_4_33_2.json` with transformers 4.33.2 in front, torch 2.14.1, CPU.
GOLDEN = json.loads((CLIPS / "beam_search_4_33_2.json").read_text(encoding="utf-8"))
PROMPTS = torch.tensor(record.PROMPT).expand(record.PICTURES, -1)


@cache
def decoder(seed: int) -> CaptionDecoder:
    sizes = TextSizes(
        width=record.WIDTH,
        hidden=record.HIDDEN,
        heads=record.HEADS,
        layers=record.LAYERS,
        positions=record.POSITIONS,
        vocabulary=record.VOCABULARY,
    )
    net = CaptionDecoder(sizes).eval()
    net.load_state_dict(record.fill(seed, {key: tuple(value.shape) for key, value in net.state_dict().items()}))
    return net


def said(seed: int, beams: int, least: int, most: int, penalty: float) -> list[list[int]]:
    rules = BeamRules(record.END, beams, least, most, penalty)
    with torch.inference_mode():
        return beam_search(decoder(seed).about(record.memory(seed)), PROMPTS, rules)


def test_every_sentence_is_that_of_transformers_4_33_2():
    assert GOLDEN["transformers"] == "4.33.2"
    for each in GOLDEN["said"]:
        assert said(each["seed"], *each["rules"]) == each["sentences"], (each["seed"], each["rules"])


def test_the_recorded_sentences_are_no_weak_check():
    whole = [tuple(sentence) for each in GOLDEN["said"] if each["rules"][2] == 16 for sentence in each["sentences"]]
    assert len(set(whole)) > 40
    assert {6, 7, 9, 16} <= {len(sentence) for sentence in whole}
    assert sum(len(set(sentence[3:])) > 3 for sentence in whole) > 40
    pictures = [each["sentences"] for each in GOLDEN["said"]]
    assert sum(len({tuple(sentence) for sentence in own}) == record.PICTURES for own in pictures) > len(pictures) / 2
    by_rules = {(each["seed"], *each["rules"]): each["sentences"] for each in GOLDEN["said"] if each["seed"] < 6}
    penalty = sum(by_rules[key] != by_rules[(*key[:-1], 1.0)] for key in by_rules if key[-1] == 0.0)
    beams = sum(by_rules[key] != by_rules[(key[0], 4, *key[2:])] for key in by_rules if key[1] == 2)
    assert penalty > 5 and beams > 10


def test_of_equal_sentences_the_last_of_the_first_ones_counts():
    ended = Ended(BeamRules(record.END, beams=2))
    ended.add([7], -3.0)
    ended.add([8, 8], -6.0)
    ended.add([9], -3.0)  # no better than what is kept
    assert ended.best() == [8, 8]
    assert ended.suffice(-6.1, 2) and not ended.suffice(-5.9, 2)
    ended.add([5], -1.0)
    assert ended.kept == [(-3.0, [8, 8]), (-1.0, [5])] and ended.best() == [5]


def test_transformers_own_search_agrees_where_lengths_do_not_count():
    differs = 0
    for seed in (100, 101):
        net = record.network(seed)
        greedy = record.sentences(net, seed, 1, 4, 12, 0.0)
        for beams, least, most in ((1, 4, 12), (2, 9, 12), (3, 4, 12), (4, 6, 9)):
            want = record.sentences(net, seed, beams, least, most, 0.0)
            assert said(seed, beams, least, most, 0.0) == want, (seed, beams)
            differs += beams == 3 and want != greedy
    assert differs


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(20))
def test_as_many_beams_as_words_find_the_best_of_all_short_sentences(seed, penalty):
    words, end = 5, 4
    logits = torch.randn(words + 1, words, words, generator=torch.Generator().manual_seed(seed)) * 3
    log_probs = logits.log_softmax(-1)  # of the next word, by the last two

    texts: list[tuple[int, ...]] = [(words,)]  # before the prompt

    def step(words_PbL, rows_N, pictures_P):
        own = words_PbL.flatten(0, 1).tolist()
        texts[:] = [(*texts[row], *new) for row, new in zip(rows_N.tolist(), own, strict=True)]
        return torch.stack([logits[text[-2], text[-1]] for text in texts])

    def score(text: tuple[int, ...], ends: bool) -> float:
        whole = (words, 0, *text, *([end] if ends else []))
        total = sum(log_probs[a, b, c].item() for a, b, c in zip(whole, whole[1:], whole[2:], strict=False))
        return total / (1 + len(text)) ** penalty

    others = [word for word in range(words) if word != end]
    every = {(): score((), True)}
    every |= {(a,): score((a,), True) for a in others}
    every |= {pair: score(pair, False) for pair in itertools.product(others, others)}
    (got,) = beam_search(step, torch.tensor([[0]]), BeamRules(end, words, 0, 3, penalty))
    assert math.isclose(every[tuple(got[1:])], max(every.values()), rel_tol=1e-5)


def test_a_word_is_asked_for_once_and_a_picture_that_is_done_no_more():
    calls: list[tuple[int, ...]] = []
    here = [0, 1]

    def step(words_PbL, rows_N, pictures_P):
        calls.append((*words_PbL.shape, len(rows_N)))
        here[:] = [here[place] for place in pictures_P.tolist()]
        logits_PbV = (torch.arange(9) / 10).repeat(*words_PbL.shape[:2], 1)
        for place, picture in enumerate(here):  # the first wants to end as soon as it may, the second never
            logits_PbV[place, :, 8] = -20.0 if picture else 20.0
        return logits_PbV.flatten(0, 1)

    got = beam_search(step, torch.tensor([[1, 2], [1, 2]]), BeamRules(8, beams=3, min_length=3, max_length=7))
    assert calls[0] == (2, 1, 2, 2)  # the prompt once for each picture, however many beams
    assert calls[1] == (2, 3, 1, 6) and calls[-1] == (1, 3, 1, 3) and here == [1]
    assert len(calls) == 5 and len(got[0]) < 7 == len(got[1])
    assert beam_search(step, torch.empty(0, 2, dtype=torch.int64), BeamRules(8)) == []
