"""The phantom is one patient in mm, whatever grid looks at it, and it looks like a CT."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mambaseg.errors import InputError, ModelError, OptionError
from mambaseg.geometry import Geometry, turn_to
from mambaseg.phantom import LABELS, make_phantom
from mambaseg.phantom.person import Person
from mambaseg.phantom.shapes import Capsule, Ellipsoid, Loft, Points, Union, rotation

SHAPE, SPACING = (56, 52, 64), (5.6, 5.7, 5.9)
LETTERS = [
    "".join(order[n][sides[n]] for n in range(3))
    for order in itertools.permutations(("RL", "AP", "IS"))
    for sides in itertools.product((0, 1), repeat=3)
]


@pytest.fixture(scope="module")
def average():
    return make_phantom(shape=(110, 106, 128), spacing=(2.8, 2.8, 3.0))


def _centre(phantom, label):
    """Mean LPS position (mm) of a structure."""
    index = np.argwhere(phantom.labels == label).mean(axis=0)[::-1]
    grid = phantom.volume.geometry
    return grid.matrix @ (index * np.array(grid.spacing)) + np.array(grid.origin)


def test_values_are_those_of_openkbp():
    assert list(LABELS.items()) == [
        ("brainstem", 1),
        ("spinal_cord", 2),
        ("right_parotid", 3),
        ("left_parotid", 4),
        ("esophagus", 5),
        ("larynx", 6),
        ("mandible", 7),
    ]


def test_types_and_grid(average):
    assert average.volume.voxels.dtype == np.int16
    assert average.labels.dtype == np.uint8
    assert average.labels.shape == average.volume.shape == (110, 106, 128)
    assert average.volume.geometry.axis_letters() == "LPS"
    assert set(np.unique(average.labels)) == set(range(8))


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("brainstem", 18, 36),
        ("right_parotid", 12, 38),
        ("left_parotid", 12, 38),
        ("larynx", 10, 35),
        ("mandible", 35, 85),
        ("spinal_cord", 7, 25),
        ("esophagus", 4, 15),
    ],
)
def test_sizes_are_an_adults(average, name, least, most):
    ml = (average.labels == LABELS[name]).sum() * average.volume.geometry.voxel_volume / 1000
    assert least < ml < most


def test_patient_right_is_minus_x_and_order_from_head_to_chest(average):
    at = {name: _centre(average, value) for name, value in LABELS.items()}
    assert at["right_parotid"][0] < -40
    assert at["left_parotid"][0] > 40
    heights = [at[name][2] for name in ("brainstem", "right_parotid", "mandible", "larynx", "esophagus")]
    assert heights == sorted(heights, reverse=True)
    assert at["mandible"][1] < at["larynx"][1] < at["spinal_cord"][1]  # from front to back


def test_hu_are_those_of_tissue():
    phantom = make_phantom(shape=(100, 100, 110), spacing=(2.5, 2.5, 3.0), noise=0)
    v, lab = phantom.volume.voxels, phantom.labels

    def median(name):
        return np.median(v[lab == LABELS[name]])

    assert 25 < median("brainstem") < 45
    assert 25 < median("spinal_cord") < 50
    assert -40 < median("right_parotid") < 40
    assert median("mandible") > 300
    assert v[lab == LABELS["larynx"]].min() < -700  # the airway runs through it
    assert v.max() > 1500  # teeth
    assert np.median(v[:, :8]) == -1000  # air in front of the face


def test_noise_has_the_width_asked_for_and_is_correlated_in_plane_only():
    quiet = make_phantom(shape=(12, 60, 60), spacing=(1, 1, 1), centre=(0, -250, 0), noise=0, couch=False)
    loud = make_phantom(shape=(12, 60, 60), spacing=(1, 1, 1), centre=(0, -250, 0), noise=9, couch=False)
    assert (quiet.volume.voxels == -1000).all()
    # -1024 is the lowest value there is, so only part of the bell below -1000 is cut.
    noise = loud.volume.voxels.astype(float) + 1000
    assert noise.std() == pytest.approx(9, rel=0.06)
    along = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    across = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert along == pytest.approx(4 / 6, abs=0.05)
    assert abs(across) < 0.05


def test_same_seed_same_scan_and_other_seed_another_patient():
    first, again, other = (make_phantom(shape=SHAPE, spacing=SPACING, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.volume.voxels, again.volume.voxels)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).sum() > 200
    assert first.person != other.person


def test_all_48_orientations_hold_the_turned_labels():
    straight = make_phantom(shape=(30, 28, 34), spacing=(10, 11, 10.5), seed=2, noise=0)
    assert len(set(LETTERS)) == 48
    for letters in LETTERS:
        turned = make_phantom(shape=(30, 28, 34), spacing=(10, 11, 10.5), seed=2, noise=0, orientation=letters)
        assert turned.volume.geometry.axis_letters() == letters
        turn = turn_to(straight.volume.geometry, letters)
        np.testing.assert_array_equal(turned.labels, turn.apply(straight.labels))
        difference = np.abs(turned.volume.voxels.astype(int) - turn.apply(straight.volume.voxels).astype(int))
        assert difference.max() <= 2


def test_finer_grid_sees_the_same_patient():
    """Voxel centres that two grids share carry the same labels."""
    coarse = make_phantom(shape=(36, 34, 42), spacing=(8, 8, 8), seed=5, noise=0)
    grid = coarse.volume.geometry
    fine = Geometry((4.0, 4.0, 2.0), grid.origin, grid.direction)
    found = make_phantom(geometry=fine, shape=(141, 67, 83), seed=5, noise=0).labels
    np.testing.assert_array_equal(found[::4, ::2, ::2], coarse.labels)


@pytest.mark.parametrize("turn", [(27.0, 26.0, 11.0), (-40.0, 5.0, 90.0), (0.0, -33.0, -20.0)])
def test_oblique_grid_holds_the_structures_in_the_same_place(turn):
    matrix = rotation(turn)
    spacing = np.array([6.0, 5.5, 6.5])
    shape = (60, 60, 60)
    origin = np.array([0, 0, -27]) - matrix @ (spacing * 29.5)
    oblique = Geometry(tuple(spacing.tolist()), tuple(origin.tolist()), tuple(matrix.ravel().tolist()))
    found = make_phantom(geometry=oblique, shape=shape, noise=0)
    straight = make_phantom(shape=(60, 60, 60), spacing=(6, 6, 6), noise=0)
    for name in ("right_parotid", "left_parotid", "mandible", "brainstem"):
        apart = np.linalg.norm(_centre(found, LABELS[name]) - _centre(straight, LABELS[name]))
        assert apart < 4, name  # less than a voxel; the jaw is thinner than that


def test_couch_stays_and_body_only_has_none():
    arguments = {"shape": SHAPE, "spacing": SPACING, "seed": 6, "noise": 8.0}
    full, bare = make_phantom(**arguments), make_phantom(**arguments, body_only=True)
    rows = [int(np.argmin(np.abs(_y(full) - y))) for y in (121, 128)]
    assert (full.volume.voxels[2:20, rows, 10:-10] > -990).mean() > 0.5
    # Outside the patient it is flat; the couch's rows are.
    assert (bare.volume.voxels[:, _y(bare) > 122] == -1000).all()
    assert (bare.volume.voxels == -1000).mean() > 0.3
    np.testing.assert_array_equal(full.labels, bare.labels)


def _y(phantom):
    grid = phantom.volume.geometry
    return grid.origin[1] + grid.spacing[1] * np.arange(phantom.volume.shape[1])


@pytest.mark.parametrize("seed", range(1, 9))
def test_every_patient_has_every_structure_and_lies_inside_the_field(seed):
    phantom = make_phantom(shape=(74, 66, 80), spacing=(4.5, 4.5, 4.5), seed=seed, noise=0, couch=False)
    counts = np.bincount(phantom.labels.ravel(), minlength=8)[1:]
    assert counts.min() > 25
    assert (phantom.volume.voxels[:, :2] < -900).all()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"shape": (0, 4, 4)}, OptionError),
        ({"noise": -1.0}, OptionError),
        ({"noise": float("nan")}, OptionError),
        ({"edge": 0.0}, OptionError),
        ({"edge": 9.0}, OptionError),
        ({"spacing": (0.0, 1.0, 1.0)}, InputError),
        ({"orientation": "LLS"}, ModelError),
    ],
)
def test_senseless_wishes_are_refused(arguments, error):
    with pytest.raises(error):
        make_phantom(**{"shape": (4, 4, 4), **arguments})


def test_one_voxel_is_a_scan():
    assert make_phantom(shape=(1, 1, 1)).volume.shape == (1, 1, 1)


def _line(x):
    x = np.asarray(x, dtype=np.float32)
    return Points.of(x, np.zeros_like(x), np.zeros_like(x))


@pytest.mark.parametrize(
    ("shape", "surface"),
    [
        (Ellipsoid((5, 0, 0), (10, 20, 30)), 15),
        (Ellipsoid((0, 0, 0), (10, 20, 30), (0, 0, 90)), 20),
        (Ellipsoid((0, 0, 0), (12, 5, 5), square=True), 12),
        (Capsule((0, 0, -20), (0, 0, 20), (6, 6)), 6),
        (Capsule((0, 0, -20), (0, 0, 20), (6, 6), (2, 1, 1)), 12),
        (Loft([(-30, 14, -8, 8), (30, 14, -8, 8)]), 14),
        (Union((Capsule((0, 0, -5), (0, 0, 5), (3, 3)), Ellipsoid((6, 0, 0), (4, 4, 4)))), 10),
    ],
)
def test_a_shape_ends_at_its_surface_and_stays_in_its_box(shape, surface):
    inside, on, outside = shape.distance(_line([surface - 0.5, surface, surface + 0.5]))
    assert inside < 0 < outside
    assert on == pytest.approx(0, abs=1e-3)
    assert shape.box.high[0] == pytest.approx(surface, abs=0.1)


def test_average_person_is_where_the_room_is():
    points = Person().canonical(*(np.array([value], dtype=np.float32) for value in (1, 2, 3)))
    assert (points.x[0], points.y[0], points.z[0]) == (1, 2, 3)
