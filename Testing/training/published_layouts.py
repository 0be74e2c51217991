"""Small made-up folders in the layouts of the publishers, for the tests of converters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SHAPE = (4, 6, 5)
# Layouts of which the publisher numbers all cases: a few of them are converted only if that is asked for.
NUMBERED = ("flare22", "lits", "btcv", "synapse_npz", "acdc", "endovis2017")


def volume(path: Path, voxels: Any, spacing=(1.0, 1.5, 2.0), origin=(3.0, 4.0, 5.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.asarray(voxels))
    image.SetSpacing(spacing[: image.GetDimension()])
    image.SetOrigin(origin[: image.GetDimension()])
    sitk.WriteImage(image, str(path), True)
    return path


def ct(path: Path, seed: int = 0) -> Path:
    return volume(path, np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16))


def label(path: Path, *values: int) -> Path:
    voxels = np.zeros(SHAPE, np.uint8)
    for number, value in enumerate(values):
        voxels[number % 4, number // 4 % 6, :3] = value
    return volume(path, voxels)


def picture(path: Path, colour: bool = True, shape=(12, 10), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (*shape, 3) if colour else shape
    voxels = np.random.default_rng(seed).integers(0, 255, size).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=colour), str(path))
    return path


def mask(path: Path, rows=slice(2, 6), columns=slice(2, 6), shape=(12, 10), value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros(shape, np.uint8)
    voxels[rows, columns] = value
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


def instances(path: Path) -> Path:
    """Two touching cells of 4 x 5 and 4 x 5 pixels, and a speck of 3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.zeros((12, 12), np.uint16)
    voxels[2:6, 1:6] = 7
    voxels[2:6, 6:11] = 900
    voxels[10, 1:4] = 12
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


def flare22(top: Path) -> Path:
    for number in (1, 2, 3):
        ct(top / f"images/FLARE22_Tr_{number:04d}_0000.nii.gz", number)
        label(top / f"labels/FLARE22_Tr_{number:04d}.nii.gz", *range(14))
    return top


def amos22(top: Path) -> Path:
    listed: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for part, name, numbers in (("Tr", "training", (1, 507, 508)), ("Va", "validation", (8, 540))):
        for number in numbers:
            case = f"amos_{number:04d}.nii.gz"
            ct(top / f"images{part}" / case, number)
            label(top / f"labels{part}" / case, *range(16))
            listed[name].append({"image": f"./images{part}/{case}", "label": f"./labels{part}/{case}"})
    (top / "dataset.json").write_text(json.dumps(listed))
    return top


def lits(top: Path) -> Path:
    for number, part in ((0, 1), (2, 1), (10, 2)):
        folder = top / f"Training Batch {part}"
        volume(folder / f"volume-{number}.nii", np.full(SHAPE, number, np.int16))
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[:, 1:4], voxels[1, 2] = 1, 2
        volume(folder / f"segmentation-{number}.nii", voxels)
    return top


def btcv(top: Path) -> Path:
    for number in (1, 2, 5, 6):
        ct(top / f"RawData/Training/img/img{number:04d}.nii.gz", number)
        label(top / f"RawData/Training/label/label{number:04d}.nii.gz", *range(14))
    return top


def synapse_npz(top: Path, left: int = 3, right: int = 4) -> Path:
    """Slices as published: their first axis runs between left and right, and the kidneys lie along it."""
    (top / "train_npz").mkdir(parents=True)
    for case in (5, 6):
        for number in range(3):
            image = np.full((6, 5), number / 10, np.float32)
            image[0] = 1
            seg = np.full((6, 5), number, np.float32)
            seg[0, 2], seg[5, 2] = right, left
            np.savez(top / f"train_npz/case{case:04d}_slice{number:03d}.npz", image=image, label=seg)
    return top


def acdc(top: Path) -> Path:
    for number, (first, last) in ((1, (1, 12)), (2, (1, 9)), (3, (2, 10))):
        patient = top / f"database/training/patient{number:03d}"
        patient.mkdir(parents=True)
        (patient / "Info.cfg").write_text(f"ED: {first}\nES: {last}\nGroup: DCM\nHeight: 184.0\n")
        for frame in (first, last):
            ct(patient / f"patient{number:03d}_frame{frame:02d}.nii.gz", number)
            label(patient / f"patient{number:03d}_frame{frame:02d}_gt.nii.gz", 0, 1, 2, 3)
    return top


