"""From folders to a folder, by the command: tables, summary, plots and pictures; what is wrong is a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from mambaseg.errors import OutputError
from mambaseg.geometry import Geometry
from mambaseg.volume import Volume
from mambaseg_train.cli.evaluate import command
from mambaseg_train.errors import DataError, RecipeError
from mambaseg_train.evaluation.overlays import WorstCase, draw_worst_case
from mambaseg_train.evaluation.paired import compare
from mambaseg_train.evaluation.plots import box_plot, paired_plot
from mambaseg_train.evaluation.report import read_evaluation
from mambaseg_train.evaluation.settings import MetricSettings
from mambaseg_train.evaluation.structures import Structure
from mambaseg_train.evaluation.table import Score, read_scores
from mambaseg_train.recipes import load_recipe, recipe_ids
from training.evaluation_helpers import cube, two_organs, write_dataset, write_nifti

SPACING = (1.0, 1.5, 2.0)


def pixels(path: Path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def study(tmp_path):
    """Four cases, one without a spleen's annotation; model A is nearly right, model B off by more."""
    write_dataset(tmp_path / "data", mambaseg={"annotated": {"c3": ["liver"]}})
    rng = np.random.default_rng(0)
    for case in range(4):
        truth = two_organs(spleen=case != 3)
        write_nifti(tmp_path / "truth" / f"c{case}.nii.gz", truth, SPACING)
        write_nifti(tmp_path / "A" / f"c{case}.nii.gz", two_organs(int(case == 1)), SPACING)
        write_nifti(tmp_path / "B" / f"c{case}.nii.gz", two_organs(2, spleen=case != 2), SPACING)
        image = rng.normal(0, 60, truth.shape) + truth * 100
        write_nifti(tmp_path / "data" / "imagesTs" / f"c{case}_0000.nii.gz", image.astype(np.float32), SPACING)
    return tmp_path


def run(study, *more: object, predictions="A"):
    arguments = [study / predictions, study / "truth", "--dataset", study / "data", "-o", study / "out", *more]
    return CliRunner().invoke(command, [str(item) for item in arguments], catch_exceptions=True)


def test_command_writes_tables_plots_and_pictures(study):
    result = run(study, "--against", study / "B", "--tolerance", "1", "--tolerance", "spleen=3")
    assert result.exit_code == 0, result.output
    out = study / "out"
    scores = read_scores(out / "cases.csv")
    assert [(row.case, row.structure) for row in scores if row.case in {"c2", "c3"}] == [
        ("c2", "liver"),
        ("c2", "spleen"),
        ("c3", "liver"),
    ]
    evaluation = read_evaluation(out / "summary.json")
    assert evaluation.settings.tolerances == {"spleen": 3.0}
    assert (evaluation.settings.tolerance, evaluation.model, evaluation.dataset) == (1.0, "A", "Toy")
    liver = evaluation.structure("liver").statistic("dice")
    assert liver.worst[0] == ("c1", pytest.approx(5 / 6))
    assert evaluation.structure("spleen").cases == 3
    assert read_evaluation(out / "against_summary.json").structure("spleen").missed == 1
    paired = json.loads((out / "paired.json").read_text())
    assert (paired["first"], paired["second"]) == ("A", "B")
    assert "spleen 3" in result.output
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert {f"plots/{kind}_{key}.png" for kind in ("box", "paired") for key in ("dice", "nsd", "hd95")} <= names
    assert len([name for name in names if name.startswith("worst/")]) == 3
    assert not list(out.rglob("*.part*"))
    for path in out.rglob("*.png"):
        assert pixels(path)[::3, ::3].std() > 5


def test_two_processes_give_the_same(study):
    assert run(study).exit_code == 0
    alone = (study / "out" / "cases.csv").read_bytes()
    assert run(study, "--processes", "2", "--worst", "0").exit_code == 0
    assert (study / "out" / "cases.csv").read_bytes() == alone


def test_folds_are_grouped(study):
    for case in range(4):
        target = study / "cv" / f"fold_{case % 2}" / "validation" / f"c{case}.nii.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        (study / "A" / f"c{case}.nii.gz").rename(target)
    result = run(study, predictions="cv")
    assert result.exit_code == 0, result.output
    evaluation = read_evaluation(study / "out" / "summary.json")
    assert evaluation.groups == ("fold_0", "fold_1")
    assert "SD between groups" in result.output


