"""What do several dimensions share? The protocols that encoders fill, and the arithmetic on their features.

The embedded encoders (`judges`, `dense_flow`) and the official ones enter the dimension files through these
protocols only. Arrays are numpy, so that a dimension file needs no torch.
Shape legend: N frames, T frames in order, C colours, H W pixels, D feature width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turbo_eval.scorers.base import Clip, Features
from turbo_eval.scorers.vbench.encoders.half import half_cosine, half_logits, is_half
from turbo_train.rewards.frames import spread

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]
IntArray = NDArray[np.int64]


class ImageFeatures(Protocol):
    """An image tower. `encoder_id` names the weights."""

    encoder_id: str

    def image_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of every frame of each clip, (T, H, W, C) RGB; the encoder resizes and normalises."""


class ImageText(Protocol):
    """An image tower and a text tower in one space; the images go through PIL, as appearance_style's do in VBench."""

    encoder_id: str

    def picture_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T, D) features of every frame of each clip, (T, H, W, C) RGB, resized as PIL images."""

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of one text, computed once."""


class FrameScores(Protocol):
    """A network that gives every frame a number of its own."""

    encoder_id: str

    def frame_scores(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(T,) scores of every frame of each clip, (T, H, W, C) RGB, in the network's own units."""


class VideoText(Protocol):
    """A video tower and a text tower in one space. `num_frames` is what the video tower takes."""

    encoder_id: str
    num_frames: int

    def video_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(D,) feature of each clip of `num_frames` RGB frames, (T, H, W, C)."""

    def text_features(self, text: str) -> FloatArray:
        """(D,) feature of one text, computed once."""


class ActionClassifier(Protocol):
    """A network that knows the 400 actions of Kinetics-400. `num_frames` is what it takes."""

    encoder_id: str
    num_frames: int

    def action_probabilities(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        """(400,) probability of each action for each clip of `num_frames` RGB frames, (T, H, W, C); not exclusive."""


class DenseFlow(Protocol):
    """Optical flow between frames of a clip."""

    encoder_id: str

    def flows(self, frames_THWC: ByteArray, pairs: Sequence[tuple[int, int]]) -> Iterable[FloatArray]:
        """For each pair of frame numbers (H', W', 2) motion in input pixels; H', W' may be a padded grid (RAFT's).

        In order, and computed when they are asked for: who has seen enough saves the rest.
        """


class FrameInterpolator(Protocol):
    """The frame half-way between two frames."""

    encoder_id: str

    def middles(self, first_NHWC: ByteArray, second_NHWC: ByteArray) -> ByteArray:
        """(N, H, W, C) uint8 RGB frames between N first and N second ones of the same size."""


@dataclass(frozen=True)
class SeenObjects:
    """What a detector sees in one frame, the surest object first. All empty where it sees nothing.

    boxes_N4: int64 x1, y1, x2, y2 in px. names: each object's class. captions: a description of each, () where none
    was asked for.
    """

    boxes_N4: IntArray
    names: tuple[str, ...]
    captions: tuple[str, ...] = ()


LARGE_PX, SHORTER_PX = 768, 720  # a detector's frame whose short side is above the first is resized to the second


class ObjectDetector(Protocol):
    """A network that names and describes the objects of a frame. `num_frames` is what VBench shows it of a clip."""

    encoder_id: str
    num_frames: int

    def objects(self, clips: Sequence[ByteArray], *, captions: bool, as_bytes: bool) -> list[list[SeenObjects]]:
        """Of every frame of each clip, (T, H, W, C) RGB. captions: describe the objects too, in the same pass.

        as_bytes: frames whose short side is above LARGE_PX are resized as VBench's color does it (OpenCV), not as the
        three other dimensions do (torchvision, on floats). Smaller frames are never resized.
        """


class Captioner(Protocol):
    """A network that says what is in a picture. It looks at squares of `side_px`; `num_frames` of a clip are shown."""

    encoder_id: str
    num_frames: int
    side_px: int

    def captions(self, clips: Sequence[ByteArray]) -> list[list[str]]:
        """One caption of every frame of each clip, (T, side_px, side_px, C) RGB; it may be empty."""


def looked_at(height_px: int, width_px: int) -> tuple[int, int]:
    """The size at which a detector looks at a frame of this size (vbench 0.1.5)."""
    short = min(height_px, width_px)
    if short <= LARGE_PX:
        return height_px, width_px
    scale = SHORTER_PX / short
    return int(scale * height_px), int(scale * width_px)


def middle_indices(length: int, count: int) -> IntArray:
    """Indices of VBench's `middle` sampling of `count` frames from `length` (load_video, vbench 0.1.5).

    The clip is cut into k = min(count, length) equal parts and the middle frame of each is taken; if the clip
    is shorter than `count`, the last index is repeated.
    """
    return np.array(spread(length, count, repeat_last=True), np.int64)


def cosine(a_ND: NDArray[np.floating], b_ND: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of matching rows, in float64; 0 where a feature vanishes."""
    a, b = (np.asarray(x, np.float64) for x in (a_ND, b_ND))
    norm = np.maximum(np.linalg.norm(a, axis=-1), 1e-12) * np.maximum(np.linalg.norm(b, axis=-1), 1e-12)
    return np.asarray((a * b).sum(-1) / norm, np.float64)


def consistency(features_TD: FloatArray) -> float:
    """VBench's similarity rule of subject and background: the mean over frames i >= 1 of s_i.

    s_i = (max(0, cos(f_{i-1}, f_i)) + max(0, cos(f_0, f_i))) / 2   (arXiv 2311.17982, section 3.1; vbench 0.1.5)
    Features in float16 are compared in float16 (half.py).
    """
    alike = half_cosine if is_half(features_TD) else cosine
    previous = np.maximum(alike(features_TD[:-1], features_TD[1:]), 0.0)
    first = np.maximum(alike(features_TD[:1], features_TD[1:]), 0.0)
    return float(np.mean((previous + first) / 2))


def style_cosines(pictures_TD: FloatArray, text_D: FloatArray) -> NDArray[np.float64]:
    """(T,) cosine of each picture with a text; features in float16 are compared in float16 (half.py)."""
    return half_logits(pictures_TD, text_D) if is_half(pictures_TD) else cosine(pictures_TD, text_D)


def clip_image_features(encoder: ImageFeatures, features: Features) -> FloatArray:
    """(T, D) features of every frame of the clip, computed once however many dimensions ask."""

    def compute(clips: Sequence[Clip]) -> list[FloatArray]:
        return encoder.image_features([clip.frames_THWC for clip in clips])

    return features.together(("image", encoder.encoder_id), compute)


def clip_picture_features(encoder: ImageText, features: Features) -> FloatArray:
    """(T, D) features of every frame of the clip as a PIL image, computed once."""

    def compute(clips: Sequence[Clip]) -> list[FloatArray]:
        return encoder.picture_features([clip.frames_THWC for clip in clips])

    return features.together(("picture", encoder.encoder_id), compute)


def clip_frame_scores(encoder: FrameScores, features: Features) -> FloatArray:
    """(T,) the network's number of every frame of the clip, computed once."""

    def compute(clips: Sequence[Clip]) -> list[FloatArray]:
        return encoder.frame_scores([clip.frames_THWC for clip in clips])

    return features.together(("frame scores", encoder.encoder_id), compute)


def clip_video_features(encoder: VideoText, features: Features) -> FloatArray:
    """(D,) feature of the clip's `middle` frames, computed once however many dimensions ask."""

    def compute(clips: Sequence[Clip]) -> list[FloatArray]:
        return encoder.video_features([middle_frames(clip, encoder.num_frames) for clip in clips])

    return features.together(("video", encoder.encoder_id), compute)


def squares(clip: Clip, numbers: Sequence[int], side_px: int) -> ByteArray:
    """(N, side_px, side_px, C) frames of these numbers, as VBench's scene has them decoded, whatever their shape was.

    They are scaled from the decoder's own pictures (scaled_pictures.py), and where there are none, as of a GIF, by
    PIL's bilinear resize, which averages where it shrinks.
    """
    if clip.pictures:
        from turbo_train.scaled_pictures import scale_pictures

        return scale_pictures([clip.pictures[number] for number in numbers], side_px, side_px)
    from PIL import Image

    frames = (Image.fromarray(clip.frames_THWC[number]) for number in numbers)
    return np.stack([np.asarray(frame.resize((side_px, side_px), Image.Resampling.BILINEAR)) for frame in frames])


def middle_frames(clip: Clip, count: int) -> ByteArray:
    """(count, H, W, C) VBench's `middle` frames of a clip; one that is too short repeats its last."""
    return clip.frames_THWC[middle_indices(len(clip.frames_THWC), count)]
