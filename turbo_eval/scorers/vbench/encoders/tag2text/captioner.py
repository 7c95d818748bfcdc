"""What does Tag2Text say of a clip's frames? VBench's scene (vbench 0.1.5; Huang et al., arXiv 2303.05657).

Squares of 384 px, / 255, ImageNet's mean and deviation. The tags it gives are read as "[ENC] tag | tag [SEP]", cut or
padded to 40 word pieces; the caption goes on from "[DEC] a picture of", by beam search (3 beams, 10 to 30 word pieces
with these four), and its first 13 characters, "a picture of ", are cut off. A caption may be empty.
Exact shortcut: a picture that is there several times is captioned once.
Shape legend: B pictures, T frames, H W px, C colours (RGB), M tokens of a picture, L word pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders import ByteArray
from turbo_eval.scorers.vbench.encoders.backbone import Backbone, finite
from turbo_eval.scorers.vbench.encoders.beam_search import BeamRules, beam_search
from turbo_eval.scorers.vbench.encoders.tag2text.net import Tag2TextNet, counted
from turbo_eval.scorers.vbench.encoders.tag2text.swin import SwinSizes
from turbo_eval.scorers.vbench.encoders.tag2text.tagging import given_tags, tag_text
from turbo_eval.scorers.vbench.encoders.transforms import dino_transform
from turbo_eval.scorers.vbench.encoders.word_pieces import COUNT, PAD, SEPARATOR, WordPieces
from turbo_train.rewards.published import take_weights

WEIGHTS, VOCABULARY = "tag2text/tag2text_swin_14m.pth", "bert-base-uncased/vocab.txt"
PROMPT = "a picture of "
TAG_PIECES = 40
BEGIN_CAPTION, BEGIN_TAGS = COUNT, COUNT + 1  # [DEC], [ENC]: the two words after BERT's own
RULES = BeamRules(end=SEPARATOR)


class Tag2Text(Backbone):
    """Captioner from Tag2Text with Swin-B."""

    NAME = "tag2text-swin-b"
    FILES = (WEIGHTS, VOCABULARY)
    PACKAGES = ("torch", "transformers")
    ROWS = 16  # pictures
    num_frames = 16
    side_px = SwinSizes().side_px

    @cached_property
    def words(self) -> WordPieces:
        """BERT's word pieces."""
        return WordPieces(self.path_of(VOCABULARY))

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
        """The published network. UserError: another layout."""
        with torch.device("meta"):
            net = Tag2TextNet()
        take_weights(net, counted(tensors[WEIGHTS]), self.path_of(WEIGHTS), "Tag2Text's Swin-B checkpoint")
        return net.float()

    def captions(self, clips: Sequence[ByteArray]) -> list[list[str]]:
        """One caption of every frame of each clip, (T, side_px, side_px, C) RGB; it may be empty.

        NotFinite: damaged weights.
        """
        self.load()
        pictures: dict[bytes, ByteArray] = {frame.tobytes(): frame for clip in clips for frame in clip}
        different = list(pictures.values())
        said: list[str] = []
        for first in range(0, len(different), self.rows):
            with self.computing():
                squares = torch.from_numpy(np.stack(different[first : first + self.rows])).to(self.mode.device)
                said += self._say(squares)
        of = dict(zip(pictures, said, strict=True))
        return [[of[frame.tobytes()] for frame in clip] for clip in clips]

    def _say(self, squares_BHWC: Tensor) -> list[str]:
        net = self._net
        assert isinstance(net, Tag2TextNet)
        picture_BMD = net.visual_encoder(dino_transform(squares_BHWC, self.side_px))
        tags = given_tags(finite(net.tag_logits(picture_BMD), "Tag2Text's tags"))
        words_BL = self.tag_words([tag_text(numbers) for numbers in tags]).to(picture_BMD.device)
        read_BLD = net.tag_encoder(words_BL, words_BL != PAD, picture_BMD)
        prompt = [BEGIN_CAPTION, *self.words.encode(PROMPT)[1:-1]]
        prompts = torch.tensor(prompt, device=picture_BMD.device).expand(len(squares_BHWC), -1)
        writing = net.text_decoder.about(read_BLD)
        sentences = beam_search(lambda *asked: finite(writing(*asked), "Tag2Text's words"), prompts, RULES)
        return [self.words.decode(sentence)[len(PROMPT) :] for sentence in sentences]

    def tag_words(self, texts: Sequence[str]) -> Tensor:
        """(B, 40) word pieces of each picture's tags."""
        pieces = [self.words.encode(text, TAG_PIECES) for text in texts]
        return torch.tensor([[BEGIN_TAGS, *own[1:], *[PAD] * (TAG_PIECES - len(own))] for own in pieces])
