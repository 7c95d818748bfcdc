"""How does Tag2Text come from a picture to words? Tags are read beside the picture, a decoder reads what came of it.

    picture -> Swin -> tags (tagging.py);  [ENC] tags [SEP] padding -> BERT that looks at the picture -> 40 tokens
    [DEC] a picture of ... -> BERT that looks at the 40 tokens -> the next word
(Huang et al., arXiv 2303.05657; med.py and tag2text.py of vbench 0.1.5.) Nothing reads the padding in the tag encoder,
but the decoder does, unmasked, so that it is never left out.
Exact shortcuts: the tag encoder runs once for each picture and not for each beam; the beams of a picture look at one
set of keys and values, as if they were several words of one text; a word costs one token; only the last word's
probabilities are computed.
Shape legend: B pictures, C colours, H W px, M tokens of a picture, L tokens of a text, D width, K tags, V vocabulary,
P pictures that are still written about, b beams of each, N = P b rows, h heads, d width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.bert import BertLayer, BertSizes, KeysValues
from turbo_eval.scorers.vbench.encoders.linear import Linear
from turbo_eval.scorers.vbench.encoders.tag2text.swin import Swin, SwinSizes
from turbo_eval.scorers.vbench.encoders.tag2text.tagging import Encoder, Looks, OwnWeights

COMPUTED = (".relative_position_index", ".attn_mask")  # tables of Swin: VBench ignores the published ones too
OUTPUT = "text_decoder.cls.predictions"
OTHER_BIAS = f"{OUTPUT}.bias"  # the same parameter as that of its linear layer, which is loaded later


@dataclass(frozen=True)
class TextSizes:
    """Of the three BERTs."""

    width: int = 768
    hidden: int = 3072
    heads: int = 12
    layers: int = 12
    positions: int = 512
    vocabulary: int = 30524
    tags: int = 3429
    tagging_layers: int = 2
    tagging_heads: int = 4

    def layer(self, cross_width: int) -> BertSizes:
        """A layer that reads its own text and looks at tokens of this width."""
        return BertSizes(self.width, self.heads, self.hidden, cross_width)


class Embeddings(nn.Module):
    """norm(word + position); the numbers of the positions are the checkpoint's own."""

    position_ids: Tensor

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(sizes.vocabulary, sizes.width)
        self.position_embeddings = nn.Embedding(sizes.positions, sizes.width)
        self.LayerNorm = nn.LayerNorm(sizes.width, BertSizes().eps)
        self.register_buffer("position_ids", torch.arange(sizes.positions)[None])

    def forward(self, words_NL: Tensor, before: int = 0) -> Tensor:
        """(N, L, D). before: how many words come before these."""
        places = self.position_ids[:, before : before + words_NL.shape[1]]
        embedded: Tensor = self.LayerNorm(self.word_embeddings(words_NL) + self.position_embeddings(places))
        return embedded