def test_errors_are_sentences(study):
    (study / "B" / "c2.nii.gz").unlink()
    result = run(study, "--against", study / "B")
    assert isinstance(result.exception, DataError)
    assert "'c2' has no prediction" in str(result.exception)
    assert not (study / "out").exists()
    for more, words in (
        (("--tolerance", "soon"), "no number of mm"),
        (("--tolerance", "kidney=2"), "no structure 'kidney'"),
        (("--against", study / "A"), "would be called"),
        (("--metrics", study / "truth" / "c0.nii.gz"), "could not be read as JSON"),
        (("--cases", study / "none.txt"), "could not be read"),
    ):
        result = run(study, *more)
        assert isinstance(result.exception, DataError), result.output
        assert words in str(result.exception)
    assert isinstance(run(study, "--metrics", "no_such_recipe").exception, RecipeError)
    (study / "file").write_text("x")
    result = CliRunner().invoke(
        command, [str(study / "A"), str(study / "truth"), "--dataset", str(study / "data"), "-o", str(study / "file")]
    )
    assert isinstance(result.exception, OutputError)


def test_metrics_of_a_recipe_and_pictures_of_cells(tmp_path):
    write_dataset(tmp_path / "data", labels={"background": 0, "interior": 1}, file_ending=".png")
    ids = np.zeros((40, 40), np.uint16)
    ids[5:15, 5:15], ids[5:15, 15:25], ids[25:35, 10:20] = 1, 2, 300
    semantic = np.where((ids == 1) | (ids == 300), 1, 0).astype(np.uint8)
    for name, voxels in (("truth", ids), ("A", semantic)):
        (tmp_path / name).mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / name / "c.png"))
    recipe = {"metrics": {"measures": ["dice"], "instances": {"structure": "interior", "prediction": "components"}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    result = run(tmp_path, "--metrics", tmp_path / "recipe.json")
    assert result.exit_code == 0, result.output
    (score,) = read_scores(tmp_path / "out" / "cases.csv")
    assert score.value("f1") == pytest.approx(2 * 2 / 5)
    assert read_evaluation(tmp_path / "out" / "summary.json").unit == "pixels"
    assert (tmp_path / "out" / "plots" / "box_f1.png").is_file()
    assert (tmp_path / "out" / "worst" / "1_c_objects.png").is_file()


def test_classes_are_refused_where_numbers_of_objects_are_wanted(tmp_path):
    own = {"instances": {"training": "instancesTr", "test": "instancesTs"}}
    write_dataset(tmp_path / "data", labels={"background": 0, "interior": 1}, file_ending=".png", mambaseg=own)
    ids = np.zeros((40, 40), np.uint16)
    ids[5:15, 5:15], ids[25:35, 10:20] = 1, 300
    folders = {"labelsTs": (ids > 0).astype(np.uint8), "instancesTs": ids, "A": (ids > 0).astype(np.uint8)}
    for name, voxels in folders.items():
        folder = tmp_path / name if name == "A" else tmp_path / "data" / name
        folder.mkdir()
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / "c.png"))
    settings = {"measures": ["dice"], "instances": {"structure": "interior", "prediction": "components"}}
    (tmp_path / "metrics.json").write_text(json.dumps(settings))
    command_line = ["--dataset", tmp_path / "data", "--metrics", tmp_path / "metrics.json", "-o", tmp_path / "out"]

    def judged_by(truth: str):
        arguments = [tmp_path / "A", tmp_path / "data" / truth, *command_line]
        return CliRunner().invoke(command, [str(item) for item in arguments])

    refused = judged_by("labelsTs")
    assert isinstance(refused.exception, DataError)
    assert "holds the classes of 'Toy'. Give the folder 'instancesTs' beside it." in str(refused.exception)
    assert not (tmp_path / "out").exists()
    assert judged_by("instancesTs").exit_code == 0
    assert read_scores(tmp_path / "out" / "cases.csv")[0].value("f1") == 1.0


