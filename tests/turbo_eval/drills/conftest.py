"""A fork server with everything imported, a run folder for each drill, and what an undisturbed run leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import drill`

from drill import Drill, Server, write_suite

MakeDrill = Callable[..., Drill]


@pytest.fixture(scope="session")
def server(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    if sys.platform != "linux":
        pytest.skip("drills fork a process that has torch in it, and read /proc")
    started = Server(repository)  # its imports and the model's making go on side by side
    model: Path = request.getfixturevalue("tiny_student")
    folder = tmp_path_factory.mktemp("warm")
    suite = write_suite(folder / "warm.jsonl", repository / "prompts" / "world.jsonl", 2)
    started.ask(prepare={"request": Drill(started, model, folder, suite).fields()})
    yield started
    started.close()


@pytest.fixture(scope="session")
def suites(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    folder = tmp_path_factory.mktemp("suites")
    return lambda count: write_suite(folder / f"world{count}.jsonl", repository / "prompts" / "world.jsonl", count)


@pytest.fixture
def new_drill(server: Server, tiny_student: Path, suites: Callable[[int], Path], tmp_path: Path) -> MakeDrill:
    """A drill on a new folder: `new_drill(name, prompts=4)`."""

    def make(name: str, prompts: int = 4, suite: Path | None = None, **request: object) -> Drill:
        folder = tmp_path / name
        folder.mkdir()
        return Drill(server, tiny_student, folder, suite or suites(prompts), dict(request))

    return make


@pytest.fixture(scope="session")
def undisturbed(
    server: Server, tiny_student: Path, suites: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], bytes]:
    """prompts -> scores.jsonl of a run that nobody disturbs."""
    kept: dict[int, bytes] = {}

    def scores(prompts: int) -> bytes:
        if prompts not in kept:
            drill = Drill(server, tiny_student, tmp_path_factory.mktemp(f"undisturbed-{prompts}"), suites(prompts))
            done = drill.run()
            assert done.code == 0, done.log
            drill.check(drill.scores(), prompts // 2)
            kept[prompts] = drill.scores()
        return kept[prompts]

    return scores