def msd(top: Path, channels: int = 1) -> Path:
    modality = {"0": "MRI"} if channels == 1 else {"0": "T2", "1": "ADC"}
    training = []
    for number in (1, 3, 4):
        name = f"hippocampus_{number:03d}.nii.gz"
        if channels == 1:
            ct(top / "imagesTr" / name, number)
        else:
            stack = [sitk.GetImageFromArray(np.full(SHAPE, 10 * number + i, np.float32)) for i in range(channels)]
            for part in stack:
                part.SetSpacing((1.0, 1.5, 2.0))
                part.SetOrigin((3.0, 4.0, 5.0))
            (top / "imagesTr").mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.JoinSeries(stack), str(top / "imagesTr" / name))
        label(top / "labelsTr" / name, 0, 1, 2)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    ct(top / "imagesTs/hippocampus_002.nii.gz")
    (top / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Hippocampus",
                "modality": modality,
                "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
                "numTraining": 3,
                "training": training,
                "test": ["./imagesTs/hippocampus_002.nii.gz"],
            }
        )
    )
    return top


def endovis2017(top: Path) -> Path:
    """Frames of 1920 x 1080 as published, two a video; masks number shaft, wrist and claspers 10, 20 and 30."""
    frame = np.zeros((1080, 1920, 3), np.uint8)
    frame[28:1052, 320:1600] = 77
    for video, folders in (
        (1, {"Left_Prograsp_Forceps_labels": 100, "Maryland_Bipolar_Forceps_labels": 300, "Other_labels": 500}),
        (7, {"Left_Bipolar_Forceps": 100, "Right_Vessel_Sealer": 300}),
    ):
        place = top / f"instrument_{video}_training/instrument_dataset_{video}"
        for number in (0, 1):
            name = f"frame{number:03d}.png"
            (place / "left_frames").mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(frame, isVector=True), str(place / "left_frames" / name))
            for folder, row in folders.items():
                rows, columns = slice(row, row + 50), slice(400, 500)
                file = mask(place / "ground_truth" / folder / name, rows, columns, (1080, 1920), value=10)
                parts = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
                parts[row + 20 : row + 35, columns] = 20
                parts[row + 35 : row + 50, columns] = 30
                sitk.WriteImage(sitk.GetImageFromArray(parts), str(file))
    place = top / "instrument_1_testing/instrument_dataset_1/left_frames"
    place.mkdir(parents=True)
    sitk.WriteImage(sitk.GetImageFromArray(frame, isVector=True), str(place / "frame225.png"))
    test = top / "instrument_2017_test/instrument_dataset_1/TypeSegmentation/frame225.png"
    mask(test, slice(200, 250), slice(400, 500), (1080, 1920), value=6)
    return top


def neurips_cellseg(top: Path) -> Path:
    folder = top / "Training-labeled"
    (folder / "images").mkdir(parents=True)
    grey = np.random.default_rng(0).integers(100, 4000, (12, 12)).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(folder / "images/cell_00001.tif"))
    picture(folder / "images/cell_00002.png", shape=(12, 12))
    picture(folder / "images/cell_00003.bmp", shape=(12, 12))
    for number in (1, 2, 3):
        instances(folder / f"labels/cell_{number:05d}_label.tiff")
    # The tuning part numbers its files from 1 again.
    picture(top / "Tuning/images/cell_00001.png", shape=(12, 12), seed=9)
    instances(top / "Tuning/labels/cell_00001_label.tiff")
    return top


def montgomery_shenzhen(top: Path) -> Path:
    for name in ("MCUCXR_0001_0", "MCUCXR_0104_1"):
        picture(top / f"MontgomerySet/CXR_png/{name}.png", colour=False)
        mask(top / f"MontgomerySet/ManualMask/leftMask/{name}.png", slice(2, 6), slice(1, 4))
        mask(top / f"MontgomerySet/ManualMask/rightMask/{name}.png", slice(2, 6), slice(6, 9))
    for name in ("CHNCXR_0001_0", "CHNCXR_0327_1", "CHNCXR_0330_1"):
        picture(top / f"ChinaSet_AllFiles/CXR_png/{name}.png")
        grey = sitk.GetImageFromArray(np.full((12, 10, 3), 90, np.uint8), isVector=True)
        sitk.WriteImage(grey, str(top / f"ChinaSet_AllFiles/CXR_png/{name}.png"))
    for name in ("CHNCXR_0001_0", "CHNCXR_0327_1"):
        mask(top / f"ChinaSet_AllFiles/mask/{name}_mask.png", slice(2, 6), slice(1, 4))
    return top


