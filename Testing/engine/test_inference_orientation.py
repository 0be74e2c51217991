"""The result lies where the image lies, however its axes are ordered and wherever they point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mambaseg
from engine.inference_cases import make_model, make_spec, make_volume, smooth_image
from mambaseg.geometry import Geometry, Turn, turn_to
from mambaseg.inference.pipeline import allowed_mirror_axes

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = mambaseg.Options(device="cpu")
TURNS = [
    Turn(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
SHAPE = (17, 20, 14)
SPACING = (2.6, 1.5, 1.8)
IMAGE = smooth_image(SHAPE, sigma=1.5)
MODEL = make_model(make_spec(orientation="LPS"))


def _turned(volume: mambaseg.Volume, turn: Turn) -> mambaseg.Volume:
    return mambaseg.Volume(turn.apply(volume.voxels), turn.apply_geometry(volume.geometry, volume.shape))


@pytest.fixture(scope="module")
def plain():
    result = mambaseg.segment(make_volume(IMAGE, SPACING), MODEL, CPU)
    assert len(np.unique(result.labels)) >= 3
    return result.labels


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: f"{turn.order}{[int(flip) for flip in turn.flipped]}")
def test_all_48_orders_and_flips_give_the_same_labels_in_the_same_place(turn, plain):
    turned = _turned(make_volume(IMAGE, SPACING), turn)
    result = mambaseg.segment(turned, MODEL, CPU)
    assert result.labels.shape == turned.shape
    assert result.geometry == turned.geometry
    np.testing.assert_array_equal(turn.undo(result.labels), plain)


def _rotation(angles: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = c
        turn[first, second], turn[second, first] = -s, s
        matrix = matrix @ turn
    return matrix


@settings(max_examples=12, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-0.25, 0.25)] * 3),
    turn=st.sampled_from(TURNS),
    shape=st.tuples(*[st.integers(5, 18)] * 3),
    spacing=st.tuples(*[st.floats(1.2, 3.9)] * 3),
    orientation=st.sampled_from(["LPS", "RAS", "SLP", "AIR"]),
)
def test_an_oblique_image_turned_and_turned_back_has_its_labels_in_the_same_place(
    angles, turn, shape, spacing, orientation
):
    geometry = Geometry(spacing, (3.0, -7.0, 11.0), tuple(_rotation(angles).ravel().tolist()))
    volume = mambaseg.Volume(smooth_image(shape, sigma=1.5), geometry)
    model = make_model(make_spec(orientation=orientation))
    straight = mambaseg.segment(volume, model, CPU).labels
    turned = mambaseg.segment(_turned(volume, turn), model, CPU)
    assert turned.geometry == _turned(volume, turn).geometry
    np.testing.assert_array_equal(turn.undo(turned.labels), straight)


@settings(max_examples=8, deadline=None)
@given(turn=st.sampled_from(TURNS), angles=st.tuples(*[st.floats(-3, 3)] * 3))
def test_a_model_that_takes_images_as_stored_ignores_where_their_axes_point(turn, angles):
    model = make_model(make_spec())
    matrix = _rotation(angles) @ np.diag([-1.0 if flip else 1.0 for flip in turn.flipped])
    i, j, k = SPACING[::-1]
    pointing = Geometry((i, j, k), (5.0, 6.0, 7.0), tuple(matrix.ravel().tolist()))
    straight = mambaseg.segment(make_volume(IMAGE, SPACING), model, CPU).labels
    np.testing.assert_array_equal(mambaseg.segment(mambaseg.Volume(IMAGE, pointing), model, CPU).labels, straight)


def test_the_network_sees_the_orientation_that_the_model_asks_for():
    """A model for RAS gives on an LPS image what an as-stored model gives on the image that was turned by hand."""
    volume = make_volume(IMAGE, SPACING)
    turn = turn_to(volume.geometry, "RAS")
    by_hand = mambaseg.segment(_turned(volume, turn), make_model(make_spec()), CPU).labels
    by_model = mambaseg.segment(volume, make_model(make_spec(orientation="RAS")), CPU).labels
    np.testing.assert_array_equal(by_model, turn.undo(by_hand))


@pytest.mark.parametrize(
    ("orientation", "axes", "patch", "allowed"),
    [
        ("LPS", (0, 1, 2), (16, 16, 16), (0, 1)),  # arrays are (k, j, i): i runs from right to left
        ("RAS", (2, 0, 1), (16, 16, 16), (1, 2)),
        ("SAL", (0, 1, 2), (16, 16, 16), (1, 2)),
        ("LPS", (0, 1, 2), (16, 16), (0,)),
        ("LPS", (2, 0, 1), (16, 16), (0, 1)),
        ("as_stored", (0, 1, 2), (16, 16, 16), ()),
    ],
)
def test_left_stays_left(orientation, axes, patch, allowed):
    spec = make_spec(
        orientation=orientation,
        axes=axes,
        patch=patch,
        spacing=(2.0,) * len(patch),
        mirror_axes=tuple(range(len(patch))),
        paired_labels=((1, 2),),
    )
    assert allowed_mirror_axes(spec) == allowed


def test_models_without_paired_labels_mirror_along_all_their_axes():
    assert allowed_mirror_axes(make_spec(mirror_axes=(0, 1, 2))) == (0, 1, 2)
