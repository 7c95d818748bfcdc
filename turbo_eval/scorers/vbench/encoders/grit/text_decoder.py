"""What does GRiT call an object, and how does it describe it? Greedy decoding over [the object's tokens, the text].

GRiT (Wu et al., arXiv 2212.00280) with GIT's decoder (arXiv 2205.14100): six post-norm BERT layers. Object tokens see
object tokens only, words also see the words before them. The begin token says which task is asked for; a word is the
likeliest but its predecessor, up to the end token or 40 tokens, the begin token among them (vbench 0.1.5).
Exact shortcuts: as object tokens never see text, their keys and values are computed once for all tasks and words, and
nothing after those of the last layer; a word costs one token; boxes whose text has ended leave.
Shape legend: N boxes, C features, H W their grid, M = H W object tokens, h heads, d width of a head, L text tokens so
far, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.backbone import finite
from turbo_eval.scorers.vbench.encoders.bert import BertLayer, BertSizes, KeysValues
from turbo_eval.scorers.vbench.encoders.linear import Linear

KEPT_BYTES = 2**30  # of keys and values at a time, in float32
BANNED = -10000.0  # the logit of the word before


@dataclass(frozen=True)
class TextSizes:
    """Of the decoder. longest: tokens with the begin token. end: the token that ends a text."""

    features: int = 256
    vocabulary: int = 30522
    layers: int = 6
    layer: BertSizes = field(default_factory=BertSizes)
    positions: int = 1024
    longest: int = 40
    end: int = 102


def boxes_at_once(sizes: TextSizes, objects: int) -> int:
    """How many boxes of so many object tokens KEPT_BYTES hold."""
    return max(1, KEPT_BYTES // (sizes.layers * 2 * (objects + sizes.longest - 1) * sizes.layer.width * 4))


class Room:
    """Keys and values of object tokens, with room for the text that is written behind them.

    objects: tokens of a box. boxes: the first so many write on. filled: tokens that are there.
    """

    def __init__(self, keys_NhMd: Tensor, values_NhMd: Tensor, objects: int) -> None:
        self.keys, self.values, self.objects = keys_NhMd, values_NhMd, objects
        self.empty()

    def empty(self) -> None:
        """All boxes are back, without their texts."""
        self.boxes, self.filled = len(self.keys), self.objects

    def then(self, later: KeysValues) -> KeysValues:
        """Write these behind the last ones, in place; all so far."""
        old, self.filled = self.filled, self.filled + later.keys.shape[2]
        self.keys[: self.boxes, :, old : self.filled] = later.keys
        self.values[: self.boxes, :, old : self.filled] = later.values
        return KeysValues(*(part[: self.boxes, :, : self.filled] for part in (self.keys, self.values)))

    def keep(self, boxes: int, ended: Tensor, going: Tensor) -> None:
        """Only the first so many write on; before, `ended` ones among them change places with `going` ones behind."""
        self.boxes = boxes
        for part in (self.keys, self.values):
            part[ended], part[going] = part[going], part[ended]


class Embedding(nn.Module):
    """What is added to a word for its place. The words themselves are rows of the output's matrix."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.positions = nn.Embedding(sizes.positions, sizes.layer.width)
        self.layer_norm = nn.LayerNorm(sizes.layer.width, eps=1e-8)


