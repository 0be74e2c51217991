"""Volumes, transforms and results for the scene's tests."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from mambaseg.models.spec import Code, Terminology
from mambaseg.result import Result, Segment

LIVER = Terminology(Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", "10200004", "Liver"))
LEFT_KIDNEY = Terminology(
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "64033007", "Kidney"),
    Code("SCT", "7771000", "Left"),
)
SEGMENTS = (
    Segment("liver", 1, (221, 130, 101), LIVER),
    Segment("kidney_left", 4, (185, 102, 83), LEFT_KIDNEY),
    Segment("something", 9, (10, 20, 30)),
    Segment("nowhere", 7, (1, 2, 3)),
)
PROVENANCE = {
    "model_id": "demo",
    "model_version": "1.2",
    "model_ref": "demo",
    "weights_sha256": {"0": "ab" * 32},
    "engine_version": "0.1",
    "torch_version": "2.13",
    "device": "CPU",
    "options": {"device": "cpu", "tile_step": 0.5, "roi": [[1, 4], [0, 3], [0, 2]], "structures": ["liver"]},
    "volume_names": ["ct"],
    "time": "2026-11-21T10:00:00+00:00",
}
SHAPE = (5, 6, 7)


def rotation(seed: int = 3) -> np.ndarray:
    """A proper rotation that leaves no axis where it was."""
    found, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return found * np.sign(np.linalg.det(found))


def matrix4(linear, offset=(0.0, 0.0, 0.0)) -> np.ndarray:
    made = np.eye(4)
    made[:3, :3] = linear
    made[:3, 3] = offset
    return made


def signed_permutations():
    """All 48 axis orders and flips."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[:, order] * np.array(signs)


def add_volume(array=None, matrix=None, name="ct", kind="vtkMRMLScalarVolumeNode"):
    """A volume node; ``matrix`` leads from (i, j, k) to RAS."""
    import slicer

    from UMambaSegmentLib.scene.transforms import to_vtk

    if array is None:
        array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetIJKToRASMatrix(to_vtk(np.diag([-1.5, -1.5, 3.0, 1.0]) if matrix is None else matrix))
    slicer.util.updateVolumeFromArray(node, array)
    return node


def add_transform(matrix, name="transform", under=None):
    import slicer

    from UMambaSegmentLib.scene.transforms import to_vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(to_vtk(np.asarray(matrix, dtype=float)))
    if under is not None:
        node.SetAndObserveTransformNodeID(under.GetID())
    return node


def add_bend(name="bend", amplitude=2.0, middle=(0.0, 0.0, 0.0)):
    """A smooth thin-plate transform that moves a point in the middle and leaves the corners of a cube."""
    import slicer
    import vtk

    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in itertools.product((-40.0, 40.0), repeat=3):
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner)
    source.InsertNextPoint(middle)
    target.InsertNextPoint(middle[0] + amplitude, middle[1] - amplitude, middle[2] + amplitude / 2)
    bend = vtk.vtkThinPlateSplineTransform()
    bend.SetSourceLandmarks(source)
    bend.SetTargetLandmarks(target)
    bend.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformToParent(bend)
    return node


def some_labels(shape=SHAPE, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 0, 1, 4, 9], np.uint8), size=shape)


def make_result(labels=None, segments=SEGMENTS, **more: Any) -> Result:
    from mambaseg.geometry import Geometry

    return Result(some_labels() if labels is None else labels, tuple(segments), Geometry(), **more)


def write(result, volume, segmentation=None, **more: Any):
    from UMambaSegmentLib.scene.segmentations import write_result

    arguments = {"name": "ct demo", "model_id": "demo", "provenance": PROVENANCE, **more}
    return write_result(result, volume, segmentation, **arguments)


def exported(node, segment_id, volume) -> np.ndarray:
    """A segment as Slicer exports it on the volume's grid."""
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)


def assert_holds(written, result, volume) -> None:
    """Each segment, exported by Slicer on the volume's grid, is the engine's label voxel for voxel."""
    for segment_id, label in zip(written.segment_ids, result.segments, strict=True):
        found = exported(written.node, segment_id, volume)
        np.testing.assert_array_equal(found > 0, result.labels == label.value, err_msg=label.name)


def segment_names(node) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]


def state_of(node):
    """All that a person could see of a segmentation: IDs, names, colours, tags, voxels, attributes."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    segmentation = node.GetSegmentation()
    seen = []
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation("Binary labelmap")
        scalars = image.GetPointData().GetScalars()
        voxels = b"" if scalars is None else (vtk_to_numpy(scalars) == segment.GetLabelValue()).tobytes()
        tag = vtk.mutable("")
        segment.GetTag("TerminologyEntry", tag)
        seen.append(
            (
                segment_id,
                segment.GetName(),
                segment.GetColor(),
                str(tag),
                segment.GetLabelValue(),
                image.GetExtent(),
                voxels,
            )
        )
    attributes = {name: node.GetAttribute(name) for name in sorted(node.GetAttributeNames())}
    return seen, attributes, node.GetTransformNodeID(), segmentation.GetNumberOfLayers()


def scene_nodes(scene) -> list[str]:
    return sorted(scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes()))
