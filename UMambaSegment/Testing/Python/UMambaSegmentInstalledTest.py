"""Slicer's own runner: the packaged extension is whole, and starting Slicer imported neither torch nor numba."""

import sys
import unittest
from pathlib import Path

import slicer


class UMambaSegmentInstalledTest(unittest.TestCase):
    """What only a packaged module in a real Slicer can show."""

    def test_module_is_found(self) -> None:
        """The module is loaded, with its icon and panel description."""
        module = slicer.modules.umambasegment
        folder = Path(module.path).parent
        self.assertEqual(module.name, "UMambaSegment")
        self.assertTrue((folder / "Resources" / "UI" / "UMambaSegment.ui").is_file())
        self.assertTrue((folder / "Resources" / "Icons" / "UMambaSegment.png").is_file())

    def test_engine_lies_beside_the_module(self) -> None:
        """The engine that is imported is the packaged one, with its shipped model."""
        import mambaseg

        folder = Path(slicer.modules.umambasegment.path).parent
        self.assertEqual(Path(mambaseg.__file__).parent, folder / "mambaseg")
        models = folder / "mambaseg" / "models" / "bundled"
        self.assertTrue(any(models.glob("*/*.safetensors")))

    def test_nothing_heavy_is_imported_at_start(self) -> None:
        """Loading the module neither imports nor installs what only a run needs."""
        self.assertNotIn("numba", sys.modules)