class Encoder(nn.Module):
    """The layers, by their published name."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(sizes.layer) for _ in range(sizes.layers))


class TextDecoder(nn.Module):
    """GRiT's words for boxes, by the published names below `textual`."""

    def __init__(self, sizes: TextSizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes = sizes or TextSizes()
        width = sizes.layer.width
        self.object_feature_projection = nn.Sequential(Linear(sizes.features, width), nn.LayerNorm(width))
        self.embedding = Embedding(sizes)
        self.transformer = nn.ModuleDict({"encoder": Encoder(sizes)})
        self.output = Linear(width, sizes.vocabulary)

    @property
    def layers(self) -> list[BertLayer]:
        """In order."""
        encoder = self.transformer["encoder"]
        assert isinstance(encoder, Encoder)
        return [layer for layer in encoder.layer if isinstance(layer, BertLayer)]

    def write(self, features_NCHW: Tensor, begins: Sequence[int], at_once: int) -> list[list[list[int]]]:
        """For each task, by its begin token, the ids of each box's text, without begin and end.

        at_once: boxes in memory at a time.
        """
        texts: list[list[list[int]]] = [[] for _ in begins]
        for first in range(0, len(features_NCHW), at_once):
            part = self._together(features_NCHW[first : first + at_once], begins)
            for all_boxes, boxes in zip(texts, part, strict=True):
                all_boxes += boxes
        return texts

    def _together(self, features_NCHW: Tensor, begins: Sequence[int]) -> list[list[list[int]]]:
        rooms = self.remember(features_NCHW)
        box_of = list(range(len(features_NCHW)))
        return [self._texts(rooms, box_of, begin) for begin in begins]

    def remember(self, features_NCHW: Tensor) -> list[Room]:
        """Each layer's keys and values of the object tokens."""
        tokens_NMC = features_NCHW.flatten(2).transpose(1, 2)
        rooms: list[Room] = []
        first = 0
        # small results stay in a CPU's cache (linear.MLP_ROWS)
        for part in tokens_NMC.split(8 if tokens_NMC.device.type == "cpu" else 64):
            for number, known in enumerate(self._object_keys(part)):
                if not first:
                    rooms.append(self._room(known, len(tokens_NMC)))
                for kept, new in zip((rooms[number].keys, rooms[number].values), known, strict=True):
                    kept[first : first + len(part), :, : new.shape[2]] = new
            first += len(part)
        return rooms

    def logits(self, last_N: Tensor, rooms: Sequence[Room]) -> Tensor:
        """(N, V) for the word after `last`, whose keys and values go into the rooms."""
        position = rooms[0].filled - rooms[0].objects
        words_ND = F.embedding(last_N, self.output.weight)
        x_NLD = self.embedding.layer_norm(words_ND + self.embedding.positions.weight[position])[:, None]
        for layer, room in zip(self.layers, rooms, strict=True):
            read, _ = layer.read(x_NLD, room)
            x_NLD = layer.think(read)
        logits: Tensor = self.output(x_NLD[:, 0])
        return logits

    def _object_keys(self, tokens_NMC: Tensor) -> list[KeysValues]:
        x_NMD = self.object_feature_projection(tokens_NMC)
        found = []
        *most, last = self.layers
        for layer in most:
            read, known = layer.read(x_NMD)
            found.append(known)
            x_NMD = layer.think(read)
        return [*found, last.attention.remember(x_NMD)]

    def _room(self, known: KeysValues, boxes: int) -> Room:
        objects = known.keys.shape[2]
        shape = (boxes, known.keys.shape[1], objects + self.sizes.longest - 1, known.keys.shape[3])
        return Room(known.keys.new_empty(shape), known.values.new_empty(shape), objects)

    def _texts(self, rooms: Sequence[Room], box_of: list[int], begin: int) -> list[list[int]]:
        """box_of: of each row of the rooms; rows change places."""
        for room in rooms:
            room.empty()
        texts: list[list[int]] = [[] for _ in box_of]
        last_N = torch.full((len(box_of),), begin, device=rooms[0].keys.device)
        for position in range(self.sizes.longest - 1):
            logits_NV = self.logits(last_N, rooms)
            if position:  # the first word may be the begin token
                logits_NV.scatter_(1, last_N[:, None], BANNED)
            likeliest, last_N = logits_NV.max(1)
            finite(likeliest, "GRiT's words")
            words = last_N.tolist()
            going = [word != self.sizes.end for word in words]
            for box, word, goes_on in zip(box_of[: len(words)], words, going, strict=True):
                texts[box] += [word] if goes_on else []
            if not any(going):
                break
            if not all(going):
                last_N = _leave(rooms, box_of, last_N, going)
        return texts


def _leave(rooms: Sequence[Room], box_of: list[int], last_N: Tensor, going: Sequence[bool]) -> Tensor:
    """The last words of the boxes that go on, which are the first rows of the rooms from here."""
    count = sum(going)
    ended = [row for row in range(count) if not going[row]]
    moved = [row for row in range(count, len(going)) if going[row]]
    for here, there in zip(ended, moved, strict=True):
        box_of[here], box_of[there] = box_of[there], box_of[here]
    into, out_of = (torch.tensor(rows, dtype=torch.int64, device=last_N.device) for rows in (ended, moved))
    for room in rooms:
        room.keep(count, into, out_of)
    last_N[into] = last_N[out_of]
    return last_N[:count]
