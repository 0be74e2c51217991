"""A missing or misnamed file is named, and nothing half-written is left."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import published_layouts as layouts
import pytest
import SimpleITK as sitk

from mambaseg_train.converters import NAMES, Order, SplitRule, convert, get_converter
from mambaseg_train.converters.pieces import Copied
from mambaseg_train.converters.split import hash_order, make_split
from mambaseg_train.errors import DataError, RecipeError, RunError

PARAMETERS = {
    "folder_pairs": {"labels": ["anterior", "posterior"]},
    "isic": {"year": "2017", "training": ["training"]},
    "synapse_npz": {"test": "leave"},
}
for _name in layouts.NUMBERED:
    PARAMETERS[_name] = {**PARAMETERS.get(_name, {}), "partial": "yes"}
SPLIT = SplitRule(validation="all")
# For each layout: a file without which it is not whole
NEEDED = {
    "flare22": "labels/FLARE22_Tr_0002.nii.gz",
    "amos22": "labelsTr/amos_0508.nii.gz",
    "endovis2017": "instrument_1_training/instrument_dataset_1/ground_truth/Other_labels/frame001.png",
    "neurips_cellseg": "Training-labeled/images/cell_00002.png",
    "lits": "Training Batch 1/segmentation-2.nii",
    "montgomery_shenzhen": "MontgomerySet/ManualMask/rightMask/MCUCXR_0104_1.png",
    "chest_xray_kaggle": "Lung Segmentation/CXR_png/MCUCXR_0001_0.png",
    "isic": "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000001_segmentation.png",
    "isic_split": "train/masks/ISIC_0000002_segmentation.png",
    "btcv": "RawData/Training/img/img0005.nii.gz",
    "synapse_npz": "train_npz/case0006_slice001.npz",
    "acdc": "database/training/patient002/patient002_frame09_gt.nii.gz",
    "msd": "imagesTr/hippocampus_004.nii.gz",
    "folder_pairs": "labels/case_6.nii.gz",
    "sunnybrook": "labels/Sunnybrook_Part1__SC-HF-NI-34-IM-0001-0107.dcm.png",
    "dsb2018": "labels/00ae65c1.png",
    "dsb2018_kaggle": "stage1_train/00ae65c1/images/00ae65c1.png",
    "openkbp": "cases.csv",
}
# What the error names (a part of it: pairs are named by case)
NAMED = {
    "flare22": "FLARE22_Tr_0002",
    "endovis2017": "frame001",
    "neurips_cellseg": "cell_00002",
    "lits": "'2'",
    "montgomery_shenzhen": "MCUCXR_0104_1",
    "isic": "ISIC_0000001",
    "isic_split": "ISIC_0000002",
    "btcv": "'0005'",
    "folder_pairs": "case_6",
    "sunnybrook": "SC-HF-NI-34-IM-0001-0107",
    "dsb2018": "00ae65c1",
}
# What is said of the few made-up cases beside those that the publisher numbers
ABSENT = {
    "flare22": "47 of the 50 labelled cases of FLARE 2022 are missing: 'FLARE22_Tr_0004', 'FLARE22_Tr_0005'",
    "lits": "128 of the 131 cases of LiTS are missing: '1', '3', '4', '5', '6' and 123 more",
    "btcv": "26 of the 30 cases of BTCV's training part are missing: '0003', '0004', '0007'",
    "synapse_npz": "16 of the 18 training cases of TransUNet are missing: 'case0007', 'case0009'",
    "acdc": "97 of the 100 patients of ACDC's training part are missing: 'patient004', 'patient005'",
    "endovis2017": "6 of the 8 training videos of EndoVis 2017 are missing: 'video 2', 'video 3'",
}
MISNAMED = {
    "flare22": ("images/FLARE22_Tr_0002_0000.nii.gz", "images/FLARE22_Tr_0002.nii.gz"),
    "endovis2017": (
        "instrument_7_training/instrument_dataset_7/ground_truth/Right_Vessel_Sealer",
        "instrument_7_training/instrument_dataset_7/ground_truth/Right_Thing",
    ),
    "neurips_cellseg": ("Training-labeled/labels/cell_00002_label.tiff", "Training-labeled/labels/cell_00002.tiff"),
    "lits": ("Training Batch 1/volume-2.nii", "Training Batch 1/volume-two.nii"),
    "montgomery_shenzhen": ("MontgomerySet/CXR_png/MCUCXR_0104_1.png", "MontgomerySet/CXR_png/MCU_0104_1.png"),
    "chest_xray_kaggle": ("Lung Segmentation/masks/MCUCXR_0001_0.png", "Lung Segmentation/masks/MCU_1.png"),
    "isic": ("ISIC-2017_Training_Data/ISIC_0000001.jpg", "ISIC-2017_Training_Data/ISIC_1.jpg"),
    "btcv": ("RawData/Training/label/label0005.nii.gz", "RawData/Training/label/lbl0005.nii.gz"),
    "synapse_npz": ("train_npz/case0006_slice001.npz", "train_npz/case6_slice1.npz"),
    "sunnybrook": (
        "images/Sunnybrook_Part2__SC-N-03-IM-0001-0288.dcm.png",
        "images/Sunnybrook_Part2__N3-0288.dcm.png",
    ),
}


def order(name: str, source: Path, raw: Path, **parameters: object) -> Order:
    return Order(name, source, raw, 77, "Made", {**PARAMETERS.get(name, {}), **parameters}, SPLIT)


def nothing_left(raw: Path) -> bool:
    return not raw.exists() or not list(raw.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named_before_anything_is_written(name: str, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source")
    (source / NEEDED[name]).unlink()
    with pytest.raises(DataError) as caught:
        convert(order(name, source, tmp_path / "raw"))
    assert NAMED.get(name, Path(NEEDED[name]).name) in str(caught.value)
    assert nothing_left(tmp_path / "raw")


@pytest.mark.parametrize("name", MISNAMED)
def test_a_misnamed_file_is_named_with_the_rule(name: str, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source")
    before, after = MISNAMED[name]
    (source / before).rename(source / after)
    with pytest.raises(DataError) as caught:
        convert(order(name, source, tmp_path / "raw"))
    assert Path(after).name in str(caught.value)
    assert "misnamed" in str(caught.value)
    assert nothing_left(tmp_path / "raw")


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_folder_is_refused_in_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Check|Get"):
        convert(order(name, tmp_path / "empty", tmp_path / "raw"))
    with pytest.raises(DataError, match="top folder"):
        convert(order(name, tmp_path / "nowhere", tmp_path / "raw"))


@pytest.mark.parametrize("name", layouts.NUMBERED)
def test_cases_that_the_publisher_numbers_must_be_there(name: str, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source")
    with pytest.raises(DataError) as caught:
        convert(order(name, source, tmp_path / "raw", partial="no"))
    assert ABSENT[name] in str(caught.value)
    assert "partial=yes" in str(caught.value)
    assert nothing_left(tmp_path / "raw")


def test_a_published_data_set_that_is_whole_needs_no_parameter(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in (*range(1, 11), *range(21, 41)):
        layouts.ct(source / f"img/img{number:04d}.nii.gz", number)
        layouts.label(source / f"label/label{number:04d}.nii.gz", *range(14))
    folder = convert(order("btcv", source, tmp_path / "raw", partial="no"))
    assert len(list((folder / "imagesTr").iterdir())) == 30


def test_a_training_video_without_labels_is_no_test_video(tmp_path: Path) -> None:
    source = layouts.endovis2017(tmp_path / "source")
    shutil.rmtree(source / "instrument_7_training/instrument_dataset_7/ground_truth")
    with pytest.raises(DataError, match=r"instrument_dataset_7.ground_truth' with the masks of a training video"):
        convert(order("endovis2017", source, tmp_path / "raw", test="convert"))
    assert nothing_left(tmp_path / "raw")


def test_test_videos_of_endovis_must_be_whole_too(tmp_path: Path) -> None:
    source = layouts.endovis2017(tmp_path / "source")
    for number in (2, 3, 4, 5, 6, 8):
        one = source / "instrument_1_training/instrument_dataset_1"
        shutil.copytree(one, source / f"instrument_{number}_training/instrument_dataset_{number}")
    with pytest.raises(DataError, match="9 of the 10 test videos of EndoVis 2017 are missing: 'video 2'"):
        convert(order("endovis2017", source, tmp_path / "raw", test="convert", partial="no"))


@pytest.mark.parametrize("name", ["flare22", "amos22"])
def test_test_images_without_labels_are_refused(name: str, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source")
    with pytest.raises(RecipeError, match="'test_images' is given without 'test_labels'"):
        convert(order(name, source, tmp_path / "raw", test_images="images"))


def test_test_labels_with_values_of_another_order_are_refused(tmp_path: Path) -> None:
    source = layouts.amos22(tmp_path / "source")
    layouts.ct(source / "own/images/amos_9001_0000.nii.gz")
    layouts.label(source / "own/labels/amos_9001.nii.gz", *range(16))
    with pytest.raises(DataError, match=r"amos_9001.*values 14, 15"):
        convert(order("amos22", source, tmp_path / "raw", test_images="own/images", test_labels="own/labels"))


def test_a_truncated_picture_stops_the_conversion_and_is_named(tmp_path: Path) -> None:
    source = layouts.sunnybrook(tmp_path / "source")
    file = source / "images/Sunnybrook_Part2__SC-N-03-IM-0001-0288.dcm.png"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"SC-N-03-IM-0001-0288.*cannot be converted.*breaks off"):
        convert(order("sunnybrook", source, tmp_path / "raw"))
    assert nothing_left(tmp_path / "raw")


def test_a_truncated_bitmap_stops_the_conversion(tmp_path: Path) -> None:
    source = layouts.neurips_cellseg(tmp_path / "source")
    file = source / "Training-labeled/images/cell_00003.bmp"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cell_00003"):
        convert(order("neurips_cellseg", source, tmp_path / "raw"))


def test_a_truncated_slice_of_transunet_stops_the_conversion(tmp_path: Path) -> None:
    source = layouts.synapse_npz(tmp_path / "source")
    file = source / "train_npz/case0005_slice002.npz"
    file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(DataError, match=r"case0005_slice002\.npz"):
        convert(order("synapse_npz", source, tmp_path / "raw"))


def test_an_unknown_value_in_a_published_label_is_named(tmp_path: Path) -> None:
    source = layouts.lits(tmp_path / "source")
    layouts.volume(source / "Training Batch 2/segmentation-10.nii", np.full(layouts.SHAPE, 9, np.uint8))
    with pytest.raises(DataError, match=r"Liver_0010.*values 9.*0, 1, 2"):
        convert(order("lits", source, tmp_path / "raw"))


def test_info_cfg_without_a_frame_is_refused(tmp_path: Path) -> None:
    source = layouts.acdc(tmp_path / "source")
    (source / "database/training/patient002/Info.cfg").write_text("ED: 1\nGroup: NOR\n")
    with pytest.raises(DataError, match=r"patient002.Info\.cfg' has no line 'ES"):
        convert(order("acdc", source, tmp_path / "raw"))


def test_a_case_without_a_row_in_the_table_of_contours_is_refused(tmp_path: Path) -> None:
    source = layouts.openkbp(tmp_path / "source")
    rows = (source / "cases.csv").read_text().splitlines()
    (source / "cases.csv").write_text("\n".join(row for row in rows if not row.startswith("train_pt_3")))
    with pytest.raises(DataError, match="no row for 'train_pt_3'"):
        convert(order("openkbp", source, tmp_path / "raw"))


def test_a_file_listed_by_the_publisher_must_be_there(tmp_path: Path) -> None:
    source = layouts.amos22(tmp_path / "source")
    for part in ("images", "labels"):
        (source / f"{part}Va/amos_0540.nii.gz").unlink()
    with pytest.raises(DataError, match=r"amos_0540\.nii\.gz' is missing"):
        convert(order("amos22", source, tmp_path / "raw"))


def test_a_file_of_another_name_among_those_of_amos_is_named(tmp_path: Path) -> None:
    source = layouts.amos22(tmp_path / "source")
    layouts.ct(source / "imagesTr/amos_508.nii.gz")
    with pytest.raises(DataError, match=r"amos_508\.nii\.gz' is misnamed"):
        convert(order("amos22", source, tmp_path / "raw"))


def test_colours_in_a_grey_data_set_are_refused(tmp_path: Path) -> None:
    source = layouts.sunnybrook(tmp_path / "source")
    layouts.picture(source / "images/Sunnybrook_Part2__SC-N-03-IM-0001-0288.dcm.png", colour=True)
    with pytest.raises(DataError, match="has colours"):
        convert(order("sunnybrook", source, tmp_path / "raw"))


def test_rounding_between_the_channels_of_a_grey_picture_is_forgiven(tmp_path: Path) -> None:
    source = layouts.sunnybrook(tmp_path / "source")
    name = "Sunnybrook_Part2__SC-N-03-IM-0001-0288.dcm.png"
    pixels = np.full((12, 10, 3), 90, np.uint8)
    pixels[3, 4], pixels[5, 6] = (255, 254, 255), (100, 102, 101)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(source / "images" / name))
    folder = convert(order("sunnybrook", source, tmp_path / "raw"))
    written = next(file for file in (folder / "imagesTr").iterdir() if "SC-N-03" in file.name)
    made = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    assert (made[0, 0], made[3, 4], made[5, 6]) == (90, 255, 101)
    pixels[5, 6] = (100, 103, 101)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(source / "images" / name))
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="has colours"):
        convert(order("sunnybrook", source, tmp_path / "raw"))


def test_numbers_of_objects_in_colours_are_not_taken_for_rounding(tmp_path: Path) -> None:
    source = layouts.dsb2018(tmp_path / "source")
    pixels = np.zeros((12, 12, 3), np.uint8)
    pixels[2:6, 2:6] = (1, 2, 1)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(source / "labels/00ae65c1.png"))
    with pytest.raises(DataError, match=r"00ae65c1\.png' has colours"):
        convert(order("dsb2018", source, tmp_path / "raw"))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    written = []

    def full(self: Copied, path: Path) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(shutil.copyfile(self.source, path))

    monkeypatch.setattr(Copied, "write", full)
    with pytest.raises(RunError, match=r"No space left.*nothing half-written"):
        convert(order("folder_pairs", source, tmp_path / "raw"))
    assert len(written) == 3
    assert nothing_left(tmp_path / "raw")


def test_an_existing_data_set_and_a_taken_number_are_kept(tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    folder = convert(order("folder_pairs", source, tmp_path / "raw"))
    before = sorted(path.name for path in (folder / "imagesTr").iterdir())
    with pytest.raises(RunError, match="is there already"):
        convert(order("folder_pairs", source, tmp_path / "raw"))
    with pytest.raises(RunError, match="number 77 is taken"):
        convert(Order("folder_pairs", source, tmp_path / "raw", 77, "Other", PARAMETERS["folder_pairs"], SPLIT))
    assert sorted(path.name for path in (folder / "imagesTr").iterdir()) == before


def test_parameters_and_converters_that_are_not_there_are_named(tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    with pytest.raises(RecipeError, match="no converter 'nothing'"):
        get_converter("nothing")
    with pytest.raises(RecipeError, match="no parameter 'colour'"):
        convert(order("folder_pairs", source, tmp_path / "raw", colour="red"))
    with pytest.raises(RecipeError, match="one of keep, of_image"):
        convert(order("folder_pairs", source, tmp_path / "raw", label_geometry="maybe"))


def test_two_cases_that_differ_in_capitals_only_are_refused(tmp_path: Path) -> None:
    source = layouts.folder_pairs(tmp_path / "source")
    for part in ("images", "labels"):
        shutil.copy(source / part / "case_3.nii.gz", source / part / "CASE_3.nii.gz")
    if len(list((source / "images").iterdir())) == 4:
        pytest.skip("this file system does not tell capitals apart")
    with pytest.raises(DataError, match="Two cases would be named 'case_3'"):
        convert(order("folder_pairs", source, tmp_path / "raw"))


def test_a_new_patient_moves_no_other_one() -> None:
    patients = [f"p{number}" for number in range(40)]
    kept = [patient for patient in hash_order([*patients, "new"], 7) if patient != "new"]
    assert kept == hash_order(patients, 7)
    assert kept != hash_order(patients, 8)


def test_a_split_that_cannot_be_is_refused_in_words() -> None:
    cases = {"a": "a", "b": "b", "c": "c"}
    with pytest.raises(RecipeError, match="5 folds, but there are 3 groups"):
        make_split(SplitRule(folds=5), cases)
    with pytest.raises(RecipeError, match="names 'z'"):
        make_split(SplitRule(test="groups", test_groups=("z",)), cases)
    with pytest.raises(RecipeError, match="no case to train on"):
        make_split(SplitRule(test="groups", test_groups=("a", "b", "c")), cases)


def test_every_case_validates_once_in_cross_validation() -> None:
    cases = {f"case{number}": f"patient{number // 3}" for number in range(60)}
    split = make_split(SplitRule(test="fraction", test_fraction=0.2, folds=4), cases)
    validated = [case for _, validate in split.folds for case in validate]
    assert sorted([*validated, *split.test]) == sorted(cases)
    assert len(split.test) == 12
    assert all(not set(train) & set(validate) for train, validate in split.folds)


def test_labels_of_a_mask_in_one_bit_count_as_inside(tmp_path: Path) -> None:
    source = layouts.isic(tmp_path / "source")
    layouts.mask(source / "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000001_segmentation.png", value=1)
    folder = convert(order("isic", source, tmp_path / "raw"))
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr/ISIC_0000001.png")))
    assert label[3, 3] == 1
    assert label.sum() == 16
