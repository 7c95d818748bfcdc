"""Are DINO's positions stretched as its authors stretch them, and do batches change nothing?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import DINO_SIZES, bytes_of, random_state, saved, tiny_dino
from torch.nn import functional as F
from vbench_checkpoints import rows

from turbo_eval.scorers.vbench.encoders.backbone import Mode
from turbo_eval.scorers.vbench.encoders.dino import Dino, DinoSizes, class_tokens, new_dino, positions
from turbo_eval.scorers.vbench.encoders.transforms import dino_transform
from turbo_train.errors import UserError


def test_the_layout_is_the_published_one():
    with torch.device("meta"):
        net = new_dino(DinoSizes())
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == {
        name: shape for name, shape, _ in rows("dino_vitb16")
    }


def cubic(x: float) -> float:
    """The kernel of torch's bicubic, a = -0.75 (Keys 1981)."""
    x, a = abs(x), -0.75
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def spread_matrix(count: int, side: int) -> np.ndarray:
    """(count, side): what each of `count` patches takes of a row of `side`, stretched by (count + 0.1) / side."""
    matrix = np.zeros((count, side))
    for patch in range(count):
        place = (patch + 0.5) * side / (count + 0.1) - 0.5
        for near in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            matrix[patch, min(max(near, 0), side - 1)] += cubic(place - near)
    return matrix


@pytest.mark.parametrize(("height", "width"), [(224, 358), (298, 224), (224, 230), (230, 224), (240, 240)])
def test_positions_against_a_literal_restatement(height, width):
    torch.manual_seed(0)
    table = torch.randn(1, 197, 5)
    got = positions(table, height, width, 16)
    down, across = spread_matrix(height // 16, 14), spread_matrix(width // 16, 14)
    grid = np.einsum("hi,wj,ijd->hwd", down, across, table[0, 1:].view(14, 14, 5).numpy())
    assert torch.equal(got[:, 0], table[:, 0])
    np.testing.assert_allclose(got[0, 1:].numpy(), grid.reshape(-1, 5), rtol=0, atol=2e-5)
    # which is not the resize to that size
    plain = F.interpolate(
        table[:, 1:].view(1, 14, 14, 5).permute(0, 3, 1, 2), (height // 16, width // 16), mode="bicubic"
    )
    assert (got[0, 1:] - plain.flatten(2)[0].T).abs().max() > 1e-3


def test_positions_of_the_square_are_the_table_itself():
    table = torch.randn(1, 197, 5)
    assert positions(table, 224, 224, 16) is table
    assert positions(table, 230, 230, 16) is table  # as many patches, and a square


def test_a_batch_of_several_clips_of_several_sizes_equals_one_by_one(tmp_path: Path):
    encoder = tiny_dino(tmp_path)
    clips = [bytes_of(3, 40, 61, 3), bytes_of(2, 33, 32, 3, seed=1), bytes_of(1, 40, 61, 3, seed=2)]
    together = encoder.image_features(clips)
    assert [features.shape for features in together] == [(3, 16), (2, 16), (1, 16)]
    encoder.rows = 1
    for clip, features in zip(clips, together, strict=True):
        np.testing.assert_allclose(encoder.image_features([clip])[0], features, rtol=1e-5, atol=1e-5)


def test_features_are_those_of_the_network_before_any_shortcut(tmp_path: Path):
    net = new_dino(DINO_SIZES)
    net.load_state_dict(random_state(net))
    clip = bytes_of(3, 40, 61, 3)
    with torch.inference_mode():
        expected = class_tokens(net.eval(), dino_transform(torch.from_numpy(clip), DINO_SIZES.image_px)).numpy()
    np.testing.assert_allclose(tiny_dino(tmp_path).image_features([clip])[0], expected, rtol=2e-5, atol=2e-5)


def test_bfloat16_is_near_and_labelled(tmp_path: Path):
    clip = bytes_of(2, 32, 32, 3)
    exact, fast = tiny_dino(tmp_path), tiny_dino(tmp_path, Mode(precision="bf16"))
    assert "-bf16" in fast.encoder_id and "-bf16" not in exact.encoder_id
    one, other = (encoder.image_features([clip])[0] for encoder in (exact, fast))
    assert other.dtype == np.float32 and 0 < np.abs(one - other).max() < 0.2


def test_another_checkpoint_is_refused(tmp_path: Path):
    state = random_state(new_dino(DINO_SIZES))
    with pytest.raises(UserError, match=r"differ from the 150 expected.*DINO's published ViT-B/16"):
        Dino(saved(tmp_path, "dino/vitb16.pth", state)).load()
