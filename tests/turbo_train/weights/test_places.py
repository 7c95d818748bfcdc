"""Is a file found wherever it may lie, in the order that is promised, and pulled to where it will be found?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from turbo_train.errors import UserError
from turbo_train.weights.places import destination, folder_of, locate, path_below_root
from turbo_train.weights.table import WeightFile, beside, files_for, find_file, weight_files


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def in_hub_cache(cache: Path, file: WeightFile, commit: str, *, main: bool = False) -> Path:
    """A file as huggingface_hub keeps it: bytes in blobs, a link in the snapshot, a note on what main is."""
    folder = cache / f"models--{file.repository.replace('/', '--')}"
    blob = put(folder / "blobs" / f"{commit}{len(file.file)}")
    link = folder / "snapshots" / commit / file.file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    if main:
        put(folder / "refs" / "main", commit.encode())
    return link


@pytest.mark.parametrize("file", weight_files(), ids=lambda file: file.name)
def test_what_is_pulled_is_found(file: WeightFile, weights_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(file) is None
    assert put(destination(file)) == weights_root / path_below_root(file) == locate(file)
    monkeypatch.delenv("TURBO_WEIGHTS")
    assert locate(file) is None
    if file.lands:
        assert put(destination(file)) == locate(file)


def test_the_order_is_turbo_weights_then_the_hub_then_the_official_tools(
    home: Path, weights_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = find_file("viclip/ViClip-InternVid-10M-FLT.pth")
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path / "vbench"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    vbench = put(tmp_path / "vbench" / "ViCLIP" / file.file)
    assert locate(file) == vbench
    hub = in_hub_cache(tmp_path / "hf" / "hub", file, file.revision)
    assert locate(file) == hub
    in_root_as_vbench = put(weights_root / "ViCLIP" / file.file)
    assert locate(file) == in_root_as_vbench
    in_root = put(weights_root / file.repository / file.file)
    assert locate(file) == in_root


def test_the_hubs_main_stands_in_for_the_pinned_revision(home: Path) -> None:
    file, cache = find_file("vc2/model.ckpt"), home / ".cache" / "huggingface" / "hub"
    in_hub_cache(cache, file, "a" * 40)
    assert locate(file) is None, "a snapshot that is neither pinned nor main"
    main = in_hub_cache(cache, file, "b" * 40, main=True)
    assert locate(file) == main
    assert locate(file) != (pinned := in_hub_cache(cache, file, file.revision)) and locate(file) == pinned


@pytest.mark.parametrize(
    ("name", "below_home"),
    [
        ("dino/vitb16.pth", ".cache/torch/hub/checkpoints/dino_vitbase16_pretrain.pth"),
        ("clip/ViT-B-32.pt", ".cache/clip/ViT-B-32.pt"),
        ("clip/ViT-B-32.pt", ".cache/vbench/clip_model/ViT-B-32.pt"),
        ("hpsv2/HPS_v2.1_compressed.pt", ".cache/hpsv2/HPS_v2.1_compressed.pt"),
        ("raft/raft-things.pth", ".cache/vbench/raft_model/models/raft-things.pth"),
    ],
)
def test_the_official_tools_caches_are_honoured(home: Path, name: str, below_home: str) -> None:
    assert locate(find_file(name)) is None
    assert locate(find_file(name)) != (path := put(home / below_home)) and locate(find_file(name)) == path


def test_torch_home_moves_its_checkpoints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = put(tmp_path / "hub" / "checkpoints" / "dino_vitbase16_pretrain.pth")
    assert locate(find_file("dino/vitb16.pth")) == path == destination(find_file("dino/vitb16.pth"))


def test_a_repositorys_folder_holds_all_its_files(home: Path, weights_root: Path) -> None:
    files = files_for("ms")
    with pytest.raises(UserError, match=r"no ms/.*; expected all 11 files"):
        folder_of(files)
    for file in files:
        put(weights_root / path_below_root(file))
    assert folder_of(files) == weights_root / "ali-vilab" / "text-to-video-ms-1.7b"
    (weights_root / path_below_root(files[0])).unlink()
    in_hub_cache(home / ".cache" / "huggingface" / "hub", files[0], files[0].revision)
    with pytest.raises(UserError, match=r"no ms/scheduler_config.json; .*pull ms/scheduler_config.json$"):
        folder_of(files)


def test_a_folder_that_is_whole_is_preferred_to_one_that_comes_first(home: Path, weights_root: Path) -> None:
    files, hub = files_for("ms"), home / ".cache" / "huggingface" / "hub"
    put(weights_root / path_below_root(files[0]))
    in_hub_cache(hub, files[1], files[1].revision)
    assert [locate(file) is None for file in files] == [False, *[True] * 10], "the folder that a pull completes"
    for file in files:
        link = in_hub_cache(hub, file, "b" * 40, main=True)
    assert (
        folder_of(files) == link.parents[1] == hub / "models--ali-vilab--text-to-video-ms-1.7b/snapshots" / ("b" * 40)
    )
    for file in files:
        put(weights_root / path_below_root(file))
    assert folder_of(files) == weights_root / "ali-vilab" / "text-to-video-ms-1.7b"


def test_files_that_are_used_one_by_one_may_lie_apart(home: Path, weights_root: Path) -> None:
    one, other = (
        find_file("viclip/ViClip-InternVid-10M-FLT.pth"),
        find_file("umt/l16_ptk710_ftk710_ftk400_f16_res224.pth"),
    )
    assert one.page == other.page and beside(one) == (one,)
    path = in_hub_cache(home / ".cache" / "huggingface" / "hub", one, one.revision)
    assert put(weights_root / path_below_root(other)) == locate(other) and locate(one) == path


def test_a_repository_is_found_under_its_other_name(home: Path) -> None:
    file = find_file("bert-base-uncased/vocab.txt")
    renamed = replace(file, repository="google-bert/bert-base-uncased")
    link = in_hub_cache(home / ".cache" / "huggingface" / "hub", renamed, "a" * 40, main=True)
    assert locate(file) == link
