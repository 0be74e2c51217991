"""From a finished training to a package: its description, its card, its labels, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
from export_helpers import Finished, describe, finish
from tiny_datasets import make_dataset

from mambaseg.errors import OutputError
from mambaseg.models import install, load_model, read_package
from mambaseg.models.store import Store
from mambaseg_train.cli import main
from mambaseg_train.errors import DataError
from mambaseg_train.evaluation.report import read_evaluation
from mambaseg_train.evaluation.table import read_scores, write_scores
from mambaseg_train.export.describe import Details
from mambaseg_train.export.figures import ALL
from mambaseg_train.export.images import find_images
from mambaseg_train.export.plot import figures_plot
from mambaseg_train.export.run import Exported, Order, export_package
from mambaseg_train.export.verify import verify_package
from mambaseg_train.predict import validation_cases
from mambaseg_train.trainer.record import RECORD_FILE

COMPARISONS = Path(__file__).parents[2] / "docs" / "comparison"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.mktemp("export") / "base"
    shutil.copytree(tiny, base)
    describe(base / "nnUNet_raw" / "Dataset901_Tiny", licence="CC BY 4.0", citation="Nobody, 2026", recipe="made up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_n_proc_DA", "0")
        yield finish(base)


def _export(finished: Finished, place: Path, **changes: object) -> tuple[Exported, list[str]]:
    said: list[str] = []
    order = Order(finished.results, place, **{"picture": False, **changes})  # type: ignore[arg-type]
    return export_package(order, said.append), said


def _check_verified(exported: Exported, count: int) -> None:
    assert len(exported.verified) == count
    assert all(agreement.labelled > 0 for agreement in exported.verified), "only background was compared"
    assert "held against those that nnU-Net's own code gives" in exported.card


def test_a_package_with_everything(finished: Finished, tmp_path: Path):
    place = tmp_path / "blobs.mambaseg"
    details = Details(
        id="blobs",
        version="1.2",
        title="Blobs",
        keep_largest=("left blob",),
        notes=("Only a test.",),
        checked=("Tried on nothing else.",),
        comparison=COMPARISONS / "hippocampus_3d" / "comparison.json",
    )
    with pytest.raises(DataError, match="of no structure, but the package would advise that of left blob"):
        _export(finished, place, details=details, summary=finished.summary, verify=0)
    assert not place.exists()
    summary = _measured_with_largest(finished.summary, tmp_path / "scored", ["left blob"])
    changes = {"summary": summary, "control": summary, "verify": 1, "picture": True}
    exported, said = _export(finished, place, details=details, **changes)
    assert "Tried on nothing else." in exported.card.split("## Checked")[1].split("##")[0]
    assert "three worst cases" in exported.card
    assert any("voxels as nnU-Net labels them" in line for line in said)
    _check_verified(exported, 1)
    assert not any("which weights" in line for line in said)  # the figures say whose they are
    package = read_package(place)
    spec = package.spec
    assert (spec.id, spec.version, spec.title) == ("blobs", "1.2", "Blobs")
    assert (spec.family, spec.variant) == ("Dataset901_Tiny", "Residual U-Net")
    assert (spec.licence, spec.citation, spec.orientation) == ("CC BY 4.0", "Nobody, 2026", "as_stored")
    assert "by/4.0" in package.licence_text
    dice = [figure for figure in spec.figures if figure.metric == "Dice"]
    assert [figure.structure for figure in dice] == [ALL, "left blob", "right blob"]
    assert all(figure.control == figure.value and figure.cases == 1 for figure in dice)
    assert spec.paired_labels == ((1, 2),)
    assert spec.keep_largest == ("left blob",)
    assert "- Keeps: the largest component of left blob, unless told otherwise" in exported.card
    training = spec.source["training"]["0"]
    assert training["settings"]["seed"] == 12345
    assert training["steps"] == 2
    assert set(training["versions"]) >= {"mambaseg", "nnunetv2", "torch"}
    (tested,) = validation_cases(finished.results, "0")
    assert training["parts"]["validation"] == {"cases": 1, "sha256": hashlib.sha256(tested.encode()).hexdigest()}
    split = training["parts"]["validation"]["sha256"]
    assert spec.tested_on.endswith("none of them trained on")
    for part in ("control (residual_unet)", "Only a test.", "Nobody, 2026", "12345", split):
        assert part in exported.card
    assert "The control is called" not in exported.card
    assert [figure.structure for figure in spec.figures if figure.metric == "Sensitivity"] == [ALL]
    assert package.card == exported.card
    assert (package.thumbnail or b"").startswith(b"\x89PNG")
    assert (package.plot or b"").startswith(b"\x89PNG")
    assert "](figures.png)" in exported.card.split("## Measured")[1].split("##")[0]
    compared = exported.card.split("## Networks compared")[1].split("##")[0]
    assert "| U-Mamba Bot | " in compared
    assert "43 held-out cases" in compared


def _measured_with_largest(summary: Path, folder: Path, structures: list[str]) -> Path:
    """The same evaluation as if the label maps held the largest component alone of some structures."""
    shutil.copytree(summary.parent, folder)
    copy = folder / summary.name
    copy.write_text(json.dumps({**json.loads(copy.read_text()), "kept_largest": structures}))
    return copy


def test_a_structure_that_is_not_there_is_not_one_piece(finished: Finished, tmp_path: Path):
    with pytest.raises(DataError, match=r"no structure named 'liver'.*left blob, right blob"):
        _export(finished, tmp_path / "blobs.mambaseg", details=Details(keep_largest=("liver",)))


def test_the_engine_imports_it_and_keeps_the_picture(finished: Finished, tmp_path: Path):
    place = tmp_path / "blobs"
    exported, _ = _export(finished, place, picture=True, details=Details(id="blobs"))
    assert exported.pictured
    installed = install(place, Store(tmp_path / "store"))
    model = load_model(installed.folder)
    model.check_loads()
    assert read_package(installed.folder).thumbnail == read_package(place).thumbnail
    assert read_package(installed.folder).plot is None
    assert "figures.png" not in model.card
    assert model.spec.figures == ()
    assert "Nothing was measured" in model.card


def test_no_picture_of_data_that_may_not_be_shown(finished: Finished, tmp_path: Path):
    base = tmp_path / "results" / finished.results.parent.name / finished.results.name
    shutil.copytree(finished.results, base)
    described = json.loads((base / "dataset.json").read_text())
    described["mambaseg"]["licence"] = "CC BY-NC 4.0"
    (base / "dataset.json").write_text(json.dumps(described))
    said: list[str] = []
    exported = export_package(Order(base, tmp_path / "x.mambaseg", raw=finished.raw), said.append)
    assert not exported.pictured
    assert any("CC BY-NC 4.0" in line for line in said)
    assert read_package(tmp_path / "x.mambaseg").thumbnail is None


def test_figures_of_training_cases_are_refused(finished: Finished, tmp_path: Path):
    summary = json.loads(finished.summary.read_text())
    summary["cases"] = [*summary["cases"], "case_00", "case_01", "case_02", "case_03", "case_04"]
    forged = tmp_path / "summary.json"
    forged.write_text(json.dumps(summary))
    with pytest.raises(DataError, match="were trained on"):
        _export(finished, tmp_path / "x.mambaseg", summary=forged)
    assert not (tmp_path / "x.mambaseg").exists()


def test_a_case_is_verified_unasked_where_images_are_at_hand(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    exported, said = _export(finished, tmp_path / "x.mambaseg", half=True, summary=finished.summary)
    _check_verified(exported, 1)
    assert "The figures were measured before that, with the float32 weights." in exported.card
    assert "labels above are those of the float16 weights" in exported.card
    assert not any("Not held against" in line for line in said)
    alone = tmp_path / "alone" / "results" / finished.results.parent.name / finished.results.name
    shutil.copytree(finished.results, alone)
    said.clear()
    exported = export_package(Order(alone, tmp_path / "y.mambaseg", picture=False), said.append)
    assert exported.verified == ()
    assert "were not held against nnU-Net's own" in exported.card
    assert any("Not held against nnU-Net's labels" in line and "--raw" in line for line in said)
    with pytest.raises(DataError, match="--raw"):
        export_package(Order(alone, tmp_path / "z.mambaseg", picture=False, verify=1), said.append)
    command = ["export", str(finished.results), "-o", str(tmp_path / "w.mambaseg"), "--no-picture"]
    assert main([*command, "--verify", "0"]) == 0
    assert "nnU-Net labels them" not in capsys.readouterr().err
    assert main([*command, "--replace"]) == 0
    assert "nnU-Net labels them" in capsys.readouterr().err


def test_a_plot_is_of_the_evaluation_whose_figures_stand_on_the_card(finished: Finished, tmp_path: Path):
    scored = tmp_path / "scored"
    shutil.copytree(finished.summary.parent, scored)
    evaluation = read_evaluation(scored / "summary.json")
    assert (figures_plot(scored / "summary.json", evaluation) or b"").startswith(b"\x89PNG")
    table = read_scores(scored / "cases.csv")
    others = [replace(score, values={"dice": score.values["dice"] / 2}) for score in table]
    write_scores(scored / "cases.csv", others, ("dice",))
    with pytest.raises(DataError, match="is not of the evaluation"):
        figures_plot(scored / "summary.json", evaluation)
    (scored / "cases.csv").unlink()
    assert figures_plot(scored / "summary.json", evaluation) is None


def test_figures_of_other_data_are_refused(finished: Finished, tmp_path: Path):
    summary = json.loads(finished.summary.read_text())
    summary["dataset"] = "Dataset777_Other"
    other = tmp_path / "summary.json"
    other.write_text(json.dumps(summary))
    with pytest.raises(DataError, match="on the data set 'Dataset777_Other'"):
        _export(finished, tmp_path / "x.mambaseg", summary=other)
    assert not (tmp_path / "x.mambaseg").exists()


def test_what_is_not_known_of_a_training_is_said(finished: Finished, tmp_path: Path):
    base = tmp_path / "results" / finished.results.parent.name / finished.results.name
    shutil.copytree(finished.results, base)
    (base / "fold_0" / RECORD_FILE).unlink()
    exported, said = _export(replace(finished, results=base), tmp_path / "x.mambaseg", summary=finished.summary)
    sentence = "It is not known which cases fold 0 learnt from"
    assert sentence in exported.card
    assert any(sentence in line for line in said)
    assert "trained on" not in exported.spec.tested_on


def test_a_control_of_other_cases_is_refused(finished: Finished, tmp_path: Path):
    summary = json.loads(finished.summary.read_text())
    summary["cases"] = ["someone_else"]
    other = tmp_path / "control.json"
    other.write_text(json.dumps(summary))
    with pytest.raises(DataError, match="other cases"):
        _export(finished, tmp_path / "x.mambaseg", summary=finished.summary, control=other)
    with pytest.raises(DataError, match="--figures"):
        _export(finished, tmp_path / "x.mambaseg", control=other)


def test_what_is_there_is_not_replaced_unasked(finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = tmp_path / "blobs.mambaseg"
    command = ["export", str(finished.results), "-o", str(place), "--no-picture"]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(place)
    first = place.read_bytes()
    assert main(command) == OutputError.exit_code
    assert "there already" in capsys.readouterr().err
    assert place.read_bytes() == first
    assert main([*command, "--replace", "--version", "2"]) == 0
    assert load_model(place).spec.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["blobs.mambaseg"]


def test_a_package_that_labels_otherwise_is_not_kept(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mambaseg_train.export import verify

    monkeypatch.setattr(verify.NnunetLabels, "__call__", lambda _self, images: images.read()[0].voxels > 0)
    with pytest.raises(verify.RunError, match="does not give nnU-Net's labels"):
        _export(finished, tmp_path / "x.mambaseg", verify=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "configuration"),
    [
        ("umamba_bot", "3d_fullres"),
        ("umamba_enc", "3d_fullres"),
        ("lightm_unet", "3d_fullres"),
        ("umamba_bot", "2d"),
        ("vm_unet", "2d"),
        ("mamba_unet", "2d"),
    ],
)
def test_every_network_gives_nnunets_labels(tiny: Path, tmp_path: Path, network: str, configuration: str):
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    finished = finish(base, network, configuration)
    exported, _ = _export(finished, tmp_path / "x.mambaseg", summary=finished.summary, verify=1)
    assert exported.spec.network.name == network
    _check_verified(exported, 1)


@pytest.mark.slow
def test_two_folds_are_averaged_as_nnunet_does(tiny: Path, tmp_path: Path):
    base = tmp_path / "base"
    shutil.copytree(tiny, base)
    finished = finish(base, "umamba_bot", folds=("0", "1"))
    exported, _ = _export(finished, tmp_path / "x.mambaseg", summary=finished.summary, verify=2)
    assert exported.spec.folds == ("0", "1")
    _check_verified(exported, 2)
    assert exported.spec.tested_on.endswith("each by a fold that was not trained on it")
    assert "| all structures | fold_0 | fold_1 | standard deviation between them |" in exported.card
    assert "the package averages 2" in exported.card
    (finished.summary.parent / "cases.csv").unlink()
    with pytest.raises(DataError, match=r"no 'cases\.csv' lies beside"):
        _export(finished, tmp_path / "y.mambaseg", summary=finished.summary)
    with pytest.raises(DataError, match="also those of fold_1"):
        _export(finished, tmp_path / "y.mambaseg", summary=finished.summary, folds=("0",))


@pytest.mark.slow
def test_thick_slices_give_nnunets_labels(tmp_path: Path):
    """Four times as thick as wide: nnU-Net then resamples slice by slice, in the image and in the logits."""
    make_dataset(tmp_path / "base" / "nnUNet_raw", spacing=(1.0, 1.0, 4.0), shape=(12, 24, 28))
    finished = finish(tmp_path / "base", "umamba_bot")
    # images of another spacing than the plans': else nothing is resampled
    for file in sorted((finished.raw / "imagesTs").iterdir()):
        image = sitk.ReadImage(str(file))
        image.SetSpacing((0.8, 0.8, 5.0))
        sitk.WriteImage(image, str(file))
    exported, _ = _export(finished, tmp_path / "x.mambaseg", summary=finished.summary, verify=1)
    _check_verified(exported, 1)
    dataset = json.loads((finished.raw / "dataset.json").read_text())
    cases = [find_images(finished.raw, dataset, "case_05")]
    (resampled,) = verify_package(load_model(exported.place), finished.results, cases)
    assert resampled.holds
    assert resampled.labelled > 0
    assert exported.spec.spacing == (4.0, 1.0, 1.0)
