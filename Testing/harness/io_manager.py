"""slicer.app.coreIOManager(): loading and saving nodes through the scene's own storage nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.strict import Strict

# ending, file type, node class; the longer ending first
TYPES = (
    (".seg.nrrd", "SegmentationFile", "Segmentation"),
    (".nii.gz", "VolumeFile", "ScalarVolume"),
    (".nii", "VolumeFile", "ScalarVolume"),
    (".nrrd", "VolumeFile", "ScalarVolume"),
    (".mha", "VolumeFile", "ScalarVolume"),
    (".png", "VolumeFile", "ScalarVolume"),
    (".vtk", "ModelFile", "Model"),
    (".stl", "ModelFile", "Model"),
    (".h5", "TransformFile", "Transform"),
    (".tfm", "TransformFile", "Transform"),
    (".mrml", "SceneFile", ""),
)
NODES = {kind: node for _, kind, node in TYPES}


class CoreIOManager(Strict):
    """Loads and saves what the core knows without Qt readers."""

    _contract = "qSlicerIOManager"

    def fileType(self, path: str) -> str:
        """File type by the file's ending."""
        return next((kind for ending, kind, _ in TYPES if path.lower().endswith(ending)), "NoFile")

    def loadNodes(self, kind: str, properties: Any, loaded: Any = None, messages: Any = None) -> bool:
        """Load a file, and add the node to the collection."""
        import slicer
        import vtk

        path = Path(properties["fileName"])
        if not path.exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"file not found {path}")
            return False
        name = properties.get("name") or path.name.split(".")[0]
        if kind == "VolumeFile":
            options = 1 if properties.get("labelmap") else 0
            node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, options)
        else:
            node = self._load(kind, str(path), name)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _load(self, kind: str, path: str, name: str) -> Any:
        import slicer

        scene = slicer.mrmlScene
        node = scene.AddNewNodeByClass(f"vtkMRML{NODES[kind]}Node", name)
        storage = scene.AddNewNodeByClass(f"vtkMRML{NODES[kind]}StorageNode")
        storage.SetFileName(path)
        node.SetAndObserveStorageNodeID(storage.GetID())
        if not storage.ReadData(node):
            scene.RemoveNode(node)
            scene.RemoveNode(storage)
            return None
        node.CreateDefaultDisplayNodes()
        return node

    def loadScene(self, path: str, clear: bool = True) -> bool:
        """Load a scene file."""
        import slicer

        scene = slicer.mrmlScene
        scene.SetURL(str(path))
        return bool(scene.Connect() if clear else scene.Import())

    def saveScene(self, path: str, _screenshot: Any = None) -> bool:
        """Save the scene file (nodes' own files are saved by their storage nodes)."""
        import slicer

        slicer.mrmlScene.SetURL(str(path))
        return bool(slicer.mrmlScene.Commit())

    def fileWriterFileType(self, node: Any, _name: str = "") -> str:
        """Name of the writer."""
        return str(node.GetClassName())

    def extractKnownExtension(self, path: Any, _node: Any = None) -> str:
        """Ending of the file's name, also one with two dots."""
        text = str(path)
        return next((ending for ending, _, _ in TYPES if text.lower().endswith(ending)), Path(text).suffix)

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        """Endings that the node's storage writes."""
        import slicer

        storage = node.GetStorageNode() or slicer.mrmlScene.AddNode(node.CreateDefaultStorageNode())
        types = storage.GetSupportedWriteFileTypes()
        return tuple(types.GetValue(index) for index in range(types.GetNumberOfValues()))

    def exportNodes(
        self, node_ids: Any, paths: Any, _properties: Any, _harden: bool = False, _messages: Any = None
    ) -> bool:
        """Write nodes to files and leave their storage nodes as they are."""
        import slicer

        scene = slicer.mrmlScene
        for node_id, path in zip(node_ids, paths, strict=True):
            node = scene.GetNodeByID(node_id)
            storage = scene.AddNode(node.CreateDefaultStorageNode())
            storage.SetFileName(str(path))
            written = storage.WriteData(node)
            scene.RemoveNode(storage)
            if not written:
                return False
        return True

    def saveNodes(self, _kind: str, properties: Any, _messages: Any = None) -> bool:
        """Write a node to a file, which becomes its own."""
        import slicer

        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(properties["fileName"])
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))