def test_patients_of_the_data_set_are_what_is_tested(study):
    own = {"annotated": {"c3": ["liver"]}, "groups": {f"c{case}": f"patient {case // 2}" for case in range(4)}}
    write_dataset(study / "data", mambaseg=own)
    result = run(study, "--against", study / "B", "--worst", "0")
    assert result.exit_code == 0, result.output
    assert "4 cases belong to 2 groups (patients)" in result.output
    paired = json.loads((study / "out" / "paired.json").read_text())
    liver = next(item for item in paired["results"] if (item["structure"], item["measure"]) == ("liver", "dice"))
    assert (paired["grouped"], liver["cases"], liver["independent"]) == (True, 4, 2)


def test_every_recipe_says_what_can_be_measured(study):
    for name in recipe_ids():
        assert MetricSettings.from_json(load_recipe(name).metrics).keys
    result = run(study, "--metrics", "hippocampus_3d", "--worst", "0")
    assert result.exit_code == 0, result.output
    assert read_evaluation(study / "out" / "summary.json").settings.tolerance == 1


def test_plot_of_nothing_is_a_sentence(tmp_path):
    nothing = [Score("a", "liver", {"dice": float("nan")}, 0, 0)]
    with pytest.raises(DataError, match="nothing to plot: Dice is defined for no case of 'A'"):
        box_plot(tmp_path / "x.png", nothing, "dice", model="A")
    comparison = compare(nothing, nothing, ("dice",), ("A", "B"))
    with pytest.raises(DataError, match="nothing to plot: Dice is defined for no case of both 'A' and 'B'"):
        paired_plot(tmp_path / "x.png", nothing, nothing, comparison, "dice")
    empty = np.zeros((4, 4, 4), np.uint8)
    case = WorstCase("a", "A", Structure("liver", (1,)), "", empty, empty, Geometry())
    with pytest.raises(DataError, match="neither the truth nor the prediction of 'a' holds 'liver'"):
        draw_worst_case(tmp_path / "x.png", case)
    assert not list(tmp_path.iterdir())


def test_plots_of_extreme_values(tmp_path):
    """A single case, equal values, only missed structures, thirty structures: each gives a picture."""
    one = [Score("a", "liver", {"dice": 1.0, "hd95": 0.0}, 5, 5)]
    missed = [Score(case, "liver", {"dice": 0.0, "hd95": 400.0}, 5, 0) for case in "ab"]
    many = [
        Score(case, f"a rather long structure's name, number {n}", {"dice": 0.5}, 5, 5)
        for n in range(30)
        for case in "ab"
    ]
    for place, (scores, key) in enumerate(((one, "dice"), (one, "hd95"), (missed, "hd95"), (many, "dice"))):
        path = tmp_path / f"{place}{key}.png"
        box_plot(path, scores, key, model="A")
        assert pixels(path).shape[0] > 200
        paired_plot(path, scores, scores, compare(scores, scores, (key,)), key)
        assert pixels(path).shape[0] > 200


def test_overlay_outlines_lie_where_the_structure_is(tmp_path):
    """In a picture of black, the truth's and the prediction's colours surround their squares and nothing else."""
    truth, prediction = cube((1, 60, 60), (0, 10, 10), 20), cube((1, 60, 60), (0, 30, 30), 20)
    image = Volume(np.zeros((1, 60, 60), np.float32), is_2d=True)
    case = WorstCase(
        "a", "A", Structure("liver", (1,)), "Dice 0", truth, prediction, Geometry(), is_2d=True, image=image
    )
    draw_worst_case(tmp_path / "x.png", case)
    found = pixels(tmp_path / "x.png")[..., :3].astype(int)
    body = found[60:-110]
    for colour, corner in (((86, 180, 233), "upper left"), ((230, 159, 0), "lower right")):
        at = np.argwhere(np.abs(body - colour).max(axis=2) < 30)
        middle = at.mean(axis=0) / body.shape[:2]
        assert (middle < 0.5).all() == (corner == "upper left"), middle
        assert (middle > 0.5).all() == (corner == "lower right"), middle


def test_help_and_import_stay_light():
    code = (
        "import sys, click.testing as t, mambaseg_train.cli.evaluate as e\n"
        "assert t.CliRunner().invoke(e.command, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'nnunetv2', 'scipy', 'matplotlib', 'skimage', 'SimpleITK'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import mambaseg_train.evaluation.run\n"
        "heavy = {'torch', 'nnunetv2', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def _environment():
    import os

    root = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "training"), str(root / "UMambaSegment")])}
