"""Does a user's mistake say what was found, what was expected and what to run next?"""

from __future__ import annotations

import pickle

import pytest

from turbo_train.errors import Incomplete, UserError
from turbo_train.video_io import UnreadableVideo

ALL = {"found": "3 clips", "expected": "60", "run_next": "turbo-eval generate"}


def test_message_names_the_three_things_in_order() -> None:
    assert str(UserError(**ALL)) == "found 3 clips; expected 60; try: turbo-eval generate"


def test_empty_parts_are_left_out() -> None:
    assert str(UserError(found="nothing")) == "found nothing"
    assert str(UserError(found="nothing", run_next="make eval")) == "found nothing; try: make eval"


def test_exit_codes() -> None:
    assert (UserError(**ALL).exit_code, UnreadableVideo(**ALL).exit_code, Incomplete(**ALL).exit_code) == (2, 2, 3)


@pytest.mark.parametrize("kind", [UserError, Incomplete, UnreadableVideo])
def test_an_error_comes_back_from_a_worker_process(kind: type[UserError]) -> None:
    error = pickle.loads(pickle.dumps(kind(**ALL)))
    assert type(error) is kind
    assert str(error) == str(kind(**ALL))
    assert {"found": error.found, "expected": error.expected, "run_next": error.run_next} == ALL


def test_parts_cannot_be_swapped_by_position() -> None:
    with pytest.raises(TypeError):
        UserError("3 clips", "60", "turbo-eval generate")  # type: ignore[misc]
