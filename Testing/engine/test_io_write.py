"""Writing results: on the input's grid, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from mambaseg.errors import OutputError
from mambaseg.geometry import Geometry
from mambaseg.io import check_writable, read_volume, write_segmentation, write_volume
from mambaseg.models.spec import Code, Label, Terminology
from mambaseg.result import Result

TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, -1.0]]) @ np.array(
    [[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]]
)
OBLIQUE = Geometry((0.7, 0.8, 3.1), (-120.5, 33.25, 7.0), tuple(TURN.reshape(-1).tolist()))
PAROTID = Terminology(
    category=Code("SCT", "123037004", "Anatomical Structure"),
    type=Code("SCT", "45289007", "Parotid gland"),
    type_modifier=Code("SCT", "24028007", "Right"),
)
SEGMENTS = (
    Label("Parotis rechts größer", 1, (10, 200, 30), PAROTID),
    Label("Larynx", 2, (255, 0, 0)),
    Label("not found", 3, (0, 0, 255)),
)
LABELMAPS = [".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha"]


def make_result(shape: tuple[int, int, int] = (4, 5, 6), geometry: Geometry = OBLIQUE, **values: object) -> Result:
    labels = np.random.default_rng(3).integers(0, 3, shape).astype(np.uint8)
    return Result(**{"labels": labels, "segments": SEGMENTS, "geometry": geometry, **values})


def assert_same_grid(found: Geometry, expected: Geometry) -> None:
    np.testing.assert_allclose(found.spacing, expected.spacing, atol=1e-5)
    np.testing.assert_allclose(found.origin, expected.origin, atol=1e-5)
    np.testing.assert_allclose(found.direction, expected.direction, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (1, 1, 1)])
@pytest.mark.parametrize("ending", LABELMAPS)
def test_what_is_written_is_read_back_in_the_same_place(tmp_path: Path, ending: str, shape: tuple[int, int, int]):
    result = make_result(shape)
    path = tmp_path / f"Ergebnis größe 頭{ending}"
    write_segmentation(result, path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, result.labels)
    assert volume.voxels.dtype == np.uint8
    assert_same_grid(volume.geometry, OBLIQUE)
    assert [other.name for other in tmp_path.iterdir() if other.is_file()] == [path.name]


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd", ".mha"])
def test_a_sheared_grid_is_kept_where_the_format_can(tmp_path: Path, ending: str):
    sheared = Geometry((1, 2, 3), (4, 5, 6), (1.0, 0.0, 0.0, 0.0, 1.0, 0.2, 0.0, 0.0, 0.98))
    write_segmentation(make_result(geometry=sheared), tmp_path / f"a{ending}")
    volume = read_volume(tmp_path / f"a{ending}")
    found = volume.geometry.matrix * volume.geometry.spacing
    np.testing.assert_allclose(found, sheared.matrix * sheared.spacing, atol=1e-6)


def test_a_sheared_grid_is_refused_as_nifti(tmp_path: Path):
    sheared = Geometry((1, 2, 3), (4, 5, 6), (1.0, 0.0, 0.0, 0.0, 1.0, 0.2, 0.0, 0.0, 0.98))
    with pytest.raises(OutputError, match="right angles"):
        check_writable(tmp_path / "a.nii.gz", geometry=sheared)
    with pytest.raises(OutputError, match="right angles"):
        write_segmentation(make_result(geometry=sheared), tmp_path / "a.nii.gz")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


@pytest.mark.parametrize("ending", LABELMAPS)
def test_labels_beyond_255_are_written_in_two_bytes(tmp_path: Path, ending: str):
    labels = np.array([0, 255, 256, 65535], np.uint16).reshape(1, 2, 2)
    segments = (Label("big", 65535, (1, 2, 3)),)
    write_segmentation(make_result(labels=labels, segments=segments), tmp_path / f"a{ending}")
    voxels = read_volume(tmp_path / f"a{ending}").voxels
    assert voxels.dtype == np.uint16
    np.testing.assert_array_equal(voxels, labels)


def test_labels_beyond_65535_are_refused(tmp_path: Path):
    labels = np.full((1, 2, 2), 65536, np.int32)
    with pytest.raises(OutputError, match="0 to 65535"):
        write_segmentation(make_result(labels=labels), tmp_path / "a.nrrd")


def test_slicer_finds_names_colours_and_codes(tmp_path: Path):
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(make_result(), path)
    header = path.read_bytes().split(b"\n\n")[0].decode("utf-8")
    lines = dict(line.split(":=", 1) for line in header.splitlines() if ":=" in line)
    assert "space: left-posterior-superior" in header
    assert "encoding: gzip" in header
    assert "type: unsigned char" in header
    assert lines["Segment0_Name"] == "Parotis rechts größer"
    assert [float(part) for part in lines["Segment0_Color"].split()] == pytest.approx([10 / 255, 200 / 255, 30 / 255])
    assert lines["Segment0_Tags"] == (
        "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^45289007^Parotid gland~SCT^24028007^Right"
        "~Anatomic codes - DICOM master list~^^~^^|"
    )
    assert [lines[f"Segment{n}_LabelValue"] for n in range(3)] == ["1", "2", "3"]
    assert {lines[f"Segment{n}_Layer"] for n in range(3)} == {"0"}
    assert {lines[f"Segment{n}_Extent"] for n in range(3)} == {"0 5 0 4 0 3"}
    assert len({lines[f"Segment{n}_ID"] for n in range(3)}) == 3
    assert lines["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert lines["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_names_that_would_break_the_header_are_made_safe(tmp_path: Path):
    evil = Terminology(Code("SCT", "1", "a|b~c^d"), Code("SCT", "2", "e\nf"))
    write_segmentation(
        make_result(segments=(Label("two\nlines\n\nSegment0_Name:=x", 1, (1, 2, 3), evil),)), tmp_path / "a.seg.nrrd"
    )
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetMetaData("Segment0_Name") == "two lines Segment0_Name:=x"
    assert image.GetMetaData("Segment0_Tags").count("|") == 1
    assert image.GetMetaData("Segment0_Tags").count("~") == 6


def test_slicer_itself_opens_it(tmp_path: Path):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: 3D Slicer's own reader was not asked")
    vtk = pytest.importorskip("vtk", reason="vtk is not installed: 3D Slicer's own reader was not asked")
    from vtk.util.numpy_support import vtk_to_numpy

    result = make_result()
    write_segmentation(result, tmp_path / "a.seg.nrrd")
    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    for n, expected in enumerate(SEGMENTS):
        segment = segmentation.GetNthSegment(n)
        assert segment.GetName() == expected.name
        assert segment.GetLabelValue() == expected.value
        np.testing.assert_allclose(segment.GetColor(), np.array(expected.color) / 255, atol=1e-5)
    tag = vtk.reference("")
    segmentation.GetNthSegment(0).GetTag("TerminologyEntry", tag)
    assert "SCT^45289007^Parotid gland~SCT^24028007^Right" in str(tag)
    image = segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap")
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    np.testing.assert_array_equal(voxels, result.labels)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    np.testing.assert_allclose(ras[:3, :3], np.diag([-1, -1, 1]) @ (OBLIQUE.matrix * OBLIQUE.spacing), atol=1e-9)
    np.testing.assert_allclose(ras[:3, 3], np.array(OBLIQUE.origin) * [-1, -1, 1], atol=1e-9)


@pytest.mark.parametrize("ending", [".png", ".nii.gz", ".nrrd", ".mha"])
def test_the_result_for_a_picture_is_a_picture(tmp_path: Path, ending: str):
    result = make_result((1, 7, 9), Geometry(), is_2d=True)
    write_segmentation(result, tmp_path / f"a{ending}")
    volume = read_volume(tmp_path / f"a{ending}")
    assert volume.is_2d
    np.testing.assert_array_equal(volume.voxels, result.labels)


def test_a_picture_as_seg_nrrd_has_three_axes_for_slicer(tmp_path: Path):
    write_segmentation(make_result((1, 7, 9), Geometry(), is_2d=True), tmp_path / "a.seg.nrrd")
    assert read_volume(tmp_path / "a.seg.nrrd").shape == (1, 7, 9)
    assert SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd")).GetDimension() == 3


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_probabilities_are_written_as_they_are(tmp_path: Path, ending: str):
    values = np.random.default_rng(1).random((4, 5, 6)).astype(np.float32)
    write_volume(values, OBLIQUE, tmp_path / f"p{ending}")
    volume = read_volume(tmp_path / f"p{ending}")
    np.testing.assert_array_equal(volume.voxels, values)
    assert volume.voxels.dtype == np.float32
    assert_same_grid(volume.geometry, OBLIQUE)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.dcm", ".nii.gz", "a.seg"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str):
    with pytest.raises(OutputError, match=r"Use one of \.seg\.nrrd, \.nrrd, \.nii\.gz"):
        check_writable(tmp_path / name)


def test_a_volume_is_not_written_as_a_picture(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot be written as the picture"):
        write_segmentation(make_result(), tmp_path / "a.png")
    with pytest.raises(OutputError, match="whole numbers only"):
        write_volume(np.zeros((1, 3, 3), np.float32), Geometry(), tmp_path / "a.png", is_2d=True)


def test_where_nothing_can_be_written_is_said_before(tmp_path: Path):
    with pytest.raises(OutputError, match="There is no folder"):
        check_writable(tmp_path / "nowhere" / "a.nrrd")
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path / "folder.nrrd")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="There is no folder"):
        check_writable(tmp_path / "file" / "a.nrrd")
    assert check_writable(tmp_path / "a.SEG.NRRD") == ".seg.nrrd"
    assert not (tmp_path / "a.SEG.NRRD").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folder modes")
def test_an_unwritable_folder_is_refused(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    if os.geteuid() == 0:
        closed = Path("/proc/self")  # root may write everywhere but here
        if not closed.is_dir():
            pytest.skip("run as root on a system without /proc: no folder is unwritable")
    for ending in LABELMAPS:
        with pytest.raises(OutputError, match="could not be written"):
            check_writable(closed / f"a{ending}")


_FULL_DISK = """
import resource, signal, sys
import numpy as np
from mambaseg.errors import OutputError
from mambaseg.geometry import Geometry
from mambaseg.io import write_segmentation, write_volume
from mambaseg.models.spec import Label
from mambaseg.result import Result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
flat = sys.argv[1].endswith(".png")
labels = np.random.default_rng(0).integers(0, 200, (1 if flat else 10, 300, 300)).astype(np.uint8)
try:
    write_segmentation(Result(labels, (Label("a", 1, (1, 2, 3)),), Geometry(), is_2d=flat), sys.argv[1])
except OutputError as error:
    print(error)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files, which Windows does not have")
@pytest.mark.parametrize("ending", [*LABELMAPS, ".png"])
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path, ending: str):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"the earlier result")
    source = Path(__file__).resolve().parents[2] / "UMambaSegment"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    assert "could not be written" in done.stdout
    assert "Traceback" not in done.stderr
    assert [other.name for other in tmp_path.iterdir() if other.is_file()] == [path.name]
    assert path.read_bytes() == b"the earlier result"


def test_an_earlier_result_is_replaced(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"the earlier result")
    write_segmentation(make_result(), path)
    np.testing.assert_array_equal(read_volume(path).voxels, make_result().labels)
