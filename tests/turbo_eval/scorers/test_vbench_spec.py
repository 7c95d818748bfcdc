"""Are the constants VBench's?"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from turbo_eval.scorers.vbench import spec
from turbo_train.errors import UserError


def test_sixteen_dimensions_seven_of_quality_nine_of_semantics():
    assert len(set(spec.NAMES)) == 16
    assert (len(spec.QUALITY), len(spec.SEMANTIC)) == (7, 9)
    assert sum(spec.dimension(name).weight for name in spec.QUALITY) == 6.5
    assert sum(spec.dimension(name).weight for name in spec.SEMANTIC) == 9


def test_prompt_counts_and_auxiliary_needs_are_those_of_the_published_suite():
    package = find_spec("vbench")
    if package is None or not package.submodule_search_locations:
        pytest.skip("vbench is not installed (pip install --no-deps vbench==0.1.5)")
    folder = Path(package.submodule_search_locations[0])
    entries = json.loads((folder / "VBench_full_info.json").read_text(encoding="utf-8"))
    assert {name for entry in entries for name in entry["dimension"]} == set(spec.NAMES)
    for dimension in spec.DIMENSIONS:
        own = [entry for entry in entries if dimension.name in entry["dimension"]]
        assert len(own) == dimension.prompts, dimension.name
        assert {dimension.name in entry.get("auxiliary_info", {}) for entry in own} == {dimension.auxiliary}


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown dimension 'temporal_flicker'.*did you mean temporal_flickering") as e:
        spec.dimension("temporal_flicker")
    assert e.value.exit_code == 2
