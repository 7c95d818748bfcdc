"""What are the features of background_consistency and appearance_style? OpenAI's CLIP ViT-B/32 (arXiv 2103.00020).

open_clip's CLIP class with QuickGELU under the published names. The archive holds the matrices in float16. VBench
computes in float32 on a CPU, for which they are widened here, and on a GPU in float16, as openai-clip does: `--compat
vbench-cuda` does so on every device, with LayerNorm in float32, and its features stay float16 (half.py goes on).
Background sees frames resized as floats, style sees them resized as PIL images: not one feature is common to both.
Differs: a style too long for 77 tokens is cut, where openai-clip refuses it.
Shape legend: N frames, T frames of a clip, H W pixels, C colours, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from open_clip.model import CLIP, convert_weights_to_lp
from torch import Tensor, nn

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.backbone import MODE, VBENCH_CUDA, Backbone, Mode, numpy_of
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform, picture_square, picture_transform
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_clip
from turbo_train.nets.key_layout import check_layout
from turbo_train.rewards.text_cache import TextCache
from turbo_train.rewards.tokens import BytePairs
from turbo_train.weights.table import WeightFile

NOTES = ("input_resolution", "context_length", "vocab_size")  # integers that the archive holds beside the weights


@dataclass(frozen=True)
class ClipSizes:
    """The defaults are ViT-B/32's; heads are 64 wide in both towers, and 8 in the text tower's 512."""

    name: str = "OpenAI's CLIP ViT-B/32"
    embed_dim: int = 512
    image_px: int = 224
    patch_px: int = 32
    width: int = 768
    layers: int = 12
    head_width: int = 64
    context: int = 77
    vocabulary: int = 49408
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12


B_32 = ClipSizes()
L_14 = ClipSizes("OpenAI's CLIP ViT-L/14", 768, patch_px=14, width=1024, layers=24, text_width=768, text_heads=12)


def take_clip(state: Mapping[str, Tensor], where: Path, sizes: ClipSizes, *, half: bool = False) -> CLIP:
    """Both towers from the tensors of a published archive, or of a plain state dict that lacks its notes.

    half: as openai-clip computes on a GPU. UserError: names missing or unknown, or other shapes.
    """
    net = outline(sizes, half=half)
    weights = _weights(state, net, where, sizes)
    net.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
    side = (sizes.context, sizes.context)
    net.attn_mask = torch.full(side, float("-inf")).triu(1)  # in no file: as built, but not on the meta device
    _finish(net, net.visual, half)
    return net


def take_image_tower(state: Mapping[str, Tensor], where: Path, sizes: ClipSizes, *, half: bool = False) -> nn.Module:
    """The image tower alone; the whole file is held against the layout. Errors: as take_clip's."""
    net = outline(sizes, half=half)
    weights = _weights(state, net, where, sizes)
    visual: nn.Module = net.visual
    tower = {key.removeprefix("visual."): value for key, value in weights.items() if key.startswith("visual.")}
    visual.load_state_dict({key: value.float() for key, value in tower.items()}, assign=True)
    _finish(visual, visual, half)
    return visual


def outline(sizes: ClipSizes, *, half: bool = False) -> CLIP:
    """The network without weights, on the meta device."""
    vision = {
        "image_size": sizes.image_px,
        "patch_size": sizes.patch_px,
        "width": sizes.width,
        "layers": sizes.layers,
        "head_width": sizes.head_width,
    }
    text = {
        "context_length": sizes.context,
        "vocab_size": sizes.vocabulary,
        "width": sizes.text_width,
        "heads": sizes.text_heads,
        "layers": sizes.text_layers,
    }
    with torch.device("meta"):
        # cast_dtype decides nothing but that LayerNorm computes in float32.
        return CLIP(sizes.embed_dim, vision, text, quick_gelu=True, cast_dtype=torch.float16 if half else None)


def _weights(state: Mapping[str, Tensor], net: CLIP, where: Path, sizes: ClipSizes) -> dict[str, Tensor]:
    """Without the archive's notes. UserError: they do not fit."""
    weights = {key: value for key, value in state.items() if key not in NOTES}
    check_layout(weights, {key: value.shape for key, value in net.state_dict().items()}, where, sizes.name)
    return weights


def _finish(net: nn.Module, visual: Any, half: bool) -> None:
    """Make the network ready to compute."""
    if half:
        convert_weights_to_lp(net, torch.float16)
    quicken_clip(visual.transformer.resblocks)


class OpenAiClip(Backbone):
    """What encoders on OpenAI's archives have in common: where openai-clip computes in float16, they can too."""

    SIZES: ClassVar[ClipSizes]

    @property
    def half(self) -> bool:
        """Whether this is VBench on a GPU."""
        return self.mode.compat == VBENCH_CUDA

    @contextmanager
    def computing(self) -> Iterator[None]:
        """As every backbone's; float16 is not mixed with another precision."""
        kind = self.mode.device.partition(":")[0]
        with super().computing(), torch.autocast(kind, enabled=False) if self.half else nullcontext():
            yield


class ClipB32(OpenAiClip):
    """ImageFeatures and ImageText of CLIP ViT-B/32."""

    NAME = "clip-vit-b32"
    FILES = ("clip/ViT-B-32.pt",)
    PACKAGES = ("torch", "open_clip_torch", "pillow")
    SIZES: ClassVar[ClipSizes] = B_32

    def __init__(self, files: Mapping[WeightFile, Path], mode: Mode = MODE) -> None:
        super().__init__(files, mode)
        self._texts = TextCache(self._read)

    def build(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> CLIP:
        """The network with the published weights. UserError: names or shapes differ."""
        (path,) = self.files.values()
        self._tokens = BytePairs(self.SIZES.context)
        return take_clip(tensors[self.FILES[0]], path, self.SIZES, half=self.half)

    def image_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of every frame of each clip, (T, H, W, C) RGB, resized as floats."""
        return self.see(clips, lambda frames: self._look(clip_transform(frames, self.SIZES.image_px)))

    def picture_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of every frame of each clip, (T, H, W, C) RGB, resized as PIL images."""
        squares = [picture_square(clip, self.SIZES.image_px) for clip in clips]
        return self.see(squares, lambda frames: self._look(picture_transform(frames)))

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of one text; it is computed once."""
        self.load()
        return numpy_of(self._texts([text])[0])

    def _look(self, pixels_NCHW: Tensor) -> Tensor:
        net: Any = self._net
        features: Tensor = net.encode_image(pixels_NCHW.half() if self.half else pixels_NCHW)
        return features

    def _read(self, texts: Sequence[str]) -> Tensor:
        net: Any = self._net
        with self.computing():
            features: Tensor = net.encode_text(self._tokens(texts).to(self.mode.device))
        return features
