"""How do pixels move, and what lies half-way between two frames, by classical vision?

Grey: both frames are projected on the axis along which their colours vary most, so that a red thing on a grey ground
stands out even where their luma is one. Frames whose short side is below 128 px are enlarged first (bicubic, a whole
factor; x4 for 32 px), because OpenCV's DIS (Kroeger et al., arXiv 1603.03590; medium preset) matches 8-px patches.
Flow: a weighted mean of DIS over a neighbourhood, sum G w F / (sum G w + w_0), with w the squared gradient: flow is
believed where there is structure, and is 0 in flat parts, where DIS answers with noise (a still clip with pixel noise
of 0.02 was dynamic without it).
Half-way frame: both plain DIS flows are carried to the middle, F_m0 = (F_10 - F_01) / 4 and F_m1 = -F_m0 (Super
SloMo, arXiv 1712.00080, eq. 4 at t = 1/2), both frames are pulled along them and averaged.
Differs: VBench's flow is RAFT's and its interpolator is AMT-S; numbers from here are not comparable with VBench's.
Shape legend: H, W pixels, C colours (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from turbo_eval.scorers.base import with_versions
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray

WORKING_SIDE_PX = 128
STRUCTURE_PX = 6.0  # standard deviation of the neighbourhood G, in enlarged pixels
STRUCTURE_FLOOR = 100.0  # w_0: a gradient of 10 grey levels per pixel counts half


class OpenCvFlow:
    """DenseFlow and FrameInterpolator of the embedded tier; it has no weights.

    Deterministic: the same bytes with any number of OpenCV's threads, so a machine's cores change no score.
    """

    encoder_id = with_versions("embedded/dense-flow-dis@1", "opencv", "numpy")

    def flows(self, frames_THWC: ByteArray, pairs: Sequence[tuple[int, int]]) -> Iterator[FloatArray]:
        """(H, W, 2) motion in px, x then y, of each pair of frames; what is not asked for is not computed."""
        return (self.flow(frames_THWC[first], frames_THWC[second]) for first, second in pairs)

    def middles(self, first_NHWC: ByteArray, second_NHWC: ByteArray) -> ByteArray:
        """(N, H, W, C) the frames half-way."""
        return np.stack([self.middle(first, second) for first, second in zip(first_NHWC, second_NHWC, strict=True)])

    def flow(self, first_HWC: ByteArray, second_HWC: ByteArray) -> FloatArray:
        """(H, W, 2) motion in px, x then y, from first to second."""
        import cv2

        first, second = _grey(first_HWC, second_HWC)
        factor = enlargement(first_HWC)
        smooth = cv2.GaussianBlur(first.astype(np.float32), (0, 0), 0.7)
        # Scharr's kernel sums to 32 per unit of gradient.
        weight = (cv2.Scharr(smooth, cv2.CV_32F, 1, 0) ** 2 + cv2.Scharr(smooth, cv2.CV_32F, 0, 1) ** 2) / 32**2
        sigma = STRUCTURE_PX / factor
        moved = cv2.GaussianBlur(_dis(first, second, factor) * weight[..., None], (0, 0), sigma)
        structure = cv2.GaussianBlur(weight, (0, 0), sigma) + STRUCTURE_FLOOR
        return np.asarray(moved / structure[..., None], np.float32)

    def middle(self, first_HWC: ByteArray, second_HWC: ByteArray) -> ByteArray:
        """(H, W, C) the frame half-way, rounded to uint8."""
        first, second = _grey(first_HWC, second_HWC)
        factor = enlargement(first_HWC)
        to_first = (_dis(second, first, factor) - _dis(first, second, factor)) / np.float32(4)
        pulled = _pull(first_HWC, to_first) + _pull(second_HWC, -to_first)
        return np.clip(np.rint(pulled / 2), 0, 255).astype(np.uint8)


def enlargement(frame_HWC: ByteArray) -> int:
    """The whole factor by which a small frame is enlarged before its flow is measured."""
    return max(1, WORKING_SIDE_PX // int(min(frame_HWC.shape[:2])))


def _grey(first_HWC: ByteArray, second_HWC: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Both frames along the axis of their greatest colour variance, (H, W) each; shrunk to 0..255, never stretched."""
    pair = np.stack([first_HWC, second_HWC]).astype(np.float64)
    pixels = pair.reshape(-1, 3) - pair.reshape(-1, 3).mean(0)
    axis = np.linalg.eigh(pixels.T @ pixels)[1][:, -1]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    along = pair @ axis
    low, high = float(along.min()), float(along.max())
    grey = np.rint((along - (low + high) / 2) * 255 / max(255.0, high - low) + 127.5)
    first, second = np.clip(grey, 0, 255).astype(np.uint8)
    return first, second


def _dis(first_HW: ByteArray, second_HW: ByteArray, factor: int) -> FloatArray:
    """(H, W, 2) OpenCV's DIS flow in input px, measured on frames enlarged by `factor`."""
    import cv2

    height, width = first_HW.shape
    size = (width * factor, height * factor)
    large = [cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else f for f in (first_HW, second_HW)]
    start = np.zeros((size[1], size[0], 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(large[0], large[1], start)
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA), np.float32) / np.float32(factor)


def _pull(frame_HWC: ByteArray, flow_HW2: FloatArray) -> FloatArray:
    """The frame sampled at each pixel's place plus its flow; pixels from outside repeat the border."""
    import cv2

    height, width = frame_HWC.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    to_x, to_y = x + flow_HW2[..., 0], y + flow_HW2[..., 1]
    moved = cv2.remap(frame_HWC.astype(np.float32), to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
