"""Is our GRiT the published network, does it say what VBench's does, and is another's file refused?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_grit import GRIT, WORD_PIECES, TinyGrit, clip, plain, write_tiny
from torch import Tensor
from vbench_checkpoints import CLIPS, ROW, rows, write_ours

from turbo_eval.scorers.base import NotFinite
from turbo_eval.scorers.vbench.encoders import SeenObjects, middle_indices
from turbo_eval.scorers.vbench.encoders.grit.detector import Grit
from turbo_eval.scorers.vbench.encoders.grit.net import TEXT, WORDS, GritNet, published_layout
from turbo_eval.scorers.vbench.spec import COLOR, MULTIPLE_OBJECTS, OBJECT_CLASS, SPATIAL_RELATIONSHIP
from turbo_train.errors import UserError
from turbo_train.video_io import read_video
from turbo_train.weights.places import path_below_root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    return write_tiny(tmp_path_factory.mktemp("grit"))


@pytest.fixture(scope="module")
def grit(files: dict[Any, Path]) -> TinyGrit:
    return TinyGrit(files)


# The published file


def test_every_tensor_of_the_published_file_is_known() -> None:
    with torch.device("meta"):
        net = GritNet()
    assert {key: tuple(shape) for key, shape in published_layout(net).items()} == {
        key: shape for key, shape, _ in rows("grit_b")
    }
    assert len(published_layout(net)) == 367 and len(net.state_dict()) == 367 - 12 - 1
    assert not any("mask" in name for name, _ in net.named_modules())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: s.pop(f"{TEXT}output.bias"), "missing .*output.bias"),
        (lambda s: s.pop("roi_heads.mask_head.deconv.bias"), "missing .*mask_head.deconv.bias"),
        (lambda s: s.pop(WORDS), "missing .*embedding.words.weight"),
        (lambda s: s.update(more=torch.zeros(1)), "unknown more"),
        (lambda s: s.update({f"{TEXT}output.bias": torch.zeros(3)}), r"output.bias of shape \(3,\), not \(30522,\)"),
    ],
)
def test_another_networks_file_is_refused(tmp_path: Path, change: Callable[[Any], Any], found: str) -> None:
    with pytest.raises(UserError, match=f"1 keys of .*grit.pth differ from .*{found}.*expected GRiT-B"):
        TinyGrit(write_tiny(tmp_path, change)).load()


def test_another_vocabulary_is_refused(files: dict[Any, Path], tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"2 word pieces without \[CLS\]"):
        TinyGrit(files | {WORD_PIECES: tmp_path / "vocab.txt"}).load()


def test_a_file_in_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    def halve(state: dict[str, Tensor]) -> None:
        state.update({key: value.half() for key, value in state.items()})

    def round_trip(state: dict[str, Tensor]) -> None:
        state.update({key: value.half().float() for key, value in state.items()})

    half = TinyGrit(write_tiny(tmp_path, halve))
    seen = half.objects([clip(2)], captions=True, as_bytes=True)
    assert {value.dtype for value in half._net.parameters()} == {torch.float32}
    rounded = TinyGrit(write_tiny(tmp_path, round_trip))
    assert plain(seen) == plain(rounded.objects([clip(2)], captions=True, as_bytes=True))


def test_the_masks_and_the_words_other_table_do_not_matter(grit: TinyGrit, tmp_path: Path) -> None:
    def spoil(state: dict[str, Tensor]) -> None:
        for key in state:
            if "mask_head" in key or key == WORDS:
                state[key].fill_(torch.nan)

    spoilt = TinyGrit(write_tiny(tmp_path, spoil))
    args = {"captions": True, "as_bytes": False}
    assert plain(spoilt.objects([clip(2)], **args)) == plain(grit.objects([clip(2)], **args))


@pytest.mark.parametrize(
    ("part", "place", "value"),
    [
        *(
            (part, 0, torch.nan)
            for part in ("patch_embed", "stride8_conv1", "agn_hm", "cls_score", "textual.output.bias")
        ),
        ("agn_hm.bias", 0, -torch.inf),
        ("centernet_head.bbox_pred.bias", 0, torch.inf),
        ("cls_score.bias", 0, -torch.inf),  # a chance of 0
        ("bbox_pred.2.bias", 2, -torch.inf),  # a width of 0
        ("bbox_pred.2.bias", 0, 3e38),  # a box beyond all numbers, clipped to an empty one
    ],
)
def test_damaged_weights_are_never_nothing_detected(tmp_path: Path, part: str, place: int, value: float) -> None:
    def spoil(state: dict[str, Tensor]) -> None:
        for key in state:
            if part in key:
                state[key].view(-1)[place] = value

    spoilt = TinyGrit(write_tiny(tmp_path, spoil))
    with pytest.raises(NotFinite, match=r"GRiT's .* are not finite"):
        spoilt.objects([clip(2)], captions=False, as_bytes=False)


# VBench's own figures


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("grit_b")
    path = write_ours("grit_b", root)
    yield {GRIT: path, WORD_PIECES: root / path_below_root(WORD_PIECES)}
    path.unlink()


def two_frames(name: str) -> np.ndarray:
    frames = read_video(CLIPS / name).frames_THWC
    return frames[middle_indices(len(frames), 2)]


def like_the_golden(frame: SeenObjects, texts: tuple[str, ...]) -> dict[str, Any]:
    top = [[text, box.tolist(), frame.names[0]] for text, box in zip(texts, frame.boxes_N4, strict=True)]
    return {"n": len(texts), "top": top[:5]}


@pytest.mark.slow
def test_captions_names_and_boxes_are_vbenchs(published: dict[Any, Path]) -> None:
    assert ROW["grit_b"] == Grit.FILES[0]
    grit = Grit(published)
    small = json.loads((CLIPS / "grit_dimensions_small_clip_2_frames.json").read_text(encoding="utf-8"))
    for as_bytes in (True, False):
        (seen,) = grit.objects([two_frames("a red car-1.mp4")], captions=True, as_bytes=as_bytes)
        assert [like_the_golden(frame, frame.captions) for frame in seen] == small[COLOR]["intermediate"]
        for name in (OBJECT_CLASS, MULTIPLE_OBJECTS, SPATIAL_RELATIONSHIP):
            assert [like_the_golden(frame, frame.names) for frame in seen] == small[name]["intermediate"]
    large = json.loads((CLIPS / "object_class_large_clip_2_frames.json").read_text(encoding="utf-8"))
    (seen,) = grit.objects([two_frames("a person is surfing-0.mp4")], captions=False, as_bytes=False)
    assert [like_the_golden(frame, frame.names) for frame in seen] == large[OBJECT_CLASS]["intermediate"]
