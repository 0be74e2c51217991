"""DICOM folders: which slices belong together, whether they form a regular stack, and what their numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from mambaseg.errors import InputError
from mambaseg.io import read_volume
from mambaseg.io.dicom.headers import read_slices

ROWS, COLUMNS = 6, 8
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.96, 0.28, 0.0, -0.28 * 0.8, 0.96 * 0.8, 0.6)
SERIES = generate_uid()


def dataset(sop_class: str = CTImageStorage, **values: Any) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = sop_class
    made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = sop_class, made.file_meta.MediaStorageSOPInstanceUID
    made.Modality, made.SeriesInstanceUID, made.StudyInstanceUID = "CT", SERIES, "1.2.3"
    made.SeriesNumber, made.SeriesDescription = 4, "Head"
    for name, value in values.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def pixels(stored: np.ndarray, **values: Any) -> dict[str, Any]:
    return {
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": stored.astype("<u2").tobytes(),
        **values,
    }


def stored_slice(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 3000, (ROWS, COLUMNS)).astype(np.uint16)


def write_slice(
    folder: Path, number: int, position: Any, orientation: Any = AXIAL, name: str | None = None, **values: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    geometry = {
        "ImagePositionPatient": None if position is None else [f"{value:.6f}" for value in position],
        "ImageOrientationPatient": None if orientation is None else [f"{value:.8f}" for value in orientation],
        "PixelSpacing": ["0.8", "0.7"],
        "SliceThickness": "2.5",
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "InstanceNumber": number,
    }
    given = {k: v for k, v in geometry.items() if v is not None} | pixels(stored_slice(number)) | values
    # File names in an order that says nothing about the place of the slices
    path = folder / (name or f"IM{(number * 7) % 101:03d}")
    dataset(**given).save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path, heights: list[float], orientation: Any = AXIAL, lean: float = 0.0, **values: Any
) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    for number, height in enumerate(heights):
        place = np.array([-100.0, -50.0, 0.0]) + normal * height + np.array(orientation[3:]) * lean * height
        write_slice(
            folder, number, place, orientation, name=f"{values.get('SeriesNumber', '')}_{(number * 7) % 101}", **values
        )


def message(folder: Path, **choice: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(folder, **choice)
    return str(caught.value)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (0, 1, 0, 0, 0, -1)], ids=["axial", "oblique", "sagittal"])
@pytest.mark.parametrize("backwards", [False, True])
def test_slices_are_put_in_their_place_whatever_the_order_of_files(tmp_path: Path, orientation: Any, backwards: bool):
    heights = [2.5 * n for n in range(7)]
    write_series(tmp_path / "Ordner mit ü", heights[::-1] if backwards else heights, orientation)
    volume = read_volume(tmp_path / "Ordner mit ü")
    assert volume.shape == (7, ROWS, COLUMNS)
    np.testing.assert_allclose(volume.geometry.spacing, (0.7, 0.8, 2.5), atol=1e-5)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    np.testing.assert_allclose(
        volume.geometry.matrix, np.stack([row, column, np.cross(row, column)], axis=1), atol=1e-6
    )
    np.testing.assert_allclose(volume.geometry.origin, (-100, -50, 0), atol=1e-5)
    for k in range(7):
        number = 6 - k if backwards else k
        np.testing.assert_array_equal(volume.voxels[k], stored_slice(number).astype(int) - 1024)


def test_agrees_with_itks_own_series_reader(tmp_path: Path):
    write_series(tmp_path, [2.5 * n for n in range(5)], OBLIQUE)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image, volume = reader.Execute(), read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.geometry.spacing, image.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(volume.geometry.origin, image.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=1e-5)


def test_each_slice_has_its_own_rescaling(tmp_path: Path):
    for number, (slope, intercept) in enumerate([(1.0, -1024.0), (0.5, -1000.0), (2.25, 10.5)]):
        write_slice(tmp_path, number, (0, 0, 3.0 * number), RescaleSlope=str(slope), RescaleIntercept=str(intercept))
        expected = stored_slice(number) * slope + intercept
        if number == 0:
            wanted = [expected]
        else:
            wanted.append(expected)
    volume = read_volume(tmp_path)
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, np.stack(wanted), rtol=1e-6)


@pytest.mark.parametrize("blank", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", ["", None])
def test_a_ct_that_does_not_say_its_hu_is_refused(tmp_path: Path, blank: str, value: str | None):
    write_series(tmp_path, [0, 2, 4], **{blank: value} if value is not None else {})
    if value is None:
        for path in tmp_path.iterdir():
            header = pydicom.dcmread(path)
            delattr(header, blank)
            header.save_as(path)
    assert "does not say how its numbers become HU" in message(tmp_path)


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4, 8, 10, 12])
    said = message(tmp_path)
    assert "1 of the slices" in said
    assert "missing" in said
    assert "(4.00 mm)" in said
    assert "(8.00 mm)" in said


@pytest.mark.parametrize(
    "heights", [[0, 2, 4, 6.3, 8.3, 10.3], [0, 2, 4, 5, 6, 7], [0, 1, 3, 6, 10], [0, 2, 4, 6.07, 8]]
)
def test_uneven_spacing_is_refused_and_says_where(tmp_path: Path, heights: list[float]):
    write_series(tmp_path, heights)
    said = message(tmp_path)
    assert "not evenly spaced" in said or "missing" in said
    assert "mm)" in said


@pytest.mark.parametrize("decimals", [1, 2])
def test_positions_that_are_only_rounded_are_taken(tmp_path: Path, decimals: int):
    step = {1: 1.27, 2: 0.667}[decimals]
    write_series(tmp_path, [round(step * n, decimals) for n in range(30)])
    assert read_volume(tmp_path).geometry.spacing[2] == pytest.approx(step, abs=5e-3)


def test_two_slices_at_one_place_are_refused(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4, 6])
    write_slice(tmp_path, 9, (-100, -50, 4.0), name="copy")
    said = message(tmp_path)
    assert "Two slices" in said
    assert "copy" in said
    assert "4.00 mm" in said


def test_two_time_points_are_refused(tmp_path: Path):
    write_series(tmp_path, [0, 0, 2, 2, 4, 4])
    assert "several phases" in message(tmp_path)


def test_gantry_tilt_is_refused_with_its_angle(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4, 6, 8], lean=np.tan(np.radians(12.5)))
    said = message(tmp_path)
    assert "slant of 12.5 degrees (gantry tilt)" in said
    assert "dcm2niix" in said


def test_a_field_of_view_that_jumps_is_refused(tmp_path: Path):
    for number in range(5):
        write_slice(tmp_path, number, (0 if number < 3 else 5.0, 0, 2.0 * number))
    assert "moves by 5.00 mm" in message(tmp_path)


def test_tilted_slices_that_lie_straight_above_each_other_are_taken(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4], OBLIQUE, GantryDetectorTilt="36.9")
    assert read_volume(tmp_path).shape == (3, ROWS, COLUMNS)


def test_several_series_are_listed_and_one_is_chosen(tmp_path: Path):
    other = generate_uid()
    write_series(tmp_path, [0, 2, 4])
    write_series(
        tmp_path, [0, 3, 6, 9], SeriesInstanceUID=other, SeriesNumber=7, SeriesDescription="Lung, sharp", Modality="CT"
    )
    said = message(tmp_path)
    for part in ("2 DICOM series", SERIES, other, "Head", "Lung, sharp", "3 slices", "4 slices", "CT", "1: ", "2: "):
        assert part in said
    for choice, slices in ((SERIES, 3), (other, 4), (1, 3), ("2", 4)):
        assert read_volume(tmp_path, series=choice).shape[0] == slices
    assert other in message(tmp_path, series="1.2.3.4.5")
    assert "is not in" in message(tmp_path, series=3)


def test_one_file_stands_for_its_series(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4])
    write_series(tmp_path, [0, 3, 6, 9], SeriesInstanceUID=generate_uid(), SeriesNumber=7)
    assert read_volume(tmp_path / "7_7").shape[0] == 4
    assert read_volume(tmp_path / "_7").shape[0] == 3


def test_a_localiser_in_the_same_series_is_told_apart(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4])
    write_slice(tmp_path, 9, (0, 0, 0), (0, 1, 0, 0, 0, -1), name="scout")
    said = message(tmp_path)
    assert "1 slices" in said
    assert "3 slices" in said
    assert read_volume(tmp_path, series=1).shape[0] == 3
    assert "stands for 2 stacks" in message(tmp_path, series=SERIES)


def test_series_with_blanked_uids_are_told_apart_by_what_is_left(tmp_path: Path):
    blank = {"SeriesInstanceUID": "", "StudyInstanceUID": "", "SOPInstanceUID": "", "SOPClassUID": ""}
    write_series(tmp_path / "one", [0, 2, 4], **blank)
    assert read_volume(tmp_path / "one").shape[0] == 3
    write_series(tmp_path / "two", [0, 2, 4], **blank, SeriesNumber=1)
    write_series(tmp_path / "two", [0, 3, 6, 9], **blank, SeriesNumber=2)
    assert "SeriesInstanceUID blank" in message(tmp_path / "two")
    assert read_volume(tmp_path / "two", series=2).shape[0] == 4


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_blanked_geometry_is_refused_by_name(tmp_path: Path, tag: str):
    write_series(tmp_path, [0, 2, 4], **{tag: ""})
    said = message(tmp_path)
    assert tag in said
    assert "missing or blank" in said


def test_slices_of_different_pixel_size_are_refused(tmp_path: Path):
    for number in range(3):
        write_slice(tmp_path, number, (0, 0, 2.0 * number), PixelSpacing=["0.8", "0.7" if number else "0.75"])
    assert "different pixel sizes" in message(tmp_path)


def test_a_direction_that_is_none_and_a_pixel_size_of_zero_are_refused(tmp_path: Path):
    write_series(tmp_path / "a", [0, 2, 4], ImageOrientationPatient=["1", "0", "0", "1", "0", "0"])
    assert "right angle" in message(tmp_path / "a")
    write_series(tmp_path / "b", [0, 2, 4], PixelSpacing=["0", "0.7"])
    assert "every spacing must be a positive number" in message(tmp_path / "b")


def test_one_slice_has_its_thickness_or_is_refused(tmp_path: Path):
    write_slice(tmp_path / "a", 0, (0, 0, 0))
    volume = read_volume(tmp_path / "a")
    assert volume.shape == (1, ROWS, COLUMNS)
    assert volume.geometry.spacing == (0.7, 0.8, 2.5)
    write_slice(tmp_path / "b", 0, (0, 0, 0), SliceThickness="")
    assert "how thick" in message(tmp_path / "b")


def test_what_is_no_image_is_passed_over(tmp_path: Path):
    write_series(tmp_path, [0, 2, 4])
    dataset(RTStructureSetStorage, Modality="RTSTRUCT", SeriesInstanceUID=generate_uid()).save_as(
        tmp_path / "contours.dcm", enforce_file_format=True
    )
    write_slice(tmp_path, 5, (0, 0, 0), name="dose", Modality="RTDOSE", SeriesInstanceUID=generate_uid())
    (tmp_path / "notes.txt").write_text("nothing\n" * 50)
    (tmp_path / "empty").write_bytes(b"")
    assert read_volume(tmp_path).shape[0] == 3
    assert "DICOM file without an image" in message(tmp_path / "contours.dcm")


def test_a_folder_without_images_is_refused(tmp_path: Path):
    assert "no DICOM images" in message(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing\n" * 50)
    assert "1 files looked at" in message(tmp_path)


def test_slices_in_sub_folders_are_found(tmp_path: Path):
    write_series(tmp_path / "PAT1" / "SER1", [0, 2, 4])
    assert read_volume(tmp_path).shape[0] == 3


def test_a_truncated_slice_is_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    write_series(tmp_path, [0, 2, 4])
    path = tmp_path / "_7"
    path.write_bytes(path.read_bytes()[:-60])
    said = message(tmp_path)
    assert "_7" in said
    assert "cannot be used" in said
    assert capfd.readouterr() == ("", "")


def enhanced(path: Path, heights: list[float], slopes: list[float] | None = None) -> np.ndarray:
    stored = np.stack([stored_slice(n) for n in range(len(heights))])

    def one(name: str, **values: Any) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in values.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    shared = one("PixelMeasuresSequence", PixelSpacing=["0.8", "0.7"], SliceThickness="2")
    shared.update(one("PlaneOrientationSequence", ImageOrientationPatient=[str(value) for value in AXIAL]))
    if slopes is None:
        shared.update(
            one("PixelValueTransformationSequence", RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")
        )
    frames = []
    for n, height in enumerate(heights):
        frame = one("PlanePositionSequence", ImagePositionPatient=["-10", "-20", str(height)])
        if slopes is not None:
            frame.update(
                one(
                    "PixelValueTransformationSequence",
                    RescaleSlope=str(slopes[n]),
                    RescaleIntercept="0",
                    RescaleType="HU",
                )
            )
        frames.append(frame)
    made = dataset(
        EnhancedCTImageStorage,
        **pixels(stored, NumberOfFrames=len(heights)),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return stored


def test_an_enhanced_multi_frame_ct_is_read_by_its_functional_groups(tmp_path: Path):
    stored = enhanced(tmp_path / "a" / "enhanced.dcm", [4, 0, 2, 6])
    for volume in (read_volume(tmp_path / "a"), read_volume(tmp_path / "a" / "enhanced.dcm")):
        assert volume.geometry.spacing == (0.7, 0.8, 2.0)
        assert volume.geometry.origin == (-10, -20, 0)
        np.testing.assert_array_equal(volume.voxels, stored[[1, 2, 0, 3]].astype(int) - 1024)


def test_frames_with_a_gap_are_refused(tmp_path: Path):
    enhanced(tmp_path / "enhanced.dcm", [0, 2, 6, 8])
    said = message(tmp_path)
    assert "missing" in said
    assert "enhanced.dcm, frame 2" in said


def test_frames_that_are_rescaled_differently_are_refused(tmp_path: Path):
    enhanced(tmp_path / "enhanced.dcm", [0, 2, 4], slopes=[1, 2, 3])
    assert "frames are rescaled differently" in message(tmp_path)


def test_frames_that_each_state_the_same_rescaling_are_read_with_it(tmp_path: Path):
    stored = enhanced(tmp_path / "enhanced.dcm", [0, 2, 4], slopes=[2, 2, 2])
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, stored.astype(int) * 2)


def test_a_real_series_with_blanked_tags_is_read_well(shared: Path, capfd: pytest.CaptureFixture[str]):
    folder = shared / "data" / "abdomen" / "dicom_slab"
    volume = read_volume(folder)
    assert volume.shape == (20, 512, 512)
    assert volume.geometry.spacing == (0.9765625, 0.9765625, 2.0)
    assert volume.geometry.origin == (-249.51171875, -437.51171875, -804.5)
    assert volume.geometry.axis_letters() == "LPS"
    lowest = min(folder.iterdir(), key=lambda path: (read_slices(path)[0].position or (0, 0, 0))[2])
    first = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(lowest)))[0]
    np.testing.assert_array_equal(volume.voxels[0], first)
    assert volume.voxels.min() == -1024  # air
    assert capfd.readouterr() == ("", "")
