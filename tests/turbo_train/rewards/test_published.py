"""What holds for every published reward on CLIP's or ViCLIP's network? Asked of small files in their layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch
from tiny_rewards import SMALL_CLIP, SMALL_VICLIP, Files, write_small

from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.nets.tensor_files import read_tensors
from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.openclip import VIT_H_14, new_clip
from turbo_train.rewards.published import take_weights
from turbo_train.rewards.table import PACKAGE, find_reward
from turbo_train.rewards.viclip import VICLIP_L_14
from turbo_train.weights.table import files_for

NAMES = ("hpsv2.1", "clip", "pickscore", "viclip")
TEXTS = ["A dog's life, 8k!", "a red ball"]
BFLOAT16 = 0.01  # what bfloat16 weights and products may change a score by


def load(name: str, files: Files) -> RewardModel:
    """As the table's loader string says, at the small size."""
    module, function = f"{PACKAGE}.{find_reward(name).loader}".rsplit(".", 1)
    loader: Callable[..., RewardModel] = getattr(import_module(module), function)
    return loader(files, model_cfg=SMALL_VICLIP if name == "viclip" else SMALL_CLIP).float()


@pytest.fixture(scope="module", params=NAMES)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Files]:
    return request.param, write_small(request.param, tmp_path_factory.mktemp("published"))


@pytest.fixture
def model(published: tuple[str, Files]) -> RewardModel:
    return load(*published)


def pixels_for(model: RewardModel, count: int = 2, sides: tuple[int, int] = (33, 41)) -> torch.Tensor:
    shape = (count, *([8] if model.kind == "video" else []), 3, *sides)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_the_model_is_what_the_table_says(published: tuple[str, Files], model: RewardModel) -> None:
    name, files = published
    entry = find_reward(name)
    assert {*files} == {file.name for file in files_for(name)}
    assert (model.kind, model.frames, model.preprocess.mode) == (entry.kind, entry.frames, entry.resize)
    size, tokens = (
        (VICLIP_L_14["vision"]["input_resolution"], VICLIP_L_14["text"]["context_length"])
        if name == "viclip"
        else (VIT_H_14["vision_cfg"]["image_size"], VIT_H_14["text_cfg"]["context_length"])
    )
    assert (size, tokens, model.tokenizer.length) == (entry.size_px, entry.tokens, entry.tokens)
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))


def test_score_and_preprocessing_have_the_gradient_that_finite_differences_give(model: RewardModel) -> None:
    model.double()
    start = (0.25 + pixels_for(model, 1).double() / 2).requires_grad_()  # no step leaves [0, 1]
    score = model.score(start, TEXTS[:1])
    assert score.dtype == torch.float64
    (slope,) = torch.autograd.grad(score.sum(), start)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        way = torch.randn(start.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            up, down = (model.score(start + step * way, TEXTS[:1]) for step in (1e-5, -1e-5))
        torch.testing.assert_close((up - down).sum() / 2e-5, (slope * way).sum(), rtol=1e-6, atol=1e-10)


def test_no_gradient_reaches_the_weights(model: RewardModel) -> None:
    frames = pixels_for(model).requires_grad_()
    model.score(frames, TEXTS).sum().backward()
    assert frames.grad is not None and bool(frames.grad.flatten(1).any(1).all())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not model.text_features(TEXTS).requires_grad


@dataclass
class Run:
    """A score, its gradient, the bytes kept between the passes, and calls of the blocks after each of the two."""

    score: torch.Tensor
    slope: torch.Tensor
    kept_bytes: int
    calls: tuple[int, int]


def run(model: RewardModel) -> Run:
    frames = pixels_for(model, sides=(28, 28)).requires_grad_()
    layers = [block.ln_1 for block in model.net.modules() if isinstance(block, model.blocks)]
    calls: list[int] = []
    with Counted() as stored:
        model.score(frames, TEXTS)  # meets the weights and caches the texts
        before = stored.now
        hooks = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in layers]
        score = model.score(frames, TEXTS)
        kept_bytes, forward = stored.now - before, len(calls)
        (slope,) = torch.autograd.grad(score.sum(), frames)
    for hook in hooks:
        hook.remove()
    return Run(score.detach(), slope, kept_bytes, (forward, len(calls)))


def test_checkpointing_computes_blocks_again_keeps_less_and_gives_the_same_gradient(model: RewardModel) -> None:
    plain = run(model)
    again = run(model.use_checkpointing())
    assert plain.calls == (3, 3) and again.calls == (3, 6)
    assert again.kept_bytes < 0.4 * plain.kept_bytes
    assert torch.equal(again.score, plain.score)
    torch.testing.assert_close(again.slope, plain.slope, atol=1e-9, rtol=1e-5)


def test_bfloat16_weights_move_a_score_by_little(model: RewardModel) -> None:
    frames = pixels_for(model)
    exact = model.score(frames, TEXTS)
    rounded = model.to(torch.bfloat16).score(frames, TEXTS)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=BFLOAT16, rtol=0)


def test_a_file_of_another_layout_is_refused_whole(published: tuple[str, Files], tmp_path: Path) -> None:
    name, files = published
    where = next(path for key, path in files.items() if not key.endswith("config.json"))
    bad = {key: tmp_path / path.name if path == where else path for key, path in files.items()}
    first, second = [key for key, value in read_tensors(where).items() if value.ndim == 2][:2]
    for change, said in (
        (lambda state: state.pop(first), f"found 1 keys of .* differ from the .* expected: missing {first}; expected "),
        (lambda state: state.update(more=torch.zeros(1)), "unknown more;"),
        (lambda state: state.update({first: state[first][:1]}), f"{first} of shape .*, not "),
        (lambda state: (state.pop(first), state.pop(second)), "found 2 keys of "),
    ):
        state = read_tensors(where)
        change(state)
        _write(state, bad, where.name)
        with pytest.raises(UserError, match=said):
            load(name, bad)
    next(path for path in bad.values() if path.parent == tmp_path).write_bytes(b"<!doctype html>")
    with pytest.raises(UserError, match="cannot be read"):
        load(name, bad)


def _write(state: dict[str, torch.Tensor], files: Files, name: str) -> None:
    from safetensors.torch import save_file

    path = next(path for path in files.values() if path.name == name)
    if path.suffix == ".safetensors":
        save_file({key: value.clone().contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)


def test_weights_are_taken_and_not_copied() -> None:
    state = {key: value.half() for key, value in new_clip(SMALL_CLIP).state_dict().items()}
    with torch.device("meta"):
        net = new_clip(SMALL_CLIP)
    take_weights(net, state, Path("file"), "small weights")
    assert all(value.data_ptr() == state[key].data_ptr() for key, value in net.state_dict().items())
    assert {value.dtype for value in net.parameters()} == {torch.float16}
