"""Does load_reward find the published files, load them as asked for, and say what is wrong with others?

At small sizes: the sizes are the loaders' own option, everything else is what a user calls.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_rewards import SMALL_CLIP, SMALL_VICLIP, write_small

from turbo_train.errors import UserError
from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.table import PACKAGE, RewardEntry, find_reward, load_reward
from turbo_train.weights.places import path_below_root
from turbo_train.weights.table import files_for, find_file

# HPSv2.1's size in bytes is pinned, so that a small file is refused for it; its loader is load_clip's but for names.
NAMES = ("clip", "pickscore", "viclip")
PUBLISHED = ("hpsv2.1", *NAMES, "internvideo2")
TEXTS = ["A dog's life, 8k!", "a red ball"]
NO_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty TURBO_WEIGHTS and no caches."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in NO_CACHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def put(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small files of a reward where a user copies them to, and the path of its weights."""
    module, function = f"{PACKAGE}.{find_reward(name).loader}".rsplit(".", 1)
    sizes = SMALL_VICLIP if name == "viclip" else SMALL_CLIP
    monkeypatch.setattr(getattr(import_module(module), function), "__kwdefaults__", {"model_cfg": sizes})
    written = root / "written"
    written.mkdir(parents=True)
    paths = {}
    for row, path in write_small(name, written).items():
        paths[row] = root / path_below_root(find_file(row))
        paths[row].parent.mkdir(parents=True, exist_ok=True)
        path.rename(paths[row])
    return next(path for row, path in paths.items() if not row.endswith("config.json"))


def frames_for(model: RewardModel) -> torch.Tensor:
    shape = (2, *([8] if model.kind == "video" else []), 3, 28, 50)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_is_loaded_as_asked_for(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(name, root, monkeypatch)
    entry, state = find_reward(name), torch.get_rng_state()
    model = load_reward(name)
    assert entry.missing() == [] and torch.equal(torch.get_rng_state(), state)
    assert model.dtype is torch.float32 and (model.rows, model.frames) == (entry.rows, entry.frames)
    scores = model.score(frames_for(model), TEXTS)
    half = load_reward(name, dtype=torch.bfloat16, checkpointing=True)
    assert half.dtype is torch.bfloat16
    frames = frames_for(model).requires_grad_()
    again = half.score(frames, TEXTS)
    torch.testing.assert_close(again, scores, atol=1e-2, rtol=0)
    again.sum().backward()
    assert frames.grad is not None and bool(frames.grad.flatten(1).any(1).all())


def test_a_random_crop_is_asked_for_at_loading_and_drawn_by_each_calls_generator(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("viclip", root, monkeypatch)
    model = load_reward("viclip", crop="random")
    clips = frames_for(model)
    drawn = [model.score(clips, TEXTS, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    by_clips = model.score_clips(clips, TEXTS, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], by_clips)
    assert not torch.equal(drawn[0], drawn[2])
    centre = load_reward("viclip")
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert not torch.equal(centre.score(clips, TEXTS, generator), drawn[0])
    assert torch.equal(generator.get_state(), state)
    with pytest.raises(UserError, match="found crop 'random' for clip; expected centre: its frames are not cropped"):
        load_reward("clip", crop="random")


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_weights_are_named_with_their_size_their_place_and_the_command(name: str) -> None:
    rows = files_for(name)
    assert find_reward(name).missing() == [row.name for row in rows]
    with pytest.raises(UserError) as caught:
        load_reward(name)
    message = str(caught.value)
    assert all(f"{row.name} ({row.size}" in message for row in rows)
    assert f"missing file{'s' * (len(rows) > 1)} for {name}: " in message and "below TURBO_WEIGHTS" in message
    assert caught.value.run_next == f"turbo-eval weights pull --for {name}" and caught.value.exit_code == 2


DAMAGES: dict[str, tuple[Any, str]] = {
    "empty": (lambda content: b"", "it is empty"),
    "a login page": (lambda content: b"<!DOCTYPE html><title>Log in</title>", "it is a web page"),
    "a pointer": (lambda content: b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
    "cut off": (lambda content: content[: len(content) // 2], "cut off|bytes, not|as its header says"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named_and_not_opened(
    name: str, damage: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = put(name, root, monkeypatch)
    spoil, said = DAMAGES[damage]
    where.write_bytes(spoil(where.read_bytes()))
    with pytest.raises(UserError, match=f"1 damaged file for {name}: .*damaged: .*({said})") as caught:
        load_reward(name)
    assert str(where) in str(caught.value) and caught.value.run_next.startswith("turbo-eval weights pull ")


@pytest.mark.parametrize("name", NAMES)
def test_overwritten_bytes_never_become_weights(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = put(name, root, monkeypatch)
    content = bytearray(where.read_bytes())
    content[64:4096] = b"\xff" * 4032
    where.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"damaged|cannot be read"):
        load_reward(name)


def test_a_small_file_under_the_name_of_one_of_pinned_size_is_refused(root: Path) -> None:
    (row,) = files_for("hpsv2.1")
    path = root / path_below_root(row)
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=r"1 damaged file for hpsv2\.1: .* bytes, not 1972490005"):
        load_reward("hpsv2.1")


def test_another_models_file_under_the_name_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, viclip = (put(name, root / name, monkeypatch) for name in ("clip", "viclip"))
    for name, file in (("clip", viclip), ("viclip", clip)):
        entry: RewardEntry = find_reward(name)
        (row,) = files_for(name)
        path = root / path_below_root(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read_bytes())
        with pytest.raises(UserError, match=r"keys of .* differ from the \d+ expected: missing ") as caught:
            load_reward(name)
        assert str(path) in str(caught.value) and entry.missing() == []
