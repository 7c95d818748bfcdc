"""Does a generator tell its stages where they are, and is the clip the same whether anybody listens?"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from turbo_eval.generators.latent import LatentGenerator, load_generator
from turbo_eval.records import Prompt
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, TEXT
from turbo_train.nets.source import Source
from turbo_train.sampling.setting import Setting

PROMPTS = [Prompt(f"p{k}", text) for k, text in enumerate(("a red circle rises", "a blue square rests"))]
TEACHER, STUDENT = Setting("ddim", 3, 2.0, eta=1.0), Setting("consistency", 4, 3.0)


@pytest.fixture(params=["teacher", "student"])
def generator(request: pytest.FixtureRequest, tiny_teacher: Path, tiny_student: Path) -> LatentGenerator:
    if request.param == "teacher":
        return load_generator(Source("diffusers", tiny_teacher), TEACHER, batch=1)
    return load_generator(Source("student", tiny_student), STUDENT, batch=1)


def test_clips_do_not_depend_on_who_listens(generator: LatentGenerator) -> None:
    plain = generator.generate(PROMPTS, [0, 1], 0)
    told: list[str | None] = []
    heard = generator.generate(PROMPTS, [0, 1], 0, told.append)
    assert all(np.array_equal(a, b) for a, b in zip(plain, heard, strict=True))
    assert told == [TEXT, FIRST, REMAINING, DECODE, None] * 2


def test_one_step_has_no_remaining_ones(generator: LatentGenerator) -> None:
    generator.setting = replace(generator.setting, num_steps=1)
    told: list[str | None] = []
    generator.generate(PROMPTS[:1], [0], 0, told.append)
    assert told == [TEXT, FIRST, DECODE, None]


def test_each_network_works_in_its_own_stage(generator: LatentGenerator) -> None:
    stage: str | None = None
    seen: Counter[tuple[str | None, str]] = Counter()

    def mark(begun: str | None) -> None:
        nonlocal stage
        stage = begun

    model = generator.model
    unet = generator.denoiser.denoiser
    for name, part in (("text", model.text), ("unet", unet), ("decoder", model.vae.vae.decoder)):  # type: ignore[attr-defined]
        assert isinstance(part, nn.Module)
        part.register_forward_hook(lambda *_, name=name: seen.update([(stage, name)]))
    generator.generate(PROMPTS[:1], [0], 0, mark)
    steps, texts = generator.setting.num_steps, 2 if generator.setting.sampler == "ddim" else 1
    once = {(TEXT, "text"): texts, (FIRST, "unet"): 1, (REMAINING, "unet"): steps - 1, (DECODE, "decoder"): 1}
    assert seen == once
    generator.generate(PROMPTS[:1], [0], 0, mark)
    assert seen[TEXT, "text"] == texts + 1  # the empty text is known by now
    assert seen[None, "unet"] == 0


def test_the_empty_text_that_was_kept_gives_the_same_clip(tiny_teacher: Path) -> None:
    source = Source("diffusers", tiny_teacher)
    one = load_generator(source, TEACHER, batch=1)
    one.generate(PROMPTS[:1], [0], 0)
    again, fresh = (g.generate(PROMPTS[1:], [0], 0)[0] for g in (one, load_generator(source, TEACHER, batch=1)))
    assert np.array_equal(again, fresh)
