"""Sample data for the tutorial: a phantom made on this computer, and public CTs that Slicer itself offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mambaseg.phantom import make_phantom
from mambaseg.volume import Volume
from UMambaSegmentLib.i18n import _
from UMambaSegmentLib.scene.transforms import to_vtk
from UMambaSegmentLib.scene.volumes import ras_from_geometry

CATEGORY = "UMambaSegment"
PHANTOM_SAMPLE = "UMambaSegmentPhantom"
PHANTOM_NODE = "HeadNeckPhantom"
_WINDOW, _LEVEL = 400.0, 40.0


@dataclass(frozen=True)
class PublicSample:
    """One of Slicer's own samples: its name there, and the SHA-256 under which Slicer's test data serves it."""

    name: str
    file_name: str
    sha256: str


PUBLIC_SAMPLES = (
    PublicSample("CTLiver", "CTLiver.nrrd", "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"),
    PublicSample("CTChest", "CT-chest.nrrd", "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e"),
    PublicSample("CTACardio", "CTA-cardio.nrrd", "3b0d4eb1a7d8ebb0c5a89cc0504640f76a030b4e869e33ff34c564c3d3b88ad2"),
)


def register(thumbnails: str | None = None) -> None:
    """Tell SampleData of the samples; call when the application has started. Nothing is downloaded or made yet.

    Parameters
    ----------
    thumbnails
        Folder with ``<sample>.png`` pictures, or None.
    """
    import SampleData
    import slicer

    known = {source.sampleName for source in getattr(slicer.modules, "sampleDataSources", {}).get(CATEGORY, ())}
    if PHANTOM_SAMPLE in known:  # the module was reloaded: SampleData would take the new function for a new sample
        return
    add = SampleData.SampleDataLogic.registerCustomSampleDataSource
    # SampleData wants a text for each of uris, fileNames and nodeNames, although the custom downloader needs none.
    add(
        category=CATEGORY,
        sampleName=PHANTOM_SAMPLE,
        uris="phantom:head-and-neck",
        fileNames="HeadNeckPhantom.nrrd",
        nodeNames=PHANTOM_NODE,
        customDownloader=_make_phantom_for,
        thumbnailFileName=_thumbnail(thumbnails, PHANTOM_SAMPLE),
        loadFileType="VolumeFile",
        checksums=None,
    )
    for sample in PUBLIC_SAMPLES:
        add(
            category=CATEGORY,
            sampleName=f"UMambaSegment{sample.name}",
            uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{sample.sha256}",
            fileNames=sample.file_name,
            nodeNames=sample.name,
            checksums=f"SHA256:{sample.sha256}",
            thumbnailFileName=_thumbnail(thumbnails, sample.name),
            loadFileType="VolumeFile",
        )


def add_phantom_volume(name: str = PHANTOM_NODE, **phantom: Any) -> Any:
    """Make the head-and-neck phantom CT and add it to the scene, windowed for soft tissue.

    Parameters
    ----------
    name
        Of the node; made unique.
    **phantom
        Arguments of `mambaseg.phantom.make_phantom` (shape, spacing, seed ...).

    Returns
    -------
    Any
        The vtkMRMLScalarVolumeNode.
    """
    return add_volume(make_phantom(**phantom).volume, name, window=_WINDOW, level=_LEVEL)


def add_volume(volume: Volume, name: str, *, window: float | None = None, level: float | None = None) -> Any:
    """Add an engine's volume to the scene as a scalar (or, with 3 components, vector) volume node.

    Parameters
    ----------
    volume
        Voxels ``(k, j, i)`` or ``(k, j, i, 3)``, and geometry.
    name
        Of the node; made unique.
    window, level
        How it is shown; Slicer chooses where they are None.
    """
    import numpy as np
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    slices, rows, columns = volume.shape
    image.SetDimensions(columns, rows, slices)
    flat = np.ascontiguousarray(volume.voxels).reshape(-1, volume.components)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    kind = "vtkMRMLScalarVolumeNode" if volume.components == 1 else "vtkMRMLVectorVolumeNode"
    scene = slicer.mrmlScene
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(to_vtk(ras_from_geometry(volume.geometry)))
    node.SetAndObserveImageData(image)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None and window is not None and level is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(window, level)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    return node


def _make_phantom_for(_source: Any) -> list[Any]:
    """SampleData's custom downloader."""
    import slicer

    _show_status(_("Making the head-and-neck phantom..."))
    node = add_phantom_volume()
    if getattr(slicer, "app", None) is not None and hasattr(slicer.util, "setSliceViewerLayers"):
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return [node]


def _show_status(text: str) -> None:
    import slicer

    if getattr(slicer, "app", None) is not None and hasattr(slicer.util, "showStatusMessage"):
        slicer.util.showStatusMessage(text, 3000)


def _thumbnail(folder: str | None, sample: str) -> str | None:
    from pathlib import Path

    if folder is None:
        return None
    picture = Path(folder) / f"{sample}.png"
    return str(picture) if picture.is_file() else None
