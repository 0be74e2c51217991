"""What ITK's libraries would write straight to the standard error, and headers that they would misread."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from mambaseg.errors import InputError
from mambaseg.io import read_volume
from mambaseg.io.itk import quiet


def _image(path: Path, dtype: str = "int16") -> Path:
    image = SimpleITK.GetImageFromArray(np.ones((4, 5, 6), dtype))
    SimpleITK.WriteImage(image, str(path), useCompression=False)
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"DimSize = 6 5 4", b"DimSize = 6 5", r"3 axes \(NDims\) but gives 2 sizes"),
        (b"DimSize = 6 5 4", b"DimSize = 6 5 4 7", r"3 axes \(NDims\) but gives 4 sizes"),
        (b"NDims = 3", b"NoDims = 3", "NDims"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST", "list of several files"),
    ],
)
def test_a_metaimage_header_that_does_not_agree_is_refused_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], old: bytes, new: bytes, words: str
):
    path = _image(tmp_path / "a.mha")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


def test_inside_quiet_nothing_reaches_the_standard_error(capfd: pytest.CaptureFixture[str]):
    with quiet(), quiet():
        os.write(2, b"noise of a library\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    with pytest.raises(KeyError), quiet():
        raise KeyError
    os.write(2, b"after a failure\n")
    assert capfd.readouterr().err == "after a failure\n"


def test_quiet_in_several_threads_gives_the_standard_error_back(capfd: pytest.CaptureFixture[str]):
    def work() -> None:
        for _ in range(50):
            with quiet():
                os.write(2, b"noise\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("offset", [112, 116])
def test_nifti_scaled_by_what_is_no_number_is_refused(tmp_path: Path, offset: int, bad: float):
    path = _image(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = struct.pack("<f", bad)
    path.write_bytes(content)
    with pytest.raises(InputError, match="scl_slope and scl_inter"):
        read_volume(path)


def test_nifti_slope_of_zero_means_no_scaling(tmp_path: Path):
    """As nifti1.h has it."""
    path = _image(tmp_path / "a.nii")
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 0.0, 0.0)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).voxels, np.ones((4, 5, 6)))


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("value", [1e39, -1e300])
def test_voxels_beyond_float32_are_refused(tmp_path: Path, ending: str, value: float):
    voxels = np.zeros((4, 5, 6))
    voxels[1, 2, 3] = value
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))
    with pytest.raises(InputError, match="beyond what networks compute with"):
        read_volume(path)
    voxels[1, 2, 3] = 3.4e38
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(path))
    assert read_volume(path).voxels.max() == 3.4e38
