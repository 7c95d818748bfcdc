"""How many operations do GRiT and Tag2Text take to say what is in a frame? What is counted: operations.py.

Their work depends on what they see: on the number of objects and on the length of the texts, which nobody knows before
the clips are there. The formulas take them as arguments, and cost.py says which are assumed.
"""

from __future__ import annotations

from math import ceil

from turbo_eval.scorers.vbench.encoders import looked_at
from turbo_eval.scorers.vbench.operations import (
    NOTHING,
    Operations,
    attention,
    block,
    convolution,
    linear,
)

WIDTH, HIDDEN = 768, 3072  # of every BERT here, and of ViTDet
WINDOW = 14  # patches
OBJECT_TOKENS = 14**2
PROPOSALS = 256
PICTURE_TOKENS, PICTURE_WIDTH = 1 + 12**2, 1024  # of Tag2Text's Swin
TAGS, TAG_TOKENS = 3429, 40
BEAMS, BEGINNING = 3, 4  # [DEC] a picture of


def grit_frame(height: int, width: int, proposals: int = PROPOSALS) -> Operations:
    """ViTDet, pyramid, proposals and box heads on one frame; nothing of texts."""
    rows, columns = (2 * ceil(side / 32) for side in looked_at(height, width))
    return _vitdet(rows, columns) + _pyramid(rows, columns) + proposals * _boxes()


def _vitdet(rows: int, columns: int) -> Operations:
    """Twelve blocks, four of which see the whole map of patches."""
    patches = rows * columns
    windows = ceil(rows / WINDOW) * ceil(columns / WINDOW)
    dense = linear(4 * patches, WIDTH, WIDTH) + 2 * linear(patches, WIDTH, HIDDEN)
    whole = _attention_with_places(rows, columns)
    return (
        convolution(patches, 3, WIDTH, 16**2)
        + 12 * dense
        + 8 * windows * _attention_with_places(WINDOW, WINDOW)
        + 4 * whole
    )


def _attention_with_places(rows: int, columns: int) -> Operations:
    """Of a map to itself, with each query's products with the rows and columns of relative places."""
    patches = rows * columns
    return attention(patches, patches, WIDTH) + linear(patches * (rows + columns), WIDTH, 1)


def _pyramid(rows: int, columns: int) -> Operations:
    """Five maps, and CenterNet's convolutions on each."""
    patches = rows * columns
    sides = [(rows // 2, columns // 2)]
    for _ in range(2):
        sides.append((ceil(sides[-1][0] / 2), ceil(sides[-1][1] / 2)))
    fifth, sixth, seventh = (high * wide for high, wide in sides)
    found = convolution(patches, WIDTH, WIDTH, 4)  # transposed, to the finest
    for places in (4 * patches, patches, fifth):
        found += convolution(places, WIDTH, 256, 1) + convolution(places, 256, 256, 9)
    found += convolution(sixth + seventh, 256, 256, 9)
    looked_at = 5 * patches + fifth + sixth + seventh
    return found + 4 * convolution(looked_at, 256, 256, 9) + convolution(looked_at, 256, 4 + 1, 9)


def _boxes() -> Operations:
    """One proposal through the three box heads."""
    head = linear(1, 256 * 7**2, 1024) + linear(2, 1024, 1024) + linear(1, 1024, 2 + 4)
    return 3 * head


def grit_objects(objects: float) -> Operations:
    """Keys and values of the objects' tokens in the text decoder's six layers, whatever will be written of them."""
    read = 5 * block(OBJECT_TOKENS, WIDTH, HIDDEN) + linear(2 * OBJECT_TOKENS, WIDTH, WIDTH)
    return objects * (linear(OBJECT_TOKENS, 256, WIDTH) + read)


def grit_texts(objects: float, words: int) -> Operations:
    """A text of so many words of each object; the end of it is one more step."""
    texts = NOTHING
    for step in range(words + 1):
        texts += 6 * _word(OBJECT_TOKENS + step + 1) + linear(1, WIDTH, 30522)
    return objects * texts


def _word(tokens: int) -> Operations:
    """One word in a layer of BERT that attends to so many tokens."""
    return linear(4, WIDTH, WIDTH) + attention(1, tokens, WIDTH) + 2 * linear(1, WIDTH, HIDDEN)


def tag2text_picture() -> Operations:
    """Swin-B, the tags, and the tag encoder on one frame of 384 x 384."""
    return _swin() + _tagging() + _tag_encoder()


def _swin() -> Operations:
    seen = linear(96**2, 48, 128)
    for stage, depth in enumerate((2, 2, 18, 2)):
        tokens, width = (96 >> stage) ** 2, 128 << stage
        layer = (
            linear(4 * tokens, width, width) + attention(tokens, 12**2, width) + 2 * linear(tokens, width, 4 * width)
        )
        seen += depth * layer
        if stage < 3:
            seen += linear(tokens / 4, 4 * width, 2 * width)
    return seen


def _looks(tokens: int) -> Operations:
    """Attention of tokens to the picture, and what comes of it."""
    memory = linear(2 * PICTURE_TOKENS, PICTURE_WIDTH, WIDTH)
    return memory + linear(2 * tokens, WIDTH, WIDTH) + attention(tokens, PICTURE_TOKENS, WIDTH)


def _tagging() -> Operations:
    return 2 * (_looks(TAGS) + 2 * linear(TAGS, WIDTH, HIDDEN))


def _tag_encoder() -> Operations:
    return 12 * (block(TAG_TOKENS, WIDTH, HIDDEN) + _looks(TAG_TOKENS))


def tag2text_caption(words: int) -> Operations:
    """A sentence of so many words, from the tag encoder's tokens: three beams from its second word on, and its end."""
    memory = 12 * linear(2 * TAG_TOKENS, WIDTH, WIDTH)
    beginning = 12 * (block(BEGINNING, WIDTH, HIDDEN) + _topic(BEGINNING)) + _next_word()
    text = NOTHING
    for step in range(words):
        text += 12 * (_word(BEGINNING + step + 1) + _topic(1)) + _next_word()
    return memory + beginning + BEAMS * text


def _topic(tokens: int) -> Operations:
    """Attention of words to the tag encoder's tokens, whose keys and values are known."""
    return linear(2 * tokens, WIDTH, WIDTH) + attention(tokens, TAG_TOKENS, WIDTH)


def _next_word() -> Operations:
    return linear(1, WIDTH, WIDTH) + linear(1, WIDTH, 30524)
