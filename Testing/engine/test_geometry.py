"""Turning a grid: nothing is lost, and every voxel stays where it is in the patient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mambaseg.errors import InputError, ModelError
from mambaseg.geometry import Geometry, Turn, closest_world_axes, turn_to

TURNS = [
    Turn(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
LETTERS = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "IS")) for letters in itertools.product(*axes)
]

angles = st.floats(-np.pi, np.pi)
spacings = st.tuples(*[st.floats(0.05, 20)] * 3)
origins = st.tuples(*[st.floats(-1000, 1000)] * 3)
shapes = st.tuples(*[st.integers(1, 5)] * 3)
turns = st.sampled_from(TURNS)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    def about(axis: int, angle: float) -> np.ndarray:
        matrix = np.eye(3)
        p, q = (n for n in range(3) if n != axis)
        matrix[p, p] = matrix[q, q] = np.cos(angle)
        matrix[p, q], matrix[q, p] = -np.sin(angle), np.sin(angle)
        return matrix

    return about(0, a) @ about(1, b) @ about(2, c)


def grid(spacing: tuple[float, ...], origin: tuple[float, ...], matrix: np.ndarray) -> Geometry:
    return Geometry(spacing, origin, tuple(matrix.reshape(-1).tolist()))


def world_positions(geometry: Geometry, shape: tuple[int, int, int]) -> np.ndarray:
    """LPS position of every voxel, ``(k, j, i, 3)``."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    index = np.stack([i, j, k], axis=-1) * np.array(geometry.spacing)
    return index @ geometry.matrix.T + np.array(geometry.origin)


def test_there_are_48_turns_and_48_orientations():
    assert len(set(TURNS)) == 48
    assert len(set(LETTERS)) == 48


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_turned_and_turned_back_is_the_same(turn: Turn):
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    turned = turn.apply(array)
    assert turned.shape == (2, *(array.shape[1:][2 - turn.order[2 - n]] for n in range(3)))
    np.testing.assert_array_equal(turn.undo(turned), array)
    np.testing.assert_array_equal(turn.apply(turn.undo(turn.apply(array[0]))), turned[0])
    assert turn.is_identity == bool(turned.shape == array.shape and np.array_equal(turned, array))


@given(
    turn=turns,
    shape=shapes,
    spacing=spacings,
    origin=origins,
    oblique=st.tuples(angles, angles, angles),
    left_handed=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_every_voxel_keeps_its_place_in_the_patient(
    turn: Turn,
    shape: tuple[int, int, int],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    oblique: tuple[float, float, float],
    *,
    left_handed: bool,
):
    matrix = rotation(*oblique) @ np.diag([1, 1, -1 if left_handed else 1])
    geometry = grid(spacing, origin, matrix)
    positions = world_positions(geometry, shape)
    moved = np.stack([turn.apply(positions[..., n]) for n in range(3)], axis=-1)
    turned = turn.apply_geometry(geometry, shape)
    np.testing.assert_allclose(world_positions(turned, moved.shape[:3]), moved, atol=1e-9)
    assert turned.voxel_volume == pytest.approx(geometry.voxel_volume)


@given(st.sampled_from(LETTERS), shapes, angles, angles, angles)
@example("IRA", (1, 1, 1), 0.75, -3.0, 0.75)  # two assignments of axes fit equally well
@settings(max_examples=200, deadline=None)
def test_turning_to_an_orientation_reaches_it_from_any_oblique_grid(
    letters: str, shape: tuple[int, int, int], a: float, b: float, c: float
):
    geometry = grid((0.7, 1.1, 3.0), (1.0, -2.0, 3.0), rotation(a, b, c))
    turned = turn_to(geometry, letters).apply_geometry(geometry, shape)
    assert turn_to(turned, letters).is_identity
    wanted = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    axes = closest_world_axes(turned.matrix)
    # The axes are matched as a whole; a sign may be either where an axis is exactly across its world axis.
    for n, (letter, (axis, sign)) in enumerate(zip(letters, axes, strict=True)):
        assert axis == wanted[letter][0]
        if abs(turned.matrix[axis, n]) > 1e-9:
            assert sign == wanted[letter][1]


@given(st.sampled_from(LETTERS), angles, angles, angles)
@settings(max_examples=60, deadline=None)
def test_orientation_letters_and_turns_agree_with_itk(letters: str, a: float, b: float, c: float):
    # Within 0.5 rad in all, the nearest axes are beyond doubt whatever the rule for ties.
    matrix = rotation(a / 20, b / 20, c / 20)
    voxels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 1.5, 2.5))
    image.SetOrigin((10.0, 20.0, -30.0))
    image.SetDirection(matrix.reshape(-1).tolist())
    expected = SimpleITK.DICOMOrient(image, letters)
    geometry = grid(image.GetSpacing(), image.GetOrigin(), matrix)
    turn = turn_to(geometry, letters)
    np.testing.assert_array_equal(turn.apply(voxels), SimpleITK.GetArrayFromImage(expected))
    turned = turn.apply_geometry(geometry, voxels.shape)
    assert turned.axis_letters() == letters
    np.testing.assert_allclose(turned.origin, expected.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(turned.direction, expected.GetDirection(), atol=1e-9)
    np.testing.assert_allclose(turned.spacing, expected.GetSpacing())


@pytest.mark.parametrize("letters", ["", "LP", "LPSS", "LRS", "LPX", "LPL"])
def test_an_orientation_that_names_no_three_axes_is_refused(letters: str):
    with pytest.raises(ModelError, match="does not name three axes"):
        turn_to(Geometry(), letters)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -2.0, 1.0), (1.0, 1.0, np.nan), (np.inf, 1.0, 1.0)])
def test_a_spacing_that_is_not_positive_is_refused(spacing: tuple[float, ...]):
    with pytest.raises(InputError, match="every spacing must be a positive number"):
        Geometry(spacing).check()


@pytest.mark.parametrize(
    "direction",
    [(1, 0, 0, 1, 0, 0, 0, 0, 1), (0,) * 9, (np.nan, 0, 0, 0, 1, 0, 0, 0, 1)],
)
def test_a_singular_direction_is_refused(direction: tuple[float, ...]):
    with pytest.raises(InputError, match="singular"):
        Geometry(direction=direction).check()


def test_an_origin_that_is_nowhere_is_refused():
    with pytest.raises(InputError, match="origin"):
        Geometry(origin=(0.0, np.inf, 0.0)).check()
