"""A person at the panel: opens the module, chooses, clicks and looks; nothing of the module's inside is touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# The module's file; another test runs all this against an installed tree.
MODULE = Path(os.environ.get("UMAMBASEGMENT_MODULE") or ROOT / "UMambaSegment" / "UMambaSegment.py")
PATIENCE = 120.0


class Person:
    """See the module.

    Parameters
    ----------
    app
        The harness.
    module
        Path of the module's file.
    """

    def __init__(self, app: Any, module: Path = MODULE) -> None:
        self.app = app
        app.load_module(module)
        self.widget = app.open_module("UMambaSegment")
        self.ui = self.widget.ui

    def add_phantom(
        self, spacing: tuple[float, float, float] = (6.0, 6.0, 6.0), name: str = "Phantom", **more: Any
    ) -> Any:
        """Load the phantom as Sample Data would, coarse so that it is quick."""
        from UMambaSegmentLib.scene.sampledata import add_phantom_volume

        volume = add_phantom_volume(name, spacing=spacing, shape=(48, 56, 56), **more)
        self.app.process_events()
        return volume

    def choose_volume(self, volume: Any) -> None:
        self.ui.inputSelector.setCurrentNode(volume)
        self.app.process_events()

    def choose_model(self, text: str) -> None:
        """Search and click the first entry."""
        self.ui.modelSearchBox.text = text
        assert self.ui.modelList.count > 0, f"no model is found by '{text}'"
        self.ui.modelList.setCurrentRow(0)
        self.app.process_events()

    def click(self, name: str) -> None:
        button = getattr(self.ui, name)
        assert button.enabled, f"{name} cannot be clicked: {button.toolTip}"
        button.click()
        self.app.process_events()

    def wait_idle(self, seconds: float = PATIENCE) -> None:
        """Wait until the button says Segment again."""
        self.app.wait(lambda: self.ui.segmentButton.text == "Segment", seconds, "the run's end")

    def wait_running(self, seconds: float = 60.0) -> None:
        """Wait until the network computes."""
        self.app.wait(lambda: "tile" in self.ui.statusLabel.text, seconds, "the first tile")

    def segment(self) -> Any:
        """Click Segment, wait, and give the segmentation node."""
        self.click("segmentButton")
        self.wait_idle()
        return self.ui.outputSelector.currentNode()

    def message(self) -> str:
        return str(self.ui.messageLabel.text)


def segment_names(node: Any) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
