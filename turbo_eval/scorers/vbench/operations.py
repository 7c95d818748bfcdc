"""How many floating-point operations does each of VBench's networks take? Formulas, checked against counts.

1 operation is one addition or one multiplication. Matrix products (attention among them) and convolutions are counted,
apart from each other, for GPUs run them at different rates; norms, activations, resizing and sampling are not, as in
torch.utils.flop_counter, by which tests count the real classes. The formulas hold the exact shortcuts that our networks
take (the last block for the class token alone, RAFT's context once, no masked tokens). No torch here.
GRiT and Tag2Text: operations_captions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Operations:
    """Of some computation. products: of matrices; convolutions: apart."""

    products: float = 0.0
    convolutions: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.products + self.convolutions

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.products + other.products, self.convolutions + other.convolutions)

    def __mul__(self, times: float) -> Operations:
        return Operations(self.products * times, self.convolutions * times)

    __rmul__ = __mul__


NOTHING = Operations()


def linear(rows: float, inputs: int, outputs: int) -> Operations:
    """x W of `rows` rows."""
    return Operations(products=2.0 * rows * inputs * outputs)


def attention(asking: float, asked: float, width: int) -> Operations:
    """Scores of all heads together, and what they mix."""
    return Operations(products=4.0 * asking * asked * width)


def convolution(pixels: float, inputs: int, outputs: int, kernel: int) -> Operations:
    """kernel: taps in all. pixels: of the result (of the input, where it is a transposed one)."""
    return Operations(convolutions=2.0 * pixels * inputs * outputs * kernel)


def block(tokens: int, width: int, hidden: int, *, wanted: int | None = None) -> Operations:
    """Of a transformer. wanted: so many tokens ask and are computed; keys and values are of all."""
    asking = tokens if wanted is None else wanted
    looked = linear(2 * asking + 2 * tokens, width, width) + attention(asking, tokens, width)
    return looked + 2 * linear(asking, width, hidden)


def image_tower(patches: int, patch_px: int, width: int, layers: int, output: int = 0) -> Operations:
    """A vision transformer of which the class token is read, and projected to `output` numbers."""
    tokens, hidden = patches + 1, 4 * width
    seen = (layers - 1) * block(tokens, width, hidden) + block(tokens, width, hidden, wanted=1)
    return convolution(patches, 3, width, patch_px**2) + seen + linear(1, width, output)


def dino(height: int, width: int) -> Operations:
    """ViT-B/16 on one frame, its short side at 224 px, uncropped."""
    short = min(height, width)
    return image_tower((224 * height // short // 16) * (224 * width // short // 16), 16, 768, 12)


def clip_b32() -> Operations:
    """ViT-B/32 on one frame of 224 x 224."""
    return image_tower(7**2, 32, 768, 12, 512)


def aesthetic() -> Operations:
    """CLIP ViT-L/14 and LAION's linear head on one frame of 224 x 224."""
    return image_tower(16**2, 14, 1024, 24, 768) + linear(1, 768, 1)


def viclip() -> Operations:
    """ViCLIP-L/14 on 8 frames of a clip: one class token for all of them."""
    return image_tower(8 * 16**2, 14, 1024, 24, 768)


def umt() -> Operations:
    """ViT-L/16 on 16 frames of a clip; the mean of all tokens is read."""
    tokens, width = 16 * 14**2, 1024
    return convolution(tokens, 3, width, 16**2) + 24 * block(tokens, width, 4 * width) + linear(1, width, 400)


def musiq(height: int, width: int) -> Operations:
    """On one frame, at most 512 px long, at three scales."""
    longer = max(height, width)
    if longer > 512:
        height, width = (max(1, int(512 / longer * side)) for side in (height, width))
        longer = max(height, width)
    scales = [tuple(max(1, round(length * side / longer)) for length in (height, width)) for side in (224, 384)]
    patches = sum(ceil(rows / 32) * ceil(columns / 32) for rows, columns in [*scales, (height, width)])
    stem = convolution(16**2, 3, 64, 7**2) + convolution(8**2, 64, 64, 1 + 3**2) + convolution(8**2, 64, 512, 1)
    tokens = patches + 1
    seen = 13 * block(tokens, 384, 1152) + block(tokens, 384, 1152, wanted=1)
    return patches * (stem + linear(1, 8**2 * 256, 384)) + seen + linear(1, 384, 1)


def raft_encoder(height: int, width: int) -> Operations:
    """Features of one frame, or its context: the two encoders are alike."""
    half = 16 * _eighths(height, width)
    first = convolution(half, 3, 64, 7**2) + 4 * convolution(half, 64, 64, 9)
    return first + _halved(half / 4, 64, 96) + _halved(half / 16, 96, 128) + convolution(half / 16, 128, 256, 1)


