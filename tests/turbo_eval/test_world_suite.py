"""Are the committed suites what the generator writes, and do they ask for what they say?"""

from __future__ import annotations

from pathlib import Path

import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench import spec
from turbo_eval.suites import load_suite, prompts_folder
from turbo_eval.world_suite import write_suites
from turbo_train.world.captions import parse
from turbo_train.world.scene import BACKGROUNDS, split_of, triples


def triple(prompt: Prompt) -> tuple[str, str, str]:
    return prompt.attributes["shape"], prompt.attributes["colour"], prompt.attributes["motion"]


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    for path in write_suites(tmp_path):
        assert path.read_bytes() == (prompts_folder() / path.name).read_bytes()


@pytest.mark.parametrize("name", ["world", "world-validation"])
def test_captions_parse_back_to_the_attributes(name: str) -> None:
    for prompt in load_suite(name).prompts:
        said = parse(prompt.prompt)
        wanted = dict(prompt.attributes)
        assert said.things == ((wanted["shape"], wanted["colour"]),)
        assert (said.motion, said.background, said.relation) == (wanted["motion"], wanted["background"], None)


@pytest.mark.parametrize(
    "name,split,held_out,seen", [("world", "test", 54, 18), ("world-validation", "validation", 27, 9)]
)
def test_a_suite_is_all_held_out_combinations_and_some_seen(name: str, split: str, held_out: int, seen: int) -> None:
    prompts = load_suite(name).prompts
    out = {(*triple(p), p.attributes["background"]) for p in prompts if p.held_out}
    assert out == {(*t, ground) for t in triples(split) for ground in BACKGROUNDS} and len(out) == held_out
    known = [triple(p) for p in prompts if not p.held_out]
    assert len(set(known)) == len(known) == seen and {split_of(*t) for t in known} == {"train"}
    for place in range(3):
        uses = [sum(t[place] == value for t in known) for value in {t[place] for t in triples()}]
        assert max(uses) - min(uses) <= 1


def test_tuning_never_sees_a_combination_that_is_reported() -> None:
    tuned, reported = load_suite("world-validation").prompts, load_suite("world").prompts
    assert not {triple(p) for p in tuned} & {triple(p) for p in reported}
    assert not {p.prompt for p in tuned} & {p.prompt for p in reported}


def test_stillness_decides_between_flickering_and_dynamics() -> None:
    for prompt in load_suite("world").prompts:
        still = prompt.attributes["motion"] == "still"
        assert (spec.TEMPORAL_FLICKERING in prompt.dimensions) == still
        assert (spec.DYNAMIC_DEGREE in prompt.dimensions) == (not still)
        assert {spec.SUBJECT_CONSISTENCY, spec.OVERALL_CONSISTENCY} < set(prompt.dimensions) < set(spec.NAMES)
