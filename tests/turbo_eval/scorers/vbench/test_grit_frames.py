"""Does GRiT see every frame once and as it would alone, at VBench's size, and in one pass?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_grit import TinyGrit, clip, plain, write_tiny
from torch import Tensor, nn
from torchvision import transforms

from turbo_eval.scorers.vbench.encoders import looked_at, middle_indices
from turbo_eval.scorers.vbench.encoders.backbone import MODE, Mode
from turbo_eval.scorers.vbench.encoders.grit import detector
from turbo_eval.scorers.vbench.encoders.grit.cascade import Detections
from turbo_eval.scorers.vbench.encoders.grit.detector import first_of_run, resized
from turbo_eval.scorers.vbench.encoders.grit.net import Found, GritNet


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    return write_tiny(tmp_path_factory.mktemp("grit"))


@pytest.fixture(scope="module")
def grit(files: dict[Any, Path]) -> TinyGrit:
    return TinyGrit(files)


# Frames


def test_frames_in_a_batch_are_seen_as_one_by_one(grit: TinyGrit) -> None:
    clips = [clip(3), clip(1, 64, 96, 1), clip(2, 70, 50, 2), clip(2, 64, 96, 3)]
    together = grit.objects(clips, captions=True, as_bytes=True)
    assert [len(seen) for seen in together] == [3, 1, 2, 2]
    alone = [[grit.objects([c[t : t + 1]], captions=True, as_bytes=True)[0][0] for t in range(len(c))] for c in clips]
    assert plain(together) == plain(alone)
    counts = [len(frame.names) for seen in together for frame in seen]
    assert min(counts) > 0 and len(set(counts)) > 1
    texts = {text for seen in together for frame in seen for text in frame.names + frame.captions}
    assert "" in texts and len(texts) > 5

    net = grit._net
    frames = torch.from_numpy(np.concatenate([clips[0], clips[1]]))
    whole = net(frames, (101,), 7)
    for number, found in enumerate(whole):
        (one,) = net(frames[number : number + 1], (101,), 7)
        assert (found.boxes_B4 - one.boxes_B4).abs().max() < 1e-3 and found.texts == one.texts


def test_frames_of_any_size_are_looked_at(files: dict[Any, Path]) -> None:
    """Smaller than the 32 px that they are padded to, and so long that each is a batch of its own."""
    grit = TinyGrit(files)
    grit.load()
    seen = calls(grit._net)
    clips = [clip(2, 1, 1), clip(1, 1, 40, 1), clip(2, 33, 17, 2), clip(2, 16, 700, 3)]
    together = grit.objects(clips, captions=True, as_bytes=True)
    assert {rows: n for (name, rows), n in seen.items() if name == "backbone"} == {2: 2, 1: 3}
    assert [len(seen) for seen in together] == [2, 1, 2, 2]
    assert plain(together) == plain([grit.objects([c], captions=True, as_bytes=True)[0] for c in clips])
    assert len(together[3][0].names) > 0


def test_names_are_the_same_with_captions_and_without(grit: TinyGrit) -> None:
    (both,), (names,) = (grit.objects([clip(2)], captions=c, as_bytes=False) for c in (True, False))
    for frame, bare in zip(both, names, strict=True):
        assert frame.names == bare.names and bare.captions == () and len(frame.captions) == len(frame.names) > 0
        np.testing.assert_array_equal(frame.boxes_N4, bare.boxes_N4)
    assert any(frame.names != frame.captions for frame in both)


def test_nothing_seen_is_nothing_said(grit: TinyGrit, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(pictures: Tensor, sizes: list[Any]) -> list[Detections]:
        none = Detections(torch.empty(0, 4), torch.empty(0), torch.empty(0, 64, 14, 14))
        return [none] * len(sizes)

    monkeypatch.setattr(grit._net.detection, "detect", nothing)
    (seen,) = grit.objects([clip(2)], captions=True, as_bytes=True)
    assert plain([seen]) == [[([], (), ())] * 2] and seen[0].boxes_N4.shape == (0, 4)


def test_boxes_are_truncated_and_texts_are_read(grit: TinyGrit) -> None:
    grit.load()
    found = Found(
        torch.tensor([[0.9, 1.0, 2.999, 30.5], [0.0, 0.2, 0.7, 0.9]]), ([[10852], []], [[1686, 10852], [100]])
    )
    seen = grit._read(found)
    assert seen.boxes_N4.dtype == np.int64 and seen.boxes_N4.tolist() == [[0, 1, 2, 30], [0, 0, 0, 0]]
    assert (seen.names, seen.captions) == (("car", ""), ("red car", ""))


@pytest.mark.parametrize(
    ("size", "at"),
    [((768, 1366), (768, 1366)), ((769, 800), (720, 749)), ((1080, 1920), (720, 1280)), ((1366, 770), (1277, 720))],
)
def test_only_frames_above_768_px_are_resized(size: tuple[int, int], at: tuple[int, int]) -> None:
    assert looked_at(*size) == at


@pytest.mark.parametrize("size", [(769, 801), (800, 900)])
def test_large_frames_are_resized_as_vbench_does(size: tuple[int, int]) -> None:
    frames = clip(2, *size)
    height, width = looked_at(*size)
    want = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames])
    np.testing.assert_array_equal(resized(frames, True, "cpu").numpy(), want)
    resize = transforms.Resize(size=(height, width))
    want = resize(torch.from_numpy(frames).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(resized(frames, False, "cpu"), want, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(resized(frames[:, :768], False, "cpu").numpy(), frames[:, :768])


def test_the_two_resizes_reach_the_network(grit: TinyGrit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[torch.dtype, torch.Size]] = []

    def look(frames: Tensor, *_: Any) -> list[Found]:
        asked.append((frames.dtype, frames.shape))
        return [Found(torch.empty(0, 4), ([],))] * len(frames)

    grit.load()
    monkeypatch.setattr(grit, "_net", look)
    for as_bytes in (True, False):
        grit.objects([clip(1, 800, 800)], captions=False, as_bytes=as_bytes)
    assert asked == [(torch.uint8, (1, 720, 720, 3)), (torch.float32, (1, 720, 720, 3))]


# What is run


def calls(net: GritNet) -> Counter[tuple[str, int]]:
    """Calls of parts of the network, by part and rows."""
    seen: Counter[tuple[str, int]] = Counter()
    parts: dict[str, nn.Module] = {
        "backbone": net.detection.backbone,
        "proposals": net.detection.proposal_generator,
        **{f"box head {number}": head for number, head in enumerate(net.detection.roi_heads.box_head)},
        "objects": net.text.object_feature_projection,
    }
    for name, part in parts.items():

        def hook(_: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            seen[name, len(inputs[0]) if isinstance(inputs[0], Tensor) else len(inputs[0][0])] += 1

        part.register_forward_pre_hook(hook)
    return seen


def test_a_batch_is_one_pass_of_everything(files: dict[Any, Path]) -> None:
    grit = TinyGrit(files)
    grit.load()
    seen = calls(grit._net)
    (frames,) = grit.objects([clip(3)], captions=True, as_bytes=True)
    boxes = sum(len(frame.names) for frame in frames)
    assert {(name, rows): n for (name, rows), n in seen.items() if name in ("backbone", "proposals")} == {
        ("backbone", 3): 1,
        ("proposals", 3): 1,
    }
    assert [sum(n for (name, _), n in seen.items() if name == f"box head {stage}") for stage in range(3)] == [1, 1, 1]
    assert sum(rows * n for (name, rows), n in seen.items() if name == "objects") == boxes > 8


def test_frames_that_repeat_are_looked_at_once(files: dict[Any, Path]) -> None:
    grit = TinyGrit(files)
    grit.load()
    seen = calls(grit._net)
    short = clip(3)[middle_indices(3, 7)]
    (frames,) = grit.objects([short], captions=False, as_bytes=True)
    assert [key for key in seen if key[0] == "backbone"] == [("backbone", 3)] and seen["backbone", 3] == 1
    assert len(frames) == 7
    assert all(frame is frames[2] for frame in frames[3:])
    assert first_of_run(short) == [0, 1, 2, 2, 2, 2, 2]


def test_out_of_memory_halves_the_work_and_is_never_nothing_seen(
    files: dict[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    grit = TinyGrit(files)
    grit.load()
    whole = plain(grit.objects([clip(5)], captions=True, as_bytes=True))
    grit.rows, grit.boxes = 4, 5
    assert grit.relieve() == "grit-b takes 2 frames and 2 boxes at a time"
    seen = calls(grit._net)
    assert plain(grit.objects([clip(5)], captions=True, as_bytes=True)) == whole
    assert seen["backbone", 2] == 2 and seen["backbone", 1] == 1
    assert max(rows for name, rows in seen if name == "objects") == 2
    assert grit.relieve() == "grit-b takes 1 frames and 1 boxes at a time"
    assert grit.relieve() == ""

    def too_much(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(grit._net.detection.roi_heads, "forward", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        grit.objects([clip(1)], captions=True, as_bytes=True)


def test_the_encoder_says_what_it_is(files: dict[Any, Path]) -> None:
    assert detector.Grit.num_frames == 16
    ids = [TinyGrit(files, mode).encoder_id for mode in (MODE, Mode(precision="bf16"))]
    assert ids[0].startswith("vbench/grit-b@1-") and "-bf16+" in ids[1] and "opencv" in ids[0]
    half = TinyGrit(files, Mode(precision="bf16")).objects([clip(1)], captions=True, as_bytes=True)
    assert len(half[0][0].names) > 0