class Bert(nn.Module):
    """Embeddings and layers."""

    def __init__(self, sizes: TextSizes, cross_width: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.encoder = Encoder(sizes.layers, sizes.layer(cross_width))

    def forward(self, words_BL: Tensor, seen_BL: Tensor, picture_BMD: Tensor) -> Tensor:
        """(B, L, D) of whole texts beside their pictures. seen_BL: bool, False for padding, which no token reads."""
        x_BLD: Tensor = self.embeddings(words_BL)
        for layer in self.encoder.layer:
            assert isinstance(layer, BertLayer)
            x_BLD, _ = layer.read(x_BLD, seen_NLM=seen_BL[:, None])
            x_BLD = layer.think(layer.look(x_BLD, layer.crossattention.remember(picture_BMD)))
        return x_BLD


class Transform(nn.Module):
    """norm(gelu(dense(x)))"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, BertSizes().eps)

    def forward(self, x_ND: Tensor) -> Tensor:
        """(N, D)"""
        transformed: Tensor = self.LayerNorm(F.gelu(self.dense(x_ND)))
        return transformed


class Predictions(nn.Module):
    """The next word's logits."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.transform = Transform(sizes.width)
        self.decoder = Linear(sizes.width, sizes.vocabulary)

    def forward(self, x_ND: Tensor) -> Tensor:
        """(N, V)"""
        logits: Tensor = self.decoder(self.transform(x_ND))
        return logits


class CaptionDecoder(nn.Module):
    """A BERT that writes."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.bert = Bert(sizes, sizes.width)
        self.cls = nn.ModuleDict({"predictions": Predictions(sizes)})

    def about(self, read_BMD: Tensor) -> Writing:
        """Begin a sentence about each picture's tokens."""
        return Writing(self, read_BMD)


class Writing:
    """Sentences at work: keys and values of their words, and of what they are about (beam_search.Step)."""

    def __init__(self, decoder: CaptionDecoder, read_BMD: Tensor) -> None:
        self.decoder = decoder
        self.layers = [layer for layer in decoder.bert.encoder.layer if isinstance(layer, BertLayer)]
        self.topics = [layer.crossattention.remember(read_BMD) for layer in self.layers]
        self.texts: list[KeysValues | None] = [None] * len(self.layers)
        self.length = 0

    def __call__(self, words_PbL: Tensor, rows_N: Tensor, pictures_P: Tensor) -> Tensor:
        """(N, V) logits of the word after these."""
        pictures, beams, count = words_PbL.shape
        if pictures < len(self.topics[0].keys):
            self.topics = [topic.rows(pictures_P) for topic in self.topics]
        x_NLD = self.decoder.bert.embeddings(words_PbL.flatten(0, 1), self.length)
        self.length += count
        order = torch.ones(count, self.length, dtype=torch.bool, device=x_NLD.device).tril(self.length - count)[None]
        for number, (layer, topic) in enumerate(zip(self.layers, self.topics, strict=True)):
            text = self.texts[number]
            before = None if text is None else text.rows(rows_N)
            x_NLD, self.texts[number] = layer.read(x_NLD, before, order if count > 1 else None)
            looked = layer.look(x_NLD.view(pictures, beams * count, -1), topic)
            x_NLD = layer.think(looked.view_as(x_NLD))
        logits: Tensor = self.decoder.cls["predictions"](x_NLD[:, -1])
        return logits


class Tag2TextNet(nn.Module):
    """The network, by its published names."""

    def __init__(self, sizes: TextSizes | None = None, swin: SwinSizes | None = None) -> None:
        super().__init__()
        sizes, swin = sizes or TextSizes(), swin or SwinSizes()
        self.visual_encoder = Swin(swin)
        self.text_decoder = CaptionDecoder(sizes)
        self.tag_encoder = Bert(sizes, swin.out_width)
        looks = BertSizes(sizes.width, sizes.tagging_heads, sizes.hidden, swin.out_width, reads=False)
        self.vision_multi = Looks(sizes.tagging_layers, looks)
        self.label_embed = nn.Embedding(sizes.tags, sizes.width)
        self.fc = OwnWeights(sizes.tags, sizes.width)

    def tag_logits(self, picture_BMD: Tensor) -> Tensor:
        """(B, K) float32 of a picture's tokens."""
        asked = self.label_embed.weight.expand(len(picture_BMD), -1, -1)
        logits: Tensor = self.fc(self.vision_multi(asked, picture_BMD))
        return logits


def counted(published: Mapping[str, Tensor], tagging_layers: int = TextSizes().tagging_layers) -> dict[str, Tensor]:
    """The tensors that count. Of those that a checkpoint holds twice it is what VBench loads last, in both places.

    So the tag encoder's first layers look and think with the tagging head's weights, the decoder's words are those of
    its output layer, and that layer's bias is its own.
    """
    state = {name: tensor for name, tensor in published.items() if not name.endswith(COMPUTED) and name != OTHER_BIAS}
    heads = tuple(f"vision_multi.encoder.layer.{layer}." for layer in range(tagging_layers))
    later = {name.replace("vision_multi", "tag_encoder"): name for name in state if name.startswith(heads)}
    later["text_decoder.bert.embeddings.word_embeddings.weight"] = f"{OUTPUT}.decoder.weight"
    same = {name: state[other] for name, other in later.items() if name in state and other in state}
    return {**state, **same}