def _halved(pixels: float, inputs: int, outputs: int) -> Operations:
    """Two residual blocks, the first of which halves both sides."""
    return convolution(pixels, inputs, outputs, 9 + 1) + 3 * convolution(pixels, outputs, outputs, 9)


def raft_pair(height: int, width: int, updates: int = 20) -> Operations:
    """The flow between two frames whose features are known: correlation, updates, one enlargement."""
    cells = _eighths(height, width)
    seen = convolution(cells, 324, 256, 1) + convolution(cells, 256, 192, 9)
    moved = convolution(cells, 2, 128, 7**2) + convolution(cells, 128, 64, 9)
    units = 2 * convolution(cells, 256, 3 * 128, 5)
    head = convolution(cells, 128, 256, 9) + convolution(cells, 256, 2, 9)
    once = 2 * convolution(cells, 128, 3 * 128, 5) + convolution(cells, 128, 256, 9) + convolution(cells, 256, 576, 1)
    update = seen + moved + convolution(cells, 256, 126, 9) + units + head
    return linear(cells, 256, cells) + once + updates * update


def _eighths(height: int, width: int, multiple: int = 8) -> int:
    """Cells of eight pixels of a frame that is padded to a multiple."""
    return (ceil(height / multiple) * multiple // 8) * (ceil(width / multiple) * multiple // 8)


def amt(height: int, width: int) -> Operations:
    """AMT-S: the frame between two."""
    rows, columns = (ceil(side / 16) * 2 for side in (height, width))
    cells = rows * columns
    encoder = _amt_encoder(16 * cells)
    alike, side = NOTHING, (rows, columns)
    for _ in range(4):
        alike += linear(cells, 84, side[0] * side[1])
        side = (side[0] // 2, side[1] // 2)
    levels = NOTHING
    for level, (inputs, outputs) in enumerate(((3, 20), (20, 32), (32, 44), (44, 56))):
        pixels = 16 * cells / 4**level
        levels += convolution(pixels, inputs, outputs, 9) + convolution(pixels, outputs, outputs, 9)
    decoders = (
        _amt_decoder(cells / 4, 113, 112, 48)
        + _amt_decoder(cells, 136, 132, 36)
        + _amt_decoder(4 * cells, 100, 96, 24)
        + _amt_decoder(16 * cells, 64, 60, 24)
    )
    corrections = sum((_amt_correction(cells, channels) for channels in (44, 32, 20)), NOTHING)
    combined = convolution(64 * cells, 9, 18, 9) + convolution(64 * cells, 18, 3, 9)
    return 2 * (encoder + alike + levels) + decoders + corrections + combined


def _amt_encoder(half: float) -> Operations:
    """RAFT's small one, of bottlenecks. half: pixels at half the size."""

    def bottleneck(pixels: float, inputs: int, outputs: int, before: float) -> Operations:
        inner = outputs // 4
        shortcut = convolution(pixels, inputs, outputs, 1) if before > pixels else NOTHING
        middle = convolution(pixels, inner, inner, 9) + convolution(pixels, inner, outputs, 1)
        return convolution(before, inputs, inner, 1) + middle + shortcut

    seen = convolution(half, 3, 32, 7**2) + 2 * bottleneck(half, 32, 32, half)
    for pixels, inputs, outputs in ((half / 4, 32, 64), (half / 16, 64, 96)):
        seen += bottleneck(pixels, inputs, outputs, 4 * pixels) + bottleneck(pixels, outputs, outputs, pixels)
    return seen + convolution(half / 16, 96, 84, 1)


def _amt_decoder(pixels: float, inputs: int, inner: int, outputs: int) -> Operations:
    """A convolution, a residual block with two side convolutions of 20 channels, a transposed convolution."""
    block = 3 * convolution(pixels, inner, inner, 9) + 2 * convolution(pixels, 20, 20, 9)
    return convolution(pixels, inputs, inner, 9) + block + convolution(pixels, inner, outputs, 16)


def _amt_correction(cells: int, channels: int) -> Operations:
    layers: Sequence[tuple[int, int, int]] = (
        (392, 64, 1),
        (4, 40, 49),
        (40, 20, 9),
        (84, 68, 9),
        (72 + channels, 76, 9),
        (76, 76, 9),
        (76, 76, 9),
        (76, channels, 9),
        (76, 76, 9),
        (76, 4, 9),
    )
    return sum((convolution(cells, *layer) for layer in layers), NOTHING)
