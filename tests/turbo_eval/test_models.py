"""Is a name or a path resolved to the right files, recipe and setting, and is what is missing said before any work?"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_ins
from typer.testing import CliRunner, Result

from turbo_eval.cli import app
from turbo_eval.contestants import Request, contestants_of
from turbo_eval.listing import card
from turbo_eval.model_table import GROUP, MODELS
from turbo_eval.models import find_model, kind_of, model_entries, named, recipe_of
from turbo_eval.scorers.vbench.published import FILE, published
from turbo_eval.scorers.vbench.spec import DIMENSIONS
from turbo_eval.scorers.vbench.total import normalised
from turbo_train.errors import UserError
from turbo_train.weights.table import files_for
from turbo_train.world import WEIGHTS

OFFICIAL = ("ms", "vc2", "ms-turbo", "vc2-turbo", "vc2-turbo-v2", "ms-vcm", "vc2-vcm")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def digest(path: Path) -> str:
    source = find_model(str(path)).source
    assert source is not None
    return source.sha256()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of every published file."""
    for name in ("TURBO_WEIGHTS", "HF_HOME", "HF_HUB_CACHE", "VBENCH_CACHE_DIR", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "TURBO_WEIGHTS").mkdir()
    return tmp_path / "TURBO_WEIGHTS"


def put(name: str, alternative: str | None = None) -> None:
    """Whole files of the right kinds, not the published ones, where a model's published files belong."""
    for file in files_for(name, alternative):
        stand_ins.put(file)


# ------------------------------------------------------------------------------------------------ the table


def test_named_models_are_unique_and_say_their_licence() -> None:
    assert len({entry.name for entry in MODELS}) == len(MODELS)
    assert all(entry.licence and entry.description for entry in MODELS)
    world = {"world-teacher", "world-vcm", "world-rimg", "world-rvid", "world-turbo"}
    assert {entry.name for entry in MODELS} == {*world, *OFFICIAL}


def test_defaults_are_those_of_their_sources() -> None:
    table = {entry.name: entry.setting for entry in MODELS}
    assert (table["vc2"].num_steps, table["vc2"].guidance_scale, table["vc2"].eta) == (50, 12.0, 1.0)
    assert (table["vc2"].fps, table["vc2"].cond_fps, table["vc2"].size, table["vc2"].frames) == (10, 28, (320, 512), 16)
    assert (table["ms"].guidance_scale, table["ms"].fps, table["ms"].size) == (9.0, 8, (256, 256))
    for name in ("ms-turbo", "vc2-turbo", "ms-vcm", "vc2-vcm"):
        assert (table[name].num_steps, table[name].origin_steps, table[name].guidance_scale) == (4, 50, 7.5)
    second = table["vc2-turbo-v2"]
    assert (second.num_steps, second.origin_steps, second.fps) == (16, 200, 8)
    assert (second.motion_gs, second.motion_percentage) == (0.05, 0.5)


def test_published_rows_hold_together() -> None:
    """The printed dimensions give the printed Quality, Semantic and Total, to the rounding of two decimals."""
    assert {entry.published for entry in MODELS if entry.tier == "official"} <= set(published())
    for row in published().values():
        groups: dict[str, list[tuple[float, float]]] = {"quality": [], "semantic": []}
        for d in DIMENSIONS:
            groups[str(d.group)].append((d.weight, 100 * normalised(d.name, row.scores[d.name] / 100)))
        quality, semantic = (sum(w * n for w, n in g) / sum(w for w, _ in g) for g in groups.values())
        assert quality == pytest.approx(row.scores["quality_score"], abs=0.02), row.model
        assert semantic == pytest.approx(row.scores["semantic_score"], abs=0.02), row.model
        assert (4 * quality + semantic) / 5 == pytest.approx(row.scores["total_score"], abs=0.02), row.model
    with FILE.open(encoding="utf-8") as stream:
        assert len(list(csv.reader(stream))) == len(published()) + 1


# ------------------------------------------------------------------------------------- missing published files


