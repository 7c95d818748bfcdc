"""How do pixels move, and what lies half-way between two frames, by classical vision?

Flow: OpenCV's DIS (Kroeger et al., arXiv 1603.03590), medium preset, on luma. Frames whose short side is below 128 px are enlarged
first (bicubic, a whole factor; x4 for 32 px), because DIS matches 8-px patches; the flow is scaled back to input pixels.
Half-way frame: both flows are carried to the middle, F_m0 = (F_10 - F_01) / 4 and F_m1 = -F_m0 (Super SloMo, arXiv 1712.00080, eq. 4 at
t = 1/2), both frames are pulled along them and averaged.
Differs: VBench's flow is RAFT's and its interpolator is AMT-S; numbers from here are not comparable with VBench's.
Shape legend: H, W pixels, C colours (RGB).
"""

from __future__ import annotations

import numpy as np

from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray

WORKING_SIDE_PX = 128


class OpenCvFlow:
    """DenseFlow and FrameInterpolator of the embedded tier. Deterministic; it has no weights."""

    encoder_id = "embedded/dense-flow-dis@1"

    def flow(self, first_HWC: ByteArray, second_HWC: ByteArray) -> FloatArray:
        """(H, W, 2) motion in px, x then y, from first to second."""
        import cv2

        factor = enlargement(first_HWC)
        height, width = first_HWC.shape[:2]
        method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = method.calc(_luma(first_HWC, factor), _luma(second_HWC, factor), None)  # type: ignore[call-overload]
        return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA), np.float32) / np.float32(factor)

    def middle(self, first_HWC: ByteArray, second_HWC: ByteArray) -> ByteArray:
        """(H, W, C) the frame half-way, rounded to uint8."""
        forward, backward = self.flow(first_HWC, second_HWC), self.flow(second_HWC, first_HWC)
        to_first = (backward - forward) / np.float32(4)
        pulled = _pull(first_HWC, to_first) + _pull(second_HWC, -to_first)
        return np.clip(np.rint(pulled / 2), 0, 255).astype(np.uint8)


def enlargement(frame_HWC: ByteArray) -> int:
    """The whole factor by which a small frame is enlarged before its flow is measured."""
    return max(1, WORKING_SIDE_PX // min(frame_HWC.shape[:2]))


def _luma(frame_HWC: ByteArray, factor: int) -> ByteArray:
    import cv2

    grey = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2GRAY)
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else grey, np.uint8)


def _pull(frame_HWC: ByteArray, flow_HW2: FloatArray) -> FloatArray:
    """The frame sampled at each pixel's place plus its flow; pixels from outside repeat the border."""
    import cv2

    height, width = frame_HWC.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pixels = frame_HWC.astype(np.float32)
    moved = cv2.remap(pixels, x + flow_HW2[..., 0], y + flow_HW2[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)
