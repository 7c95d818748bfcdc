"""Is the table of published files whole, and does it say what somebody needs?"""

from __future__ import annotations

import re
from typing import get_args

import pytest

from turbo_eval.scorers.vbench.spec import NAMES, TEMPORAL_FLICKERING
from turbo_train.errors import UserError
from turbo_train.weights.places import places
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import (
    Opens,
    WeightFile,
    alternatives_of,
    beside,
    files_for,
    find_file,
    size_of,
    users,
    weight_files,
)

MODELS = ("ms", "vc2", "ms-turbo", "vc2-turbo", "vc2-turbo-v2", "ms-vcm", "vc2-vcm")
REWARDS = ("hpsv2.1", "clip", "pickscore", "viclip", "internvideo2")


def names(files: tuple[WeightFile, ...]) -> list[str]:
    return [file.name for file in files]


def test_names_and_addresses_are_unique() -> None:
    for texts in (names(weight_files()), [file.source for file in weight_files()]):
        assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("file", weight_files(), ids=lambda file: file.name)
def test_a_row_is_well_formed(file: WeightFile) -> None:
    assert bool(file.repository and file.file) != bool(file.url)
    assert file.address.startswith("https://")
    assert (file.size_bytes is None) != (file.about_bytes is None) and file.bytes > 0
    assert not file.sha256 or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert not file.revision or re.fullmatch("[0-9a-f]{40}", file.revision)
    assert file.opens in get_args(Opens) and file.needed_by
    assert all(text.split("/")[0] in places() for text in file.lands)
    if file.url:
        assert any(text.startswith("vbench/") for text in file.lands), "its place below TURBO_WEIGHTS"
    if file.opens == "torchscript":
        assert file.sha256, "a TorchScript archive is code"
    if file.alternative:
        assert all(file.alternative in alternatives_of(user) for user in file.needed_by)
    else:
        assert all(file in files_for(user) for user in file.needed_by)


@pytest.mark.parametrize("user", [*MODELS, *REWARDS, *NAMES, "static_filter"])
def test_everything_that_needs_weights_has_files(user: str) -> None:
    assert bool(files_for(user)) == (user != TEMPORAL_FLICKERING)


def test_groups_hold_what_their_members_need() -> None:
    assert set(files_for("vbench")) == {file for name in (*NAMES, "static_filter") for file in files_for(name)}
    assert set(files_for("rewards")) == {file for name in REWARDS for file in files_for(name)}
    assert {*MODELS, *REWARDS, *NAMES, "vbench", "rewards"} <= set(users())


def test_one_alternative_is_enough_and_the_first_is_preferred() -> None:
    assert (
        names(files_for("vc2-turbo"))
        == names(files_for("vc2-turbo", "merged"))
        == [
            "vc2/model.ckpt",
            "vc2-turbo/merged.pt",
        ]
    )
    assert names(files_for("vc2-turbo", "lora")) == ["vc2/model.ckpt", "vc2-turbo/unet_lora.pt"]
    assert alternatives_of("vc2-turbo-v2") == ("mg", "no-mg") and alternatives_of("ms") == ()
    assert len(names(files_for("ms"))) == 11 and {file.page for file in files_for("ms")} == {files_for("ms")[0].page}


def test_an_unknown_name_is_answered_by_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'vc2-trubo' \(did you mean vc2-turbo\?\)"):
        files_for("vc2-trubo")
    with pytest.raises(UserError, match=r"did you mean vc2/model.ckpt\?"):
        find_file("vc2/model.pt")
    with pytest.raises(
        UserError, match=r"no alternative 'lorra' \(did you mean lora\?\); expected one of merged, lora"
    ):
        files_for("vc2-turbo", "lorra")


def test_sizes_are_readable() -> None:
    assert find_file("ms/unet/config.json").size == "787 bytes"
    assert find_file("amt/amt-s.pth").size == "12.0 MB"
    assert find_file("vc2/model.ckpt").size == "about 7.4 GB"
    assert size_of([]) == "0 bytes" and size_of([find_file("amt/amt-s.pth")] * 2) == "24.1 MB"
    assert size_of([find_file("amt/amt-s.pth"), find_file("raft/raft-things.pth")]) == "about 33.0 MB"
    assert [readable(n) for n in (999, 1000, 1.5e12)] == ["999 bytes", "1.0 kB", "1500.0 GB"]


def test_the_files_of_a_folder_are_known() -> None:
    assert beside(find_file("ms/vae/config.json")) == files_for("ms")
    assert beside(find_file("vc2/model.ckpt")) == files_for("vc2")
    assert {len(beside(file)) for file in weight_files()} == {1, 2, 11}
