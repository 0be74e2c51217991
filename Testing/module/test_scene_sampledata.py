"""Samples: the phantom made here, and Slicer's own CTs by address and checksum."""

from __future__ import annotations

import re
import sys
import types

import numpy as np
import pytest

from mambaseg.phantom import make_phantom
from UMambaSegmentLib.scene import sampledata
from UMambaSegmentLib.scene.volumes import read_volume_node

SMALL = {"shape": (10, 12, 14), "spacing": (20.0, 20.0, 25.0)}


class Source:
    """What SampleData keeps of a registration, with its own check of equal lengths."""

    def __init__(self, **given: object) -> None:
        texts = [given.get(name) for name in ("uris", "fileNames", "nodeNames")]
        assert all(isinstance(text, str) for text in texts), "one file: a text each"
        assert set(given) <= {
            *("category", "sampleName", "uris", "fileNames", "nodeNames", "customDownloader", "thumbnailFileName"),
            *("loadFileType", "loadFiles", "loadFileProperties", "checksums"),
        }
        self.__dict__.update(given)


@pytest.fixture
def samples(monkeypatch, scene):
    """SampleData's registration, with the signature that Slicer's has."""
    assert scene is not None
    import slicer

    registered: list[Source] = []
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {"UMambaSegment": registered}, raising=False)
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **given: registered.append(Source(**given))
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    return registered


def test_the_phantom_lies_where_the_engine_made_it(scene) -> None:
    node = sampledata.add_phantom_volume(**SMALL)
    phantom = make_phantom(**SMALL).volume
    read = read_volume_node(node)
    np.testing.assert_array_equal(read.voxels, phantom.voxels)
    np.testing.assert_allclose(read.geometry.origin, phantom.geometry.origin)
    np.testing.assert_allclose(read.geometry.direction, phantom.geometry.direction, atol=1e-12)
    np.testing.assert_allclose(read.geometry.spacing, phantom.geometry.spacing)
    display = node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (400, 40, 0)
    assert scene.GetNodeByID(node.GetID()) is node


def test_registering_makes_and_loads_nothing(scene, samples, tmp_path) -> None:
    (tmp_path / "CTLiver.png").write_bytes(b"png")
    sampledata.register(str(tmp_path))
    sampledata.register(str(tmp_path))  # as when the module is reloaded
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert {source.category for source in samples} == {"UMambaSegment"}
    assert len({source.sampleName for source in samples}) == len(samples) == 4
    public = [source for source in samples if getattr(source, "customDownloader", None) is None]
    for source in public:
        digest = source.checksums.removeprefix("SHA256:")
        assert re.fullmatch(r"[0-9a-f]{64}", digest)
        assert source.uris == f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{digest}"
    pictures = {source.sampleName: source.thumbnailFileName for source in samples}
    assert pictures["UMambaSegmentCTLiver"] == str(tmp_path / "CTLiver.png")
    assert pictures["UMambaSegmentPhantom"] is None


def test_the_phantoms_button_adds_it(scene, samples) -> None:
    sampledata.register()
    phantom = next(source for source in samples if getattr(source, "customDownloader", None) is not None)
    (node,) = phantom.customDownloader(phantom)
    assert node.GetName() == "HeadNeckPhantom"
    assert scene.GetNodeByID(node.GetID()) is node
    assert read_volume_node(node).voxels.max() > 500
