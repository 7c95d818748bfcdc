"""Is the matrix that no list holds the stated one, the same every time, and said aloud?"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import get_args

import pytest
import torch

from turbo_train.errors import UserError
from turbo_train.nets.projection import SEED, base_matrix, describe, replayed, seeded
from turbo_train.nets.source import Layout, Projection

SHAPE = torch.Size((320, 256))


def test_the_seeded_matrix_is_a_linear_layers_default_and_touches_no_global_generator() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    matrix = seeded(SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(SEED)
    assert torch.equal(matrix, torch.nn.Linear(256, 320, bias=False).weight)
    assert torch.equal(matrix, base_matrix(None, "time_cond_proj", SHAPE))
    assert not torch.equal(matrix, seeded(SHAPE, seed=SEED + 1)) and not torch.equal(matrix, replayed())


def test_the_replayed_matrix_is_the_one_that_was_derived() -> None:
    matrix = base_matrix("replayed", "time_cond_proj", SHAPE)
    digest = hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
    assert matrix.shape == SHAPE and matrix.dtype == torch.float32
    assert digest.startswith("2ca55996") and digest.endswith("d568d")
    assert matrix[0, :4].tolist() == pytest.approx([-0.0068578, 0.0151148, 0.0319774, -0.0508633], abs=1e-7)


@pytest.mark.parametrize("layer,shape", [("time_embedding.cond_proj", SHAPE), ("time_cond_proj", (32, 256))])
def test_the_replayed_matrix_is_for_videocrafter2_alone(layer: str, shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"the replayed guidance projection for {layer}") as caught:
        base_matrix("replayed", layer, torch.Size(shape))
    assert caught.value.exit_code == 2


def test_every_layout_says_where_its_projection_comes_from() -> None:
    said = {layout: describe(None, layout) for layout in get_args(Layout)}
    assert {layout: text.split(":")[0] for layout, text in said.items()} == {
        "diffusers": "none",
        "videocrafter2": "none",
        "student": "its own",
        "lora_list": "seeded",
        "unet": "its own",
    }
    chosen = {choice: describe(choice, "lora_list") for choice in get_args(Projection)}
    assert all(text.startswith(choice) and str(SEED) in text for choice, text in chosen.items())


def test_saying_so_needs_no_torch() -> None:
    program = "import sys, turbo_train.nets.projection as p; p.describe('seeded', 'lora_list'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout.split()
