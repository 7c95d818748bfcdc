"""Which words does a decoder say, when several beginnings of its sentence are followed at once? Beam search.

A sentence's score is its log probability / (its length)^penalty. At every step each of the `beams` beginnings is
continued by every word; of all these the 2 * beams most probable are looked at in order: a sentence that ends now is
kept if it is among the first `beams`, of the others the first `beams` go on. A picture is done when it has `beams`
ended sentences, none of which the best continuation so far would displace if it ended here (Graves, arXiv 1211.3711;
as `generate` of transformers 4.33.2, VBench's, has it).
A length counts the words before the end, the prompt's among them; transformers 4.36 and later leave the prompt out, so
their captions differ. With one beam the search is greedy.
Shape legend: B pictures, P those that are not done, b beginnings of each (1 at first), N = P b rows, L words,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (words_PbL, rows_N, pictures_P) to logits_NV of the next word: the words of each row since the last call; which row of
# the last call it continues, and which of its pictures are left (the first time all in order).
Step = Callable[[Tensor, Tensor, Tensor], Tensor]
IMPOSSIBLE = -1e9  # of beams that do not differ yet from the first


@dataclass(frozen=True)
class BeamRules:
    """end: the word that ends a sentence; before `min_length` words none ends, at `max_length` all do (with prompt)."""

    end: int
    beams: int = 3
    min_length: int = 10
    max_length: int = 30
    length_penalty: float = 1.0


class Ended:
    """The best sentences of one picture, at most `beams`, in the order in which they ended."""

    def __init__(self, rules: BeamRules) -> None:
        self.rules = rules
        self.kept: list[tuple[float, list[int]]] = []

    def add(self, words: list[int], log_probability: float) -> None:
        """Keep a sentence, unless all that are kept are as good."""
        score = log_probability / len(words) ** self.rules.length_penalty
        full = len(self.kept) == self.rules.beams
        if full and score <= self.worst:
            return
        if full:
            del self.kept[[each for each, _ in self.kept].index(self.worst)]
        self.kept.append((score, words))

    @property
    def worst(self) -> float:
        """The lowest score."""
        return min(score for score, _ in self.kept)

    def suffice(self, log_probability: float, length: int) -> bool:
        """Whether a beginning of this probability and length no longer matters."""
        if len(self.kept) < self.rules.beams:
            return False
        return self.rules.beams == 1 or self.worst >= log_probability / length**self.rules.length_penalty

    def best(self) -> list[int]:
        """The words of the best; of equals the last one."""
        return max(reversed(self.kept), key=lambda each: each[0])[1]


@dataclass
class Picture:
    """What is known of one picture's sentence: its beginnings, their log probabilities, and what has ended."""

    number: int
    ended: Ended
    beginnings: list[list[int]]
    scores: list[float]

    def go_on(self, candidates: list[list[float]], rules: BeamRules) -> list[int]:
        """Take one step; candidates: log probability, beginning, word, best first. Returns what was continued."""
        length = len(self.beginnings[0]) + 1
        going: list[tuple[float, int, int]] = []
        for rank, (score, *place) in enumerate(candidates):
            beam, word = (int(each) for each in place)
            if word != rules.end:
                going.append((score, beam, word))
            elif rank < rules.beams:
                self.ended.add(self.beginnings[beam], score)
            if len(going) == rules.beams:
                break
        self.beginnings = [[*self.beginnings[beam], word] for _, beam, word in going]
        self.scores = [score for score, _, _ in going]
        if self.ended.suffice(candidates[0][0], length):
            self.beginnings = []
        return [beam for _, beam, _ in going]


@torch.inference_mode()
def beam_search(step: Step, prompts_BL: Tensor, rules: BeamRules) -> list[list[int]]:
    """The words of each picture's sentence, its prompt first and without the end. prompts_BL: int64, on the device.

    A row's numbers are asked for once, and those of a picture that is done no more.
    """
    device, beams = prompts_BL.device, rules.beams
    pictures = [
        Picture(number, Ended(rules), [list(prompt)] * beams, [0.0] + [IMPOSSIBLE] * (beams - 1))
        for number, prompt in enumerate(prompts_BL.tolist())
    ]
    going, words, here = pictures, prompts_BL[:, None], torch.arange(len(pictures), device=device)
    rows, width = here, 1  # all beams of a picture are the prompt, which is one row
    while going and len(going[0].beginnings[0]) < rules.max_length:
        log_probs = step(words, rows, here).float().log_softmax(-1)
        if len(going[0].beginnings[0]) < rules.min_length:
            log_probs[:, rules.end] = -torch.inf
        before = torch.tensor([picture.scores for picture in going], device=device)
        scores = before[:, :, None] + log_probs.view(len(going), width, -1)
        best, places = scores.flatten(1).topk(2 * beams)
        beam_and_word = (places // scores.shape[2], places % scores.shape[2])
        candidates = torch.stack([best.double(), *beam_and_word], dim=2).tolist()  # exact; one transfer
        taken = [
            [place * width + min(beam, width - 1) for beam in picture.go_on(candidates[place], rules)]
            for place, picture in enumerate(going)
        ]
        left = [place for place, picture in enumerate(going) if picture.beginnings]
        going, width = [going[place] for place in left], beams
        here = torch.tensor(left, device=device)
        rows = torch.tensor([row for place in left for row in taken[place]], device=device)
        words = torch.tensor([[[text[-1]] for text in picture.beginnings] for picture in going], device=device)
    for picture in going:
        for text, score in zip(picture.beginnings, picture.scores, strict=True):
            picture.ended.add(text, score)
    return [picture.ended.best() for picture in pictures]
