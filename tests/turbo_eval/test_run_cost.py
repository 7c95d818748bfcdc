"""Does `plan --gpu` say what a run costs, without weights, and on which assumption?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from turbo_eval.asked_clips import Span, made_clips, shape_of
from turbo_eval.cli import app
from turbo_eval.contestants import Request
from turbo_eval.cost import run_cost
from turbo_eval.cost_text import document
from turbo_eval.generators.cost import making_of
from turbo_eval.generators.latent import load_generator
from turbo_eval.gpus import CPU, GPUS, Machine, machine_of
from turbo_eval.manifest import Scope
from turbo_eval.models import find_model
from turbo_eval.outlined import outlined
from turbo_eval.records import Prompt
from turbo_eval.scorers.vbench.cost import ClipShape, Rules, clip_cost
from turbo_eval.scorers.vbench.spec import OBJECT_CLASS, SCENE, TEMPORAL_FLICKERING
from turbo_eval.suites import load_suite
from turbo_eval.units import Plan
from turbo_eval.vbench_suite import vbench_prompts
from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.video_io import read_video

CLIPS = Path(__file__).parent.parent / "golden" / "vbench"


counted_once = cache(making_of)  # networks of the embedded world are needed in several tests


def plan(*options: str) -> Any:
    return CliRunner().invoke(app, ["plan", *options])


@pytest.fixture(scope="module")
def four_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for path in CLIPS.glob("*.mp4"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    """vc2-turbo on the whole suite; no file of it is there."""
    request = Request(model="vc2-turbo", suite="vbench", batch=4, dtype="bfloat16", strict_rules=True)
    return document(run_cost(request, Machine("h200")))


def test_the_whole_suite_from_prompts_to_scores_without_weights(official: dict[str, Any]) -> None:
    (model,) = official["models"]
    assert model["clips"] == {"least": 4720, "most": 6220}
    stages = {stage["stage"]: stage for stage in model["stages"]}
    assert stages["denoising"]["tflop"]["most"] / 6220 == pytest.approx(4 * 12.58, rel=0.02)
    assert stages["VAE decode"]["tflop"]["most"] / 6220 == pytest.approx(25.0, rel=0.02)
    asked = [sum(d in p.dimensions for p in vbench_prompts()) for d in (OBJECT_CLASS, SCENE)]
    assert stages["Tag2Text"]["clips"] == {"least": 5 * asked[1], "most": 5 * asked[1]}
    assert stages["GRiT-B"]["clips"]["most"] == 5 * (79 + 82 + 85 + 84)
    assert sum(stage["share"] for stage in model["stages"]) == pytest.approx(1)
    for end in ("least", "most"):
        hours = sum(stage["gpu_hours"][end] for stage in model["stages"])
        assert hours == pytest.approx(model["gpu_hours"][end])
    scored = sum(stage["gpu_hours"]["most"] for stage in model["stages"] if stage["dimensions"])
    alone = model["gpu_hours_of_a_dimension_alone"]
    assert len(alone) == 16 and scored <= sum(hours["most"] for hours in alone.values()) * (1 + 1e-9)
    assert model["dominated_by"].startswith("denoising: ") and "GRiT-B (object_class, mult" in model["dominated_by"]
    (strictly,) = clip_cost([SCENE], ClipShape(16, 320, 512, 16.0), Rules(strict=True)).values()
    assert stages["Tag2Text"]["tflop"]["most"] == pytest.approx(5 * asked[1] * strictly.most.total / 1e12)
    for what, peak in (("making", "989 TFLOP/s in 16 bits"), ("scoring", "67 TFLOP/s float32")):
        assert f"40 % of the peak assumed, not measured here (H200 SXM: {peak}" in model[f"assumption_of_{what}"]


def test_hours_are_operations_over_the_rate(four_clips: Path) -> None:
    asked = Request(videos=four_clips, suite="file-names")
    slow, fast = (document(run_cost(asked, Machine(tflops=rate)))["models"][0] for rate in (10.0, 20.0))
    assert slow["gpu_hours"]["most"] == pytest.approx(2 * fast["gpu_hours"]["most"])
    tflop = sum(stage["tflop"]["most"] for stage in slow["stages"])
    assert slow["gpu_hours"]["most"] == pytest.approx(tflop / 10 / 3600)
    shapes = {(shape["frames"], shape["height"], shape["width"]) for shape in slow["shapes"]}
    assert shapes == {read_video(path).frames_THWC.shape[:3] for path in four_clips.iterdir()}
    stages = {stage["stage"] for stage in slow["stages"]}
    assert not stages & {"GRiT-B", "Tag2Text", "UMT-L/16"}  # no file's name says an object, a scene, one of 400 actions
    assert slow["dominated_by"].startswith(("CLIP-L/14, LAION (aesthetic_quality): ", "RAFT (dynamic_degree"))


def test_precision_is_another_rate_and_a_cpu_takes_pairs_one_by_one(four_clips: Path) -> None:
    asked = Request(videos=four_clips, suite="file-names", dimensions=("dynamic_degree",))
    gpu, half, cpu = (
        document(run_cost(request, machine))["models"][0]
        for request, machine in (
            (asked, Machine("a100")),
            (replace(asked, precision="bf16"), Machine("a100")),
            (asked, Machine(CPU, threads=1)),
        )
    )
    assert "16 bits" in half["assumption_of_scoring"] and half["gpu_hours"]["most"] < gpu["gpu_hours"]["most"]
    assert cpu["stages"][0]["tflop"]["least"] < gpu["stages"][0]["tflop"]["least"]


def test_what_a_range_and_a_pace_rest_on_is_said(four_clips: Path) -> None:
    options = ("--videos", str(four_clips), "--suite", "file-names", "--gpu", "h200", "--dimensions")
    flow, towers = (plan(*options, names).stdout for names in ("dynamic_degree,aesthetic_quality", "aesthetic_quality"))
    assert "least and most of RAFT" in flow and "RAFT" not in towers and "of temporal flickering" not in flow
    for shown in (flow, towers):
        assert "50 million pixels a second, as measured on" in shown and "coding of clips" not in shown


def test_finished_clips_are_reckoned_without_torch(four_clips: Path) -> None:
    program = (
        "import sys; from turbo_eval.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: sys.stderr.write(f'{end.code} ')\n"
        "sys.stderr.write(repr([m for m in ('torch', 'diffusers', 'cv2') if m in sys.modules]))"
    )
    command = [sys.executable, "-c", program, "plan", "--videos", str(four_clips), "--suite", "file-names"]
    done = subprocess.run([*command, "--gpu", "a100"], capture_output=True, text=True)
    assert done.stderr.endswith("0 []"), done.stderr
    assert "dominated by" in done.stdout and "A100" in done.stdout and "of 4 sizes" in done.stdout


def test_a_model_is_counted_as_it_then_runs() -> None:
    """Every product and convolution of the embedded student and teacher, on numbers and on shapes."""
    for name, num_steps in (("world-turbo", 2), ("world-teacher", 1)):
        entry = find_model(name)
        making = counted_once(entry)
        share = num_steps / entry.setting.num_steps
        assert entry.source is not None
        generator = load_generator(entry.source, replace(entry.setting, num_steps=num_steps), 2)
        prompts = [Prompt("p-0", "a red circle"), Prompt("p-1", "a blue square")]
        generator.generate(prompts, [0, 0], 0)  # the empty text of the teacher's guidance, once for all
        before = generator.denoiser.rows
        with Counted() as counted:
            generator.generate(prompts, [0, 0], 0)
        assert generator.denoiser.rows - before == 2 * making.rows * share
        real = sum(counted.flops.values()) / 2
        assert making.text == counted_once(find_model("world-turbo")).text
        assert (making.text + making.denoising * share + making.decode).total == pytest.approx(real, rel=0.01)


def test_a_clip_twice_as_long_in_twice_the_steps_costs_four_times() -> None:
    entry = find_model("world-turbo")
    once, more = (
        counted_once(replace(entry, setting=replace(entry.setting, **changed)))
        for changed in ({}, {"frames": 16, "num_steps": 8})
    )
    assert more.decode.total == 2 * once.decode.total and more.text == once.text
    assert more.denoising.total == pytest.approx(4 * once.denoising.total, rel=0.05)  # but attention over time


def test_both_models_are_shown_with_their_assumption(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--model", "world-turbo", "--against", "world-teacher", "--gpu", "H100", "--limit", "1", "--batch", "2"]
    costs = []
    monkeypatch.setattr("turbo_eval.generators.cost.making_of", counted_once)
    monkeypatch.setattr("turbo_eval.cost.run_cost", lambda *asked: costs.append(run_cost(*asked)) or costs[-1])
    done = plan(*options)
    assert done.exit_code == 0, done.stderr
    for text in ("world-turbo: ", "world-teacher: ", "of 8x32x32", "not measured here", "denoising", "is not counted"):
        assert text in done.stdout
    assert "the coding of clips, measuring the latency" in done.stdout
    monkeypatch.setattr("turbo_eval.cost.run_cost", lambda *_: costs[0])
    found = json.loads(plan(*options, "--json").stdout)
    assert [model["model"] for model in found["models"]] == ["world-turbo", "world-teacher"]
    assert found["models"][1]["gpu_hours"]["most"] > 10 * found["models"][0]["gpu_hours"]["most"]


def test_only_where_static_clips_are_sought_is_there_a_least_and_a_most() -> None:
    suite, shape = load_suite(f"vbench:{TEMPORAL_FLICKERING}"), ClipShape(16, 320, 512, 8.0)

    def clips(samples: int | None) -> Span:
        request, plan = Request(samples=samples), Plan(suite, Scope(("m",), samples), 1)
        return sum((group.clips for group in made_clips(request, plan, shape)), Span())

    assert clips(None) == Span(75 * 5, 75 * 25) and clips(3) == Span(225, 225)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--gpu", "h20"), "did you mean h200?"),
        (("--gpu", "teapot"), "--tflops X"),
        (("--tflops", "0"), "--tflops 0"),
        (("--tflops", "-3"), "more than 0"),
        (("--tflops", "nan"), "--tflops nan"),
        (("--gpu", "h200", "--dimensions", "objectclass"), "object_class"),
        (("--gpu", "h200", "--size", "100x100"), "multiples of 64"),
        (("--gpu", "h200", "--dimensions", ""), "names of dimensions"),
        (("--gpu", "h200", "--dimensions", " , "), "names of dimensions"),
    ],
)
def test_mistakes(options: tuple[str, ...], complaint: str) -> None:
    done = plan("--model", "vc2-turbo", *options)
    assert done.exit_code == 2 and complaint in done.stderr, done.stderr


def test_names_of_gpus_are_read_as_people_write_them() -> None:
    assert machine_of("RTX 4090", None) == Machine("rtx4090") == machine_of("rtx-4090", None)
    assert machine_of(None, None) is None
    assert machine_of("h100", 200.0).rate("float32").products == 200  # type: ignore[union-attr]
    for name in (*GPUS, CPU):
        rate = Machine(name, threads=2).rate("float32")
        half = Machine(name, threads=2).rate("bfloat16")
        assert 0 < rate.products <= rate.convolutions <= half.convolutions and "assumed" in rate.basis


def test_the_files_of_an_outlined_model_are_not_asked_for() -> None:
    with pytest.raises(UserError):
        find_model("ms-vcm")
    entry = outlined("ms-vcm")
    assert entry.source is not None and entry.source.base is not None
    assert outlined("vc2-turbo@replayed").label == "vc2-turbo-replayed"
    with pytest.raises(UserError, match="unknown model"):
        outlined("vc3")


@pytest.mark.parametrize(("name", "content"), [("a.mp4", b"nothing"), ("a.gif", b""), ("a.webm", b"")])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=name):
        shape_of(path)
