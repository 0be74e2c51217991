"""Every published layout, made up small, becomes a data set that nnU-Net reads and the checks pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import published_layouts as layouts
import pytest
import SimpleITK as sitk

from mambaseg_train.checks import check_dataset
from mambaseg_train.converters import NAMES, Order, SplitRule, convert
from mambaseg_train.errors import DataError

PARAMETERS = {
    "folder_pairs": {"labels": ["anterior", "posterior"]},
    "isic": {"year": "2017", "training": ["training", "validation"]},
    "synapse_npz": {"test": "leave"},
    "endovis2017": {"test": "convert"},
}
for _name in layouts.NUMBERED:
    PARAMETERS[_name] = {**PARAMETERS.get(_name, {}), "partial": "yes"}
EXPECTED = {  # training cases, test cases, channels, file ending, highest label
    "flare22": (3, 0, 1, ".nii.gz", 13),
    "amos22": (3, 0, 1, ".nii.gz", 13),
    "endovis2017": (4, 1, 3, ".png", 7),
    "neurips_cellseg": (3, 0, 3, ".png", 2),
    "lits": (3, 0, 1, ".nii.gz", 2),
    "montgomery_shenzhen": (4, 0, 1, ".png", 1),
    "chest_xray_kaggle": (2, 0, 1, ".png", 1),
    "isic": (4, 0, 3, ".png", 1),
    "isic_split": (2, 1, 3, ".png", 1),
    "btcv": (4, 0, 1, ".nii.gz", 8),
    "synapse_npz": (2, 0, 1, ".nii.gz", 8),
    "acdc": (6, 0, 1, ".nii.gz", 3),
    "msd": (3, 0, 1, ".nii.gz", 2),
    "folder_pairs": (4, 0, 1, ".nii.gz", 2),
    "sunnybrook": (5, 0, 1, ".png", 1),
    "dsb2018": (3, 0, 3, ".png", 2),
    "dsb2018_kaggle": (3, 0, 3, ".png", 2),
    "openkbp": (3, 1, 1, ".nii.gz", 7),
}
SPLIT = SplitRule(validation="folds", folds=2)


def make(name: str, tmp_path: Path, split: SplitRule = SPLIT, **parameters: object) -> Path:
    source = getattr(layouts, name)(tmp_path / "source")
    given = {**PARAMETERS.get(name, {}), **parameters}
    return convert(Order(name, source, tmp_path / "raw", 77, "Made", given, split))


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("name", NAMES)
def test_a_published_layout_becomes_a_data_set_that_passes_the_checks(name: str, tmp_path: Path) -> None:
    folder = make(name, tmp_path)
    training, test, channels, ending, highest = EXPECTED[name]
    described = json.loads((folder / "dataset.json").read_text())
    assert folder.name == "Dataset077_Made"
    assert described["numTraining"] == training
    assert len(described["channel_names"]) == channels
    assert described["file_ending"] == ending
    assert list(described["labels"].values()) == list(range(highest + 1))
    assert len(list((folder / "labelsTr").iterdir())) == training
    assert len(described["mambaseg"]["split"]["test"]) == test
    assert [entry["value"] for entry in described["mambaseg"]["structures"]] == list(range(1, highest + 1))
    report = check_dataset(folder)
    # The made-up Synapse slices show four organs only.
    kinds = {finding.kind for finding in report.errors} - ({"class_nowhere"} if name == "synapse_npz" else set())
    if name == "endovis2017":
        kinds -= {"class_nowhere"}
    assert kinds == set(), [finding.sentence for finding in report.errors]


@pytest.mark.parametrize("name", ["sunnybrook", "dsb2018", "openkbp", "amos22"])
def test_nnunet_finds_and_reads_what_was_written(name: str, tmp_path: Path) -> None:
    from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json
    from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder

    folder = make(name, tmp_path)
    described = json.loads((folder / "dataset.json").read_text())
    names = get_identifiers_from_splitted_dataset_folder(str(folder / "imagesTr"), described["file_ending"])
    assert len(names) == described["numTraining"]
    first = folder / "imagesTr" / f"{names[0]}_0000{described['file_ending']}"
    reader = determine_reader_writer_from_dataset_json(described, str(first), verbose=False)()
    image, properties = reader.read_images([str(first)])
    label, label_properties = reader.read_seg(str(folder / "labelsTr" / f"{names[0]}{described['file_ending']}"))
    assert image.shape[0] == len(described["channel_names"])
    assert image.shape[1:] == label.shape[1:]
    assert properties["spacing"] == label_properties["spacing"]
    assert set(np.unique(label)) <= set(described["labels"].values())


def test_organs_of_amos_take_the_order_of_flare_and_only_mr_is_taken(tmp_path: Path) -> None:
    folder = make("amos22", tmp_path)
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == [
        "amos_0507_0000.nii.gz",
        "amos_0508_0000.nii.gz",
        "amos_0540_0000.nii.gz",
    ]
    source = array(tmp_path / "source/labelsTr/amos_0507.nii.gz")
    made = array(folder / "labelsTr/amos_0507.nii.gz")
    # AMOS: 6 liver, 10 pancreas, 3 left kidney, 14 bladder; FLARE: 1 liver, 4 pancreas, 13 left kidney
    for theirs, ours in ((6, 1), (10, 4), (3, 13), (14, 0), (15, 0)):
        assert (made[source == theirs] == ours).all()


def test_eight_organs_of_btcv_are_those_of_transunet(tmp_path: Path) -> None:
    folder = make("btcv", tmp_path)
    source = array(tmp_path / "source/RawData/Training/label/label0001.nii.gz")
    made = array(folder / "labelsTr/case0001.nii.gz")
    for theirs, ours in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 0), (6, 5), (7, 6), (8, 7), (9, 0), (11, 8), (13, 0)):
        assert (made[source == theirs] == ours).all()


def test_endovis_masks_are_painted_by_type_inside_the_organisers_crop(tmp_path: Path) -> None:
    folder = make("endovis2017", tmp_path)
    label = array(folder / "labelsTr/video_1_frame000.png")
    assert label.shape == (1024, 1280)
    assert label[100 - 28, 400 - 320] == 2
    assert label[300 - 28, 400 - 320] == 1
    assert label[500 - 28, 400 - 320] == 7
    # Shaft, wrist and claspers of an instrument are all of it: 50 rows of 100 columns each
    assert [int((label == value).sum()) for value in (1, 2, 7)] == [5000, 5000, 5000]
    assert (array(folder / "imagesTr/video_1_frame000_0000.png") == 77).all()
    assert array(folder / "labelsTr/video_7_frame001.png")[300 - 28, 400 - 320] == 4
    assert array(folder / "labelsTs/video_1_frame225.png")[200 - 28, 400 - 320] == 6


def test_test_videos_without_labels_are_named(tmp_path: Path) -> None:
    source = layouts.endovis2017(tmp_path / "source")
    shutil.rmtree(source / "instrument_2017_test")
    given = {"test": "convert", "partial": "yes"}
    folder = convert(Order("endovis2017", source, tmp_path / "raw", 77, "Made", given, SPLIT))
    left_out = json.loads((folder / "dataset.json").read_text())["mambaseg"]["left_out"]
    assert left_out == [
        "There are no labels (a folder TypeSegmentation) for 1 of the 1 test videos, so their frames can be predicted "
        "but not scored: 'video 1'."
    ]


def test_pictures_of_the_tuning_part_have_names_of_their_own(tmp_path: Path) -> None:
    folder = make("neurips_cellseg", tmp_path, tuning="test")
    assert json.loads((folder / "dataset.json").read_text())["mambaseg"]["split"]["test"] == ["tuning_cell_00001"]
    for part in ("imagesTs/tuning_cell_00001_0000.png", "labelsTs/tuning_cell_00001.png"):
        assert (folder / part).is_file()
    assert (folder / "instancesTs/tuning_cell_00001.png").is_file()
    assert (folder / "imagesTr/cell_00001_0000.png").is_file()


@pytest.mark.parametrize("name", ["flare22", "amos22"])
def test_test_cases_from_elsewhere_are_converted_and_their_absence_is_said(name: str, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source")
    given = PARAMETERS.get(name, {})
    without = convert(Order(name, source, tmp_path / "raw", 77, "Made", given, SPLIT))
    assert json.loads((without / "dataset.json").read_text())["mambaseg"]["left_out"][0].startswith("There are no test")
    layouts.ct(source / "own/images/amos_9001_0000.nii.gz")
    layouts.label(source / "own/labels/amos_9001.nii.gz", *range(14))
    given = {**given, "test_images": "own/images", "test_labels": "own/labels"}
    folder = convert(Order(name, source, tmp_path / "raw", 78, "Made", given, SPLIT))
    own = json.loads((folder / "dataset.json").read_text())["mambaseg"]
    assert own["split"]["test"] == ["amos_9001"]
    assert own["left_out"] == []
    truth = array(source / "own/labels/amos_9001.nii.gz")
    assert (array(folder / "labelsTs/amos_9001.nii.gz") == truth).all()


def test_the_folder_of_zenodo_is_found(tmp_path: Path) -> None:
    layouts.flare22(tmp_path / "source/FLARE22Train")
    order = Order("flare22", tmp_path / "source", tmp_path / "raw", 77, "Made", {"partial": "yes"}, SPLIT)
    assert len(list((convert(order) / "labelsTr").iterdir())) == 3


def test_capitals_in_the_names_of_lits_are_accepted(tmp_path: Path) -> None:
    source = layouts.lits(tmp_path / "source")
    (source / "Training Batch 1/volume-0.nii").rename(source / "Training Batch 1/Volume-0.NII")
    folder = convert(Order("lits", source, tmp_path / "raw", 77, "Made", {"partial": "yes"}, SPLIT))
    assert (array(folder / "imagesTr/Liver_0000_0000.nii.gz") == 0).all()


def test_left_and_right_can_be_paired_on_the_command_line(tmp_path: Path) -> None:
    folder = make(
        "folder_pairs", tmp_path, labels="left kidney, right kidney", paired_labels="left kidney:right kidney"
    )
    described = json.loads((folder / "dataset.json").read_text())
    assert described["mambaseg"]["paired_labels"] == [["left kidney", "right kidney"]]


def test_touching_cells_are_told_apart_and_specks_vanish(tmp_path: Path) -> None:
    from skimage.measure import label as components

    folder = make("neurips_cellseg", tmp_path)
    label = array(folder / "labelsTr/cell_00001.png")
    assert components(label == 1).max() == 2
    assert label[10, 1:4].max() == 0
    assert set(np.unique(array(folder / "instancesTr/cell_00001.png"))) == {0, 1, 2, 3}
    image = array(folder / "imagesTr/cell_00001_0000.png")
    assert image.shape == (12, 12, 3)
    assert image.dtype == np.uint8
    assert (image.min(), image.max()) == (0, 255)


def test_both_lungs_of_montgomery_are_joined_and_pictures_without_mask_are_named(tmp_path: Path) -> None:
    folder = make("montgomery_shenzhen", tmp_path)
    label = array(folder / "labelsTr/MCUCXR_0001_0.png")
    assert label[3, 2] == label[3, 7] == 1
    assert label[3, 5] == 0
    left_out = json.loads((folder / "dataset.json").read_text())["mambaseg"]["left_out"]
    assert "CHNCXR_0330_1" in left_out[0]


def test_slices_of_transunet_are_stacked_in_their_order_with_left_and_right_on_the_columns(tmp_path: Path) -> None:
    folder = make("synapse_npz", tmp_path)
    image, label = array(folder / "imagesTr/case0005_0000.nii.gz"), array(folder / "labelsTr/case0005.nii.gz")
    assert image.shape == label.shape == (3, 5, 6)
    assert np.allclose(image[:, 0, 1], [0, 0.1, 0.2])
    assert label[:, 0, 1].tolist() == [0, 1, 2]
    assert (image[:, :, 0] == 1).all()
    described = json.loads((folder / "dataset.json").read_text())
    left, right = described["mambaseg"]["paired_labels"][0]
    assert (label[:, 2, 5] == described["labels"][left]).all()
    assert (label[:, 2, 0] == described["labels"][right]).all()


def test_organs_of_transunets_files_have_transunets_numbers_and_codes(tmp_path: Path) -> None:
    described = json.loads((make("synapse_npz", tmp_path) / "dataset.json").read_text())
    assert list(described["labels"]) == [
        "background",
        "aorta",
        "gallbladder",
        "left kidney",
        "right kidney",
        "liver",
        "pancreas",
        "spleen",
        "stomach",
    ]
    assert described["mambaseg"]["paired_labels"] == [["left kidney", "right kidney"]]


def test_copies_made_anew_keep_their_own_order_and_axes(tmp_path: Path) -> None:
    source = layouts.synapse_npz(tmp_path / "source", left=3, right=2)
    for file in (source / "train_npz").iterdir():
        with np.load(file) as archive:
            turned = {key: archive[key].T for key in ("image", "label")}
        np.savez(file, **turned)
    given = {"test": "leave", "partial": "yes", "organs": "samed", "first_axis": "front_back"}
    folder = convert(Order("synapse_npz", source, tmp_path / "raw", 77, "Made", given, SPLIT))
    described = json.loads((folder / "dataset.json").read_text())
    label = array(folder / "labelsTr/case0005.nii.gz")
    assert (described["labels"]["right kidney"], described["labels"]["left kidney"]) == (2, 3)
    assert label.shape == (3, 5, 6)
    assert (label[:, 2, 5] == 3).all()


@pytest.mark.parametrize("first_axis", ["left_right", "front_back"])
def test_kidneys_behind_each_other_show_that_slices_lie_otherwise(tmp_path: Path, first_axis: str) -> None:
    source = layouts.synapse_npz(tmp_path / "source")
    if first_axis == "left_right":
        for file in (source / "train_npz").iterdir():
            with np.load(file) as archive:
                turned = {key: archive[key].T for key in ("image", "label")}
            np.savez(file, **turned)
    other = {"left_right": "front_back", "front_back": "left_right"}[first_axis]
    given = {"test": "leave", "partial": "yes", "first_axis": first_axis}
    with pytest.raises(DataError, match=f"behind each other.*first_axis={other}"):
        convert(Order("synapse_npz", source, tmp_path / "raw", 77, "Made", given, SPLIT))


def test_without_h5py_the_test_volumes_of_transunet_are_refused_in_words(tmp_path: Path, monkeypatch) -> None:
    source = layouts.synapse_npz(tmp_path / "source")
    (source / "test_vol_h5").mkdir()
    (source / "test_vol_h5/case0001.npy.h5").write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match="pip install h5py"):
        convert(Order("synapse_npz", source, tmp_path / "raw", 77, "Made", {"partial": "yes"}))


def test_test_volumes_of_transunet_are_read_with_h5py(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed, so TransUNet's test volumes cannot be read")
    source = layouts.synapse_npz(tmp_path / "source")
    (source / "test_vol_h5").mkdir()
    with h5py.File(source / "test_vol_h5/case0001.npy.h5", "w") as archive:
        archive["image"] = np.full((3, 6, 5), 0.5, np.float32)
        archive["label"] = np.full((3, 6, 5), 8, np.float32)
    folder = convert(Order("synapse_npz", source, tmp_path / "raw", 77, "Made", {"partial": "yes"}, SPLIT))
    assert array(folder / "labelsTs/case0001.nii.gz").shape == (3, 5, 6)
    assert (array(folder / "labelsTs/case0001.nii.gz") == 8).all()


def test_frames_of_acdc_follow_info_cfg_and_patients_stay_together(tmp_path: Path) -> None:
    rule = SplitRule(test="groups", test_groups=("patient003",), validation="groups", validation_groups=("patient002",))
    folder = make("acdc", tmp_path, rule)
    split = json.loads((folder / "dataset.json").read_text())["mambaseg"]["split"]
    assert split["test"] == ["patient003_frame02", "patient003_frame10"]
    assert split["folds"] == [
        {
            "train": ["patient001_frame01", "patient001_frame12"],
            "val": ["patient002_frame01", "patient002_frame09"],
        }
    ]
    assert sorted(path.name for path in (folder / "labelsTs").iterdir()) == [
        "patient003_frame02.nii.gz",
        "patient003_frame10.nii.gz",
    ]


def test_channels_of_a_decathlon_task_become_files_on_the_same_grid(tmp_path: Path) -> None:
    source = layouts.msd(tmp_path / "source", channels=2)
    folder = convert(Order("msd", source, tmp_path / "raw", 77, "Made", split=SPLIT))
    for channel in (0, 1):
        image = sitk.ReadImage(str(folder / f"imagesTr/hippocampus_003_{channel:04d}.nii.gz"))
        assert (sitk.GetArrayFromImage(image) == 30 + channel).all()
        assert image.GetSpacing() == (1.0, 1.5, 2.0)
    assert check_dataset(folder).ok


def test_what_the_clinic_contoured_is_declared_and_the_rest_is_not(tmp_path: Path) -> None:
    folder = make("openkbp", tmp_path)
    own = json.loads((folder / "dataset.json").read_text())["mambaseg"]
    assert "train_pt_1" not in own["annotated"]
    assert own["annotated"]["train_pt_2"] == ["brainstem", "spinal cord", "right parotid", "left parotid", "mandible"]
    assert own["annotated"]["validation_pt_201"] == ["brainstem", "spinal cord"]
    assert own["paired_labels"] == [["left parotid", "right parotid"]]


def test_labels_can_take_over_the_place_of_their_image(tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    voxels = array(source / "labels/case_3.nii.gz")
    layouts.volume(source / "labels/case_3.nii.gz", voxels, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    order = Order("folder_pairs", source, tmp_path / "raw", 77, "Made", {"labels": ["a", "b"]}, SPLIT)
    assert {finding.kind for finding in check_dataset(convert(order)).errors} == {"spacing", "origin"}
    mended = Order(
        "folder_pairs",
        source,
        tmp_path / "raw",
        78,
        "Made",
        {"labels": ["a", "b"], "label_geometry": "of_image"},
        SPLIT,
    )
    folder = convert(mended)
    assert check_dataset(folder).ok
    assert (array(folder / "labelsTr/case_3.nii.gz") == voxels).all()


def test_a_patient_is_on_one_side_only_and_the_split_is_the_same_everywhere(tmp_path: Path) -> None:
    rule = SplitRule(test="fraction", test_fraction=0.25, folds=3, seed=3)
    folder = make("sunnybrook", tmp_path, rule)
    own = json.loads((folder / "dataset.json").read_text())["mambaseg"]
    patient = own["groups"]
    for fold in own["split"]["folds"]:
        sides = [{patient[case] for case in side} for side in (fold["train"], fold["val"], own["split"]["test"])]
        assert not (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
    (tmp_path / "again").mkdir()
    again = json.loads((make("sunnybrook", tmp_path / "again", rule) / "dataset.json").read_text())["mambaseg"]
    assert again["split"]["sha256"] == own["split"]["sha256"]


REAL = {
    "folder_pairs": SimpleNamespace(folder="hippocampus", parameters={"labels": ["anterior", "posterior"]}),
    "sunnybrook": SimpleNamespace(folder="left_ventricle", parameters={}),
    "dsb2018": SimpleNamespace(folder="nuclei", parameters={}),
    "openkbp": SimpleNamespace(folder="openkbp", parameters={}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data_become_a_data_set_that_passes_the_checks(name: str, shared: Path, tmp_path: Path) -> None:
    real = REAL[name]
    source = shared / "data" / real.folder
    folder = convert(Order(name, source, tmp_path / "raw", 78, "Real", real.parameters, SplitRule(folds=2), limit=4))
    report = check_dataset(folder)
    assert report.ok, [finding.sentence for finding in report.errors]
    assert report.training_cases >= 4
