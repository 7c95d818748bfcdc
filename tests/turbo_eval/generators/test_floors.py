"""Are the floors those of the networks' arithmetic and weights, for any batch, dtype and shortcut?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from torch import nn

from turbo_eval.generators.cost import ReadWeights, making_of, operations_of
from turbo_eval.generators.floors import Work, floor_s, stage_work, tflop_of
from turbo_eval.generators.latent import load_generator
from turbo_eval.generators.rates import TF32
from turbo_eval.model_table import ModelEntry
from turbo_eval.outlined import outlined
from turbo_eval.records import Prompt
from turbo_eval.timing.record import DECODE, DENOISING, FIRST, REMAINING, TEXT, Rates
from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.nets.fast_path import RANDOM_TINY_VAE, FastPath
from turbo_train.nets.tiny_vae import TinyVAE, random_tiny_vae, shaped_tiny_vae

H200 = Rates({"bfloat16": 790.0}, copy_gb_s=4000.0)  # what large products and copies reach on one


def entry(name: str, **chosen: object) -> ModelEntry:
    found = outlined(name)
    return replace(found, setting=replace(found.setting, **chosen))


def tiny_folder(folder: Path) -> Path:
    """TAESD's sizes, which are diffusers' defaults."""
    AutoencoderTiny().save_config(folder)
    return folder


@pytest.fixture(scope="module")
def student() -> ModelEntry:
    return entry("world-turbo")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step", "decode", "floor"), [("vc2-turbo", 12.58, 25.0, 0.095), ("ms-turbo", 4.89, 9.96, 0.037)]
)
def test_published_sizes_against_the_reckoned_floors(name: str, step: float, decode: float, floor: float) -> None:
    work = stage_work(entry(name, dtype="bfloat16", num_steps=4), 1)
    assert work[FIRST].tflop == pytest.approx(step, rel=0.02)
    assert work[REMAINING].tflop == pytest.approx(3 * step, rel=0.02)
    assert work[DECODE].tflop == pytest.approx(decode, rel=0.02)
    assert sum(floor_s(work, "bfloat16", H200).values()) == pytest.approx(floor, rel=0.02)
    weights = 1.4133e9 if name == "vc2-turbo" else 1.4112e9  # parameters, all of which a step reads
    assert work[FIRST].weights_bytes == pytest.approx(2 * weights, rel=0.002)


@pytest.mark.slow
def test_teachers_of_published_sizes() -> None:
    teacher = stage_work(entry("vc2", dtype="bfloat16"), 1)
    assert sum(floor_s(teacher, "bfloat16", H200).values()) == pytest.approx(1.62, rel=0.02)
    assert teacher[FIRST].tflop == pytest.approx(25.16, rel=0.02)
    ms = stage_work(entry("ms", dtype="bfloat16"), 1)
    assert ms[FIRST].tflop == pytest.approx(2 * 4.89, rel=0.02)


def test_taesd_decodes_for_less(tmp_path: Path) -> None:
    with torch.device("meta"), torch.no_grad():
        tiny = shaped_tiny_vae(tiny_folder(tmp_path))
        with Counted() as of_large, ReadWeights() as weights:
            tiny.decode(torch.empty(1, 4, 1, 40, 64))
        with Counted() as of_small:
            random_tiny_vae(4, 8).decode(torch.empty(1, 4, 1, 32, 32))
    assert 16 * operations_of(of_large).total / 1e12 == pytest.approx(1.41, rel=0.02)
    assert 16 * operations_of(of_small).total / 1e12 == pytest.approx(0.57, rel=0.02)
    assert weights.numbers == sum(p.numel() for p in tiny.vae.decoder.parameters())


def test_weights_count_once_and_a_table_of_words_not_at_all() -> None:
    table, layer, unused = nn.Embedding(1000, 8), nn.Linear(8, 8), nn.Linear(8, 8)
    with torch.no_grad(), ReadWeights() as weights:
        layer(layer(table(torch.tensor([[1, 2, 3]]))))
    assert weights.numbers == 8 * 8 + 8 and sum(p.numel() for p in unused.parameters()) == weights.numbers


def test_a_call_is_linear_in_clips_and_steps_but_its_weights_are_not(student: ModelEntry) -> None:
    one, four = stage_work(student, 1), stage_work(student, 4)
    for stage in (TEXT, *DENOISING, DECODE):
        assert four[stage].tflop == pytest.approx(4 * one[stage].tflop)
        assert one[stage].convolutions_tflop <= one[stage].tflop
    assert four[FIRST].weights_bytes == one[FIRST].weights_bytes
    assert four[TEXT].weights_bytes == 4 * one[TEXT].weights_bytes  # one text at a time
    steps = student.setting.num_steps
    assert one[REMAINING].tflop == pytest.approx((steps - 1) * one[FIRST].tflop)
    setting = replace(student.setting, num_steps=1, dtype="bfloat16")
    single = stage_work(replace(student, setting=setting), 1)
    assert single[REMAINING] == Work(0.0, 0.0, 0.0)
    assert single[FIRST] == replace(one[FIRST], weights_bytes=one[FIRST].weights_bytes / 2)


def test_a_guided_step_is_two_rows_of_one_call() -> None:
    teacher = entry("world-teacher", num_steps=2)
    alone = replace(teacher, setting=replace(teacher.setting, guidance_scale=1.0))
    guided_work, work = stage_work(teacher, 1), stage_work(alone, 1)
    for stage in DENOISING:
        assert guided_work[stage].tflop == pytest.approx(2 * work[stage].tflop)
        assert guided_work[stage].weights_bytes == work[stage].weights_bytes


def test_all_the_decoders_weights_are_read_for_every_group_of_frames(
    student: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = making_of(student)
    whole = stage_work(student, 1)[DECODE]
    assert made.shape.frames <= made.decode_frames
    monkeypatch.setattr("turbo_eval.generators.floors._making", lambda *_: replace(made, decode_frames=3))
    groups = stage_work(student, 2)[DECODE]
    assert groups.weights_bytes == -(-2 * made.shape.frames // 3) * whole.weights_bytes
    assert groups.tflop == 2 * whole.tflop


def test_a_tiny_vae_and_kept_keys_and_values_make_floors_lower(student: ModelEntry, tmp_path: Path) -> None:
    tiny_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    narrow = {"decoder_block_out_channels": [16, 16, 16], "num_decoder_blocks": [1, 1, 1]}
    (tmp_path / "config.json").write_text(json.dumps({**config, **narrow}))
    plain = stage_work(student, 1)
    fast = stage_work(student, 1, FastPath(cached_text=True, tiny_vae=tmp_path))
    steps = student.setting.num_steps
    assert fast[FIRST].tflop <= plain[FIRST].tflop
    assert fast[REMAINING].tflop < (steps - 1) * fast[FIRST].tflop
    assert fast[REMAINING].weights_bytes < plain[REMAINING].weights_bytes
    assert fast[DECODE].tflop < plain[DECODE].tflop and fast[TEXT] == plain[TEXT]
    assert stage_work(student, 1, FastPath(compile="max", channels_last=True)) == plain
    with pytest.raises(UserError, match=r"config\.json"):
        stage_work(student, 1, FastPath(tiny_vae=tmp_path / "nothing"))


def test_what_decodes_says_how_many_frames_at_a_time(student: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    random = FastPath(tiny_vae=RANDOM_TINY_VAE)
    monkeypatch.setattr("turbo_eval.generators.cost.random_tiny_vae", lambda *_: TinyVAE(AutoencoderTiny(), 3))
    assert making_of(student, random).decode_frames == 3
    assert making_of(student, replace(random, decode_frames=5)).decode_frames == 5


def test_a_folder_of_something_else_is_no_tiny_vae(student: ModelEntry, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(UserError, match="of class AutoencoderKL"):
        making_of(student, FastPath(tiny_vae=tmp_path))


def test_a_real_call_does_what_was_counted(student: ModelEntry) -> None:
    assert student.source is not None
    generator = load_generator(student.source, student.setting, batch=1)
    with Counted() as counted:
        generator.generate([Prompt("p", "a red ball rolls to the right", ())], [0], 0)
    assert counted.flops.total() / 1e12 == pytest.approx(sum(tflop_of(stage_work(student, 1)).values()), rel=0.02)


def test_the_floor_is_the_larger_of_computing_and_moving() -> None:
    work = {FIRST: Work(tflop=10.0, convolutions_tflop=4.0, weights_bytes=2e9)}
    computing = floor_s(work, "bfloat16", Rates({"bfloat16": 100.0}, 1000.0))
    assert computing == {FIRST: pytest.approx(0.1)}
    assert floor_s(work, "bfloat16", Rates({"bfloat16": 100.0}, 10.0)) == {FIRST: pytest.approx(0.2)}
    with_tf32 = Rates({"float32": 50.0, TF32: 400.0}, 1000.0)
    assert floor_s(work, "float32", with_tf32) == {FIRST: pytest.approx(6 / 50 + 4 / 400)}
    assert floor_s(work, "float32", Rates({"float32": 50.0}, 1000.0)) == {FIRST: pytest.approx(0.2)}
    with pytest.raises(KeyError):
        floor_s(work, "float16", with_tf32)