@pytest.mark.parametrize("name", OFFICIAL)
def test_without_its_files_a_model_is_refused_before_any_work(name: str, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for command in ("vbench", "plan", "generate"):
        prompt = ["--prompt", "a cat"] if command == "generate" else []
        result = run(command, "--model", name, "--out", str(out), *prompt)
        assert result.exit_code == 2 and result.stdout == ""
        unpublished = "nobody has published one" if name.endswith("vcm") else f"turbo-eval weights pull --for {name}"
        assert unpublished in result.stderr
    assert not out.exists() and list(weights.iterdir()) == []


def test_the_missing_files_are_listed_with_sizes(weights: Path) -> None:
    error = run("vbench", "--model", "vc2-turbo").stderr
    for file in files_for("vc2-turbo"):
        assert file.name in error
    assert "GB" in error and "weights pull --for vc2-turbo" in error


def test_show_works_without_weights_and_says_what_is_used(weights: Path) -> None:
    shown = json.loads(run("show", "vc2-turbo", "--json").stdout)
    assert shown["missing"] and shown["files"]["recipe"] == "vc2-turbo@merged"
    assert shown["guidance_projection"].startswith("its own")
    assert shown["published_vbench"]["total_score"] == 81.01
    assert "vc2-turbo@replayed" in shown["other_recipes"]
    assert json.loads(run("show", "vc2-turbo@replayed", "--json").stdout)["guidance_projection"].startswith("replayed")
    assert run("show", "vc2-turbo").exit_code == 0


def test_the_merged_upload_is_preferred_and_a_list_is_seeded(weights: Path) -> None:
    entry = named("vc2-turbo")
    assert entry is not None
    put("vc2-turbo", "lora")
    assert (recipe_of(entry).name, recipe_of(entry).projection) == ("seeded", "seeded")
    assert card("vc2-turbo")["guidance_projection"].startswith("seeded")
    source = find_model("vc2-turbo@replayed").source
    assert source is not None and (source.layout, source.projection, source.rank) == ("lora_list", "replayed", 64)
    assert source.base is not None and source.base.path.name == "model.ckpt"
    put("vc2-turbo", "merged")
    found = find_model("vc2-turbo")
    assert found.recipe is not None and (found.label, found.recipe.name) == ("vc2-turbo", "merged")
    assert find_model("vc2-turbo@seeded").label == "vc2-turbo-seeded"
    with pytest.raises(UserError, match="did you mean replayed"):
        find_model("vc2-turbo@replay")


def test_without_motion_guidance_no_motion_condition_is_given(weights: Path) -> None:
    put("vc2-turbo-v2", "mg")
    put("vc2-turbo-v2", "no-mg")
    assert find_model("vc2-turbo-v2").setting.motion_gs == 0.05
    plain = find_model("vc2-turbo-v2@no-mg")
    assert (plain.setting.motion_gs, plain.setting.origin_steps) == (None, 200)
    assert card("vc2-turbo-v2@no-mg")["published_vbench"]["total_score"] == 82.93


def test_a_setting_is_shown_as_the_recipe_is_run_without_its_files_too(weights: Path) -> None:
    assert "motion_gs" in card("vc2-turbo-v2")["run_as"] and "motion_gs" not in card("vc2-turbo-v2@no-mg")["run_as"]


def test_the_missing_files_of_both_models_are_named_at_once(weights: Path) -> None:
    error = run("vbench", "--model", "ms", "--against", "vc2").stderr
    assert "ms/unet/config.json" in error and "vc2/model.ckpt" in error
    assert "--for ms" in error and "--for vc2" in error


def test_what_stands_in_for_the_published_is_said(weights: Path, tmp_path: Path) -> None:
    """A file with another sha256 than weights.lock knows, and a projection that nobody has published."""
    put("vc2-turbo", "lora")
    (contestant,) = contestants_of(Request(model="vc2-turbo", size=(64, 128), dtype="bfloat16"))
    assert contestant.name == "vc2-turbo-seeded-modified-64x128-bfloat16"
    assert contestant.identity.made_of == "lora_list (rank 64, seeded) on videocrafter2"
    result = run("generate", "--model", "vc2-turbo", "--prompt", "a cat", "--out", str(tmp_path / "run"))
    assert result.exit_code == 2  # the stand-ins hold no network
    assert "guidance projection seeded: the list does not hold" in result.stderr
    assert "vc2/model.ckpt is not the published file" in result.stderr


@pytest.mark.parametrize(("name", "message"), [("vc2-turbo@", "vc2-turbo@seeded"), ("", "unknown model ''")])
def test_names_that_are_none(name: str, message: str, weights: Path) -> None:
    result = run("generate", "--model", name, "--prompt", "a cat")
    assert result.exit_code == 2 and message in result.stderr


def test_two_recipes_of_one_model_are_two_contestants(weights: Path) -> None:
    put("vc2-turbo", "lora")
    a, b = find_model("vc2-turbo@seeded"), find_model("vc2-turbo@replayed")
    assert a.label != b.label and a.source and b.source and a.source.sha256() != b.source.sha256()


def test_sizes_that_the_network_cannot_halve(weights: Path) -> None:
    put("vc2")
    result = run("generate", "--model", "vc2", "--prompt", "a cat", "--size", "320x500")
    assert result.exit_code == 2
    assert "multiples of 64" in result.stderr and "--size 320x512" in result.stderr
    assert "HEIGHTxWIDTH" in run("generate", "--model", "vc2", "--prompt", "a cat", "--size", "320").stderr


@pytest.mark.parametrize("steps", ["0", "51"])
def test_steps_beyond_the_grid(steps: str, weights: Path, tmp_path: Path) -> None:
    put("ms-turbo")
    out = tmp_path / "run"
    result = run("generate", "--model", "ms-turbo", "--prompt", "a cat", "--steps", steps, "--out", str(out))
    assert result.exit_code == 2 and not out.exists()


# -------------------------------------------------------------------------------------------------- entry points


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with one good model, one bad entry point and one that takes a name of ours."""
    site = tmp_path / "site"
    info = site / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ngood = other:models\nbad = other:absent\nsame = other:SAME\n")
    (site / "other.py").write_text(
        "from dataclasses import replace\nfrom turbo_eval.model_table import MODELS\n"
        "def models():\n    return [replace(MODELS[0], name='theirs')]\nSAME = MODELS[0]\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("other", None)


LIES = {
    "no recipe": "replace(MODELS[0], name='x', recipes=())",
    "no rows in weights.lock": "replace(MODELS[0], name='x', recipes=(replace(MODELS[0].recipes[0], place=None),))",
    "no setting": "replace(MODELS[0], name='x', setting=None)",
    "size 0": "replace(MODELS[0], name='x', size_multiple=0)",
    "no base": "replace(MODELS[0], name='x', base='nobody')",
    "at": "replace(MODELS[0], name='x@y')",
    "twice": "[replace(MODELS[0], name='x'), replace(MODELS[0], name='x')]",
    "exit": "sys.exit(0)",
    "number": "5",
}


@pytest.mark.parametrize("lie", LIES)
def test_an_entry_point_that_lies_hides_nothing(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "liar-1.0.dist-info").mkdir(parents=True)
    (site / "liar-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: liar\nVersion: 1.0\n")
    (site / "liar-1.0.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\nlie = liar:models\n")
    code = "import sys\nfrom dataclasses import replace\nfrom turbo_eval.model_table import MODELS\nprint('hello')\n"
    (site / "liar.py").write_text(f"{code}def models():\n    return {LIES[lie]}\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "liar", raising=False)
    result = run("list", "models", "--json")
    assert result.exit_code == 0 and {row["name"] for row in json.loads(result.stdout)} >= set(OFFICIAL)
    assert "entry point lie = liar:models" in result.stderr
    monkeypatch.delitem(sys.modules, "liar", raising=False)


@pytest.mark.usefixtures("other_package")
def test_other_packages_add_models() -> None:
    assert [entry.name for entry in model_entries()][-1] == "theirs"
    assert find_model("theirs").source == find_model("world-teacher").source
    result = run("list", "models")
    assert "theirs" in result.stdout and result.exit_code == 0
    assert "bad = other:absent" in result.stderr and "world-teacher: a name that is taken" in result.stderr


# ------------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_a_model_by_its_layout(tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    (teacher / "unet").mkdir(parents=True)
    student.mkdir()
    (student / "config.json").write_text("{}")
    (student / "adapter.safetensors").write_bytes(b"")
    assert (kind_of(teacher), kind_of(student), kind_of(tmp_path)) == ("teacher", "student", None)
    assert find_model(str(teacher)).setting.num_steps == 50
    assert find_model(str(student)).setting.num_steps == 4


def test_the_guidance_scale_comes_from_the_models_own_record(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    (teacher / "unet").mkdir(parents=True)
    assert find_model(str(teacher)).setting.guidance_scale == 7.5
    (tmp_path / "built.json").write_text('{"teacher": {"guidance_scale": 4}}')
    assert find_model(str(teacher)).setting.guidance_scale == 4.0
    (teacher / "built.json").write_text('{"guidance_scale": 2.5}')
    assert find_model(str(teacher)).setting.guidance_scale == 2.5
    (teacher / "built.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        find_model(str(teacher))


def test_the_digest_covers_what_is_read_wherever_it_lies(tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    (teacher / "unet").mkdir(parents=True)
    student.mkdir()
    (student / "config.json").write_text("{}")
    (student / "adapter.safetensors").write_bytes(b"")
    weights = Path("unet/diffusion_pytorch_model.safetensors")
    (teacher / weights).write_bytes(b"1")
    before, of_teacher = digest(student), digest(teacher)
    for other in ("built.json", "README.md", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/optimizer.pt"):
        (teacher / other).write_text("{}")  # not read: it decides nothing
    assert (digest(student), digest(teacher)) == (before, of_teacher)
    moved = teacher.rename(tmp_path / "elsewhere")
    assert digest(moved) == of_teacher
    (moved / weights).write_bytes(b"2")
    assert digest(moved) != of_teacher
    moved.rename(teacher)
    assert digest(student) != before


def test_a_students_teacher_is_found_beside_it_by_name_or_in_the_recipe_of_its_run(tmp_path: Path) -> None:
    run, teacher = tmp_path / "run", tmp_path / "elsewhere" / "mine"
    (teacher / "unet").mkdir(parents=True)
    students = [run / "student", run / "checkpoints" / "step-000002" / "student"]
    for student in students:
        student.mkdir(parents=True)
        (student / "config.json").write_text('{"teacher": "mine"}')
        (student / "adapter.safetensors").write_bytes(b"")

    def base(student: Path) -> Path | None:
        source = find_model(str(student)).source
        assert source is not None
        return source.base and source.base.path

    assert [base(student) for student in students] == [None, None]  # loading says so
    (run / "config.json").write_text(json.dumps({"preset": "world-vcm", "teacher": str(teacher)}))
    assert [base(student) for student in students] == [teacher, teacher]
    (run / "mine").mkdir()
    assert [base(student) for student in students] == [run / "mine", teacher]
    (students[1] / "config.json").write_text('{"teacher": "world-teacher"}')
    assert base(students[1]) == WEIGHTS / "teacher"
