"""What the CTK and Slicer widgets of a panel do, as far as a panel's tests need it.

Each class bears its widget's name and becomes part of the PySide6 class that ``harness.native`` makes from the
contract; importing this package registers them all.
"""

from harness.behaviours import buttons, modules, node_selector, paths, segments, sliders

__all__ = ["buttons", "modules", "node_selector", "paths", "segments", "sliders"]
