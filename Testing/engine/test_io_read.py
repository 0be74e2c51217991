"""Reading images: each format, and what must be refused."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from mambaseg.errors import InputError
from mambaseg.io import read_volume

TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]) @ np.array(
    [[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]]
)
VOLUME_ENDINGS = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"]


def make_image(shape: tuple[int, ...] = (4, 5, 6), dtype: str = "int16") -> SimpleITK.Image:
    values = np.random.default_rng(5).integers(-1000, 1000, shape).astype(dtype)
    image = SimpleITK.GetImageFromArray(values, isVector=False)
    if len(shape) == 3:
        image.SetSpacing((0.7, 0.8, 3.1))
        image.SetOrigin((-120.5, 33.25, 7.0))
        image.SetDirection(TURN.reshape(-1).tolist())
    return image


def write(image: SimpleITK.Image, path: Path, *, compressed: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    return path


def refused(path: Path, words: str) -> str:
    """The message, which must be one sentence or more that names the file."""
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_voxels_and_their_place_are_read_from_each_format(tmp_path: Path, ending: str):
    image = make_image()
    volume = read_volume(write(image, tmp_path / "Jörg's Kopf 頭" / f"CT größe{ending}"))
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
    assert volume.voxels.dtype == np.int16
    assert not volume.is_2d
    np.testing.assert_allclose(volume.geometry.spacing, image.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(volume.geometry.origin, image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 6), (5, 1, 6), (5, 6, 1)])
@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_thin_volumes_stay_volumes(tmp_path: Path, shape: tuple[int, int, int], ending: str):
    image = make_image(shape)
    volume = read_volume(write(image, tmp_path / f"thin{ending}"))
    assert volume.voxels.shape == shape
    assert not volume.is_2d
    np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=1e-6)


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_several_time_points_are_refused_and_one_is_read(tmp_path: Path, ending: str):
    points = [make_image(), make_image(), make_image()]
    refused(write(SimpleITK.JoinSeries(points), tmp_path / f"four{ending}"), "4 dimensions")
    volume = read_volume(write(SimpleITK.JoinSeries(points[:1]), tmp_path / f"one{ending}"))
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(points[0]))
    np.testing.assert_allclose(volume.geometry.spacing, points[0].GetSpacing(), atol=1e-6)


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("components", [2, 3, 4])
def test_colour_has_three_values_and_other_numbers_are_refused(tmp_path: Path, ending: str, components: int):
    values = np.random.default_rng(1).integers(0, 255, (4, 5, 6, components)).astype(np.uint8)
    path = write(SimpleITK.GetImageFromArray(values, isVector=True), tmp_path / f"colour{ending}")
    if components == 3:
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.voxels, values)
        assert volume.components == 3
    else:
        refused(path, f"{components} values a voxel")


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_voxels_that_are_not_finite_are_refused_with_their_number(tmp_path: Path, ending: str, bad: float, dtype: str):
    values = np.zeros((4, 5, 6), dtype)
    values[1, 2, 3:5] = bad
    path = write(SimpleITK.GetImageFromArray(values), tmp_path / f"holes{ending}")
    refused(path, "2 of 120 voxels")


@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".png", ".tif", ".jpg", ".txt", ""])
@pytest.mark.parametrize("content", [b"", b"no image at all, but text\n" * 40, b"\0" * 4000])
def test_empty_files_and_files_that_are_no_image_are_refused(tmp_path: Path, ending: str, content: bytes):
    path = tmp_path / f"broken{ending}"
    path.write_bytes(content)
    refused(path, "empty" if not content else "cannot be used|not an image")


def test_a_missing_file_is_refused(tmp_path: Path):
    refused(tmp_path / "nowhere.nii.gz", "There is no file or folder")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize(
    ("name", "compressed"),
    [("a.nii", False), ("a.nii.gz", True), ("a.nrrd", True), ("a.nrrd", False), ("a.mha", True), ("a.mha", False)],
)
def test_truncated_files_are_refused_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, compressed: bool, share: float
):
    path = write(make_image((8, 20, 20)), tmp_path / name, compressed=compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "cannot be used")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compressed", [True, False])
def test_metaimage_with_its_voxels_cut_or_lost_is_refused_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], compressed: bool
):
    path = write(make_image((8, 20, 20)), tmp_path / "a.mhd", compressed=compressed)
    data = next(other for other in tmp_path.iterdir() if other != path and "raw" in other.suffix)
    data.write_bytes(data.read_bytes()[:-40])
    with pytest.raises(InputError, match="cannot be used"):
        read_volume(path)
    data.unlink()
    refused(path, "not beside it")
    assert capfd.readouterr() == ("", "")


def test_a_damaged_byte_inside_a_compressed_file_is_found(tmp_path: Path):
    path = write(make_image((8, 40, 40)), tmp_path / "a.nii.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refused(path, "cannot be used")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_truncated_pictures_are_refused_without_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str):
    picture = SimpleITK.GetImageFromArray(np.random.default_rng(1).integers(0, 255, (40, 50)).astype(np.uint8))
    path = write(picture, tmp_path / f"a{ending}", compressed=False)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        refused(path, "cannot be used")
    assert capfd.readouterr() == ("", "")


NIFTI_PIXDIM, NIFTI_QFORM, NIFTI_SFORM, NIFTI_SROW_X = 76, 252, 254, 280


def nifti_with(tmp_path: Path, *changes: tuple[int, bytes], packed: bool = False) -> Path:
    path = write(make_image(), tmp_path / "header.nii")
    content = bytearray(path.read_bytes())
    for offset, value in changes:
        content[offset : offset + len(value)] = value
    if packed:
        path = tmp_path / "header.nii.gz"
        path.write_bytes(gzip.compress(bytes(content)))
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [0.0, -2.0, np.nan, np.inf])
def test_nifti_spacing_that_is_not_positive_is_refused(tmp_path: Path, axis: int, spacing: float, packed: bool):
    change = (NIFTI_PIXDIM + 4 * (1 + axis), struct.pack("<f", spacing))
    refused(nifti_with(tmp_path, change, packed=packed), "every spacing must be a positive number")


@pytest.mark.parametrize("row", [(-0.7, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)])
def test_nifti_with_nothing_but_a_sheared_or_singular_sform_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], row: tuple[float, ...]
):
    path = nifti_with(tmp_path, (NIFTI_QFORM, struct.pack("<h", 0)), (NIFTI_SROW_X, struct.pack("<4f", *row)))
    refused(path, "not at right angles")
    assert capfd.readouterr() == ("", "")


def test_nifti_with_a_size_of_nothing_is_refused(tmp_path: Path):
    refused(nifti_with(tmp_path, (42, struct.pack("<h", 0))), "gives the size 0 x 5 x 4")


def test_nifti_that_promises_more_than_it_holds_is_refused(tmp_path: Path):
    refused(nifti_with(tmp_path, (46, struct.pack("<h", 400))), "where its header promises")


def text_header_with(tmp_path: Path, name: str, old: bytes, new: bytes) -> Path:
    values = np.zeros((4, 5, 6), np.int16)
    image = SimpleITK.GetImageFromArray(values)
    image.SetSpacing((1, 2, 3))
    path = write(image, tmp_path / name, compressed=False)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize("spacing", [b"1 0 3", b"1 -2 3"])
def test_metaimage_spacing_that_is_not_positive_is_refused(tmp_path: Path, spacing: bytes):
    path = text_header_with(tmp_path, "a.mha", b"ElementSpacing = 1 2 3", b"ElementSpacing = " + spacing)
    refused(path, "every spacing must be a positive number")


def test_nrrd_spacing_of_zero_is_refused(tmp_path: Path):
    refused(text_header_with(tmp_path, "a.nrrd", b"(0,2,0)", b"(0,0,0)"), "every spacing must be a positive number")


def test_nrrd_axis_that_runs_backwards_is_a_direction_not_a_spacing(tmp_path: Path):
    volume = read_volume(text_header_with(tmp_path, "a.nrrd", b"(0,2,0)", b"(0,-2,0)"))
    assert volume.geometry.spacing == (1, 2, 3)
    assert volume.geometry.direction == (1, 0, 0, 0, -1, 0, 0, 0, 1)


def test_singular_directions_are_refused(tmp_path: Path):
    refused(text_header_with(tmp_path, "a.nrrd", b"(0,2,0)", b"(2,0,0)"), "singular")
    matrix = b"TransformMatrix = 1 0 0 0 1 0"
    refused(text_header_with(tmp_path, "a.mha", matrix, b"TransformMatrix = 1 0 0 1 0 0"), "singular")


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_pictures_are_read_as_one_slice_and_opaque_alpha_goes(tmp_path: Path, ending: str, dtype: str, colours: int):
    values = np.random.default_rng(2).integers(0, np.iinfo(dtype).max, (7, 9, colours)).astype(dtype)
    values[..., 3:] = np.iinfo(dtype).max
    picture = SimpleITK.GetImageFromArray(values if colours > 1 else values[..., 0], isVector=colours > 1)
    volume = read_volume(write(picture, tmp_path / f"Schnitt ä{ending}"))
    np.testing.assert_array_equal(volume.voxels[0], values[..., :3] if colours > 1 else values[..., 0])
    assert volume.is_2d
    assert volume.shape == (1, 7, 9)
    assert volume.geometry.spacing == (1, 1, 1)


def test_pictures_that_are_transparent_or_have_pages_are_refused(tmp_path: Path):
    values = np.random.default_rng(2).integers(0, 255, (7, 9, 4)).astype(np.uint8)
    refused(write(SimpleITK.GetImageFromArray(values, isVector=True), tmp_path / "a.png"), "transparent in parts")
    grey = SimpleITK.GetImageFromArray(values[..., :2], isVector=True)
    refused(write(grey, tmp_path / "grey.png"), "transparency channel")
    pages = SimpleITK.GetImageFromArray(values[None, ..., 0].repeat(3, axis=0))
    refused(write(pages, tmp_path / "pages.tif"), "holds 3 pages")


def test_a_picture_as_nifti_stays_a_picture(tmp_path: Path):
    volume = read_volume(write(make_image((7, 9)), tmp_path / "flat.nii.gz"))
    assert volume.is_2d
    assert volume.shape == (1, 7, 9)


def test_a_series_cannot_be_chosen_in_a_file(tmp_path: Path):
    with pytest.raises(InputError, match="DICOM folder only"):
        read_volume(write(make_image(), tmp_path / "a.nrrd"), series=1)


def test_real_ct_is_read_as_simpleitk_reads_it(shared: Path):
    path = shared / "data" / "abdomen" / "ct.nii.gz"
    volume = read_volume(path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayFromImage(image))
    assert volume.geometry.spacing == image.GetSpacing()
    assert volume.geometry.origin == image.GetOrigin()
    assert volume.geometry.direction == image.GetDirection()


def test_importing_the_reader_loads_no_library():
    code = "import sys, mambaseg.io; print(sorted({'SimpleITK', 'pydicom', 'torch', 'numba'} & set(sys.modules)))"
    source = Path(__file__).resolve().parents[2] / "UMambaSegment"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(source)}
    )
    assert found.stdout.strip() == "[]"
