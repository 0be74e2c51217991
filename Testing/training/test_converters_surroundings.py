"""Couch, air and other bodies around a masked patient: the patient stays, and everything around him is new."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import published_layouts as layouts
import pytest

from mambaseg.geometry import Geometry
from mambaseg.io import read_volume, write_volume
from mambaseg_train.checks import check_dataset
from mambaseg_train.converters import Order, SplitRule, convert
from mambaseg_train.converters.surroundings import Elsewhere, Surrounded, kept_slices, outside_of, surround
from mambaseg_train.converters.trunk import trunk
from mambaseg_train.errors import DataError, RecipeError

SPACING = (3.9, 3.9, 2.5)


def masked(slices: int = 40) -> np.ndarray:
    """A cylinder of 40 HU with an airway of -1000 HU in it, five slices without a patient at either end."""
    rows, columns = np.mgrid[0:96, 0:100]
    body = (rows - 45) ** 2 + (columns - 50) ** 2 < 22**2
    airway = (rows - 40) ** 2 + (columns - 50) ** 2 < 3**2
    voxels = np.full((slices, 96, 100), -1000, np.int16)
    voxels[5:-5, body & ~airway] = 40
    return voxels


def test_only_what_the_border_reaches_is_outside():
    voxels = masked()
    outside = outside_of(voxels)
    assert outside[:5].all()
    assert outside[20, 0, 0]
    assert not outside[20, 40, 50]  # the airway
    assert outside[20].sum() == (voxels[20] == -1000).sum() - ((voxels[20] == -1000) & ~outside[20]).sum()


@pytest.mark.parametrize("seed", range(6))
def test_the_patient_stays_and_the_air_around_does_not(seed: int):
    voxels = masked()[5:-5]
    outside = outside_of(voxels)
    made = surround(voxels, SPACING, seed)
    assert made.dtype == np.int16
    inside = made[~outside].astype(float) - voxels[~outside]
    assert abs(inside[inside > -900].mean()) < 1
    assert inside.std() < 15
    assert (made[outside] != -1000).mean() > 0.5  # noise
    behind = made[:, 67:, 30:70].astype(float)
    assert np.median(behind.max(axis=1)) > -900, "no couch under the patient"
    assert abs(np.median(made[:, :15].astype(float)) + 1000) < 15, "air in front is no longer air"
    assert np.array_equal(made, surround(voxels, SPACING, seed))
    assert not np.array_equal(made, surround(voxels, SPACING, seed + 1))


def test_couches_differ():
    voxels = masked()[5:-5]
    lowest = {int(np.argmax((surround(voxels, SPACING, seed)[10, :, 50] > -800)[68:])) for seed in range(12)}
    assert len(lowest) > 3


def test_slices_without_a_patient_go_and_some_scans_are_shorter():
    outside = outside_of(masked(80))
    kept = [kept_slices(outside, seed) for seed in range(30)]
    assert all(each.start >= 5 and each.stop <= 75 and each.stop - each.start >= 24 for each in kept)
    assert sum((each.start, each.stop) == (5, 75) for each in kept) > 10
    assert sum((each.start, each.stop) != (5, 75) for each in kept) > 5
    with pytest.raises(DataError, match="no patient"):
        kept_slices(np.ones((4, 4, 4), bool), 0)


def test_image_and_label_lose_the_same_slices_and_keep_their_place(tmp_path: Path):
    voxels = masked()
    labels = np.zeros(voxels.shape, np.uint8)
    labels[:, 40:50, 45:55] = np.arange(40, dtype=np.uint8)[:, None, None] % 7
    geometry = Geometry(SPACING, (-10.0, 20.0, 30.0))
    write_volume(voxels, geometry, tmp_path / "image.nii.gz")
    write_volume(labels, geometry, tmp_path / "label.nii.gz")
    for seed in range(4):
        Surrounded(tmp_path / "image.nii.gz", seed).write(tmp_path / "i.nii.gz")
        Surrounded(tmp_path / "image.nii.gz", seed, tmp_path / "label.nii.gz").write(tmp_path / "l.nii.gz")
        image, label = read_volume(tmp_path / "i.nii.gz"), read_volume(tmp_path / "l.nii.gz")
        assert image.shape == label.shape
        assert image.geometry.origin == pytest.approx(label.geometry.origin)
        first = round((image.geometry.origin[2] - 30.0) / SPACING[2])
        assert np.array_equal(label.voxels, labels[first : first + image.shape[0]])


def test_a_trunk_is_a_body_on_a_couch_or_in_air_and_repeats():
    for seed in (1, 2, 3):
        made = trunk(seed)
        voxels = made.voxels
        body = (voxels > -250).mean()
        assert 0.1 < body < 0.8
        assert voxels.max() > 500, "no bone"
        assert np.array_equal(voxels, trunk(seed).voxels)
    assert trunk(1).shape != trunk(2).shape or not np.array_equal(trunk(1).voxels, trunk(2).voxels)


def test_a_thin_scan_of_elsewhere_is_prolonged_by_its_mirror_images(tmp_path: Path):
    fine = np.random.default_rng(0).integers(-200, 300, (10, 60, 62)).astype(np.int16)
    write_volume(fine, Geometry((1.0, 1.0, 4.0)), tmp_path / "slab.nii.gz")
    Elsewhere(tmp_path / "slab.nii.gz", 3).write(tmp_path / "i.nii.gz")
    Elsewhere(tmp_path / "slab.nii.gz", 3, is_label=True).write(tmp_path / "l.nii.gz")
    image, label = read_volume(tmp_path / "i.nii.gz"), read_volume(tmp_path / "l.nii.gz")
    assert image.shape == label.shape == (50, 15, 15)
    assert not label.voxels.any()
    assert 3.4 - 1e-5 <= image.geometry.spacing[0] <= 4.6 + 1e-5
    expected = fine[:, :60, :60].reshape(10, 15, 4, 15, 4).mean(axis=(2, 4))
    assert np.abs(image.voxels[20:30] - expected).mean() < 25
    assert np.abs(image.voxels[30] - expected[-1]).mean() < 35  # the mirror


def add(tmp_path: Path, **parameters: str) -> tuple[Path, dict[str, object]]:
    source = layouts.openkbp(tmp_path / "source")
    for name in ("train_pt_1", "train_pt_2", "train_pt_3", "validation_pt_201"):
        voxels = np.full(layouts.SHAPE, -1000, np.int16)
        voxels[:, 1:5, 1:4] = 50
        layouts.volume(source / f"images/{name}.nii.gz", voxels)
    table = source / "cases.csv"
    table.write_text(table.read_text().replace(",9,4,", ",9000,4,", 1))  # the first is shown whole
    folder = convert(Order("openkbp", source, tmp_path / "raw", 77, "Made", parameters, SplitRule(folds=2)))
    return folder, json.loads((folder / "dataset.json").read_text())["mambaseg"]


def test_what_is_added_is_trained_on_only_and_belongs_to_its_patient(tmp_path: Path):
    write_volume(np.zeros((4, 8, 8), np.int16), Geometry(), tmp_path / "other.nii.gz")
    folder, own = add(tmp_path, surroundings="added", phantoms="1", trunks="2", elsewhere="../other.nii.gz")
    names = {path.name.removesuffix("_0000.nii.gz") for path in (folder / "imagesTr").iterdir()}
    added = {"train_pt_1_ordinary", "phantom_001", "trunk_001", "trunk_002"}
    assert names == {"train_pt_1", "train_pt_2", "train_pt_3", *added, *(f"elsewhere_{n:03d}" for n in range(1, 9))}
    assert [path.name for path in (folder / "labelsTs").iterdir()] == ["validation_pt_201.nii.gz"]
    assert own["groups"]["train_pt_1_ordinary"] == "train_pt_1"  # type: ignore[index]
    assert "spinal cord" not in own["annotated"]["trunk_001"]  # type: ignore[index]
    assert "mandible" in own["annotated"]["elsewhere_008"]  # type: ignore[index]
    assert check_dataset(folder).ok
    for fold in own["split"]["folds"]:  # type: ignore[index]
        assert ("train_pt_1" in fold["train"]) == ("train_pt_1_ordinary" in fold["train"])


def test_a_single_parotid_counts_as_none_where_pairs_are_wanted(tmp_path: Path):
    source = layouts.openkbp(tmp_path / "source")
    table = source / "cases.csv"
    rows = table.read_text().splitlines()
    place = rows[0].split(",").index("LeftParotid")
    changed = rows[1].split(",")
    changed[place] = "0"
    table.write_text("\n".join([rows[0], ",".join(changed), *rows[2:]]) + "\n")
    order = Order("openkbp", source, tmp_path / "raw", 77, "Made", {"parotids": "both"}, SplitRule(folds=2))
    own = json.loads((convert(order) / "dataset.json").read_text())["mambaseg"]
    assert not {"left parotid", "right parotid"} & set(own["annotated"]["train_pt_1"])


@pytest.mark.parametrize(
    ("parameters", "said", "kind"),
    [
        ({"phantoms": "some"}, "number of phantoms is 'some'", RecipeError),
        ({"trunks": "-1"}, "number of trunks is '-1'", RecipeError),
        ({"elsewhere": "../nowhere"}, "There is no .*nowhere.*--set elsewhere=", DataError),
    ],
)
def test_what_cannot_be_added_is_refused(tmp_path: Path, parameters: dict[str, str], said: str, kind: type[Exception]):
    with pytest.raises(kind, match=said):
        add(tmp_path, **parameters)