def chest_xray_kaggle(top: Path) -> Path:
    for name, seg in (("CHNCXR_0001_0", "CHNCXR_0001_0_mask"), ("MCUCXR_0001_0", "MCUCXR_0001_0")):
        picture(top / f"Lung Segmentation/CXR_png/{name}.png", colour=False)
        mask(top / f"Lung Segmentation/masks/{seg}.png")
    picture(top / "Lung Segmentation/CXR_png/CHNCXR_0025_0.png", colour=False)
    return top


def isic(top: Path) -> Path:
    parts = (
        ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth", (0, 1, 2)),
        ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth", (13,)),
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth", (0, 1, 3)),
        ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth", (12,)),
    )
    for images, masks, numbers in parts:
        for number in numbers:
            picture(top / images / f"ISIC_{number:07d}.jpg", seed=number)
            mask(top / masks / f"ISIC_{number:07d}_segmentation.png")
        picture(top / images / "ISIC_0000000_superpixels.png")
    return top


def isic_split(top: Path) -> Path:
    for part, names in (("train", ("ISIC_0000001", "ISIC_0000002")), ("val", ("ISIC_0000003",))):
        for name in names:
            picture(top / part / "images" / f"{name}.png")
            mask(top / part / "masks" / f"{name}_segmentation.png")
    return top


def sunnybrook(top: Path) -> Path:
    names = (
        "Sunnybrook_Part1__SC-HF-I-01-IM-0001-0048.dcm.png",
        "Sunnybrook_Part1__SC-HF-I-01-IM-0001-0059.dcm.png",
        "Sunnybrook_Part1__SC-HF-NI-34-IM-0001-0107.dcm.png",
        "Sunnybrook_Part2__SC-HYP-38-IM-0001-0066.dcm.png",
        "Sunnybrook_Part2__SC-N-03-IM-0001-0288.dcm.png",
    )
    for name in names:
        picture(top / "images" / name, colour=False)
        mask(top / "labels" / name)
    return top


def dsb2018(top: Path) -> Path:
    for name in ("003cee89", "00ae65c1", "03f583ec"):
        picture(top / "images" / f"{name}.png", shape=(12, 12))
        instances(top / "labels" / f"{name}.png")
    return top


def dsb2018_kaggle(top: Path) -> Path:
    for name in ("003cee89", "00ae65c1", "03f583ec"):
        folder = top / "stage1_train" / name
        (folder / "images").mkdir(parents=True)
        rgba = np.full((12, 10, 4), 255, np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(rgba, isVector=True), str(folder / "images" / f"{name}.png"))
        mask(folder / "masks/a.png", slice(1, 6), slice(1, 5))
        mask(folder / "masks/b.png", slice(1, 6), slice(5, 9))
    return top


def openkbp(top: Path) -> Path:
    organs = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
    rows = ["case,vx,vy,vz,body_ml,zslices," + ",".join(organs)]
    for name, there in (
        ("train_pt_1", range(1, 8)),
        ("train_pt_2", (1, 2, 3, 4, 7)),
        ("train_pt_3", range(1, 7)),
        ("validation_pt_201", (1, 2)),
    ):
        ct(top / f"images/{name}.nii.gz")
        label(top / f"labels/{name}.nii.gz", 0, *there)
        rows.append(f"{name},1,1,1,9,4," + ",".join("3" if n in there else "0" for n in range(1, 8)))
    (top / "cases.csv").write_text("\n".join(rows) + "\n")
    return top


def folder_pairs(top: Path) -> Path:
    for number in (3, 4, 6, 7):
        ct(top / f"images/case_{number}.nii.gz", number)
        label(top / f"labels/case_{number}.nii.gz", 0, 1, 2)
    return top
