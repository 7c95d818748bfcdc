"""Is it OpenAI's CLIP, whatever file it comes from, and in float16 where VBench's is?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import CLIP_SIZES, TinyClip, bytes_of, clip_state, row, saved, tiny_aesthetic, tiny_clip
from vbench_checkpoints import archive, rows

from turbo_eval.scorers.vbench.encoders.backbone import VBENCH_CUDA, Mode
from turbo_eval.scorers.vbench.encoders.clip import B_32, L_14, NOTES, ClipB32, ClipSizes, outline
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform
from turbo_train.errors import UserError

CUDA = Mode(compat=VBENCH_CUDA)
CLIPS = [bytes_of(3, 40, 61, 3), bytes_of(2, 33, 32, 3, seed=1), bytes_of(1, 61, 40, 3, seed=2)]


@pytest.mark.parametrize(("sizes", "table"), [(B_32, "clip_vit_b32"), (L_14, "clip_vit_l14")])
def test_the_layout_is_the_published_one(sizes: ClipSizes, table: str):
    published = {name: shape for name, shape, _ in rows(table)}
    assert set(NOTES) <= set(published)
    state = outline(sizes).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: shape for name, shape in published.items() if name not in NOTES
    }


def test_archive_and_state_dict_are_the_same_network(tmp_path: Path):
    notes = {name: torch.tensor(number) for number, name in enumerate(NOTES)}
    path = tmp_path / "archive.pt"
    archive(clip_state() | notes, path)
    pinned = row("clip/ViT-B-32.pt", path, "torchscript")
    from_archive, from_dict = TinyClip({pinned: path}), tiny_clip(tmp_path)
    for one, other in zip(from_archive.image_features(CLIPS), from_dict.image_features(CLIPS), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(from_archive.text_features("ukiyo-e"), from_dict.text_features("ukiyo-e"))
    # The same row and another archive, which is code: it is not opened.
    archive(clip_state(1) | notes, path)
    with pytest.raises(UserError, match="a TorchScript archive is code, another one is not opened"):
        TinyClip({pinned: path}).load()


@pytest.mark.parametrize("mode", [Mode(), CUDA])
def test_a_batch_equals_one_by_one(tmp_path: Path, mode: Mode):
    encoder = tiny_clip(tmp_path, mode)
    near = {"rtol": 1e-5, "atol": 1e-5} if mode == Mode() else {"rtol": 2e-2, "atol": 2e-2}
    for kind in (encoder.image_features, encoder.picture_features):
        encoder.rows = 32
        together = kind(CLIPS)
        assert [features.shape for features in together] == [(3, 12), (2, 12), (1, 12)]
        encoder.rows = 1
        for clip, features in zip(CLIPS, together, strict=True):
            np.testing.assert_allclose(kind([clip])[0], features, **near)


def test_frames_are_resized_as_floats_and_not_rounded(tmp_path: Path):
    clip_b32, aesthetic = tiny_clip(tmp_path), tiny_aesthetic(tmp_path)
    (got,), (scores,) = clip_b32.image_features(CLIPS[:1]), aesthetic.frame_scores(CLIPS[:1])
    frames = torch.from_numpy(CLIPS[0])
    exact, rounded = (clip_transform(frames, CLIP_SIZES.image_px, rounded=rounded) for rounded in (False, True))
    for net, found in ((clip_b32._net.encode_image, got), (aesthetic._net, scores)):
        with torch.inference_mode():
            np.testing.assert_allclose(net(exact).numpy(), found, rtol=1e-5, atol=1e-5)
            assert np.abs(net(rounded).numpy() - found).max() > 1e-4


def test_pictures_are_not_frames(tmp_path: Path):
    encoder = tiny_clip(tmp_path)
    assert np.abs(encoder.image_features(CLIPS)[0] - encoder.picture_features(CLIPS)[0]).max() > 1e-3


def test_a_text_is_read_once(tmp_path: Path):
    encoder = tiny_clip(tmp_path)
    encoder.load()
    read: list[int] = []
    encoder._net.token_embedding.register_forward_hook(lambda _, ids, __: read.append(len(ids[0])))
    first = encoder.text_features("oil painting")
    for text in ("oil painting", "watercolor painting", "oil painting"):
        assert np.array_equal(encoder.text_features(text), first) == (text == "oil painting")
    assert sum(read) == 2


def test_compat_computes_in_float16_and_its_id_says_so(tmp_path: Path):
    exact, half = tiny_clip(tmp_path), tiny_clip(tmp_path, CUDA)
    assert VBENCH_CUDA in half.encoder_id and VBENCH_CUDA not in exact.encoder_id
    for one, other in zip(exact.image_features(CLIPS), half.image_features(CLIPS), strict=True):
        assert (one.dtype, other.dtype) == (np.float32, np.float16)
        np.testing.assert_allclose(other, one, rtol=0.05, atol=0.05)
    assert half.text_features("ukiyo-e").dtype == half.picture_features(CLIPS)[0].dtype == np.float16
    wide = ("ln_", "norm_", "embedding", "logit_scale")  # as openai-clip's convert_weights leaves them
    for name, value in half._net.named_parameters():
        assert (value.dtype == torch.float32) == any(part in name for part in wide), name


def test_another_precision_is_not_mixed_with_float16(tmp_path: Path):
    mixed = tiny_clip(tmp_path, Mode(precision="bf16", compat=VBENCH_CUDA))
    assert np.array_equal(mixed.image_features(CLIPS)[0], tiny_clip(tmp_path, CUDA).image_features(CLIPS)[0])


def test_another_checkpoint_is_refused(tmp_path: Path):
    files = saved(tmp_path, "clip/ViT-B-32.pt", clip_state())
    with pytest.raises(UserError, match=r"differ from the 302 expected.*OpenAI's CLIP ViT-B/32"):
        ClipB32(files).load()
    (path,) = files.values()
    short = {name: value for name, value in clip_state().items() if name != "ln_final.bias"}
    torch.save(short, path)
    with pytest.raises(UserError, match=r"missing ln_final\.bias"):
        TinyClip(dict(files)).load()


def test_the_aesthetic_score_is_the_heads_on_features_of_length_one(tmp_path: Path):
    encoder = tiny_aesthetic(tmp_path)
    scores = encoder.frame_scores(CLIPS)
    assert [part.shape for part in scores] == [(3,), (2,), (1,)]
    tower = TinyClip(saved(tmp_path, "clip/ViT-B-32.pt", clip_state(1)))
    head = torch.load(tmp_path / "laion_sa_0_4_vit_l_14_linear.pth", weights_only=True)
    for part, features in zip(scores, tower.image_features(CLIPS), strict=True):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        np.testing.assert_allclose(part, unit @ head["weight"][0].numpy() + head["bias"].numpy(), rtol=1e-5)


def test_the_aesthetic_head_stays_in_float32(tmp_path: Path):
    exact = tiny_aesthetic(tmp_path).frame_scores(CLIPS)[0]
    for mode in (CUDA, Mode(precision="bf16")):
        scores = tiny_aesthetic(tmp_path, mode).frame_scores(CLIPS)[0]
        assert scores.dtype == np.float32 and not np.array_equal(scores, scores.astype(np.float16))
        np.testing.assert_allclose(scores, exact, rtol=0.05, atol=0.05)


def test_the_aesthetic_keeps_no_text_tower_but_wants_the_whole_file(tmp_path: Path):
    encoder = tiny_aesthetic(tmp_path)
    encoder.load()
    assert sum(value.numel() for value in encoder._net.parameters()) == 13 + sum(
        value.numel() for name, value in clip_state().items() if name.startswith("visual.")
    )
    archive_row, path = next(iter(encoder.files.items()))
    torch.save({name: value for name, value in clip_state(1).items() if name.startswith("visual.")}, path)
    with pytest.raises(UserError, match="missing positional_embedding"):
        tiny = type(encoder)(encoder.files)
        tiny.load()
    assert archive_row.name == "clip/ViT-L-14.pt" and CLIP_SIZES.layers == 3
