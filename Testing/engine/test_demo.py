"""The demonstration: its files, its figures, and a picture in which left is left and a millimetre a millimetre."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from cli_helpers import make_package, run

from mambaseg.demo import compare, dice, truth
from mambaseg.geometry import IDENTITY, Geometry, turn_to
from mambaseg.models import bundled_models
from mambaseg.phantom import make_phantom
from mambaseg.render import LegendEntry, draw_figure
from mambaseg.render.canvas import Canvas, fitted, text_width
from mambaseg.render.glyphs import GLYPHS
from mambaseg.render.planes import best_slice, enlarge, make_planes
from mambaseg.volume import Volume

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _png(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def test_demo_on_the_phantom(capsys, tmp_path: Path):
    """With whatever model is bundled; with random weights where none is."""
    bundled = bool(bundled_models())
    model = [] if bundled else ["-m", make_package(tmp_path / "tiny.mambaseg", classes=8, spacing=8.0)]
    ended = run(capsys, "demo", "-o", tmp_path / "new" / "demo", *model)
    assert ended.code == 0, ended.err
    names = {path.name for path in (tmp_path / "new" / "demo").iterdir()}
    assert names == {"ct.nii.gz", "segmentation.seg.nrrd", "segmentation.nii.gz", "slices.png", "volumes.csv"}
    assert "Needs about" in ended.err
    picture = _png(tmp_path / "new" / "demo" / "slices.png")
    assert picture.shape[1:] == (1680, 3)
    with (tmp_path / "new" / "demo" / "volumes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    printed = ended.out.splitlines()[1:]
    assert all(line.startswith(row["structure"]) for line, row in zip(printed, rows, strict=True))
    if bundled:  # names of another model are met however they are spaced
        scores = {row["structure"]: float(row["Dice"]) for row in rows}
        assert len(scores) == 7
        assert np.mean(list(scores.values())) > 0.7, scores


def test_demo_on_an_image_of_ones_own(capsys, tmp_path: Path):
    made = make_phantom(shape=(16, 20, 24), spacing=(10.0, 12.0, 14.0), orientation="PIR")
    from mambaseg.io import write_volume

    write_volume(made.volume.voxels, made.volume.geometry, tmp_path / "mine.nrrd")
    package = make_package(tmp_path / "tiny.mambaseg", spacing=12.0)
    ended = run(capsys, "demo", tmp_path / "mine.nrrd", "-o", tmp_path / "out", "-m", package, "-q")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0].split() == ["structure", "ml"]
    assert not (tmp_path / "out" / "ct.nii.gz").exists()


def test_the_truth_agrees_with_itself():
    phantom = make_phantom(shape=(20, 24, 28), spacing=(9.0, 9.0, 10.0))
    shown = compare(truth(phantom), phantom)
    assert set(shown.dice.values()) == {1.0}
    assert shown.true_ml == shown.volumes_ml


def test_dice():
    some, none = np.array([True, True, False]), np.zeros(3, bool)
    assert dice(some, np.array([False, True, True])) == pytest.approx(0.5)
    assert dice(some, none) == 0
    assert dice(none, none) == 1


@pytest.mark.parametrize("letters", ["LPS", "RAS", "SAL", "PIR", "IPR"])
def test_planes_show_the_patients_right_on_the_left_however_the_image_is_stored(letters: str):
    """One voxel at the patient's right, front and top, the same in every storage order."""
    stored = np.zeros((6, 8, 10), np.int16)
    stored[5, 1, 2] = 1  # top slice, front row, right column of an LPS image
    turn = turn_to(Geometry((2.0, 3.0, 4.0), (0.0, 0.0, 0.0), IDENTITY), letters)
    geometry = turn.apply_geometry(Geometry((2.0, 3.0, 4.0)), (6, 8, 10))
    turned = turn.apply(stored)
    assert geometry.axis_letters() == letters
    axial, coronal, sagittal = make_planes(turned, turned, geometry, [1])
    assert [plane.letters for plane in (axial, coronal, sagittal)] == [
        ("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"),
    ]  # fmt: skip
    assert np.argwhere(axial.labels).tolist() == [[1, 2]]
    assert np.argwhere(coronal.labels).tolist() == [[0, 2]]
    assert np.argwhere(sagittal.labels).tolist() == [[0, 1]]
    assert axial.size_mm == pytest.approx((8 * 3, 10 * 2))
    assert coronal.size_mm == pytest.approx((6 * 4, 10 * 2))
    assert sagittal.size_mm == pytest.approx((6 * 4, 8 * 3))


def test_a_cube_is_drawn_as_a_cube():
    """30 mm cubes on an anisotropic grid: as high as wide in each panel, and as large in all of them."""
    voxels = np.zeros((20, 60, 40), np.int16)
    labels = np.zeros_like(voxels, dtype=np.uint8)
    labels[7:13, 15:45, 13:28] = 1  # 6 x 5 mm, 30 x 1 mm, 15 x 2 mm
    volume = Volume(voxels, Geometry((2.0, 1.0, 5.0)))
    picture = draw_figure(volume, labels, [LegendEntry("", 1, RED)], "").astype(int)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60)
    red[-80:] = False  # the legend's own patch of colour
    columns = np.flatnonzero(red.any(axis=0))
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 5) + 1)
    assert len(groups) == 3
    widths = [group[-1] - group[0] + 1 for group in groups]
    heights = [np.ptp(np.flatnonzero(red[:, group].any(axis=1))) + 1 for group in groups]
    assert max(widths + heights) - min(widths + heights) <= 4
    assert min(widths) > 100


def test_a_picture_of_one_slice_and_colours():
    voxels = np.zeros((1, 30, 40, 3), np.uint8)
    voxels[..., 1] = 200
    labels = np.zeros((1, 30, 40), np.uint8)
    labels[0, 5:20, 5:20] = 2
    picture = draw_figure(Volume(voxels, is_2d=True), labels, [LegendEntry("spot", 2, BLUE)], "One", ct=False)
    assert picture.dtype == np.uint8
    assert (picture == (0, 0, 255)).all(axis=2).any()


def test_a_figure_without_anything_found():
    labels = np.zeros((4, 5, 6), np.uint8)
    volume = Volume(np.zeros((4, 5, 6), np.int16))
    picture = draw_figure(volume, labels, [LegendEntry(f"s{n}", n, RED) for n in range(1, 40)], "Many", "x" * 400)
    assert picture.shape[0] > 400


def test_best_slice():
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1, :3, :3] = 1
    labels[3, :2, :2] = 1
    labels[3, 4, 4] = 2
    assert best_slice(labels, 0, [1, 2]) == 3
    assert best_slice(labels, 0, [9]) == 2


def test_enlarging_keeps_means_and_values():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert enlarge(image, (30, 40)).mean() == pytest.approx(image.mean(), rel=1e-3)
    np.testing.assert_array_equal(enlarge(image, (3, 4)), image)
    assert enlarge(np.ones((100, 90)), (7, 11)) == pytest.approx(1)


def test_every_letter_leaves_a_mark_and_unknown_ones_do_not_fail():
    for sign in GLYPHS:
        canvas = Canvas(60, 60, (0, 0, 0))
        canvas.text(15, 40, sign, 20, (255, 255, 255))
        assert (canvas.bytes().max() > 150) == (sign != " "), sign
    assert text_width("größe", 10) == text_width("große", 10) == text_width("gro?e", 10)
    assert text_width(fitted("a very long name indeed", 10, 80), 10) <= 80
    assert fitted("short", 10, 200) == "short"
