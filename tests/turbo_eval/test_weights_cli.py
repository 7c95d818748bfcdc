"""Do the `weights` commands say what is there, what is missing and what is wrong, to people and to programs?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from stand_ins import put
from typer.testing import CliRunner

from turbo_eval.cli import app
from turbo_eval.cli_weights import _watch
from turbo_eval.weights_verify import verify
from turbo_train.weights.table import WeightFile, files_for, find_file, weight_files

HEAD = "laion/sa_0_4_vit_l_14_linear.pth"
CACHES = ("TURBO_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "VBENCH_CACHE_DIR", "TORCH_HOME")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TURBO_WEIGHTS is set, and nothing of this machine is found."""
    for variable in CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.setenv("TURBO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["weights", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_the_list_names_every_file_its_size_licence_and_users() -> None:
    lines = run("list").splitlines()
    first, second = (lines[0].index(heading) for heading in ("size", "licence"))
    rows = lines[1:-1]  # what is too long for its column goes on in the next line
    assert "".join(line[:first].strip() for line in rows) == "".join(file.name for file in weight_files())
    sizes = [size for line in rows if (size := line[first:second].strip())]
    assert sizes == [file.size for file in weight_files()]
    number = len(weight_files())
    assert lines[-1].startswith(f"{number} files, about ") and f"; {number} missing, about " in lines[-1]
    [row] = [line for line in run("list", "--for", "ms-turbo").splitlines() if line.startswith("ms-turbo/")]
    assert row.split()[1:6] == ["about", "234.0", "MB", "cc-by-4.0", "ms-turbo"]


def test_a_list_for_somebody_shows_all_alternatives_and_what_is_missing_only_one() -> None:
    everything = {row["name"] for row in document("list", "--for", "vc2-turbo")["files"]}
    assert everything == {"vc2/model.ckpt", "vc2-turbo/merged.pt", "vc2-turbo/unet_lora.pt"}
    missing = document("list", "--missing", "--for", "vc2-turbo")
    assert [row["name"] for row in missing["files"]] == ["vc2/model.ckpt", "vc2-turbo/merged.pt"]
    for file in files_for("vc2-turbo", "lora"):
        put(file)
    assert document("list", "--missing", "--for", "vc2-turbo")["files"] == []
    assert "0 files, 0 bytes; none missing" in run("list", "--missing", "--for", "vc2-turbo")


def test_the_missing_files_can_be_carried_to_a_machine_without_a_network(root: Path) -> None:
    listed = document("list", "--missing", "--for", "motion_smoothness", "--for", "dynamic_degree")
    assert listed["turbo_weights"] == str(root)
    assert listed["missing_bytes"] == listed["bytes"] == 12_038_359 + 21_000_000
    amt, raft = listed["files"]
    assert amt["address"].startswith("https://huggingface.co/lalala125/AMT/resolve/4af6ffbd")
    assert raft["address"].endswith("/models.zip") and raft["member"] == "models/raft-things.pth"
    assert (amt["licence"], amt["sha256_is"], raft["sha256"]) == ("cc-by-nc-4.0", "known", None)
    for row in (amt, raft):  # what somebody would do with the document
        target = root / row["copy_to"]
        put(find_file(row["name"]), path=target)
    assert document("list", "--missing", "--for", "motion_smoothness", "--for", "dynamic_degree")["files"] == []


def test_a_dry_run_says_what_would_go_where(root: Path) -> None:
    put(find_file("ms/unet/config.json"))
    rows = document("pull", "--for", "ms-turbo", "--dry-run")["files"]
    assert len(rows) == 12 and not [row for row in rows if not row["destination"].startswith(str(root))]
    printed = run("pull", "--for", "ms-turbo", "--dry-run")
    assert "here already" in printed and "12 files, about " in printed and "11 missing" in printed
    put(find_file("ms/unet/config.json"), b"<html>")
    printed = run("pull", "--for", "ms-turbo", "--dry-run")
    assert "here already" not in printed and "damaged: 6 bytes, not 787" in " ".join(printed.split())
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["config.json"]


def test_a_damaged_file_is_said_and_counts_as_missing() -> None:
    put(find_file("amt/amt-s.pth"), b"<html>")
    for file in files_for("ms"):
        put(file)
    path = put(find_file("ms/vae/diffusion_pytorch_model.safetensors"), b"\x80")
    [row] = document("list", "--missing", "--for", "ms")["files"]
    assert (row["path"], row["damaged"]) == (str(path), "it has no safetensors header")
    assert row["copy_to"].endswith("vae/diffusion_pytorch_model.safetensors")
    assert "damaged: 6 bytes, not 12038359" in run("list", "--for", "motion_smoothness")
    assert "1 missing, about 335.0 MB" in run("list", "--for", "ms")


@pytest.mark.parametrize("command", ["list", "pull", "verify"])
def test_a_model_without_published_files_is_said_to_need_none(command: str) -> None:
    said = run(command, "--for", "world-vcm", code=2)
    assert "world-vcm needs no published file: ships with this package" in said and "did you mean" not in said


def test_a_pull_of_what_is_here_does_nothing_and_one_without_a_network_says_what_to_do() -> None:
    put(find_file("ms/unet/config.json"))
    assert document("pull", "ms/unet/config.json")["files"][0]["pulled"] is False
    assert "cannot be fetched" in run("pull", "ms/vae/config.json", code=2)  # HF_HUB_OFFLINE is set for all tests
    assert "nothing to fetch" in run("pull", code=2)
    assert "0 files" in run("pull", "--for", "temporal_flickering")


@pytest.mark.parametrize("command", ["list", "pull", "verify"])
def test_an_unknown_name_ends_with_2_and_the_nearest_one(command: str) -> None:
    assert "did you mean vc2-turbo?" in run(command, "--for", "vc2-tubo", code=2)
    if command != "list":
        assert "did you mean amt/amt-s.pth?" in run(command, "amt/amt.pth", code=2)


def test_verify_records_enforces_and_finds_a_changed_byte(root: Path) -> None:
    assert "no published weights are here" in run("verify")
    path = put(find_file("ms/scheduler_config.json"), b'{"beta": 1}')
    assert document("verify")["files"][0]["verdict"] == "recorded now"
    assert document("verify")["files"][0]["verdict"] == "as recorded"
    assert document("list", "--for", "ms")["files"][0]["sha256_is"] == "recorded"
    path.write_bytes(b'{"beta": 2}')
    said = run("verify", code=2)
    assert "1 of 1 files are not the published ones: ms/scheduler_config.json" in said
    assert f"remove {path}; turbo-eval weights pull ms/scheduler_config.json" in said
    [address] = json.loads((root / "recorded.json").read_text())
    assert f"if the publisher has replaced it, remove the line of {address} from {root / 'recorded.json'}" in said


def test_verify_records_no_page(root: Path) -> None:
    put(find_file("tag2text/tag2text_swin_14m.pth"), b"<html>quota exceeded</html>")
    put(find_file("ms/tokenizer/merges.txt"), b"<!doctype html>")
    put(find_file("ms/tokenizer/vocab.json"))
    said = " ".join(run("verify", code=2).split())
    assert said.count("it is a web page") == 2 and "3 of 3 files are not the published ones" in said
    assert "2 bytes, not about 1.1 MB: it is cut off" in said
    assert not (root / "recorded.json").exists() and "if the publisher" not in said


@pytest.mark.parametrize("total", [10, 3_000_000])
def test_progress_is_said_in_megabytes_and_never_beyond_the_total(
    total: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("turbo_eval.screen.LOG_EVERY_S", 0.0)
    with _watch(WeightFile("a", (), "tensors", url="https://example.org/a", size_bytes=total)) as told:
        for _ in range(6):
            told(700_000)
    *_, last = lines = capsys.readouterr().err.splitlines()
    megabytes = max(1, total // 10**6)
    assert last.startswith(f"MB of a: {megabytes} of {megabytes}, ") and len(lines) == {1: 2, 3: 5}[megabytes]


def test_verify_tells_of_the_bytes_it_reads() -> None:
    files, told = [find_file("ms/unet/config.json"), find_file("amt/amt-s.pth")], []
    for file in files:
        put(file)

    def watch(total_bytes: int) -> AbstractContextManager[Callable[[int], object]]:
        told.append(total_bytes)
        return nullcontext(told.append)

    verify(files, watch)
    assert told[0] == sum(told[1:]) == 787 + 12_038_359 and len(told) > 10


def test_verify_enforces_published_sizes_and_hashes_and_opens_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import turbo_train.nets.tensor_files as opener

    put(find_file("ms/unet/config.json"), b"{}")
    put(find_file("vc2/model.ckpt"), b"not it")
    monkeypatch.setattr(opener, "open_weight", lambda *_: pytest.fail("opened"))
    said = " ".join(run("verify", code=2).split())
    assert "wrong: 2 bytes, not 787" in said
    assert "2 of 2 files are not the published ones: vc2/model.ckpt ms/unet/config.json" in said


def test_verify_says_what_a_file_holds_and_remembers_none_that_does_not_open() -> None:
    name = "ms/tokenizer/vocab.json"
    vocabulary = put(find_file(name), b" " * 10**6 + b"<html>")
    assert "wrong: " in run("verify", name, code=2)
    assert document("list", "--for", "ms")["files"][4]["sha256_is"] == "unknown"
    vocabulary.write_bytes(b" " * 10**6 + b"{}")
    assert "recorded now" in run("verify", name)
    torch.save({"weight": torch.zeros(1, 768), "bias": torch.zeros(1)}, put(head := find_file(HEAD)))
    [found] = document("verify", head.name)["files"]
    assert (found["verdict"], found["tensors"], len(found["sha256"])) == ("recorded now", 2, 64)
    assert "2 tensors" in run("verify", head.name)


def test_verify_of_named_files_that_are_missing_ends_with_2() -> None:
    said = run("verify", "amt/amt-s.pth", code=2)
    assert "1 of 1 files are missing: amt/amt-s.pth" in said and "weights pull amt/amt-s.pth" in said


def test_where_prints_a_path_for_a_name_and_the_places_without_one(root: Path) -> None:
    path = put(find_file("amt/amt-s.pth"))
    assert run("where", "amt/amt-s.pth").strip() == str(path)
    assert document("where", "amt/amt-s.pth") == {"amt/amt-s.pth": str(path)}
    assert {row["place"]: row["path"] for row in document("where")}["$TURBO_WEIGHTS"] == str(root)
    assert "1 missing file: vc2/model.ckpt" in run("where", "vc2/model.ckpt", code=2)


def test_looking_loads_no_torch(repository: Path) -> None:
    program = (
        "import sys; from turbo_eval.cli import app\n"
        "for arguments in (['list'], ['where'], ['pull', '--for', 'vbench', '--dry-run']):\n"
        "    try: app(['weights', *arguments])\n"
        "    except SystemExit as end: assert end.code == 0, end.code\n"
        "sys.stderr.write(repr([m for m in ('torch', 'transformers', 'diffusers') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stderr == "[]"
